//! A place for the waker of one task, which need not be put in anew for each wait.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{RawWakerVTable, Waker};

use atomic_waker::AtomicWaker;

/// Wakes that are being made are counted in the low bits, those ever made in the others.
const IN_PROGRESS: u32 = 0xff;
const MADE: u32 = 0x100;

/// The place.
pub(crate) struct Watched {
    waker: AtomicWaker,
    wakes: AtomicU32,
}

/// What the one who watches remembers: which waker it put in, and after which wake. As long as there was none since, the
/// waker is there, and keeps its task, so that no other task can have its address.
#[derive(Default)]
pub(crate) struct Watching(Option<(u32, Identity)>);

/// Data and table of a waker: what [`Waker::will_wake`] compares.
type Identity = (*const (), *const RawWakerVTable);

// SAFETY: the pointers are compared only.
unsafe impl Send for Watching {}
// SAFETY: as above.
unsafe impl Sync for Watching {}

impl Watched {
    pub(crate) const fn new() -> Self {
        Self { waker: AtomicWaker::new(), wakes: AtomicU32::new(0) }
    }

    /// Wakes the task that watches. Whatever it is to find has been set before.
    pub(crate) fn wake(&self) {
        self.wakes.fetch_add(MADE + 1, Ordering::AcqRel);
        self.waker.wake();
        self.wakes.fetch_sub(1, Ordering::Release);
    }

    /// Has the next wake go to this task. What it waits for is to be looked at after this. A place that is watched is not
    /// registered at, and has one [`Watching`]: what that remembers would not be true any more.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The same, at no cost if nothing has happened since the last time.
    pub(crate) fn watch(&self, watching: &mut Watching, waker: &Waker) {
        let wakes = self.wakes.load(Ordering::Acquire);
        let identity = (waker.data(), &raw const *waker.vtable());
        if watching.0 == Some((wakes, identity)) {
            return;
        }
        self.waker.register(waker);
        // A wake in progress may take this waker without being counted again.
        watching.0 = (wakes & IN_PROGRESS == 0).then_some((wakes, identity));
    }
}
