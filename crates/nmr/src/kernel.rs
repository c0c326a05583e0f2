//! The NT kernel below the registrar: a spin lock that guards a value, pool blocks, an event, IRQL, threads.

#![allow(unsafe_code)] // Calls the kernel's functions and hands out what a lock guards.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

use nt_abi::kernel::{
    ExAllocatePool2, ExFreePoolWithTag, KeAcquireSpinLockRaiseToDpc, KeDelayExecutionThread, KeGetCurrentIrql, KeInitializeEvent,
    KeLowerIrql, KeReleaseSpinLock, KeSetEvent, KeWaitForSingleObject, KfRaiseIrql, PsCreateSystemThread, PsGetCurrentThreadId,
    ZwClose,
};
use nt_abi::{DISPATCH_LEVEL, KERNEL_MODE, KEVENT, KIRQL, KSPIN_LOCK, KSTART_ROUTINE, NOTIFICATION_EVENT, WAIT_EXECUTIVE};

/// The tag of the registrar's pool blocks: `NmrL`.
const TAG: u32 = u32::from_le_bytes(*b"NmrL");
const POOL_FLAG_NON_PAGED: u64 = 0x40;
const THREAD_ALL_ACCESS: u32 = 0x001F_FFFF;

/// A value behind a spin lock.
pub(crate) struct Locked<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and the spin lock admits one guard at a time.
unsafe impl<T> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub const fn new(value: T) -> Locked<T> {
        Locked { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// # IRQL
    /// <= DISPATCH_LEVEL; DISPATCH_LEVEL until the guard goes.
    pub fn lock(&'static self) -> Guard<T> {
        // SAFETY: the lock word is a static and is touched by the spin lock functions alone.
        let irql = unsafe { KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        Guard { locked: self, irql }
    }
}

/// Proof that the lock is held.
pub(crate) struct Guard<T: 'static> {
    locked: &'static Locked<T>,
    irql: KIRQL,
}

impl<T> Deref for Guard<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.locked.value.get() }
    }
}

impl<T> DerefMut for Guard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.locked.value.get() }
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: `lock` acquired it and returned this IRQL.
        unsafe { KeReleaseSpinLock(self.locked.lock.get(), self.irql) }
    }
}

/// Puts a value into nonpaged pool.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn allocate<T>(value: T) -> Option<NonNull<T>> {
    // SAFETY: a nonpaged allocation is allowed at every IRQL up to DISPATCH_LEVEL.
    let block = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size_of::<T>(), TAG) };
    let block = NonNull::new(block.cast::<T>())?;
    // SAFETY: the block is fresh, large enough, and aligned to 16 bytes as every pool block is.
    unsafe { block.write(value) };
    Some(block)
}

/// Gives a block back.
///
/// # Safety
/// The block comes from [`allocate`] and nobody reaches it any more.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe fn free<T>(block: NonNull<T>) {
    // SAFETY: the caller's promise. `T` needs no drop: it holds plain values.
    unsafe { ExFreePoolWithTag(block.as_ptr().cast(), TAG) }
}

/// A notification event that lives in a pool block.
pub(crate) struct Event(UnsafeCell<KEVENT>);

impl Event {
    pub const fn new() -> Event {
        Event(UnsafeCell::new(KEVENT::UNINITIALIZED))
    }

    /// Makes it ready, at its final address.
    ///
    /// # IRQL
    /// Any
    pub fn initialize(&self) {
        // SAFETY: nobody waits for it yet.
        unsafe { KeInitializeEvent(self.0.get(), NOTIFICATION_EVENT, 0) }
    }

    /// # IRQL
    /// <= DISPATCH_LEVEL
    pub fn set(&self) {
        // SAFETY: the event was initialized before its block was published.
        unsafe { KeSetEvent(self.0.get(), 0, 0) };
    }

    /// The event as an object to wait for.
    pub fn object(&self) -> *mut c_void {
        self.0.get().cast()
    }
}

/// Waits for an event.
///
/// # Safety
/// The event is initialized and stays where it is until the wait returns.
///
/// # IRQL
/// < DISPATCH_LEVEL
pub(crate) unsafe fn wait(event: *mut c_void) {
    // SAFETY: the caller's promise.
    let _ = unsafe { KeWaitForSingleObject(event, WAIT_EXECUTIVE, KERNEL_MODE, 0, ptr::null()) };
}

/// # IRQL
/// Any
pub(crate) fn irql() -> KIRQL {
    // SAFETY: no precondition.
    unsafe { KeGetCurrentIrql() }
}

/// Runs `f` at DISPATCH_LEVEL if `raise` says so, else at the caller's IRQL.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn at_dispatch<R>(raise: bool, f: impl FnOnce() -> R) -> R {
    if !raise || irql() >= DISPATCH_LEVEL {
        return f();
    }
    // SAFETY: raising from below, and lowering to where it was.
    let old = unsafe { KfRaiseIrql(DISPATCH_LEVEL) };
    let result = f();
    // SAFETY: as above.
    unsafe { KeLowerIrql(old) };
    result
}

/// The calling thread.
///
/// # IRQL
/// Any
pub(crate) fn thread() -> usize {
    // SAFETY: no precondition.
    unsafe { PsGetCurrentThreadId() as usize }
}

/// Sleeps.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn sleep_microseconds(microseconds: i64) {
    let interval = -10 * microseconds;
    // SAFETY: the interval outlives the call.
    let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &interval) };
}

/// Starts a system thread that ends by itself. False if there is none to be had.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn spawn(routine: KSTART_ROUTINE, context: *mut c_void) -> bool {
    let mut handle = ptr::null_mut();
    // SAFETY: the handle is a local; the routine and its context are the caller's and need no lifetime.
    let status = unsafe {
        PsCreateSystemThread(
            &mut handle,
            THREAD_ALL_ACCESS,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            Some(routine),
            context,
        )
    };
    if status.is_failure() {
        return false;
    }
    // SAFETY: the handle was just returned; the thread does not depend on it.
    let _ = unsafe { ZwClose(handle) };
    true
}
