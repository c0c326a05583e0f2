//! The ports at which the driver receives datagrams: asked for each datagram, so the answer "none" has to come without a lock.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU16, Ordering};

/// Ports whose numbers end alike share a count.
const COUNTS: usize = 256;

/// How many sockets there are, by the ends of their ports' numbers.
pub(super) struct Ports([AtomicU16; COUNTS]);

impl Ports {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU16::new(0) }; COUNTS])
    }

    /// A socket is bound to that port.
    pub(super) fn add(&self, port: u16) {
        self.count(port).map(|count| count.fetch_add(1, Ordering::AcqRel));
    }

    /// A socket is not bound to it any more.
    pub(super) fn remove(&self, port: u16) {
        self.count(port).map(|count| count.fetch_sub(1, Ordering::AcqRel));
    }

    /// Whether there may be one at that port.
    pub(super) fn may_have(&self, port: u16) -> bool {
        self.count(port).is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    fn count(&self, port: u16) -> Option<&AtomicU16> {
        self.0.get(usize::from(port) % COUNTS)
    }
}
