//! Numbers of services and traffic jobs, so that what belongs to one names it.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU64, Ordering};

static LAST: AtomicU64 = AtomicU64::new(0);

/// A number that nothing else has while the driver is loaded, from 1.
pub(crate) fn next() -> u64 {
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
