//! A kernel event to wait for.
//!
//! Wraps [`KEVENT`](https://learn.microsoft.com/windows-hardware/drivers/kernel/defining-and-using-an-event-object).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::time::Duration;

use allocator_api2::boxed::Box;
use wdk_sys::_EVENT_TYPE::{NotificationEvent, SynchronizationEvent};
use wdk_sys::_KWAIT_REASON::Executive;
use wdk_sys::_MODE::KernelMode;
use wdk_sys::ntddk::{KeClearEvent, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use wdk_sys::{EVENT_TYPE, KEVENT, LARGE_INTEGER};

use super::{OutOfMemory, Passive, Pool, tag};
use crate::raw::NtStatus;

/// A kernel event.
///
/// # Invariants
/// The KEVENT is initialised and does not move: its list head points to itself.
pub struct Event(Box<UnsafeCell<KEVENT>, Pool<{ tag(b"WskE") }>>);

// SAFETY: the kernel's event functions may be called by any thread at any time.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event that stays set until it is cleared, and releases everybody.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn notification(set: bool) -> Result<Self, OutOfMemory> {
        Self::new(NotificationEvent, set)
    }

    /// An event that releases one waiter and is cleared by that.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn synchronization() -> Result<Self, OutOfMemory> {
        Self::new(SynchronizationEvent, false)
    }

    fn new(kind: EVENT_TYPE, set: bool) -> Result<Self, OutOfMemory> {
        let event = Box::try_new_in(UnsafeCell::new(KEVENT::default()), Pool)?;
        // SAFETY: the memory is ours and nonpaged.
        unsafe { KeInitializeEvent(event.get(), kind, set.into()) };
        // INVARIANT: initialised where it will stay.
        Ok(Self(event))
    }

    /// Sets it.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn set(&self) {
        // SAFETY: initialised by the invariant; no wait follows, so `Wait` is false.
        unsafe { KeSetEvent(self.0.get(), 0, 0) };
    }

    /// Clears it.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn clear(&self) {
        // SAFETY: initialised by the invariant.
        unsafe { KeClearEvent(self.0.get()) };
    }

    /// Waits until it is set.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub fn wait(&self, _: Passive) {
        self.wait_until(null_mut());
    }

    /// Waits until it is set, or a time has passed. `true` if it was set.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub fn wait_for(&self, _: Passive, time: Duration) -> bool {
        let ticks = i64::try_from(time.as_nanos() / 100).unwrap_or(i64::MAX);
        self.wait_until(&mut LARGE_INTEGER { QuadPart: -ticks }) == NtStatus::SUCCESS
    }

    fn wait_until(&self, timeout: *mut LARGE_INTEGER) -> NtStatus {
        // SAFETY: initialised by the invariant; the caller may block.
        NtStatus(unsafe { KeWaitForSingleObject(self.0.get().cast(), Executive, KernelMode as _, 0, timeout) })
    }
}
