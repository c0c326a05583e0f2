//! Cancelling IRPs: the cancel spin lock and cancel routines.
#![allow(unsafe_code)] // IRPs are shared with drivers.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use nt_abi::{DISPATCH_LEVEL, IRP, KIRQL, export_table};

use crate::callout::Kind;
use crate::io::irp::{self, State, Step, header, misused};
use crate::ke::{irql, spinlock};
use crate::thread;

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    IoCancelIrp, IoAcquireCancelSpinLock, IoReleaseCancelSpinLock,
]);

static LOCK: AtomicUsize = AtomicUsize::new(0);

fn acquire() -> KIRQL {
    let old = irql::raise(DISPATCH_LEVEL);
    // SAFETY: the lock is a static.
    unsafe { spinlock::acquire(LOCK.as_ptr()) };
    old
}

/// Releases the cancel spin lock and lowers to `level`, the IRP's `CancelIrql`.
pub fn release(level: KIRQL) {
    // SAFETY: the lock is a static.
    unsafe { spinlock::release(LOCK.as_ptr()) };
    irql::lower(level);
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `irp` is valid: its owner holds a reference of its own across this call.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoCancelIrp(irp: *mut IRP) -> u8 {
    irql::at_most("IoCancelIrp", DISPATCH_LEVEL);
    let Some(header) = header("IoCancelIrp", irp) else { return 0 };
    if header.state() == State::Freed {
        misused("L37", irp, header, "is cancelled after it was freed");
        return 0;
    }
    header.note(Step::CancelRequested);
    header.cancelling.fetch_add(1, Ordering::AcqRel);
    // SAFETY: the caller vouches for the IRP. Its header stays for a while even if the caller is wrong.
    let cancelled = unsafe { cancel(irp) };
    header.cancelling.fetch_sub(1, Ordering::AcqRel);
    cancelled.into()
}

/// Calls the cancel routine, if there is one.
///
/// # Safety
/// `irp` is valid.
unsafe fn cancel(irp: *mut IRP) -> bool {
    let old = acquire();
    // SAFETY: the caller vouches for the IRP.
    let routine = unsafe {
        AtomicU8::from_ptr(&raw mut (*irp).Cancel).store(1, Ordering::Release);
        irp::set_cancel_routine(irp, None)
    };
    let Some(routine) = routine else {
        release(old);
        return false;
    };
    let slot = thread::slot();
    slot.push(Kind::Cancel, routine as usize);
    // SAFETY: a cancel routine, entered as the I/O manager does: with the lock, which it releases to `CancelIrql`. The
    // device is that of the location where the IRP is.
    unsafe {
        (*irp).CancelIrql = old;
        let device = (*(*irp).CurrentStackLocation).DeviceObject;
        routine(device, irp);
    }
    slot.pop();
    true
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `irql` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoAcquireCancelSpinLock(irql: *mut KIRQL) {
    irql::at_most("IoAcquireCancelSpinLock", DISPATCH_LEVEL);
    let old = acquire();
    // SAFETY: the caller passed a valid pointer.
    unsafe { irql.write(old) };
}

/// # IRQL
/// DISPATCH_LEVEL, the lock held
#[unsafe(no_mangle)]
pub extern "win64" fn IoReleaseCancelSpinLock(irql: KIRQL) {
    irql::at_least("IoReleaseCancelSpinLock", DISPATCH_LEVEL);
    release(irql);
}
