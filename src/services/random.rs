//! Numbers that need not be hard to guess for who sees the driver's memory, only for who sends to it.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU64, Ordering};

use wsk::Instant;

/// A start: the time, in units that nobody outside knows to the last, and an address in the pool, scrambled.
pub(crate) fn seed(address: usize) -> u64 {
    scramble((address as u64).rotate_left(32) ^ Instant::now().since_start().as_nanos() as u64)
}

/// The next number after `state` has been there.
pub(crate) fn next(state: &AtomicU64) -> u64 {
    scramble(state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
}

/// Spreads every bit over all of them (the finalizer of SplitMix64).
const fn scramble(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
