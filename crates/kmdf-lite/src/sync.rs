//! WDFSPINLOCK.

#![allow(unsafe_code)] // Called by drivers through the function table.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use nt_abi::kernel::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock, PsGetCurrentThreadId};
use nt_abi::wdf::{WDF_DRIVER_GLOBALS, WDF_OBJECT_ATTRIBUTES, WDFOBJECT};
use nt_abi::{DISPATCH_LEVEL, KIRQL, KSPIN_LOCK, NtStatus};

use crate::bind::globals;
use crate::device::parent_or_driver;
use crate::event::{enter, level, status, violation};
use crate::object::{Attributes, Body, body, create, refuse, resolve};

/// What a WDFSPINLOCK has of its own.
pub(crate) struct SpinLockBody {
    lock: UnsafeCell<KSPIN_LOCK>,
    /// The IRQL to go back to. Its holder's alone.
    irql: UnsafeCell<KIRQL>,
    /// The thread that holds it, or 0.
    owner: AtomicUsize,
}

// SAFETY: the lock word is for the spin lock functions alone, and the IRQL for whoever holds the lock.
unsafe impl Sync for SpinLockBody {}

fn thread() -> usize {
    // SAFETY: no precondition.
    unsafe { PsGetCurrentThreadId() as usize }
}

/// Makes a spin lock.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfSpinLockCreate(
    public: *mut WDF_DRIVER_GLOBALS,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    lock: *mut WDFOBJECT,
) -> NtStatus {
    const NAME: &str = "WdfSpinLockCreate";
    let run = || {
        enter(NAME, DISPATCH_LEVEL)?;
        let globals = globals(NAME, public)?;
        // SAFETY: null or the driver's variable.
        let Some(lock) = (unsafe { lock.as_mut() }) else {
            return refuse(NAME, "there is nowhere to put the lock", ptr::null_mut(), NtStatus::INVALID_PARAMETER);
        };
        // SAFETY: the driver's attributes.
        let attributes = unsafe { Attributes::read(NAME, attributes, true) }?;
        // SAFETY: bound.
        let driver = resolve(NAME, unsafe { globals.as_ref() }.public.Driver)?;
        let parent = parent_or_driver(NAME, &attributes, driver)?;
        let body = SpinLockBody { lock: UnsafeCell::new(0), irql: UnsafeCell::new(0), owner: AtomicUsize::new(0) };
        *lock = create(globals, Some(parent), &attributes, Body::SpinLock(body))?.handle();
        Ok(())
    };
    status(run())
}

/// Takes a spin lock.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfSpinLockAcquire(_globals: *mut WDF_DRIVER_GLOBALS, lock: WDFOBJECT) {
    const NAME: &str = "WdfSpinLockAcquire";
    let _ = level(NAME, DISPATCH_LEVEL);
    let Ok((_, body)) = body!(NAME, lock, SpinLock) else { return };
    if body.owner.load(Ordering::Relaxed) == thread() {
        violation(NAME, "the thread holds this lock already", lock as usize);
        return;
    }
    // SAFETY: the lock word of an object that exists.
    let irql = unsafe { KeAcquireSpinLockRaiseToDpc(body.lock.get()) };
    // SAFETY: this thread holds the lock.
    unsafe { body.irql.get().write(irql) };
    body.owner.store(thread(), Ordering::Relaxed);
}

/// Gives a spin lock up.
///
/// # IRQL
/// DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfSpinLockRelease(_globals: *mut WDF_DRIVER_GLOBALS, lock: WDFOBJECT) {
    const NAME: &str = "WdfSpinLockRelease";
    let Ok((_, body)) = body!(NAME, lock, SpinLock) else { return };
    if body.owner.load(Ordering::Relaxed) != thread() {
        violation(NAME, "the thread does not hold this lock", lock as usize);
        return;
    }
    body.owner.store(0, Ordering::Relaxed);
    // SAFETY: this thread holds the lock until the next line.
    let irql = unsafe { body.irql.get().read() };
    // SAFETY: as above.
    unsafe { KeReleaseSpinLock(body.lock.get(), irql) };
}
