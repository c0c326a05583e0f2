//! Operations that are used again and again with their payload in place: nothing is allocated or moved per request.
//!
//! ```text
//!   Ready ---- start ----> InPlace (a future) ----> Back ---- Stash::put, Stash::take ----> Ready
//! ```
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::Future;
use core::pin::Pin;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use core::task::{Context, Poll};

use wdk_sys::{IRP, NTSTATUS};

use super::{Arming, Op, Payload, Pending, returned};
use crate::raw::NtStatus;
use crate::sync::{OutOfMemory, Shared};

/// An operation that can be started.
///
/// # Invariants
/// It is prepared, its IRP not out, and its payload there; nobody else holds it.
pub(crate) struct Ready<P: Payload>(Shared<Op<P>>);

/// An operation whose IRP is back.
///
/// # Invariants
/// Its payload is there, and belongs to this value by the operation's state.
pub(crate) struct Back<P: Payload> {
    pub(super) op: Shared<Op<P>>,
    pub(crate) status: NtStatus,
}

impl<P: Payload> Ready<P> {
    /// Makes one, for a function of a socket.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn new(owner: &P::Owner, payload: P) -> Result<Self, OutOfMemory> {
        let op = Op::new(Arming::Plain)?;
        // SAFETY: new, so not handed out.
        unsafe { op.load(owner, payload) };
        // INVARIANT: new, and just loaded.
        Ok(Self(op))
    }

    /// What it works with.
    pub(crate) fn payload(&mut self) -> &mut P {
        // SAFETY: not out, so the payload is ours, and it is there by the invariant.
        unsafe { (*self.0.payload.get()).as_mut().unwrap_unchecked() }
    }

    /// Starts it; see [`start`](super::start), whose right and call these are.
    ///
    /// # Errors
    /// No arming: it stays ready, and the right the caller's.
    ///
    /// # Safety
    /// As for [`start`](super::start).
    pub(in crate::raw) unsafe fn start(
        mut self,
        call: impl FnOnce(*mut P, *mut IRP) -> NTSTATUS,
    ) -> Result<Pending<P>, (NtStatus, Self)> {
        let payload: *mut P = self.payload();
        // SAFETY: prepared by the invariant.
        if let Err(status) = unsafe { self.0.arm(Arming::Plain) } {
            return Err((status, self));
        }
        let status = NtStatus(call(payload, self.0.irp.as_ptr()));
        Ok(returned(self.0, status))
    }
}

impl<P: Payload> Back<P> {
    /// What it worked with.
    pub(crate) fn payload(&mut self) -> &mut P {
        // SAFETY: ours, and there, by the invariant.
        unsafe { (*self.op.payload.get()).as_mut().unwrap_unchecked() }
    }
}

/// An operation in flight, as a future that leaves the payload where it is. Dropping it is dropping the [`Pending`].
pub(crate) struct InPlace<P: Payload>(pub(super) Pending<P>);

impl<P: Payload> InPlace<P> {
    /// Whether the call failed without giving its IRP back (L35).
    pub(crate) fn is_parked(&self) -> bool {
        self.0.is_parked()
    }

    /// Asks for cancellation; the future is still to be awaited.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }
}

impl<P: Payload> Future for InPlace<P> {
    /// The error is that of a call that failed without giving its IRP back (L35).
    type Output = Result<Back<P>, NtStatus>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_back(context)
    }
}

/// A place for up to `N` operations between two uses. Anybody may put and take, without a lock.
///
/// # Invariants
/// What is in a slot is an operation that came from a [`Back`], with its reference. Nothing but that pointer is read before
/// the slot has been emptied, so a slot that is filled again meanwhile does no harm.
pub(crate) struct Stash<P: Payload, const N: usize>([AtomicPtr<Op<P>>; N]);

impl<P: Payload, const N: usize> Stash<P, N> {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicPtr::new(null_mut()) }; N])
    }

    /// Keeps an operation, or frees it if there is no room.
    pub(crate) fn put(&self, back: Back<P>) {
        self.keep(back.op);
    }

    fn keep(&self, op: Shared<Op<P>>) {
        let raw = op.into_raw().cast_mut();
        for slot in &self.0 {
            let empty = slot.load(Ordering::Relaxed).is_null();
            // INVARIANT: an operation with its reference.
            if empty && slot.compare_exchange(null_mut(), raw, Ordering::Release, Ordering::Relaxed).is_ok() {
                return;
            }
        }
        // SAFETY: no slot took the reference.
        drop(unsafe { Shared::from_raw(raw) });
    }

    /// Takes an operation that can be started.
    pub(crate) fn take(&self) -> Option<Ready<P>> {
        for slot in &self.0 {
            if slot.load(Ordering::Relaxed).is_null() {
                continue;
            }
            let Some(mut op) = take_from(slot) else { continue };
            if op.prepare() {
                // INVARIANT: prepared, so nobody else's; it came from a `Back`, so the payload is there.
                return Some(Ready(op));
            }
            self.keep(op);
        }
        None
    }
}

fn take_from<P: Payload>(slot: &AtomicPtr<Op<P>>) -> Option<Shared<Op<P>>> {
    let raw = slot.swap(null_mut(), Ordering::Acquire);
    // SAFETY: a pointer in a slot comes with its reference, and the swap has made it ours.
    (!raw.is_null()).then(|| unsafe { Shared::from_raw(raw) })
}

impl<P: Payload, const N: usize> Drop for Stash<P, N> {
    fn drop(&mut self) {
        for slot in &self.0 {
            drop(take_from(slot));
        }
    }
}
