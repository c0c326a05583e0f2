//! One task between its wakers, its runner and the handle that joins it: it is on a queue at most once, polled by one
//! runner at a time, no wake is lost, and its future is dropped by its runner alone.
//!
//! ```text
//!                 wake, abort, last holder gone (lost)
//!   (1) Idle --------------------------------------> (2) Scheduled, on a queue
//!    ^                                                  | begin: the future is polled, or dropped if aborted or lost
//!    | pending: Idle                                    v
//!    '----------------------------------------------- (3) Running ---- pending, woken meanwhile: Requeue ----> (2)
//!                                                       | finished
//!                                                       v
//!                                                     (4) Done: what came of it is the handle's, or nobody's (detached)
//! ```
//!
//! Who may touch what, when:
//! - The future is the runner's, between [`begin`](TaskState::begin) and the end of the poll.
//! - The output is the runner's until [`finished`](TaskState::finished); then the handle's, unless the handle was dropped
//!   before: the second of `finished` and [`detach`](TaskState::detach) discards it.
//! - *Holders* are the queue, or the runner, and the wakers. The last one to go ends the task: if it is not done, nobody can
//!   wake it any more, and it is scheduled once more to be dropped. The memory goes with the second of the last holder and the handle.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use crate::primitives::{AtomicU8, AtomicUsize, Ordering, fence};

/// A begin is one addition: scheduled becomes running.
const SCHEDULED: u8 = 1;
const RUNNING: u8 = 2;
const DONE: u8 = 4;
const ABORTED: u8 = 8;
const LOST: u8 = 16;
const DETACHED: u8 = 32;

/// What the runner does with a task that it has taken off its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// Poll its future.
    Poll,
    /// Drop its future, and finish: it was aborted.
    Aborted,
    /// Drop its future, and finish: nobody can wake it any more.
    Lost,
}

/// What the runner does after a poll that was not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterPoll {
    /// Nothing: a wake will put it on a queue.
    Idle,
    /// Put it on a queue again: it was woken while it ran.
    Requeue,
}

/// Who has the output of a task that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// The handle, or nobody yet.
    Kept,
    /// The caller, who drops it: the other side is through with it.
    Discard,
}

/// What follows the end of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Released {
    /// Nothing: there are others.
    Held,
    /// It was the last: put the task on its queue, where it will be dropped. The hold goes on, as the queue's.
    Lost,
    /// It was the last, and the task is done: [`leave`](TaskState::leave) it.
    Ended,
}

/// The state of one task.
pub struct TaskState {
    state: AtomicU8,
    /// One for the queue or the runner, one per waker.
    holders: AtomicUsize,
    /// One for all holders, one for the handle.
    sides: AtomicU8,
}

impl TaskState {
    /// Scheduled, held by the queue that its maker puts it on, and joined by a handle.
    pub fn new_scheduled() -> Self {
        Self { state: AtomicU8::new(SCHEDULED), holders: AtomicUsize::new(1), sides: AtomicU8::new(2) }
    }

    /// Wakes. `true` if the caller has to put the task on a queue, with a hold.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn wake(&self) -> bool {
        self.state.fetch_or(SCHEDULED, Ordering::AcqRel) & (SCHEDULED | RUNNING | DONE) == 0
    }

    /// Asks for the end at the task's next turn. `true` if the caller has to put it on a queue, with a hold.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn abort(&self) -> bool {
        self.state.fetch_or(ABORTED | SCHEDULED, Ordering::AcqRel) & (SCHEDULED | RUNNING | DONE) == 0
    }

    /// Begins a turn; the task has just been taken off its queue.
    ///
    /// # IRQL
    /// Any.
    pub fn begin(&self) -> Begun {
        let before = self.state.fetch_add(SCHEDULED, Ordering::AcqRel);
        debug_assert!(before & (SCHEDULED | RUNNING | DONE) == SCHEDULED, "a task ran twice at once");
        match before & (ABORTED | LOST) {
            0 => Begun::Poll,
            marks if marks & ABORTED != 0 => Begun::Aborted,
            _ => Begun::Lost,
        }
    }

    /// Ends a poll that was not ready.
    ///
    /// # IRQL
    /// Any.
    pub fn pending(&self) -> AfterPoll {
        match self.state.fetch_sub(RUNNING, Ordering::AcqRel) & SCHEDULED {
            0 => AfterPoll::Idle,
            _ => AfterPoll::Requeue,
        }
    }

    /// Ends the last turn, with the output in its place: nothing schedules it again.
    ///
    /// # IRQL
    /// Any.
    pub fn finished(&self) -> Output {
        match self.state.swap(DONE, Ordering::AcqRel) & DETACHED {
            0 => Output::Kept,
            _ => Output::Discard,
        }
    }

    /// Whether it is done: then the output is the handle's.
    ///
    /// # IRQL
    /// Any.
    pub fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) & DONE != 0
    }

    /// The handle is dropped; it [leaves](Self::leave) next.
    ///
    /// # IRQL
    /// Any.
    pub fn detach(&self) -> Output {
        match self.state.fetch_or(DETACHED, Ordering::AcqRel) & DONE {
            0 => Output::Kept,
            _ => Output::Discard,
        }
    }

    /// One more holder, for one who holds it.
    ///
    /// # IRQL
    /// Any.
    pub fn hold(&self) {
        self.holders.fetch_add(1, Ordering::Relaxed);
    }

    /// One more holder, for the handle, which is none; `false` if the last one has gone.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn try_hold(&self) -> bool {
        let more = |holders: usize| (holders != 0).then_some(holders + 1);
        self.holders.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok()
    }

    /// The end of a hold.
    ///
    /// # IRQL
    /// Any.
    pub fn release(&self) -> Released {
        if self.holders.fetch_sub(1, Ordering::Release) != 1 {
            return Released::Held;
        }
        fence(Ordering::Acquire);
        if self.is_done() {
            return Released::Ended;
        }
        // Marked before it can be held again: an abort that comes now finds it scheduled.
        self.state.fetch_or(LOST | SCHEDULED, Ordering::AcqRel);
        self.holders.store(1, Ordering::Release);
        Released::Lost
    }

    /// The last holder, or the handle, goes. `true` if the caller frees the memory.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn leave(&self) -> bool {
        self.sides.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wake_during_a_poll_requeues_and_one_after_the_end_does_not() {
        let task = TaskState::new_scheduled();
        assert!(!task.wake());
        assert_eq!(task.begin(), Begun::Poll);
        assert!(!task.wake());
        assert_eq!(task.pending(), AfterPoll::Requeue);
        assert_eq!(task.begin(), Begun::Poll);
        assert_eq!(task.pending(), AfterPoll::Idle);
        assert!(task.wake());
        assert_eq!(task.begin(), Begun::Poll);
        assert_eq!(task.finished(), Output::Kept);
        assert!(!task.wake());
        assert_eq!(task.detach(), Output::Discard);
    }

    #[test]
    fn an_aborted_task_is_dropped_at_its_next_turn() {
        let task = TaskState::new_scheduled();
        assert_eq!(task.begin(), Begun::Poll);
        assert!(!task.abort(), "its runner puts it back");
        assert_eq!(task.pending(), AfterPoll::Requeue);
        assert_eq!(task.begin(), Begun::Aborted);
        assert_eq!(task.detach(), Output::Kept);
        assert_eq!(task.finished(), Output::Discard);
        assert!(!task.abort());
        assert!(task.is_done());
    }

    #[test]
    fn a_task_that_nobody_can_wake_is_scheduled_to_be_dropped() {
        let task = TaskState::new_scheduled();
        assert_eq!(task.begin(), Begun::Poll);
        assert_eq!(task.pending(), AfterPoll::Idle);
        assert_eq!(task.release(), Released::Lost);
        assert!(task.try_hold());
        assert!(!task.abort(), "it is on its queue");
        assert_eq!(task.release(), Released::Held);
        assert_eq!(task.begin(), Begun::Aborted);
        assert_eq!(task.finished(), Output::Kept);
        assert_eq!(task.release(), Released::Ended);
        assert!(!task.try_hold());
        assert!(!task.leave());
        assert!(task.leave());
    }
}
