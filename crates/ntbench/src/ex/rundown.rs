//! Rundown protection: references that can be refused once the wait for their end has begun.
//!
//! The driver's word holds twice the number of references, and one in its lowest bit when rundown has begun.
#![allow(unsafe_code)] // Exports with the kernel's ABI over the driver's words.

use std::sync::atomic::{AtomicUsize, Ordering};

use nt_abi::{APC_LEVEL, DISPATCH_LEVEL, export_table};

use crate::ke::irql;
use crate::verifier;

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    ExInitializeRundownProtection, ExReInitializeRundownProtection, ExAcquireRundownProtection,
    ExReleaseRundownProtection, ExWaitForRundownProtectionRelease, ExRundownCompleted,
]);

const ACTIVE: usize = 1;

/// # Safety
/// `rundown` is valid for as long as the result is used.
unsafe fn word<'a>(rundown: *mut usize) -> &'a AtomicUsize {
    // SAFETY: the caller vouches for the pointer; the word is only used atomically.
    unsafe { AtomicUsize::from_ptr(rundown) }
}

/// # IRQL
/// Any
///
/// # Safety
/// `rundown` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInitializeRundownProtection(rundown: *mut usize) {
    // SAFETY: the caller passed memory for it.
    unsafe { rundown.write(0) };
}

/// # IRQL
/// Any
///
/// # Safety
/// `rundown` is initialized, and its rundown has completed.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReInitializeRundownProtection(rundown: *mut usize) {
    // SAFETY: passed on.
    if unsafe { word(rundown) }.swap(0, Ordering::AcqRel) != ACTIVE {
        verifier::violation("rundown", format!("rundown {rundown:p} is initialized again before it has completed"));
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `rundown` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquireRundownProtection(rundown: *mut usize) -> u8 {
    irql::at_most("ExAcquireRundownProtection", DISPATCH_LEVEL);
    // SAFETY: passed on.
    let word = unsafe { word(rundown) };
    let add = |value: usize| (value & ACTIVE == 0).then_some(value + 2);
    u8::from(word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, add).is_ok())
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `rundown` is initialized and held.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleaseRundownProtection(rundown: *mut usize) {
    irql::at_most("ExReleaseRundownProtection", DISPATCH_LEVEL);
    // SAFETY: passed on.
    let word = unsafe { word(rundown) };
    if word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |value| value.checked_sub(2)).is_err() {
        verifier::violation("rundown", format!("rundown {rundown:p} is released more often than acquired"));
    }
}

/// # IRQL
/// <= APC_LEVEL
///
/// # Safety
/// `rundown` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExWaitForRundownProtectionRelease(rundown: *mut usize) {
    irql::at_most("ExWaitForRundownProtectionRelease", APC_LEVEL);
    // SAFETY: passed on.
    let word = unsafe { word(rundown) };
    word.fetch_or(ACTIVE, Ordering::AcqRel);
    while word.load(Ordering::Acquire) != ACTIVE {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}

/// # IRQL
/// Any
///
/// # Safety
/// `rundown` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExRundownCompleted(rundown: *mut usize) {
    // SAFETY: passed on.
    unsafe { word(rundown) }.store(ACTIVE, Ordering::Release);
}
