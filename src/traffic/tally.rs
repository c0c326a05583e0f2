//! What the connections of a job count, each processor for itself, so that nobody waits for another's.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU64, Ordering};

use allocator_api2::vec::Vec;
use control_abi::traffic::{Latency, Report};
use latency_histogram::{COUNTERS, Histogram, Summary};
use wsk::sync::try_push;
use wsk::{OutOfMemory, current_processor};

use super::TrafficPool;

/// Processors beyond this many share.
const STRIPES: usize = 4;

/// What the counts of a job take.
pub(super) const COST: u64 = (STRIPES * (size_of::<Stripe>() + COUNTERS * size_of::<AtomicU64>())) as u64;

/// The quantiles that are told, in millionths.
const QUANTILES: [u32; 4] = [500_000, 900_000, 990_000, 999_000];

/// Latencies are counted in units of the clock's.
const UNIT_NS: u64 = 100;

type Counters = Vec<AtomicU64, TrafficPool>;

/// What one processor counts.
#[repr(align(64))]
struct Stripe {
    sent: AtomicU64,
    received: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    mismatched: AtomicU64,
    lost: AtomicU64,
    late: AtomicU64,
    latency: Histogram<Counters>,
}

/// All counts of a job.
pub(super) struct Tally(Vec<Stripe, TrafficPool>);

impl Stripe {
    fn new() -> Result<Self, OutOfMemory> {
        let mut counters = Vec::new_in(TrafficPool::default());
        counters.try_reserve_exact(COUNTERS)?;
        for _ in 0..COUNTERS {
            try_push(&mut counters, AtomicU64::new(0))?;
        }
        let [sent, received, bytes_sent, bytes_received, mismatched, lost, late] = [(); 7].map(|()| AtomicU64::new(0));
        let latency = Histogram::new(counters);
        Ok(Self { sent, received, bytes_sent, bytes_received, mismatched, lost, late, latency })
    }
}

impl Tally {
    /// Nothing so far.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let mut stripes = Vec::new_in(TrafficPool::default());
        stripes.try_reserve_exact(STRIPES)?;
        for _ in 0..STRIPES {
            try_push(&mut stripes, Stripe::new()?)?;
        }
        Ok(Self(stripes))
    }

    fn with(&self, count: impl FnOnce(&Stripe)) {
        if let Some(stripe) = self.0.get(current_processor() % STRIPES) {
            count(stripe);
        }
    }

    /// A message of so many bytes has been sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.with(|stripe| {
            stripe.sent.fetch_add(1, Ordering::Relaxed);
            stripe.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
        });
    }

    /// So many bytes have come.
    pub(super) fn bytes_received(&self, bytes: usize) {
        self.with(|stripe| _ = stripe.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed));
    }

    /// A message has come back as it was sent, after so many nanoseconds.
    pub(super) fn received(&self, nanoseconds: u64) {
        self.with(|stripe| {
            stripe.received.fetch_add(1, Ordering::Relaxed);
            stripe.latency.record(nanoseconds / UNIT_NS);
        });
    }

    /// A message's sending took so many nanoseconds.
    pub(super) fn took(&self, nanoseconds: u64) {
        self.with(|stripe| stripe.latency.record(nanoseconds / UNIT_NS));
    }

    /// What has come is not what was sent.
    pub(super) fn mismatched(&self) {
        self.with(|stripe| _ = stripe.mismatched.fetch_add(1, Ordering::Relaxed));
    }

    /// A datagram has not come back in time.
    pub(super) fn lost(&self) {
        self.with(|stripe| _ = stripe.lost.fetch_add(1, Ordering::Relaxed));
    }

    /// It has come after that.
    pub(super) fn late(&self) {
        self.with(|stripe| _ = stripe.late.fetch_add(1, Ordering::Relaxed));
    }

    /// Writes everything into a report.
    pub(super) fn write(&self, report: &mut Report) {
        let sum = |counter: fn(&Stripe) -> &AtomicU64| self.0.iter().map(|stripe| counter(stripe).load(Ordering::Relaxed)).sum();
        report.sent = sum(|stripe| &stripe.sent);
        report.received = sum(|stripe| &stripe.received);
        report.bytes_sent = sum(|stripe| &stripe.bytes_sent);
        report.bytes_received = sum(|stripe| &stripe.bytes_received);
        report.mismatched = sum(|stripe| &stripe.mismatched);
        report.lost = sum(|stripe| &stripe.lost);
        report.late = sum(|stripe| &stripe.late);
        report.latency = self.latency();
    }

    fn latency(&self) -> Latency {
        let summary = Summary::of(self.0.iter().map(|stripe| &stripe.latency), QUANTILES);
        let [p50, p90, p99, p999] = summary.quantiles.map(|quantile| quantile * UNIT_NS);
        let [least, mean, most] = [summary.least, summary.mean, summary.most].map(|units| units * UNIT_NS);
        Latency { count: summary.count, least, mean, p50, p90, p99, p999, most }
    }
}
