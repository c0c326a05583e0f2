//! The keeper: one task that lives as long as the driver, and needs no memory but that with which it was made.
//!
//! It starts what is to run on a binding, again and again until it does: so a lack of memory at the moment of an attachment
//! makes no address deaf. And it looks for idle connections.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::sync::atomic::Ordering;
use core::time::Duration;

use wsk::{Binding, Either, Nudge, Sleep, first};

use super::Services;

/// How often it looks at places and connections; a connection without traffic for that long gives its buffer back.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Keeps the services going until [`Services::end`].
pub(super) async fn keep(services: &'static Services, mut tick: Sleep) {
    while !services.ending.load(Ordering::Acquire) {
        let heard = services.bell.heard();
        let Some(binding) = services.current() else {
            services.bell.after(heard).await;
            continue;
        };
        services.stations().for_each(|station| station.start(&binding));
        services.watching.start(services, &binding);
        if let Either::Second(()) = first(services.bell.after(heard), &mut tick).await {
            binding.nudge(Nudge::Idle);
            tick.again(PERIOD);
        }
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
