//! Waiting on a 32-bit word of this process.
#![allow(unsafe_code)] // The words may lie in memory of a driver's.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` holds `expected`, at most `timeout`; wakes for no reason at times.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let spec =
        timeout.map(|t| libc::timespec { tv_sec: t.as_secs().min(i64::MAX as u64) as i64, tv_nsec: i64::from(t.subsec_nanos()) });
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word is valid; the timeout is null or valid.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, spec) };
}

/// Wakes up to `count` of those who sleep on `word`. The word may be gone already: only its address counts.
pub(crate) fn wake(word: *const AtomicU32, count: i32) {
    // SAFETY: the call does not touch the memory.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count) };
}
