//! The keeper: one task that lives as long as the driver, and needs no memory but that with which it was made.
//!
//! It starts what is to run on a binding, again and again until it does: so a lack of memory at the moment of an attachment
//! makes no address deaf. It looks for idle connections, and sees services off that are to end.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::sync::atomic::Ordering;
use core::time::Duration;

use wsk::{Binding, Instant, Nudge, Sleep, first};

use super::Services;

/// How often it looks at places and connections; a connection without traffic for that long gives its buffer back.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// How often it looks at services that are to end.
const LOOK: Duration = Duration::from_millis(20);

/// Keeps the services going until [`Services::end`].
pub(super) async fn keep(services: &'static Services, mut tick: Sleep) {
    let mut looked = Instant::now();
    while !services.ending.load(Ordering::Acquire) {
        let heard = services.bell.heard();
        let current = services.current();
        let leaving = services.see_off(current.as_ref());
        let Some(binding) = current else {
            if leaving {
                tick.restart(LOOK);
                first(services.bell.after(heard), &mut tick).await;
            } else {
                services.bell.after(heard).await;
            }
            continue;
        };
        services.start_places(&binding);
        services.watching.start(services, &binding);
        if looked.elapsed() >= PERIOD {
            binding.nudge(Nudge::Idle);
            looked = Instant::now();
        }
        tick.restart(if leaving { LOOK } else { PERIOD.saturating_sub(looked.elapsed()) });
        first(services.bell.after(heard), &mut tick).await;
    }
}

impl Services {
    /// The binding on which the services are to run; one that ends is forgotten.
    fn current(&self) -> Option<Binding> {
        let binding = self.binding.with(|place| place.clone())?;
        if !binding.is_stopping() {
            return Some(binding);
        }
        // Only this one: another may have come meanwhile.
        let generation = binding.generation();
        let ended = self.binding.with(|place| place.take_if(|other| other.generation() == generation));
        drop((binding, ended));
        None
    }
}
