//! Turns, in every interleaving up to a stated preemption bound (`RUSTFLAGS="--cfg loom"`).
//!
//! What the turns work with, the IRP and the outcome are cells of loom's, which notices two who touch one at once; freeing it all
//! writes to each of them, so that a use beside or after it is noticed too. What is promised: one runner at a time, no turn lost, an
//! IRP that is not sent again while it is being cancelled (L37), an end that is told once, everything freed exactly once.
#![cfg(loom)]
#![allow(unsafe_code)] // loom's cells give pointers.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread::{self, JoinHandle};
use wsk_lifecycle::turns::{Asked, Came, Mind, TurnState, Waited, Wish};

const PREEMPTIONS: usize = 3;

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.check(run);
}

/// What becomes of an IRP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Provider {
    /// It comes back by itself.
    Returns,
    /// It comes back when it is cancelled.
    Waits,
    /// The call fails, and the IRP comes back.
    Fails,
    /// The call fails, and the IRP never comes back.
    Keeps,
}

struct Turning {
    state: TurnState,
    provider: Provider,
    /// How many times the IRP is sent.
    sends: usize,
    /// What a turn works with; counts the turns.
    lap: UnsafeCell<usize>,
    irp: UnsafeCell<()>,
    /// Whether there is one.
    outcome: UnsafeCell<bool>,
    cancelled: AtomicBool,
    woken: AtomicU32,
    freed: AtomicU32,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Turning {
    /// The first run begins, on a thread of its own.
    fn start(provider: Provider, sends: usize) -> Arc<Self> {
        let turning = Arc::new(Self {
            state: TurnState::new(),
            provider,
            sends,
            lap: UnsafeCell::new(0),
            irp: UnsafeCell::new(()),
            outcome: UnsafeCell::new(false),
            cancelled: AtomicBool::new(false),
            woken: AtomicU32::new(0),
            freed: AtomicU32::new(0),
            threads: Mutex::new(Vec::new()),
        });
        Self::spawn(&turning, Self::run);
        turning
    }

    fn spawn(this: &Arc<Self>, work: fn(&Arc<Self>)) {
        let turning = this.clone();
        let thread = thread::spawn(move || work(&turning));
        this.threads.lock().unwrap().push(thread);
    }

    /// Waits for every thread, and for those that they have begun.
    fn join(&self) {
        loop {
            let thread = self.threads.lock().unwrap().pop();
            match thread {
                Some(thread) => thread.join().unwrap(),
                None => return,
            }
        }
    }

    fn run(this: &Arc<Self>) {
        let mut runner = this.state.begin();
        loop {
            if !Self::turn(this) {
                return this.tell();
            }
            if this.state.is_back(&mut runner) {
                continue;
            }
            if matches!(this.provider, Provider::Fails | Provider::Keeps) {
                if this.state.park(&mut runner) {
                    return this.tell();
                }
                continue;
            }
            match this.state.wait(&mut runner, Mind::Stop) {
                Waited::Waiting => return,
                Waited::Back => {}
                Waited::Asked => {
                    Self::cancel(this);
                    if this.state.wait(&mut runner, Mind::Nothing) == Waited::Waiting {
                        return;
                    }
                }
            }
        }
    }

    /// Sends the IRP, unless there are to be no more turns.
    fn turn(this: &Arc<Self>) -> bool {
        let turns = this.lap.with_mut(|lap| {
            // SAFETY: loom checks that it is touched by one at a time.
            let turns = unsafe { &mut *lap };
            *turns += 1;
            *turns
        });
        this.irp.with_mut(|_| {});
        let more = turns <= this.sends && !this.state.is_unwanted();
        if more && matches!(this.provider, Provider::Returns | Provider::Fails) {
            Self::spawn(this, Self::came);
        }
        more
    }

    fn came(this: &Arc<Self>) {
        match this.state.came() {
            Came::Left => {}
            Came::Run => Self::run(this),
            Came::Unpark => this.leave(),
        }
    }

    fn cancel(this: &Arc<Self>) {
        this.irp.with(|_| {
            if !this.cancelled.swap(true, Ordering::AcqRel) && this.provider == Provider::Waits {
                Self::spawn(this, Self::came);
            }
        });
    }

    fn tell(&self) {
        // SAFETY: as above.
        self.outcome.with_mut(|outcome| unsafe { *outcome = true });
        self.state.tell();
        self.woken.fetch_add(1, Ordering::AcqRel);
        self.leave();
    }

    fn leave(&self) {
        if self.state.leave() {
            self.lap.with_mut(|_| {});
            self.irp.with_mut(|_| {});
            self.outcome.with_mut(|_| {});
            self.freed.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The future asks.
    fn ask(this: &Arc<Self>, wish: Wish) -> Asked {
        let asked = this.state.ask(wish);
        if asked == Asked::Ours {
            this.lap.with(|_| {});
            Self::cancel(this);
            if this.state.settle() {
                Self::run(this);
            }
        }
        asked
    }

    /// The future looks for the outcome, which it may take.
    fn look(&self) -> bool {
        let told = self.state.is_told();
        if told {
            // SAFETY: as above.
            self.outcome.with_mut(|outcome| assert!(unsafe { core::mem::take(&mut *outcome) }, "told without an outcome"));
        }
        told
    }

    fn drop_future(this: &Arc<Self>) {
        let _ = Self::ask(this, Wish::End);
        this.leave();
    }

    fn freed(&self) -> u32 {
        self.freed.load(Ordering::Acquire)
    }

    /// The end has been told to a future that waited for it, and nothing is left when that goes.
    fn assert_told(this: &Arc<Self>, turns: usize) {
        this.join();
        assert_eq!(this.woken.load(Ordering::Acquire), 1, "the future sleeps, and nobody wakes it");
        assert!(this.look(), "woken without an outcome");
        // SAFETY: as above.
        this.lap.with(|lap| assert_eq!(unsafe { *lap }, turns, "turns that were taken"));
        assert_eq!(Self::ask(this, Wish::End), Asked::Over);
        this.leave();
        assert_eq!(this.freed(), u32::from(this.provider != Provider::Keeps));
    }
}

#[test]
fn each_return_is_one_turn_and_the_end_is_told() {
    model(|| Turning::assert_told(&Turning::start(Provider::Returns, 2), 3));
}

#[test]
fn l37_an_irp_is_not_sent_again_while_the_future_has_it_cancelled() {
    model(|| {
        let turning = Turning::start(Provider::Returns, 2);
        let _ = Turning::ask(&turning, Wish::Look);
        Turning::assert_told(&turning, 3);
    });
}

#[test]
fn l22_a_stop_reaches_a_receive_that_waits() {
    model(|| {
        let turning = Turning::start(Provider::Waits, 1);
        let _ = Turning::ask(&turning, Wish::Stop);
        Turning::assert_told(&turning, 2);
    });
}

#[test]
fn l37_a_future_dropped_at_any_point_ends_the_turns_and_all_is_freed_once() {
    for provider in [Provider::Returns, Provider::Waits, Provider::Fails] {
        model(move || {
            let turning = Turning::start(provider, 2);
            Turning::drop_future(&turning);
            turning.join();
            assert_eq!(turning.freed(), 1);
        });
    }
}

#[test]
fn l35_a_call_that_fails_is_told_and_freed_by_its_completion_or_by_who_claims_it() {
    model(|| {
        let turning = Turning::start(Provider::Fails, 1);
        if turning.state.reclaim() {
            turning.leave();
        }
        turning.join();
        assert!(turning.look());
        turning.leave();
        assert_eq!(turning.freed(), 1);
        assert!(!turning.state.reclaim(), "claimed after it was freed");
    });
    model(|| {
        let turning = Turning::start(Provider::Keeps, 1);
        Turning::assert_told(&turning, 1);
        assert!(turning.state.reclaim());
        turning.leave();
        assert_eq!(turning.freed(), 1);
    });
}
