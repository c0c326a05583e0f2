//! The in-flight guard: what entering and leaving costs beside the least that could count at all.
//!
//! Both sides run the same loop over the same kind of word, in pieces that take turns, and with the same orderings. The guard
//! looks at both answers, as its users do; the bare pair looks at nothing, so that the processor may do it with the cheapest
//! instructions there are.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use wsk_lifecycle::rundown::{Acquired, Released, Right, Rundown};

use super::figures::{Figure, Limit, least, median};
use super::{Measurement, announce};

const GUARD: Limit = Limit::AtMost(2.0);
/// Pairs in a piece: a fraction of the time that a thread runs before others do.
const PAIRS: u32 = 20_000;
/// Pieces of each side.
const PIECES: usize = 401;
/// Pieces that must be good for anything.
const FEWEST: usize = 20;

/// A word with a line of the processor's cache, and its neighbour, to itself.
#[repr(align(128))]
#[derive(Default)]
struct Alone<T>(T);

/// What is compared, and where the threads meet before each piece.
struct Sides {
    rundown: Alone<Rundown>,
    counter: Alone<AtomicU64>,
    arrived: Alone<AtomicUsize>,
    threads: usize,
}

/// One thread's piece.
#[derive(Clone, Copy, Debug)]
struct Piece {
    began: Instant,
    took: Duration,
    /// CPU time of the thread meanwhile.
    cpu: Duration,
}

impl Measurement {
    /// One thread alone is told by its fastest piece, for whatever disturbs it makes it slower. Two are told by the median of the
    /// pieces in which both ran all the time: alone, each is fast.
    pub(super) fn guard(&mut self) -> Result<()> {
        announce("in-flight guard");
        let [guard, bare] = times(1)?.map(|times| least(&times));
        self.figures.push(figure("1 thread, fastest", guard, bare));
        let sides = times(2)?;
        let few = sides.iter().any(|times| times.len() < FEWEST);
        let [guard, bare] = sides.map(median);
        let figure = figure("2 threads on one guard, median", guard, bare);
        self.figures.push(if few { figure.unknown("the threads hardly ever ran at once") } else { figure });
        Ok(())
    }
}

fn figure(how: &str, guard: f64, bare: f64) -> Figure {
    let name = format!("in-flight guard, enter and leave, {how}");
    Figure::ratio_to("fetch_add + fetch_sub", name, guard, bare, |time| format!("{time:.1} ns"), GUARD)
}

/// Nanoseconds per pair of the guard and of the bare counter, in the pieces in which all threads ran at once.
fn times(threads: usize) -> Result<[Vec<f64>; 2]> {
    let (rundown, counter) = (Alone(Rundown::new_open()), Alone::default());
    let sides = Sides { rundown, counter, arrived: Alone::default(), threads };
    let all: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(|| sides.run())).collect();
        all.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let granted = all.len() == threads && all.iter().all(|(_, refused)| *refused == 0);
    let even = sides.rundown.0.snapshot().enters == 0 && sides.counter.0.load(Ordering::Relaxed) == 0;
    ensure!(granted && even, "the guard is wrong");
    let at = |side: usize, number: usize| all.iter().map(move |(pieces, _)| pieces[number][side]).collect::<Vec<_>>();
    let pieces = |side| (0..PIECES).map(move |number| at(side, number)).filter(|pieces| at_once(pieces));
    Ok([0, 1].map(|side| pieces(side).flatten().map(|piece| piece.per_pair()).collect()))
}

impl Sides {
    /// A thread's pieces of both sides, and how often the guard refused.
    fn run(&self) -> (Vec<[Piece; 2]>, u32) {
        let (mut pieces, mut refused) = (Vec::with_capacity(PIECES), 0);
        for number in 0..PIECES {
            self.meet(2 * number);
            let guard = Piece::of(|| refused += enter_and_leave(&self.rundown.0));
            self.meet(2 * number + 1);
            pieces.push([guard, Piece::of(|| count_up_and_down(&self.counter.0))]);
        }
        (pieces, refused)
    }

    /// Waits for the others without falling asleep: who had to be woken would begin later.
    fn meet(&self, round: usize) {
        self.arrived.0.fetch_add(1, Ordering::AcqRel);
        while self.arrived.0.load(Ordering::Acquire) < (round + 1) * self.threads {
            std::thread::yield_now();
        }
    }
}

/// How often it was refused, or the last.
#[inline(never)]
fn enter_and_leave(rundown: &Rundown) -> u32 {
    let mut refused = 0;
    for _ in 0..PAIRS {
        if rundown.acquire() != Acquired::Granted || rundown.release(Right::Enter) != Released::Held {
            refused += 1;
        }
    }
    refused
}

#[inline(never)]
fn count_up_and_down(counter: &AtomicU64) {
    for _ in 0..PAIRS {
        counter.fetch_add(4, Ordering::Acquire);
        counter.fetch_sub(4, Ordering::Release);
    }
}

impl Piece {
    fn of(pairs: impl FnOnce()) -> Self {
        let (before, began) = (cpu_time(), Instant::now());
        pairs();
        let took = began.elapsed();
        Self { began, took, cpu: cpu_time().saturating_sub(before) }
    }

    fn per_pair(&self) -> f64 {
        self.took.as_secs_f64() * 1e9 / f64::from(PAIRS)
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Whether these pieces, of one thread each, ran at the same time, each on a processor.
fn at_once(pieces: &[Piece]) -> bool {
    let Some(begin) = pieces.iter().map(|piece| piece.began).max() else { return false };
    let Some(end) = pieces.iter().map(|piece| piece.began + piece.took).min() else { return false };
    let together = end.saturating_duration_since(begin);
    pieces.iter().all(|piece| together >= piece.took.mul_f64(0.8) && piece.cpu >= piece.took.mul_f64(0.9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_refuses_is_noticed() {
        assert_eq!(enter_and_leave(&Rundown::new_open()), 0);
        assert_eq!(enter_and_leave(&Rundown::new()), PAIRS);
    }

    #[test]
    fn one_thread_is_timed() {
        let times = times(1).expect("it counts right");
        assert!(times.iter().all(|times| !times.is_empty() && times.iter().all(|time| *time > 0.0)));
    }

    #[test]
    fn only_pieces_that_ran_at_once_count() {
        let now = Instant::now();
        let piece = |begin, took, cpu| {
            let [begin, took, cpu] = [begin, took, cpu].map(Duration::from_micros);
            Piece { began: now + begin, took, cpu }
        };
        assert!(at_once(&[piece(0, 100, 100)]));
        assert!(at_once(&[piece(0, 100, 95), piece(10, 100, 100)]));
        assert!(!at_once(&[piece(0, 100, 100), piece(50, 100, 100)]), "half of it alone");
        assert!(!at_once(&[piece(0, 100, 100), piece(200, 100, 100)]), "one after the other");
        assert!(!at_once(&[piece(0, 100, 100), piece(0, 100, 50)]), "one did not run");
        assert!(!at_once(&[]));
    }
}
