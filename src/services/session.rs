//! One connection of a service: what it may hold, what it counts, and how long it may be idle.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use wsk::{Binding, Either, Instant, IoError, Sleep, Wait, first};

use super::Service;
use super::service::count;
use crate::limits::{Admission, Claim};

/// One connection.
pub(crate) struct Session {
    service: &'static Service,
    binding: Binding,
    admission: Admission,
    /// When something came or went last, in nanoseconds since the system's start, if there is an idle time-out.
    active_at: AtomicU64,
}

impl Session {
    pub(super) fn new(service: &'static Service, binding: Binding, admission: Admission) -> Self {
        Self { service, binding, admission, active_at: AtomicU64::new(0) }
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
    pub(crate) fn stopping(&self) -> Wait<'_> {
        self.binding.stopping()
    }

    /// So many bytes beyond those that every connection of the service has, if they may be had.
    pub(crate) fn claim(&self, more: u32) -> Option<Claim> {
        self.admission.claim(more)
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
        if self.service.settings.idle_timeout.is_some() {
            self.active_at.store(time(), Ordering::Relaxed);
        }
    }

    /// Sees to the serving: counts how it ended, and ends it if it is idle for too long.
    pub(super) async fn over(&self, serving: Pin<&mut impl Future<Output = Result<(), IoError>>>) {
        self.mark();
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
            let quiet = time().saturating_sub(self.active_at.load(Ordering::Relaxed));
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
