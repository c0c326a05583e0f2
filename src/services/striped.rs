//! A count that every processor keeps for itself, on a cache line of its own: nobody waits for another's.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU64, Ordering};

use wsk::current_processor;

/// Processors beyond this many share.
const STRIPES: usize = 8;

/// What one processor counts: what comes and what goes is counted together, so it lies together.
#[derive(Default)]
#[repr(align(64))]
struct Stripe {
    received: AtomicU64,
    sent: AtomicU64,
}

/// Bytes received and sent.
#[derive(Default)]
pub(super) struct Traffic([Stripe; STRIPES]);

impl Traffic {
    fn stripe(&self) -> &Stripe {
        let [first, ..] = &self.0;
        self.0.get(current_processor() % STRIPES).unwrap_or(first)
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.stripe().received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.stripe().sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// As they are now.
    pub(super) fn received(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.received.load(Ordering::Relaxed)).sum()
    }

    /// As they are now.
    pub(super) fn sent(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.sent.load(Ordering::Relaxed)).sum()
    }
}
