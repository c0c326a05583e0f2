//! One operation between three parties: the call that submits its IRP, the completion routine, and the future.
//!
//! ```text
//!                    submit                     (1) Idle      no IRP is out; the future owns everything
//!   (1) Idle ---------------------> (2) Out     (2) Out       the IRP is not back
//!    ^                               |  |       (3) Back      the IRP is back: the future takes the result
//!    | reset                complete |  | returned            (4) Parked  the call failed, the IRP is not back (L35)
//!    |                               v  v       "waker" and "dropped" are marks that (2) can carry
//!   (3) Back <----------------------/  (4)
//! ```
//!
//! Memory, payload and IRP have one owner at a time; there is no count of references.
//! - The future is the owner, and the completion routine only writes the result, as long as the future lives and the
//!   call is not parked. Once the completion routine has said [`Completed::Left`] it touches nothing any more.
//! - A future that waits publishes its waker. The completion routine that finds one takes it out and says so
//!   ([`waker_taken`](OpState::waker_taken)); until then the future does not take the result.
//! - A future that is dropped before the IRP is back leaves everything to the completion routine, but not before it is out of
//!   IoCancelIrp (L37): whoever of the two is later frees it.
//! - A parked operation belongs to its list until its completion comes after all, or somebody [claims](OpState::reclaim) it.
//!
//! An operation that holds a right of its binding is *counted*: the right goes back with whoever comes second of the
//! completion routine and the return of the call (L13), or at once if it is parked (L35).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use crate::primitives::{AtomicU8, Ordering};

const COMPLETE: u8 = 1;
const RETURNED: u8 = 2;
const PARKED: u8 = 4;
const DROPPED: u8 = 8;
const WAKER: u8 = 16;
const CANCELLING: u8 = 32;

/// What the completion routine has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Completed {
    /// Nothing, with nothing of the operation: it is the future's.
    Left,
    /// Take the waker out, say [`waker_taken`](OpState::waker_taken), then wake.
    Wake,
    /// Free it all: nobody waits for it any more.
    Free,
    /// The same, after it has been taken off the list of parked ones.
    Unpark,
}

/// The completion of a counted operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Counted {
    /// What to do.
    pub then: Completed,
    /// Give the right back.
    pub release: bool,
}

/// What the submitter has to do after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Returned {
    /// The IRP is out: wait for it.
    Pending,
    /// The IRP is back: take the result. (If counted: give the right back first.)
    Back,
    /// The call failed and the IRP is not back: give the right back, tell the caller, touch nothing of the operation (L35), which
    /// may be freed already: whom the right goes back to is to be known before.
    Parked,
}

/// What the dropper of a future has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Dropped {
    /// Ask for cancellation, then say [`cancelled`](OpState::cancelled).
    Cancel,
    /// Free it all.
    Free,
    /// Nothing: the completion routine is in it, and frees it.
    Left,
}

/// The state of one operation.
pub struct OpState(AtomicU8);

impl OpState {
    /// Idle.
    pub fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Prepares for the next submission. Only its owner may call this.
    pub fn reset(&mut self) {
        self.0 = AtomicU8::new(0);
    }

    /// The IRP is back.
    ///
    /// # IRQL
    /// Any.
    pub fn complete(&self) -> Completed {
        Self::then(self.0.fetch_or(COMPLETE, Ordering::AcqRel))
    }

    /// The IRP of a counted operation is back.
    ///
    /// # IRQL
    /// Any.
    pub fn complete_counted(&self) -> Counted {
        let before = self.0.fetch_or(COMPLETE, Ordering::AcqRel);
        Counted { then: Self::then(before), release: before & (RETURNED | PARKED) == RETURNED }
    }

    fn then(before: u8) -> Completed {
        debug_assert!(before & COMPLETE == 0, "an IRP came back twice");
        match before {
            before if before & PARKED != 0 => Completed::Unpark,
            before if before & CANCELLING != 0 => Completed::Left,
            before if before & DROPPED != 0 => Completed::Free,
            before if before & WAKER != 0 => Completed::Wake,
            _ => Completed::Left,
        }
    }

    /// The completion routine has taken the waker out. `true` if the future was dropped meanwhile: free it all.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn waker_taken(&self) -> bool {
        self.0.fetch_and(!WAKER, Ordering::AcqRel) & DROPPED != 0
    }

    /// The call has returned; `failed` if with an error. Not for a counted operation.
    ///
    /// # IRQL
    /// Any.
    pub fn returned(&self, failed: bool) -> Returned {
        if !failed {
            return if self.is_back() { Returned::Back } else { Returned::Pending };
        }
        self.returned_with(PARKED)
    }

    /// The call of a counted operation has returned; `failed` if with an error.
    ///
    /// # IRQL
    /// Any.
    pub fn returned_counted(&self, failed: bool) -> Returned {
        self.returned_with(if failed { RETURNED | PARKED } else { RETURNED })
    }

    /// Sets the marks, but no PARKED if the IRP is back.
    fn returned_with(&self, marks: u8) -> Returned {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let (next, answer) = match (now & COMPLETE != 0, marks & PARKED != 0) {
                (true, _) => (now | marks & !PARKED, Returned::Back),
                (false, false) => (now | marks, Returned::Pending),
                (false, true) => (now | marks, Returned::Parked),
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return answer,
                Err(seen) => now = seen,
            }
        }
    }

    /// Whether the IRP is back and the result is the future's to take.
    ///
    /// # IRQL
    /// Any.
    #[inline]
    pub fn is_back(&self) -> bool {
        self.0.load(Ordering::Acquire) & (COMPLETE | PARKED | WAKER) == COMPLETE
    }

    /// Whether the future has published a waker that was not taken yet.
    ///
    /// # IRQL
    /// Any.
    pub fn has_waker(&self) -> bool {
        self.0.load(Ordering::Acquire) & WAKER != 0
    }

    /// The future has put its waker in place, where there was none. `true` if the IRP is back: the waker is not needed, and is
    /// the future's again, like everything else.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn publish_waker(&self) -> bool {
        let before = self.0.fetch_or(WAKER, Ordering::AcqRel);
        if before & COMPLETE == 0 {
            return false;
        }
        // The completion routine found no waker, and is through.
        self.0.store(before, Ordering::Relaxed);
        true
    }

    /// The future wants its waker back, for another. `false` if the completion routine has come, and is about to take it.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn withdraw_waker(&self) -> bool {
        let withdrawn = |now: u8| (now & (WAKER | COMPLETE) == WAKER).then_some(now & !WAKER);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, withdrawn).is_ok()
    }

    /// The future is dropped after a submission whose result it has not taken.
    ///
    /// # IRQL
    /// Any.
    pub fn dropped(&self) -> Dropped {
        match self.0.fetch_or(DROPPED | CANCELLING, Ordering::AcqRel) {
            before if before & COMPLETE == 0 => Dropped::Cancel,
            before if before & WAKER == 0 => Dropped::Free,
            _ => Dropped::Left,
        }
    }

    /// The dropper is out of IoCancelIrp, or has not wanted to cancel. `true` if the IRP has come back meanwhile: free it all.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.fetch_and(!CANCELLING, Ordering::AcqRel) & COMPLETE != 0
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
    fn an_inline_completion_is_found_when_the_call_returns() {
        let op = OpState::new();
        assert_eq!(op.complete(), Completed::Left);
        assert_eq!(op.returned(true), Returned::Back);
        assert!(op.is_back());
    }

    #[test]
    fn a_right_goes_back_with_the_second_of_completion_and_return() {
        let op = OpState::new();
        assert_eq!(op.complete_counted(), Counted { then: Completed::Left, release: false });
        assert_eq!(op.returned_counted(false), Returned::Back);
        let op = OpState::new();
        assert_eq!(op.returned_counted(false), Returned::Pending);
        assert_eq!(op.complete_counted(), Counted { then: Completed::Left, release: true });
        let op = OpState::new();
        assert_eq!(op.returned_counted(true), Returned::Parked);
        assert_eq!(op.complete_counted(), Counted { then: Completed::Unpark, release: false });
    }

    #[test]
    fn a_waker_is_taken_before_the_result() {
        let op = OpState::new();
        assert_eq!(op.returned(false), Returned::Pending);
        assert!(!op.publish_waker());
        assert_eq!(op.complete(), Completed::Wake);
        assert!(!op.is_back());
        assert!(!op.withdraw_waker());
        assert!(!op.waker_taken());
        assert!(op.is_back());
        let op = OpState::new();
        assert_eq!(op.complete(), Completed::Left);
        assert!(op.publish_waker());
        assert!(op.is_back());
    }

    #[test]
    fn l35_a_failed_call_without_completion_is_parked_until_it_comes_or_is_reclaimed() {
        let op = OpState::new();
        assert_eq!(op.returned(true), Returned::Parked);
        assert!(!op.is_back());
        assert_eq!(op.complete(), Completed::Unpark);
        assert!(!op.reclaim());

        let op = OpState::new();
        assert_eq!(op.returned(true), Returned::Parked);
        assert!(op.reclaim());
        assert!(!op.reclaim());
    }

    #[test]
    fn l37_a_dropped_future_leaves_it_to_the_completion_or_frees_it_after_the_cancellation() {
        let op = OpState::new();
        assert_eq!(op.dropped(), Dropped::Cancel);
        assert!(!op.cancelled());
        assert_eq!(op.complete(), Completed::Free);
        let op = OpState::new();
        assert_eq!(op.dropped(), Dropped::Cancel);
        assert_eq!(op.complete(), Completed::Left);
        assert!(op.cancelled());
        let op = OpState::new();
        assert_eq!(op.complete(), Completed::Left);
        assert_eq!(op.dropped(), Dropped::Free);
    }

    #[test]
    fn a_future_that_is_dropped_while_its_waker_is_taken_leaves_it_to_the_taker() {
        let op = OpState::new();
        assert!(!op.publish_waker());
        assert_eq!(op.complete(), Completed::Wake);
        assert_eq!(op.dropped(), Dropped::Left);
        assert!(op.waker_taken());
    }
}
