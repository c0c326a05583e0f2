//! Every interleaving, up to a stated preemption bound, of the state that decides (`RUSTFLAGS="--cfg loom"`).
//!
//! What each model checks is the promise, not the steps: exactly one completion when detach was pending and none when it
//! was not, no right granted after the end, one closer, one owner of a registration's change. Operations are in `loom_op.rs`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use wsk_lifecycle::registration::{RegistrationState, State, Turn};
use wsk_lifecycle::rundown::{Acquired, BeginEnd, Phase, Released, Right, Rundown};

/// How many involuntary switches loom tries in one execution; `LOOM_MAX_PREEMPTIONS` overrides it.
const PREEMPTIONS: usize = 4;

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.check(run);
}

/// A binding as detach and its users see it. `completions` counts calls of NmrClientDetachProviderComplete.
#[derive(Default)]
struct Binding {
    rundown: Rundown,
    completions: AtomicU32,
    /// Stands for what the provider would free after completion: calls in progress there.
    in_provider: AtomicU32,
}

impl Binding {
    fn open() -> Arc<Self> {
        let binding = Self::default();
        assert!(binding.rundown.open());
        Arc::new(binding)
    }

    fn finish(&self, released: Released) {
        if released == Released::Last {
            assert_eq!(self.in_provider.load(Ordering::Acquire), 0, "completed with a call in progress");
            self.completions.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// One call: enter, be inside, leave. A refused one may be the last to leave.
    fn call(&self) {
        match self.rundown.acquire() {
            Acquired::Granted => {
                self.in_provider.fetch_add(1, Ordering::Relaxed);
                assert_eq!(self.completions.load(Ordering::Acquire), 0, "entered after completion");
                self.in_provider.fetch_sub(1, Ordering::Relaxed);
                self.finish(self.rundown.release(Right::Enter));
            }
            Acquired::Refused => {}
            Acquired::RefusedLast => self.finish(Released::Last),
        }
    }

    /// A call that makes a socket, whose close gives the drain right back.
    fn open_and_close(&self) {
        match self.rundown.acquire() {
            Acquired::Granted => {
                self.rundown.acquire_more(Right::Drain);
                self.finish(self.rundown.release(Right::Enter));
                self.finish(self.rundown.release(Right::Drain));
            }
            Acquired::Refused => {}
            Acquired::RefusedLast => self.finish(Released::Last),
        }
    }

    /// The detach callback: `true` for STATUS_PENDING. The drain item's right is given back by `drained`.
    fn detach(&self) -> bool {
        match self.rundown.begin_end() {
            BeginEnd::Busy => {
                self.finish(self.rundown.release(Right::Enter));
                true
            }
            BeginEnd::Idle => false,
            BeginEnd::Already => panic!("detached twice"),
        }
    }

    fn check(&self, pending: bool) {
        assert_eq!(self.completions.load(Ordering::Acquire), u32::from(pending));
        assert_eq!(self.rundown.snapshot().phase, Phase::Done);
    }
}

#[test]
fn l18_two_calls_against_detach_complete_exactly_once_when_pending() {
    model(|| {
        let binding = Binding::open();
        let callers: [_; 2] = core::array::from_fn(|_| {
            let binding = binding.clone();
            thread::spawn(move || binding.call())
        });
        let pending = binding.detach();
        for caller in callers {
            caller.join().unwrap();
        }
        binding.check(pending);
    });
}

#[test]
fn l18_a_socket_made_and_closed_against_detach_and_a_late_call() {
    model(|| {
        let binding = Binding::open();
        let (maker, caller) = (binding.clone(), binding.clone());
        let maker = thread::spawn(move || maker.open_and_close());
        let caller = thread::spawn(move || caller.call());
        let pending = binding.detach();
        maker.join().unwrap();
        caller.join().unwrap();
        binding.check(pending);
    });
}

#[test]
fn l35_what_comes_for_a_parked_call_goes_back_before_the_end_or_not_at_all() {
    model(|| {
        let binding = Binding::open();
        let (late, caller) = (binding.clone(), binding.clone());
        let late = thread::spawn(move || {
            if late.rundown.try_acquire_more(Right::Drain) {
                late.in_provider.fetch_add(1, Ordering::Relaxed);
                assert_eq!(late.completions.load(Ordering::Acquire), 0, "given back after completion");
                late.in_provider.fetch_sub(1, Ordering::Relaxed);
                late.finish(late.rundown.release(Right::Drain));
            }
        });
        let caller = thread::spawn(move || caller.call());
        let pending = binding.detach();
        late.join().unwrap();
        caller.join().unwrap();
        binding.check(pending);
    });
}

#[test]
fn l09_open_against_detach_stays_shut_or_was_open() {
    model(|| {
        let binding = Arc::new(Binding::default());
        let opener = binding.clone();
        let opener = thread::spawn(move || {
            if opener.rundown.open() {
                opener.call();
            }
        });
        let pending = binding.detach();
        opener.join().unwrap();
        binding.check(pending);
        assert!(!binding.rundown.is_open());
    });
}

#[test]
fn l23_the_last_one_inside_hands_the_socket_over_once() {
    model(|| {
        let inside = Arc::new(Rundown::new_open());
        let closers = Arc::new(AtomicU32::new(0));
        let users: [_; 2] = core::array::from_fn(|_| {
            let (inside, closers) = (inside.clone(), closers.clone());
            thread::spawn(move || {
                let last = match inside.acquire() {
                    Acquired::Granted => inside.release(Right::Enter) == Released::Last,
                    Acquired::Refused => false,
                    Acquired::RefusedLast => true,
                };
                closers.fetch_add(u32::from(last), Ordering::AcqRel);
            })
        });
        let idle = match inside.begin_end() {
            BeginEnd::Idle => true,
            BeginEnd::Busy => inside.release(Right::Enter) == Released::Last,
            BeginEnd::Already => panic!("closed twice"),
        };
        closers.fetch_add(u32::from(idle), Ordering::AcqRel);
        for user in users {
            user.join().unwrap();
        }
        assert_eq!(closers.load(Ordering::Acquire), 1);
    });
}

#[test]
fn l33_two_deactivations_and_an_activation_have_one_owner_at_a_time() {
    model(|| {
        let registration = Arc::new(RegistrationState::new());
        assert_eq!(registration.begin_register(), Turn::Own);
        registration.registered(true);
        let owners = Arc::new(AtomicU32::new(0));
        let others: [_; 2] = core::array::from_fn(|terminal| {
            let (registration, owners) = (registration.clone(), owners.clone());
            thread::spawn(move || {
                if registration.begin_deregister(terminal == 1) == Turn::Own {
                    assert_eq!(owners.fetch_add(1, Ordering::AcqRel), 0);
                    owners.fetch_sub(1, Ordering::AcqRel);
                    registration.deregistered(true);
                }
            })
        });
        if registration.begin_register() == Turn::Own {
            assert_eq!(owners.fetch_add(1, Ordering::AcqRel), 0);
            owners.fetch_sub(1, Ordering::AcqRel);
            registration.registered(true);
        }
        for other in others {
            other.join().unwrap();
        }
        assert!(matches!(registration.begin_register(), Turn::Terminal));
        assert!(matches!(registration.state(), State::In | State::Out));
    });
}
