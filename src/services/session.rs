//! One connection of a service: what it may hold, what it counts, and how long it may be idle.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use wsk::sync::{Pool, Shared, Tagged, tag};
use wsk::{Binding, Either, Instant, IoError, OutOfMemory, Sleep, first};

use super::Service;
use super::service::count;
use crate::limits::{Admission, Claim};

/// One connection.
pub(crate) struct Session {
    service: &'static Service,
    binding: Binding,
    admission: Admission,
    meter: Meter,
}

/// What counts a connection's traffic. It can be had by more than one who sees some.
pub(crate) struct Meter {
    service: &'static Service,
    /// If there is an idle time-out.
    active: Option<Shared<Active>>,
}

/// When something came or went last, in nanoseconds since the system's start.
struct Active(AtomicU64);

impl Tagged for Active {
    type Pool = Pool<{ tag(b"WskV") }>;
}

impl Meter {
    fn new(service: &'static Service) -> Result<Self, OutOfMemory> {
        let is_limited = service.settings.idle_timeout.is_some();
        let active = is_limited.then(|| Shared::try_new(Active(AtomicU64::new(time())))).transpose()?;
        Ok(Self::counted(service, active))
    }

    /// Whoever has one keeps the service.
    fn counted(service: &'static Service, active: Option<Shared<Active>>) -> Self {
        service.meters.fetch_add(1, Ordering::Relaxed);
        Self { service, active }
    }

    /// Counts bytes that came.
    pub(crate) fn received(&self, bytes: usize) {
        self.service.counts.traffic.add_received(bytes);
        self.mark();
    }

    /// Counts bytes that went.
    pub(crate) fn sent(&self, bytes: usize) {
        self.service.counts.traffic.add_sent(bytes);
        self.mark();
    }

    fn mark(&self) {
        if let Some(active) = &self.active {
            active.0.store(time(), Ordering::Relaxed);
        }
    }

    /// For how long nothing has come or gone, in nanoseconds.
    fn quiet(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| time().saturating_sub(active.0.load(Ordering::Relaxed)))
    }
}

impl Clone for Meter {
    fn clone(&self) -> Self {
        Self::counted(self.service, self.active.clone())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // The last that is done with the service through it.
        self.service.meters.fetch_sub(1, Ordering::Release);
    }
}

impl Session {
    /// One that was admitted.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(service: &'static Service, binding: Binding, admission: Admission) -> Result<Self, OutOfMemory> {
        Ok(Self { service, binding, admission, meter: Meter::new(service)? })
    }

    /// What counts its traffic.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The service that it is of.
    pub(crate) fn service(&self) -> &'static Service {
        self.service
    }

    /// Where it is.
    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Waits until the service is being stopped.
    pub(crate) fn stopping(&self) -> impl Future + '_ {
        first(self.binding.stopping(), self.service.stopping.wait())
    }

    /// So many bytes beyond those that every connection of the service has, if they may be had.
    pub(crate) fn claim(&self, more: u32) -> Option<Claim> {
        self.admission.claim(more)
    }

    /// Counts bytes that came.
    pub(crate) fn received(&self, bytes: usize) {
        self.meter.received(bytes);
    }

    /// Counts bytes that went.
    pub(crate) fn sent(&self, bytes: usize) {
        self.meter.sent(bytes);
    }

    /// Sees to the serving: counts how it ended, and ends it if it is idle for too long.
    pub(super) async fn over(&self, serving: Pin<&mut impl Future<Output = Result<(), IoError>>>) {
        self.meter.mark();
        let outcome = match self.service.settings.idle_timeout {
            None => serving.await,
            Some(limit) => match Sleep::new(limit) {
                Ok(sleep) => match first(serving, self.idle(sleep, limit)).await {
                    Either::First(outcome) => outcome,
                    Either::Second(()) => {
                        count(&self.service.counts.idle);
                        Err(IoError::Cancelled)
                    }
                },
                Err(_) => Err(IoError::OutOfMemory),
            },
        };
        self.ended(&outcome);
    }

    /// Counts how the serving ended.
    pub(super) fn ended(&self, outcome: &Result<(), IoError>) {
        if outcome.is_err() {
            count(&self.service.counts.failed);
        }
    }

    /// Waits until nothing has come or gone for that long. Traffic costs no more than a look at the clock.
    async fn idle(&self, mut sleep: Sleep, limit: Duration) {
        let limit = limit.as_nanos() as u64;
        loop {
            (&mut sleep).await;
            let quiet = self.meter.quiet();
            if quiet >= limit {
                return;
            }
            sleep.again(Duration::from_nanos(limit - quiet));
        }
    }
}

fn time() -> u64 {
    Instant::now().since_start().as_nanos() as u64
}
