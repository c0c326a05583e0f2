//! The future of an operation in flight.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use wsk_lifecycle::op::Dropped;

use super::{Back, Done, InPlace, Op, Owner, Payload};
use crate::raw::NtStatus;
use crate::sync::Shared;

/// An operation in flight, as a future. Dropping it asks for cancellation and leaves the rest to the completion routine.
pub(crate) struct Pending<P: Payload> {
    pub(super) op: Option<Shared<Op<P>>>,
    /// The call's error, if it was parked.
    pub(super) failed: NtStatus,
    /// Dropping it asks for nothing.
    pub(super) uncancelled: bool,
    /// It was back when the call returned; a call that is not counted as in flight.
    pub(super) landed: bool,
}

impl<P: Payload> Pending<P> {
    /// The operation, unless it is parked.
    pub(in crate::raw) fn operation(&self) -> Option<&Shared<Op<P>>> {
        self.op.as_ref()
    }

    /// Asks for cancellation; the future is still to be awaited.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn cancel(&self) {
        if let Some(op) = &self.op {
            op.irp.cancel();
        }
    }

    /// As a future that leaves the payload in the operation.
    pub(crate) fn in_place(self) -> InPlace<P> {
        InPlace(self)
    }

    /// Whether it was back, or given up, when the call returned: then it is not in flight.
    pub(in crate::raw) fn has_landed(&self) -> bool {
        self.landed
    }

    pub(super) fn poll_back(&mut self, context: &mut Context<'_>) -> Poll<Result<Back<P>, NtStatus>> {
        let Some(op) = &self.op else { return Poll::Ready(Err(self.failed)) };
        if !op.state.is_back() && !publish(op, context.waker()) {
            return Poll::Pending;
        }
        Poll::Ready(self.take_back().ok_or(self.failed))
    }

    /// Whether the call failed and kept the payload (L35).
    pub(crate) fn is_parked(&self) -> bool {
        self.op.is_none()
    }

    /// From now on dropping it does not ask for cancellation: what was begun takes its course.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn uncancelled(mut self) -> Self {
        self.uncancelled = true;
        self
    }

    /// The result, once it is back.
    fn take_back(&mut self) -> Option<Back<P>> {
        let op = self.op.take()?;
        self.land(&op);
        // SAFETY: back: the result is the future's.
        let status = unsafe { *op.status.get() };
        Some(Back { op, status })
    }

    fn land(&mut self, op: &Op<P>) {
        if !P::Owner::COUNTED && !core::mem::replace(&mut self.landed, true) {
            op.leave();
        }
    }
}

/// Has the task woken when the operation is back. `true` if it is back already.
fn publish<P: Payload>(op: &Op<P>, waker: &Waker) -> bool {
    if op.state.has_waker() && !op.state.withdraw_waker() {
        // The completion routine is taking the old one, which may be another task's.
        waker.wake_by_ref();
        return false;
    }
    // SAFETY: not published, so the future's.
    let kept = unsafe { op.replace_waker(None) }.filter(|kept| kept.will_wake(waker));
    // SAFETY: as above.
    unsafe { op.replace_waker(Some(kept.unwrap_or_else(|| waker.clone()))) };
    let back = op.state.publish_waker();
    if back {
        // SAFETY: the completion routine is through, and has not seen it.
        drop(unsafe { op.replace_waker(None) });
    }
    back
}

impl<P: Payload> Future for Pending<P> {
    /// The error is that of a call that failed without giving its IRP back (L35): the payload stays with it.
    type Output = Result<Done<P>, NtStatus>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(back) = self.poll_back(context) else { return Poll::Pending };
        let Back { op, status } = match back {
            Ok(back) => back,
            Err(status) => return Poll::Ready(Err(status)),
        };
        match op.take_payload() {
            Some(payload) => Poll::Ready(Ok(Done { op, payload, status })),
            None => Poll::Ready(Err(status)),
        }
    }
}

impl<P: Payload> Drop for Pending<P> {
    fn drop(&mut self) {
        let Some(op) = self.op.take() else { return };
        if op.state.has_waker() && op.state.withdraw_waker() {
            // The completion routine drops the operation, but not with it a task (L36).
            // SAFETY: withdrawn, so the future's.
            drop(unsafe { op.replace_waker(None) });
        }
        match op.state.dropped() {
            Dropped::Cancel if !self.uncancelled => op.irp.cancel(),
            Dropped::Cancel => {}
            Dropped::Free => return self.end(op),
            Dropped::Left => {
                // The completion routine frees it.
                let _ = op.into_raw();
                return;
            }
        }
        // Until this step the completion routine leaves it alone (L37).
        let raw = op.into_raw();
        // SAFETY: as said.
        if unsafe { &*raw }.state.cancelled() {
            // SAFETY: it has come back meanwhile, and left it to us.
            self.end(unsafe { Shared::from_raw(raw) });
        }
    }
}

impl<P: Payload> Pending<P> {
    /// Frees an operation whose result nobody wants.
    fn end(&mut self, op: Shared<Op<P>>) {
        drop(op.take_payload());
        self.land(&op);
    }
}
