//! Clocks: 100-nanosecond units since the bench began, since 1601, and the performance counter.
#![allow(unsafe_code)] // Exports with the kernel's ABI.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nt_abi::{LARGE_INTEGER, export_table};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    KeQueryPerformanceCounter, KeQueryInterruptTimePrecise, KeQueryInterruptTime, KeQuerySystemTimePrecise,
]);

/// Seconds from 1601 to 1970.
const EPOCH: u64 = 11_644_473_600;
/// What the performance counter counts per second.
const FREQUENCY: i64 = 10_000_000;

static START: OnceLock<Instant> = OnceLock::new();

/// Time since the bench began.
pub(crate) fn since_start() -> Duration {
    START.get_or_init(Instant::now).elapsed()
}

/// Interrupt time: units of 100 ns since the bench began.
pub(crate) fn interrupt_time() -> u64 {
    units(since_start())
}

/// System time: units of 100 ns since 1601.
pub(crate) fn system_time() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    units(unix + Duration::from_secs(EPOCH)) as i64
}

fn units(duration: Duration) -> u64 {
    (duration.as_nanos() / 100) as u64
}

/// How long from now a due time is: negative ones are relative, others system times.
pub(crate) fn until(due: LARGE_INTEGER) -> Duration {
    let units = if due <= 0 { due.unsigned_abs() } else { due.saturating_sub(system_time()).max(0) as u64 };
    Duration::from_secs(units / 10_000_000) + Duration::from_nanos(units % 10_000_000 * 100)
}

/// # IRQL
/// Any
///
/// # Safety
/// `frequency` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryPerformanceCounter(frequency: *mut LARGE_INTEGER) -> LARGE_INTEGER {
    if !frequency.is_null() {
        // SAFETY: the caller passed a valid pointer.
        unsafe { frequency.write(FREQUENCY) };
    }
    interrupt_time() as i64
}

/// # IRQL
/// Any
///
/// # Safety
/// `counter` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQueryInterruptTimePrecise(counter: *mut u64) -> u64 {
    let now = interrupt_time();
    if !counter.is_null() {
        // SAFETY: the caller passed a valid pointer.
        unsafe { counter.write(now) };
    }
    now
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn KeQueryInterruptTime() -> u64 {
    interrupt_time()
}

/// # IRQL
/// Any
///
/// # Safety
/// `time` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeQuerySystemTimePrecise(time: *mut LARGE_INTEGER) {
    // SAFETY: the caller passed a valid pointer.
    unsafe { time.write(system_time()) };
}
