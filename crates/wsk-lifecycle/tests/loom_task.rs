//! Every interleaving, up to a stated preemption bound, of a task between wakers, runner and handle (`RUSTFLAGS="--cfg loom"`).
//!
//! The promises: never on two queues, no wake lost, the future and the output dropped or taken once each, the memory freed
//! once, after everybody has gone.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use wsk_lifecycle::task::{AfterPoll, Begun, Output, Released, TaskState};

/// How many involuntary switches loom tries in one execution; `LOOM_MAX_PREEMPTIONS` overrides it.
const PREEMPTIONS: usize = 4;

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.check(run);
}

/// A task with what happens to it counted. `queued` is its queue: it holds it at most once.
struct Task {
    state: TaskState,
    queued: AtomicU32,
    /// 1 while the future lives; touched by the runner alone.
    future: AtomicU32,
    /// 1 while there is an output that nobody took.
    output: AtomicU32,
    freed: AtomicU32,
}

impl Task {
    /// Just taken off its queue for the first time.
    fn taken() -> Arc<Self> {
        let zero = || AtomicU32::new(0);
        let state = TaskState::new_scheduled();
        Arc::new(Self { state, queued: zero(), future: AtomicU32::new(1), output: zero(), freed: zero() })
    }

    fn queue(&self) {
        assert_eq!(self.queued.fetch_add(1, Ordering::AcqRel), 0, "on its queue twice");
    }

    fn release(&self) {
        match self.state.release() {
            Released::Held => {}
            Released::Lost => self.queue(),
            Released::Ended => self.leave(),
        }
    }

    fn leave(&self) {
        if self.state.leave() {
            assert_eq!(self.freed.fetch_add(1, Ordering::AcqRel), 0);
            assert_eq!(self.output.load(Ordering::Acquire), 0, "freed with its output");
            assert_eq!(self.future.load(Ordering::Acquire), 0, "freed with its future");
        }
    }

    fn discard(&self, output: Output) {
        if output == Output::Discard {
            self.output.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// One turn, with the queue's hold. A poll is ready if `ready`.
    fn turn(&self, ready: bool) {
        let begun = self.state.begin();
        assert_eq!(self.future.load(Ordering::Relaxed), 1, "a turn after the end");
        if begun == Begun::Poll && !ready {
            match self.state.pending() {
                AfterPoll::Idle => self.release(),
                AfterPoll::Requeue => self.queue(),
            }
            return;
        }
        self.future.store(0, Ordering::Relaxed);
        self.output.fetch_add(1, Ordering::AcqRel);
        self.discard(self.state.finished());
        self.release();
    }

    /// Turns for as long as it is on its queue.
    fn run(&self, ready: bool) {
        while self.queued.swap(0, Ordering::AcqRel) == 1 {
            self.turn(ready);
        }
    }

    /// A waker that wakes and goes.
    fn wake(&self) {
        if self.state.wake() { self.queue() } else { self.release() }
    }

    fn abort(&self) {
        if !self.state.try_hold() {
            return;
        }
        if self.state.abort() { self.queue() } else { self.release() }
    }

    fn drop_handle(&self) {
        self.discard(self.state.detach());
        self.leave();
    }

    fn take_output(&self) {
        assert_eq!(self.output.swap(0, Ordering::AcqRel), 1);
    }
}

#[test]
fn l36_no_wake_is_lost_and_no_task_is_queued_twice() {
    model(|| {
        let task = Task::taken();
        task.state.hold();
        task.state.hold();
        let wakers: [_; 2] = core::array::from_fn(|_| {
            let task = task.clone();
            thread::spawn(move || task.wake())
        });
        task.turn(false);
        for waker in wakers {
            waker.join().unwrap();
        }
        // Woken at least once since the turn began, it is on its queue: because of the wake, or to be dropped.
        assert_eq!(task.queued.load(Ordering::Acquire), 1);
        task.run(true);
        task.drop_handle();
        assert_eq!(task.freed.load(Ordering::Acquire), 1);
    });
}

#[test]
fn the_end_of_a_task_against_its_join() {
    model(|| {
        let task = Task::taken();
        let runner = task.clone();
        let runner = thread::spawn(move || runner.turn(true));
        if task.state.is_done() {
            task.take_output();
            assert_eq!(task.state.detach(), Output::Discard);
            task.leave();
        } else {
            task.drop_handle();
        }
        runner.join().unwrap();
        assert_eq!(task.output.load(Ordering::Acquire), 0);
        assert_eq!(task.freed.load(Ordering::Acquire), 1);
    });
}

#[test]
fn an_abort_against_a_wake_and_a_turn() {
    for ready in [false, true] {
        model(move || {
            let task = Task::taken();
            task.state.hold();
            let (waker, aborter) = (task.clone(), task.clone());
            let waker = thread::spawn(move || waker.wake());
            let aborter = thread::spawn(move || {
                aborter.abort();
                aborter.drop_handle();
            });
            task.turn(ready);
            waker.join().unwrap();
            aborter.join().unwrap();
            task.run(false);
            assert_eq!(task.future.load(Ordering::Acquire), 0, "aborted, or done");
            assert_eq!(task.freed.load(Ordering::Acquire), 1);
        });
    }
}

#[test]
fn the_last_waker_going_against_an_abort() {
    model(|| {
        let task = Task::taken();
        task.state.hold();
        task.turn(false);
        let aborter = task.clone();
        let aborter = thread::spawn(move || aborter.abort());
        task.release();
        aborter.join().unwrap();
        task.run(false);
        assert!(task.state.is_done(), "lost, or aborted");
        task.take_output();
        assert_eq!(task.state.detach(), Output::Discard);
        task.leave();
        assert_eq!(task.freed.load(Ordering::Acquire), 1);
    });
}
