//! Waiting for dispatcher objects, and delays.
#![allow(unsafe_code)] // Exports with the kernel's ABI over the driver's objects.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nt_abi::{
    APC_LEVEL, DISPATCH_LEVEL, DISPATCHER_HEADER, KOBJECT_NOTIFICATION_TIMER, KOBJECT_SYNCHRONIZATION_EVENT,
    KOBJECT_SYNCHRONIZATION_TIMER, LARGE_INTEGER, NtStatus, export_table,
};

use crate::ke::event::{self, AWAITED, SIGNALLED};
use crate::ke::{irql, time};
use crate::thread::LOCAL;
use crate::{callout, futex, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [KeWaitForSingleObject, KeDelayExecutionThread]);

/// Takes the signal if there is one; a synchronization object is cleared by it.
fn try_take(word: &AtomicU32, clears: bool) -> bool {
    let mut seen = word.load(Ordering::Acquire);
    while seen & SIGNALLED != 0 {
        if !clears {
            return true;
        }
        match word.compare_exchange_weak(seen, seen & !SIGNALLED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}

/// Waits until the object is signalled or `timeout` has passed; false then.
///
/// # Safety
/// `header` is valid until the wait is over.
pub(crate) unsafe fn wait(header: *mut DISPATCHER_HEADER, timeout: Option<Duration>) -> bool {
    // SAFETY: the caller vouches for the object.
    let (word, kind) = unsafe { (event::state(header), (*header).Type) };
    let clears = matches!(kind, KOBJECT_SYNCHRONIZATION_EVENT | KOBJECT_SYNCHRONIZATION_TIMER);
    let end = timeout.map(|timeout| Instant::now().checked_add(timeout));
    loop {
        if try_take(word, clears) {
            return true;
        }
        let left = match end {
            Some(Some(end)) => Some(end.saturating_duration_since(Instant::now())),
            _ => None,
        };
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
        let seen = word.fetch_or(AWAITED, Ordering::AcqRel) | AWAITED;
        if seen & SIGNALLED == 0 {
            futex::wait(word, seen, left);
        }
    }
}

/// Reports a wait where none is allowed.
fn check(function: &'static str, header: *mut DISPATCHER_HEADER, timeout: Option<Duration>) {
    let blocks = timeout.is_none_or(|timeout| !timeout.is_zero());
    irql::at_most(function, if blocks { APC_LEVEL } else { DISPATCH_LEVEL });
    if blocks && LOCAL.with(|local| local.locks.get()) > 0 {
        verifier::violation("wait", format!("{function} with a spin lock held"));
    }
    if let Some(kind) = callout::innermost().filter(|kind| blocks && kind.forbids_waiting()) {
        verifier::violation("wait", format!("{function} inside a callback ({kind:?}), object {header:p}"));
    }
}

/// # IRQL
/// <= APC_LEVEL; <= DISPATCH_LEVEL with a timeout of zero
///
/// # Safety
/// `object` is a dispatcher object, `timeout` null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeWaitForSingleObject(
    object: *mut c_void,
    _reason: u32,
    _mode: i8,
    _alertable: u8,
    timeout: *const LARGE_INTEGER,
) -> NtStatus {
    let header = object.cast::<DISPATCHER_HEADER>();
    // SAFETY: the caller passed null or a valid pointer.
    let timeout = unsafe { timeout.as_ref() }.map(|due| time::until(*due));
    check("KeWaitForSingleObject", header, timeout);
    // SAFETY: the caller passed a dispatcher object.
    let kind = unsafe { (*header).Type };
    if kind > KOBJECT_SYNCHRONIZATION_TIMER || (kind < KOBJECT_NOTIFICATION_TIMER && matches!(kind, 2 | 4 | 5 | 7)) {
        verifier::violation("wait", format!("KeWaitForSingleObject: {object:p} is no object that the bench can wait for"));
        return NtStatus::INVALID_PARAMETER;
    }
    // SAFETY: as above.
    if unsafe { wait(header, timeout) } { NtStatus::SUCCESS } else { NtStatus::TIMEOUT }
}

/// # IRQL
/// <= APC_LEVEL
///
/// # Safety
/// `interval` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeDelayExecutionThread(_mode: i8, _alertable: u8, interval: *const LARGE_INTEGER) -> NtStatus {
    irql::at_most("KeDelayExecutionThread", APC_LEVEL);
    // SAFETY: the caller passed a valid pointer.
    let interval = time::until(unsafe { *interval });
    if let Some(kind) = callout::innermost().filter(|kind| kind.forbids_waiting()) {
        verifier::violation("wait", format!("KeDelayExecutionThread inside a callback ({kind:?})"));
    }
    std::thread::sleep(interval);
    NtStatus::SUCCESS
}
