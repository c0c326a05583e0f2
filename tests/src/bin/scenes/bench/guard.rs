//! The in-flight guard: what entering and leaving costs beside the least that could count at all.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use wsk_lifecycle::rundown::{Acquired, Right, Rundown};

use super::figures::{Figure, Limit, median};
use super::{Measurement, ROUNDS, announce};

const GUARD: Limit = Limit::AtMost(2.0);
/// Pairs per measurement.
const PAIRS: u32 = 2_000_000;

impl Measurement {
    pub(super) fn guard(&mut self) -> Result<()> {
        announce("in-flight guard");
        for threads in [1, 2] {
            let (rundown, counter) = (Rundown::new_open(), AtomicU64::new(0));
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                times[0].push(time_of(threads, || enter_and_leave(&rundown)));
                times[1].push(time_of(threads, || count_up_and_down(&counter)));
            }
            let [guard, bare] = times.map(median);
            let plural = if threads == 1 { "" } else { "s" };
            let name = format!("in-flight guard, enter and leave, {threads} thread{plural}");
            let show = |time: f64| format!("{time:.1} ns");
            self.figures.push(Figure::ratio_to("fetch_add + fetch_sub", name, guard, bare, show, GUARD));
        }
        Ok(())
    }
}

fn enter_and_leave(rundown: &Rundown) {
    if black_box(rundown).acquire() == Acquired::Granted {
        let _ = black_box(black_box(rundown).release(Right::Enter));
    }
}

fn count_up_and_down(counter: &AtomicU64) {
    black_box(counter).fetch_add(4, Ordering::Acquire);
    black_box(counter).fetch_sub(4, Ordering::Release);
}

/// Nanoseconds that one pair takes, on so many threads at once.
fn time_of(threads: usize, pair: impl Fn() + Sync) -> f64 {
    let start = Barrier::new(threads);
    let run = || {
        start.wait();
        let began = Instant::now();
        (0..PAIRS).for_each(|_| pair());
        began.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
    };
    let times: Vec<f64> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        all.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    median(times)
}
