//! Faults on request: the n-th call of a named function fails, or each call with a probability.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use nt_abi::NtStatus;
use parking_lot::Mutex;

use crate::rng;

/// When calls of one function fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// The n-th call from now on, counted from 1; once.
    Nth(u64),
    /// Every call from the n-th on.
    From(u64),
    /// Each call with this probability.
    Chance(f64),
}

#[derive(Default)]
struct Point {
    calls: u64,
    failed: u64,
    when: Vec<When>,
}

static ARMED: AtomicBool = AtomicBool::new(false);
static POINTS: Mutex<Option<HashMap<&'static str, Point>>> = Mutex::new(None);

/// Makes calls of `name` fail.
pub(crate) fn arm(name: &'static str, when: When) {
    let mut points = POINTS.lock();
    let point = points.get_or_insert_default().entry(name).or_default();
    let calls = point.calls;
    point.when.push(match when {
        When::Nth(n) => When::Nth(n + calls),
        When::From(n) => When::From(n + calls),
        chance => chance,
    });
    ARMED.store(true, Ordering::Release);
}

/// Starts counting calls without failing any, so that [`counts`] tells where faults can be placed.
pub(crate) fn count() {
    POINTS.lock().get_or_insert_default();
    ARMED.store(true, Ordering::Release);
}

/// Calls per function since counting began, and how many of them were made to fail.
pub(crate) fn counts() -> Vec<(&'static str, u64, u64)> {
    let points = POINTS.lock();
    let mut all: Vec<_> = points.iter().flatten().map(|(name, p)| (*name, p.calls, p.failed)).collect();
    all.sort_unstable();
    all
}

/// Ends all faults and counts.
pub(crate) fn disarm() {
    *POINTS.lock() = None;
    ARMED.store(false, Ordering::Release);
}

/// Whether this call of `name` is to fail.
pub fn hit(name: &'static str) -> bool {
    ARMED.load(Ordering::Relaxed) && decide(name)
}

#[cold]
fn decide(name: &'static str) -> bool {
    let mut points = POINTS.lock();
    let Some(points) = points.as_mut() else { return false };
    let point = points.entry(name).or_default();
    point.calls += 1;
    let calls = point.calls;
    let fails = point.when.iter().any(|when| match *when {
        When::Nth(n) => calls == n,
        When::From(n) => calls >= n,
        When::Chance(p) => rng::chance(p),
    });
    point.failed += u64::from(fails);
    fails
}

/// As [`hit`], with the status to fail with.
pub(crate) fn status(name: &'static str) -> Option<NtStatus> {
    hit(name).then_some(NtStatus::INSUFFICIENT_RESOURCES)
}
