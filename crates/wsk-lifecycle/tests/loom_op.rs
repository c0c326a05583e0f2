//! One operation, in every interleaving up to a stated preemption bound (`RUSTFLAGS="--cfg loom"`).
//!
//! Its parts are cells of loom's, which notices two who touch one at once; freeing it writes to all of them, so that a use
//! beside or after it is noticed too. What is promised: one owner at a time, freed exactly once, a future that waits is
//! woken, a counted right is given back exactly once.
#![cfg(loom)]
#![allow(unsafe_code)] // loom's cells give pointers.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use wsk_lifecycle::op::{Completed, Dropped, OpState, Returned};

const PREEMPTIONS: usize = 4;

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.check(run);
}

/// Wakers are numbers: the tasks that the future is polled by.
type Task = usize;

struct Op {
    state: OpState,
    /// Written by the completion routine, read by the future; `false` again when it is freed.
    result: UnsafeCell<bool>,
    waker: UnsafeCell<Option<Task>>,
    /// Looked at by IoCancelIrp.
    irp: UnsafeCell<()>,
    /// Whom the right is given back to: looked at by the submitter before he says that the call has returned.
    owner: UnsafeCell<()>,
    freed: AtomicU32,
    woken: [AtomicU32; 2],
    rights_back: AtomicU32,
}

impl Op {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: OpState::new(),
            result: UnsafeCell::new(false),
            waker: UnsafeCell::new(None),
            irp: UnsafeCell::new(()),
            owner: UnsafeCell::new(()),
            freed: AtomicU32::new(0),
            woken: [AtomicU32::new(0), AtomicU32::new(0)],
            rights_back: AtomicU32::new(0),
        })
    }

    fn set_result(&self, result: bool) {
        // SAFETY: loom checks that it is touched by one at a time.
        self.result.with_mut(|place| unsafe { *place = result });
    }

    fn take_result(&self) {
        // SAFETY: as above.
        self.result.with_mut(|place| assert!(unsafe { *place }, "taken before it was there"));
    }

    fn set_waker(&self, waker: Option<Task>) -> Option<Task> {
        // SAFETY: as above.
        self.waker.with_mut(|place| unsafe { core::mem::replace(&mut *place, waker) })
    }

    fn free(&self) {
        self.set_result(false);
        self.set_waker(None);
        self.irp.with_mut(|_| {});
        self.owner.with_mut(|_| {});
        self.freed.fetch_add(1, Ordering::AcqRel);
    }

    fn complete(&self) {
        self.set_result(true);
        self.after(self.state.complete());
    }

    fn complete_counted(&self) {
        self.set_result(true);
        let counted = self.state.complete_counted();
        self.after(counted.then);
        self.rights_back.fetch_add(u32::from(counted.release), Ordering::AcqRel);
    }

    fn after(&self, then: Completed) {
        match then {
            Completed::Left => {}
            Completed::Free | Completed::Unpark => self.free(),
            Completed::Wake => {
                let task = self.set_waker(None).expect("a published waker");
                if self.state.waker_taken() {
                    self.free();
                }
                self.woken[task].fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// A poll by this task: `true` if the result was taken.
    fn poll(&self, task: Task) -> bool {
        if self.state.is_back() {
            self.take_result();
            return true;
        }
        if self.state.has_waker() && !self.state.withdraw_waker() {
            // The completion routine is taking the old one: this task wakes itself.
            self.woken[task].fetch_add(1, Ordering::AcqRel);
            return false;
        }
        self.set_waker(Some(task));
        let back = self.state.publish_waker();
        if back {
            self.set_waker(None);
            self.take_result();
        }
        back
    }

    fn drop_future(&self) {
        match self.state.dropped() {
            Dropped::Cancel => {
                self.irp.with(|_| {});
                if self.state.cancelled() {
                    self.free();
                }
            }
            Dropped::Free => self.free(),
            Dropped::Left => {}
        }
    }

    fn freed(&self) -> u32 {
        self.freed.load(Ordering::Acquire)
    }
}

/// The future waits as a task does: it polls, and polls again when it was woken.
#[test]
fn l22_a_future_that_waits_is_woken_and_takes_the_result() {
    model(|| {
        let op = Op::new();
        let completer = op.clone();
        let completer = thread::spawn(move || completer.complete());
        let _ = op.state.returned(false);
        let taken = op.poll(0);
        completer.join().unwrap();
        if !taken {
            assert_eq!(op.woken[0].load(Ordering::Acquire), 1, "it sleeps, and nobody wakes it");
            assert!(op.poll(0), "woken without a result");
        }
        op.free();
        assert_eq!(op.freed(), 1);
    });
}

#[test]
fn a_future_that_moves_to_another_task_is_woken_there() {
    model(|| {
        let op = Op::new();
        let completer = op.clone();
        let completer = thread::spawn(move || completer.complete());
        let taken = op.poll(0) || op.poll(1);
        completer.join().unwrap();
        if !taken {
            assert!(op.woken[1].load(Ordering::Acquire) > 0, "the second task sleeps, and nobody wakes it");
            assert!(op.poll(1), "woken without a result");
        }
    });
}

#[test]
fn l37_a_future_dropped_at_any_point_is_freed_once_and_by_one() {
    for polls in [0, 1, 2] {
        model(move || {
            let op = Op::new();
            let completer = op.clone();
            let completer = thread::spawn(move || completer.complete());
            let _ = (0..polls).any(|task| op.poll(task));
            op.drop_future();
            completer.join().unwrap();
            assert_eq!(op.freed(), 1);
        });
    }
}

#[test]
fn l13_a_counted_right_goes_back_once_and_not_before_the_return() {
    for failed in [false, true] {
        model(move || {
            let op = Op::new();
            let completer = op.clone();
            let completer = thread::spawn(move || completer.complete_counted());
            assert_eq!(op.rights_back.load(Ordering::Acquire), 0, "given back before the call has returned");
            if failed {
                // Not after it: an operation that is parked may be freed by its completion at any time.
                op.owner.with(|_| {});
            }
            let returned = op.state.returned_counted(failed);
            if returned != Returned::Pending {
                if !failed {
                    op.owner.with(|_| {});
                }
                op.rights_back.fetch_add(1, Ordering::AcqRel);
            }
            if returned != Returned::Parked {
                op.drop_future();
            }
            completer.join().unwrap();
            assert_eq!(op.rights_back.load(Ordering::Acquire), 1);
            assert_eq!(op.freed(), 1);
        });
    }
}

#[test]
fn l35_a_parked_operation_is_freed_by_its_late_completion_or_by_who_claims_it() {
    model(|| {
        let op = Op::new();
        let completer = op.clone();
        let completer = thread::spawn(move || completer.complete());
        if op.state.returned(true) == Returned::Back {
            op.take_result();
            op.free();
        }
        completer.join().unwrap();
        assert_eq!(op.freed(), 1);
        assert!(!op.state.reclaim(), "claimed after it was freed");
    });
    model(|| {
        let op = Op::new();
        assert_eq!(op.state.returned(true), Returned::Parked);
        let claims: [_; 2] = core::array::from_fn(|_| {
            let op = op.clone();
            thread::spawn(move || u32::from(op.state.reclaim()))
        });
        let claimed: u32 = claims.into_iter().map(|claim| claim.join().unwrap()).sum();
        assert_eq!(claimed, 1);
    });
}
