//! The precise clocks, over the performance counter.

#![allow(unsafe_code)] // Functions that drivers call.
#![allow(non_snake_case)] // Their names are what drivers import.

use core::ptr::null_mut;

use nt_abi::PROCESSOR_NUMBER;

use crate::wine::{NtGetCurrentProcessorNumber, NtQueryPerformanceCounter, NtQuerySystemTime};

nt_abi::export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    KeQueryInterruptTimePrecise, KeQuerySystemTimePrecise, KeGetCurrentProcessorNumberEx,
]);

const UNITS_PER_SECOND: i128 = 10_000_000;

/// The time of [`KeQueryInterruptTimePrecise`].
pub(super) fn now() -> u64 {
    // SAFETY: null is allowed.
    unsafe { KeQueryInterruptTimePrecise(null_mut()) }
}

/// The time since 1601 in units of 100 ns.
pub(super) fn system_time() -> u64 {
    let mut time = 0;
    // SAFETY: the variable is a local.
    let _ = unsafe { NtQuerySystemTime(&mut time) };
    time as u64
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeQuerySystemTimePrecise(time: *mut i64) {
    // SAFETY: the caller's variable.
    unsafe { time.write(system_time() as i64) };
}

/// The processor, which Wine's kernel does not know but the process does.
///
/// # IRQL
/// Any
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeGetCurrentProcessorNumberEx(number: *mut PROCESSOR_NUMBER) -> u32 {
    // SAFETY: no requirements.
    let processor = unsafe { NtGetCurrentProcessorNumber() };
    if !number.is_null() {
        // SAFETY: the caller's variable.
        unsafe { number.write(PROCESSOR_NUMBER { Group: 0, Number: processor as u8, Reserved: 0 }) };
    }
    processor
}

/// The time since the system's start in units of 100 ns, as far as this process can tell: that of the performance counter.
///
/// # IRQL
/// Any
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeQueryInterruptTimePrecise(counter: *mut u64) -> u64 {
    let (mut now, mut frequency) = (0, 0);
    // SAFETY: both are locals.
    let _ = unsafe { NtQueryPerformanceCounter(&mut now, &mut frequency) };
    if !counter.is_null() {
        // SAFETY: the caller's variable.
        unsafe { counter.write(now as u64) };
    }
    (i128::from(now) * UNITS_PER_SECOND / i128::from(frequency.max(1))) as u64
}
