//! Something that happens again and again, and that one task waits for without taking memory.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll};

use atomic_waker::AtomicWaker;

/// A bell that counts how often it was rung. One task waits for it at a time.
pub(crate) struct Bell {
    rings: AtomicU64,
    waker: AtomicWaker,
}

/// Waits for the next ring; see [`Bell::after`].
pub(crate) struct Ring<'a> {
    bell: &'a Bell,
    heard: u64,
}

impl Bell {
    pub(crate) const fn new() -> Self {
        Self { rings: AtomicU64::new(0), waker: AtomicWaker::new() }
    }

    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::AcqRel);
        self.waker.wake();
    }

    /// How often it was rung so far.
    pub(crate) fn heard(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    /// Waits until it has been rung more often than that.
    pub(crate) fn after(&self, heard: u64) -> Ring<'_> {
        Ring { bell: self, heard }
    }
}

impl Future for Ring<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.bell.waker.register(context.waker());
        if self.bell.heard() == self.heard { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        // The bell outlives the task, and a task is freed only when nobody can wake it any more.
        drop(self.bell.waker.take());
    }
}
