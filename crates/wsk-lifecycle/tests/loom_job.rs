//! Every interleaving of a job's parts with those who would end it (`RUSTFLAGS="--cfg loom"`).
#![cfg(loom)]

use std::num::NonZeroU8;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use wsk_lifecycle::job::{JobState, Left};

const DONE: NonZeroU8 = NonZeroU8::new(1).unwrap();
const CANCELLED: NonZeroU8 = NonZeroU8::new(2).unwrap();
const ABANDONED: NonZeroU8 = NonZeroU8::new(3).unwrap();

/// How many involuntary switches loom tries in one execution; `LOOM_MAX_PREEMPTIONS` overrides it.
const PREEMPTIONS: usize = 3;

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.check(run);
}

struct Job {
    state: JobState,
    begun: AtomicU32,
    over: AtomicU32,
    decided: AtomicU32,
    /// Stands for what a part has done before it leaves, which the last one reads.
    work: [AtomicU32; 2],
}

impl Job {
    fn of(parts: u32) -> Arc<Self> {
        let [begun, over, decided] = [(); 3].map(|()| AtomicU32::new(0));
        Arc::new(Self { state: JobState::new(parts), begun, over, decided, work: [AtomicU32::new(0), AtomicU32::new(0)] })
    }

    fn part(&self, number: usize) {
        if self.state.arrive() {
            assert_eq!(self.state.arriving(), 0);
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
        self.work[number].store(1, Ordering::Relaxed);
        if self.state.leave(DONE) == Left::Last {
            let done = self.work.iter().filter(|work| work.load(Ordering::Relaxed) == 1).count();
            assert_eq!(done, 2, "over before a part was");
            assert!(self.state.reason().is_some(), "over without a reason");
            self.over.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&self, reason: NonZeroU8) {
        if self.state.end(reason) {
            assert_eq!(self.state.reason(), Some(reason), "a reason that was decided has changed");
            self.decided.fetch_add(1, Ordering::Relaxed);
        } else {
            let found = self.state.reason();
            assert!(found.is_some_and(|found| found != reason), "refused for no reason: {found:?}");
        }
    }
}

#[test]
fn one_begins_one_ends_and_one_reason_stays() {
    model(|| {
        let job = Job::of(2);
        let other = job.clone();
        let part = thread::spawn(move || other.part(1));
        job.part(0);
        part.join().unwrap();
        assert_eq!((job.begun.load(Ordering::Relaxed), job.over.load(Ordering::Relaxed)), (1, 1));
        assert_eq!((job.state.live(), job.state.reason()), (0, Some(DONE)));
        assert!(!job.state.end(CANCELLED), "cancelled after its end");
    });
}

#[test]
fn who_names_a_reason_first_decides_against_the_last_part() {
    model(|| {
        let job = Job::of(1);
        let other = job.clone();
        let canceller = thread::spawn(move || other.end(CANCELLED));
        assert!(job.state.arrive());
        assert_eq!(job.state.leave(DONE), Left::Last);
        let after = job.state.reason();
        canceller.join().unwrap();
        assert_eq!(job.state.reason(), after, "a reason that was decided has changed");
        assert_eq!(job.decided.load(Ordering::Relaxed), u32::from(after != Some(DONE)), "decided on {after:?}");
    });
}

#[test]
fn of_two_who_name_a_reason_one_decides() {
    model(|| {
        let job = Job::of(1);
        let other = job.clone();
        let canceller = thread::spawn(move || other.end(CANCELLED));
        job.end(ABANDONED);
        canceller.join().unwrap();
        assert_eq!(job.decided.load(Ordering::Relaxed), 1);
        assert!(job.state.arrive());
        assert_eq!(job.state.leave(DONE), Left::Last);
        assert!(matches!(job.state.reason(), Some(CANCELLED | ABANDONED)));
    });
}
