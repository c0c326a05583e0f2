//! A thread of the shim's own: started, woken, stopped and joined.

#![allow(unsafe_code)] // Threads, events, and waits of Wine's kernel.

use core::cell::UnsafeCell;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use nt_abi::kernel::{
    KeDelayExecutionThread, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject, ObReferenceObjectByHandle, ObfDereferenceObject, PsCreateSystemThread,
    ZwClose,
};
use nt_abi::{KERNEL_MODE, KEVENT, KSTART_ROUTINE, NtStatus, SYNCHRONIZATION_EVENT, WAIT_EXECUTIVE};

const THREAD_ALL_ACCESS: u32 = 0x001F_FFFF;

/// Lets other threads run for a millisecond.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn pause() {
    let interval = -10_000;
    // SAFETY: the interval outlives the call.
    let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &interval) };
}

/// A thread that there is one of at most.
pub(crate) struct Thread {
    routine: KSTART_ROUTINE,
    object: AtomicPtr<core::ffi::c_void>,
    event: UnsafeCell<KEVENT>,
    stop: AtomicBool,
}

// SAFETY: the event is touched by the kernel's functions alone.
unsafe impl Sync for Thread {}

impl Thread {
    pub const fn new(routine: KSTART_ROUTINE) -> Thread {
        Thread {
            routine,
            object: AtomicPtr::new(null_mut()),
            event: UnsafeCell::new(KEVENT::UNINITIALIZED),
            stop: AtomicBool::new(false),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// What making the thread or referring to it answered.
    ///
    /// # IRQL
    /// PASSIVE_LEVEL
    pub fn start(&self) -> Result<(), NtStatus> {
        self.stop.store(false, Ordering::Release);
        // SAFETY: nobody waits for it yet.
        unsafe { KeInitializeEvent(self.event.get(), SYNCHRONIZATION_EVENT, 0) };
        let mut handle = null_mut();
        // SAFETY: the handle is a local, the routine is of this image.
        let status = unsafe {
            PsCreateSystemThread(&mut handle, THREAD_ALL_ACCESS, null(), null_mut(), null_mut(), Some(self.routine), null_mut())
        };
        if status.is_failure() {
            return Err(status);
        }
        let mut object = null_mut();
        // SAFETY: the handle was just made.
        let status = unsafe {
            ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, null_mut(), KERNEL_MODE, &mut object, null_mut())
        };
        // SAFETY: as above.
        let _ = unsafe { ZwClose(handle) };
        if status.is_failure() {
            return Err(status);
        }
        self.object.store(object, Ordering::Release);
        Ok(())
    }

    /// Has it look for work.
    ///
    /// # IRQL
    /// <= DISPATCH_LEVEL
    pub fn wake(&self) {
        // SAFETY: initialized before anybody had anything to wake it for.
        unsafe { KeSetEvent(self.event.get(), 0, 0) };
    }

    /// In the thread: waits until it is woken, or for so many milliseconds. True if it is to end.
    ///
    /// # IRQL
    /// PASSIVE_LEVEL
    pub fn wait(&self, most: Option<i64>) -> bool {
        let timeout = -10_000 * most.unwrap_or(0);
        let timeout = if most.is_some() { &raw const timeout } else { null() };
        // SAFETY: initialized; the timeout outlives the call.
        let _ = unsafe { KeWaitForSingleObject(self.event.get().cast(), WAIT_EXECUTIVE, KERNEL_MODE, 0, timeout) };
        self.stop.load(Ordering::Acquire)
    }

    /// Ends and joins it.
    ///
    /// # IRQL
    /// PASSIVE_LEVEL
    pub fn stop(&self) {
        let object = self.object.swap(null_mut(), Ordering::AcqRel);
        if object.is_null() {
            return;
        }
        self.stop.store(true, Ordering::Release);
        self.wake();
        // SAFETY: a reference to a thread.
        let _ = unsafe { KeWaitForSingleObject(object, WAIT_EXECUTIVE, KERNEL_MODE, 0, null()) };
        // SAFETY: ours.
        unsafe { ObfDereferenceObject(object) };
    }
}
