//! One task between its wakers and its runner: it is on a queue at most once, polled by one runner at a time, and no wake
//! is lost.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use crate::primitives::{AtomicU8, Ordering};

const SCHEDULED: u8 = 1;
const RUNNING: u8 = 2;
const DONE: u8 = 4;

/// What the runner does after a poll that was not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterPoll {
    /// Nothing: a wake will put it on a queue.
    Idle,
    /// Put it on a queue again: it was woken while it ran.
    Requeue,
}

/// The state of one task.
pub struct TaskState(AtomicU8);

impl TaskState {
    /// Scheduled: its maker puts it on a queue.
    pub fn new_scheduled() -> Self {
        Self(AtomicU8::new(SCHEDULED))
    }

    /// Wakes. `true` if the caller has to put the task on a queue.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn wake(&self) -> bool {
        self.0.fetch_or(SCHEDULED, Ordering::AcqRel) == 0
    }

    /// Begins a poll; the task has just been taken off its queue.
    ///
    /// # IRQL
    /// Any.
    pub fn begin(&self) {
        let before = self.0.swap(RUNNING, Ordering::AcqRel);
        debug_assert!(before == SCHEDULED, "a task ran twice at once");
    }

    /// Ends a poll that was not ready.
    ///
    /// # IRQL
    /// Any.
    pub fn pending(&self) -> AfterPoll {
        match self.0.fetch_and(!RUNNING, Ordering::AcqRel) & SCHEDULED {
            0 => AfterPoll::Idle,
            _ => AfterPoll::Requeue,
        }
    }

    /// Ends the last poll: no wake schedules it again.
    ///
    /// # IRQL
    /// Any.
    pub fn finished(&self) {
        self.0.store(DONE, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wake_during_a_poll_requeues_and_one_after_the_end_does_not() {
        let task = TaskState::new_scheduled();
        assert!(!task.wake());
        task.begin();
        assert!(!task.wake());
        assert_eq!(task.pending(), AfterPoll::Requeue);
        task.begin();
        assert_eq!(task.pending(), AfterPoll::Idle);
        assert!(task.wake());
        task.begin();
        task.finished();
        assert!(!task.wake());
    }
}
