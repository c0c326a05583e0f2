//! Latencies counted in memory of a fixed size, as an HDR histogram does with two significant digits.
//!
//! Values below 256 are counted each for itself, those above in 128 steps from one power of two to the next: what is told of a
//! value is at most 1/128 more than it was. Recording is a few additions to atomics, with no lock, so that it can be done
//! at any IRQL while somebody else reads. Who records from many processors keeps a [`Histogram`] for each, and has them
//! read as one by [`Summary::of`].
//!
//! The `hdrhistogram` crate has the same figures and more, but allocates as it likes; the tests compare the two.
//!
//! # IRQL
//! Any.
#![no_std]
#![forbid(unsafe_code)]

use core::ops::Deref;
use core::sync::atomic::{AtomicU64, Ordering};

/// Values below 2 to this are counted each for itself.
const EXACT_BITS: u32 = 8;
/// Steps between one power of two and the next.
const STEPS: u64 = 1 << (EXACT_BITS - 1);
/// Values of more bits are counted as the largest of so many.
const VALUE_BITS: u32 = 36;

/// The largest value that is told from larger ones.
pub const LARGEST: u64 = (1 << VALUE_BITS) - 1;

/// How many counters a histogram has.
pub const COUNTERS: usize = index_of(LARGEST) + 1;

/// Where a value is counted.
const fn index_of(value: u64) -> usize {
    let value = if value < LARGEST { value } else { LARGEST };
    let power = 64 - (value | (2 * STEPS - 1)).leading_zeros() - EXACT_BITS;
    (power as u64 * STEPS + (value >> power)) as usize
}

/// The largest value that is counted there.
const fn largest_at(index: usize) -> u64 {
    let index = index as u64;
    let power = (index / STEPS).saturating_sub(1);
    ((index - power * STEPS + 1) << power) - 1
}

/// Counts of values, in memory that the caller gives.
#[derive(Debug)]
pub struct Histogram<S> {
    counters: S,
    least: AtomicU64,
    most: AtomicU64,
    sum: AtomicU64,
}

impl<S: Deref<Target = [AtomicU64]>> Histogram<S> {
    /// An empty one. There have to be [`COUNTERS`] counters, all 0: a value for which there is none is not counted.
    pub const fn new(counters: S) -> Self {
        Self { counters, least: AtomicU64::new(u64::MAX), most: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        let Some(counter) = self.counters.get(index_of(value)) else { return };
        self.sum.fetch_add(value, Ordering::Relaxed);
        // Most values are neither, and then nothing is written.
        if value < self.least.load(Ordering::Relaxed) {
            self.least.fetch_min(value, Ordering::Relaxed);
        }
        if value > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(value, Ordering::Relaxed);
        }
        // Last: who sees the count sees the rest.
        counter.fetch_add(1, Ordering::Release);
    }

    fn count_at(&self, index: usize) -> u64 {
        self.counters.get(index).map_or(0, |counter| counter.load(Ordering::Acquire))
    }
}

/// What is told of recorded values. All is 0 if there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary<const N: usize> {
    /// How many there are.
    pub count: u64,
    /// The smallest.
    pub least: u64,
    /// Their mean, rounded down.
    pub mean: u64,
    /// The largest.
    pub most: u64,
    /// For each quantile that was asked for: so large are at most so many of them.
    pub quantiles: [u64; N],
}

impl<const N: usize> Summary<N> {
    /// What is in all these histograms together. The quantiles are given in rising order, in millionths.
    ///
    /// Somebody may record meanwhile: then what is told is between what was and what is.
    pub fn of<'a, S>(histograms: impl Iterator<Item = &'a Histogram<S>> + Clone, millionths: [u32; N]) -> Self
    where
        S: Deref<Target = [AtomicU64]> + 'a,
    {
        let count_at = |index| histograms.clone().map(|histogram| histogram.count_at(index)).sum::<u64>();
        let count = (0..COUNTERS).map(count_at).sum::<u64>();
        if count == 0 {
            return Self::EMPTY;
        }
        let sum = histograms.clone().fold(0u64, |sum, histogram| sum.wrapping_add(histogram.sum.load(Ordering::Relaxed)));
        let least = histograms.clone().map(|histogram| histogram.least.load(Ordering::Relaxed)).min().unwrap_or(0);
        let most = histograms.clone().map(|histogram| histogram.most.load(Ordering::Relaxed)).max().unwrap_or(0);
        let mut walk = Walk { index: 0, passed: count_at(0) };
        let quantiles = millionths.map(|wanted| walk.to(rank(count, wanted), count_at).max(least).min(most));
        Self { count, least, mean: sum / count, most, quantiles }
    }

    /// That there are none.
    pub const EMPTY: Self = Self { count: 0, least: 0, mean: 0, most: 0, quantiles: [0; N] };
}

/// How many of `count` values a quantile is about, at least one.
fn rank(count: u64, millionths: u32) -> u64 {
    let wanted = (u128::from(count) * u128::from(millionths)).div_ceil(1_000_000);
    u64::try_from(wanted).unwrap_or(count).clamp(1, count)
}

/// A place among the counters, with the count of all up to it.
struct Walk {
    index: usize,
    passed: u64,
}

impl Walk {
    /// The largest value of the counter with which so many have been passed.
    fn to(&mut self, rank: u64, count_at: impl Fn(usize) -> u64) -> u64 {
        while self.passed < rank && self.index + 1 < COUNTERS {
            self.index += 1;
            self.passed += count_at(self.index);
        }
        largest_at(self.index)
    }
}
