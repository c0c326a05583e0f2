//! One operation between three parties: the call that submits its IRP, the completion routine, and the future.
//!
//! ```text
//!                    submit                     (1) Idle      no IRP is out; the future owns everything
//!   (1) Idle ---------------------> (2) Out     (2) Out       the call has not returned, the IRP is not back
//!    ^                               |  |       (3) Pending   the call has returned, the IRP is not back
//!    | reset                complete |  | returned  (4) Back  the IRP is back: the future takes the result
//!    |                               v  v       (5) Parked    the call failed, the IRP is not back (L35)
//!   (4) Back <---- complete ----- (3)/(5)       "dropped" is a mark that (2)-(5) can carry
//! ```
//!
//! Who may touch what, when:
//! - The in-flight right is given back by whoever comes second of `complete` and `returned` (L13), or by `returned`
//!   when it parks (L35).
//! - The payload (buffers, the socket being accepted) belongs to the future until `submit`; to the completion routine if
//!   it finds the mark of a drop or a park; to the future again once it sees `Back`.
//! - The IRP is reused only by `reset`, which its owner calls when nobody else holds the operation.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use crate::primitives::{AtomicU8, Ordering};

const COMPLETE: u8 = 1;
const RETURNED: u8 = 2;
const PARKED: u8 = 4;
const DROPPED: u8 = 8;

/// What the completion routine has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Completed {
    /// Give the in-flight right back.
    pub release: bool,
    /// Who owns the payload now.
    pub payload: Owner,
    /// Take the operation off the list of parked ones.
    pub unpark: bool,
}

/// Who owns an operation's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The future, which is to be woken.
    Future,
    /// The completion routine, which drops it.
    Completion,
}

/// What the submitter has to do after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Returned {
    /// The IRP is out: wait for it.
    Pending,
    /// The IRP is back: give the in-flight right back and take the result.
    Back,
    /// The call failed and the IRP is not back: give the in-flight right back, tell the caller, touch nothing (L35).
    Parked,
}

/// What the dropper of a future has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Dropped {
    /// Ask for cancellation; the completion routine drops the payload.
    Cancel,
    /// Drop the payload: nobody else will.
    Payload,
    /// Nothing: it is parked.
    Nothing,
}

/// The state of one operation.
pub struct OpState(AtomicU8);

impl OpState {
    /// Idle.
    pub fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Prepares for the next submission. Only its sole owner may call this.
    pub fn reset(&mut self) {
        self.0 = AtomicU8::new(0);
    }

    /// The IRP is back.
    ///
    /// # IRQL
    /// Any.
    pub fn complete(&self) -> Completed {
        let before = self.0.fetch_or(COMPLETE, Ordering::AcqRel);
        debug_assert!(before & COMPLETE == 0, "an IRP came back twice");
        let parked = before & PARKED != 0;
        Completed {
            release: before & RETURNED != 0 && !parked,
            payload: if before & (PARKED | DROPPED) != 0 { Owner::Completion } else { Owner::Future },
            unpark: parked,
        }
    }

    /// The call has returned; `failed` if with an error.
    ///
    /// # IRQL
    /// Any.
    pub fn returned(&self, failed: bool) -> Returned {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let (next, answer) = match (now & COMPLETE != 0, failed) {
                (true, _) => (now | RETURNED, Returned::Back),
                (false, false) => (now | RETURNED, Returned::Pending),
                (false, true) => (now | RETURNED | PARKED, Returned::Parked),
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return answer,
                Err(seen) => now = seen,
            }
        }
    }

    /// The future is dropped after a submission whose result it has not taken.
    ///
    /// # IRQL
    /// Any.
    pub fn dropped(&self) -> Dropped {
        match self.0.fetch_or(DROPPED, Ordering::AcqRel) {
            before if before & PARKED != 0 => Dropped::Nothing,
            before if before & COMPLETE != 0 => Dropped::Payload,
            _ => Dropped::Cancel,
        }
    }

    /// Whether the IRP is back and the result is the future's to take.
    ///
    /// # IRQL
    /// Any.
    pub fn is_back(&self) -> bool {
        self.0.load(Ordering::Acquire) & (COMPLETE | PARKED) == COMPLETE
    }

    /// Takes a parked operation back although its IRP never came: the socket, or the binding, is gone (L35).
    /// `true` if the caller is now the one who frees it.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn reclaim(&self) -> bool {
        let claim = |now: u8| (now & (COMPLETE | PARKED) == PARKED).then_some(now | COMPLETE);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, claim).is_ok()
    }
}

impl Default for OpState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_inline_completion_leaves_the_right_to_the_submitter() {
        let op = OpState::new();
        assert_eq!(op.complete(), Completed { release: false, payload: Owner::Future, unpark: false });
        assert_eq!(op.returned(true), Returned::Back);
        assert!(op.is_back());
    }

    #[test]
    fn a_late_completion_gives_the_right_back() {
        let op = OpState::new();
        assert_eq!(op.returned(false), Returned::Pending);
        assert_eq!(op.complete(), Completed { release: true, payload: Owner::Future, unpark: false });
    }

    #[test]
    fn l35_a_failed_call_without_completion_is_parked_until_it_comes_or_is_reclaimed() {
        let op = OpState::new();
        assert_eq!(op.returned(true), Returned::Parked);
        assert!(!op.is_back());
        assert_eq!(op.dropped(), Dropped::Nothing);
        assert_eq!(op.complete(), Completed { release: false, payload: Owner::Completion, unpark: true });

        let op = OpState::new();
        assert_eq!(op.returned(true), Returned::Parked);
        assert!(op.reclaim());
        assert!(!op.reclaim());
    }

    #[test]
    fn a_dropped_future_leaves_its_payload_to_the_completion() {
        let op = OpState::new();
        assert_eq!(op.returned(false), Returned::Pending);
        assert_eq!(op.dropped(), Dropped::Cancel);
        assert_eq!(op.complete(), Completed { release: true, payload: Owner::Completion, unpark: false });
        let op = OpState::new();
        let _ = op.returned(false);
        let _ = op.complete();
        assert_eq!(op.dropped(), Dropped::Payload);
    }
}
