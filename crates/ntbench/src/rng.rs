//! Random numbers: one sequence per thread, all from the bench's seed.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

static SEED: AtomicU64 = AtomicU64::new(0);
static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static RNG: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::with_seed(
        SEED.load(Ordering::Relaxed) ^ THREADS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    ));
}

/// Sets the seed that threads which have not drawn yet start from, and restarts this thread's sequence.
pub(crate) fn seed(seed: u64) {
    SEED.store(seed, Ordering::Relaxed);
    RNG.with(|rng| rng.borrow_mut().seed(seed));
}

/// Any number.
pub fn u64() -> u64 {
    RNG.with(|rng| rng.borrow_mut().u64(..))
}

/// A number below `n`, which is not zero.
pub fn below(n: u64) -> u64 {
    RNG.with(|rng| rng.borrow_mut().u64(..n))
}

/// True with probability `p`.
pub fn chance(p: f64) -> bool {
    p > 0.0 && RNG.with(|rng| rng.borrow_mut().f64()) < p
}
