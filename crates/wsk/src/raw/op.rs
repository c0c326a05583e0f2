//! One operation: an IRP, what it reads and writes, and the right under which it is in flight (L13).
//!
//! The states and who owns what in them are those of [`wsk_lifecycle::op`]. Three references keep an operation: the
//! future's, the IRP's while it is out, and the submitter's during the call; its memory goes with the last. So a dropped
//! future frees nothing that a provider still writes to, and IoCancelIrp never meets a freed IRP (L37).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use wdk_sys::{DEVICE_OBJECT, IRP, NTSTATUS};
use wsk_lifecycle::op::{Dropped, OpState, Owner as PayloadOwner, Returned};

mod reuse;

pub(crate) use reuse::{Back, InPlace, Ready, Stash};

use super::parked::{Parked, ParkedList};
use super::{Device, Irp, NtStatus};
use crate::sync::{OutOfMemory, Pool, Shared, Tagged, tag};

/// What an operation reads and writes. It stays where it is until the IRP is back.
pub(crate) trait Payload: Send + Unpin + 'static {
    /// Whose function is called.
    type Owner: Owner;

    /// Takes over what the provider produced. Called in the completion routine, while the right is still held (L14); it
    /// enters no WSK function (L36).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    fn completed(&mut self, status: NtStatus, information: usize);

    /// Is dropped where no WSK function may be entered: in a completion routine, because nobody waits for the result (L36).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    fn discard(self)
    where
        Self: Sized,
    {
        drop(self);
    }
}

/// A socket or a binding, as an operation sees it.
pub(crate) trait Owner: Clone + Send + Sync + Unpin + 'static {
    /// Gives back the [`Enter`](wsk_lifecycle::rundown::Right::Enter) that the operation was started with.
    fn leave(&self);

    /// Where its operations are parked (L35).
    fn parked(&self) -> &ParkedList;
}

/// # Invariants
/// While the IRP is out, one reference belongs to it. `payload` and `status` are accessed by whom the state names;
/// `owner` is written only by [`load`](Self::load), while the IRP is not out.
#[repr(C)]
pub(crate) struct Op<P: Payload> {
    parked: Parked,
    state: OpState,
    irp: Irp,
    waker: AtomicWaker,
    owner: UnsafeCell<Option<P::Owner>>,
    payload: UnsafeCell<Option<P>>,
    status: UnsafeCell<NtStatus>,
}

impl<P: Payload> Tagged for Op<P> {
    type Pool = Pool<{ tag(b"WskO") }>;
}

// SAFETY: what is in the cells is handed from thread to thread by the state, one at a time.
unsafe impl<P: Payload> Send for Op<P> {}
// SAFETY: as above.
unsafe impl<P: Payload> Sync for Op<P> {}

/// An operation whose IRP is back, for the next use, with what came of it.
pub(crate) struct Done<P: Payload> {
    pub(crate) op: Shared<Op<P>>,
    pub(crate) payload: P,
    pub(crate) status: NtStatus,
}

/// How the IRP's completion routine keeps the image: by the device (provider dispatch), or by the socket's close.
#[derive(Clone, Copy)]
pub(crate) enum Arming {
    OnDevice(Device),
    Plain,
}

impl<P: Payload> Op<P> {
    /// Makes one; `arming` only says how it would have to be reclaimed.
    pub(crate) fn new(arming: Arming) -> Result<Shared<Self>, OutOfMemory> {
        let parked = match arming {
            Arming::OnDevice(_) => Parked::new(|_| true, Self::complete_parked),
            Arming::Plain => Parked::new(Self::claim_parked, Self::free_parked),
        };
        Shared::try_new(Self {
            parked,
            state: OpState::new(),
            irp: Irp::new()?,
            waker: AtomicWaker::new(),
            owner: UnsafeCell::new(None),
            payload: UnsafeCell::new(None),
            status: UnsafeCell::new(NtStatus::SUCCESS),
        })
    }

    /// Puts in what it works with, and gives the payload's address.
    ///
    /// # Safety
    /// The operation is prepared, and its IRP not handed out.
    unsafe fn load(&self, owner: P::Owner, payload: P) -> *mut P {
        // SAFETY: not out, so both cells are the submitter's.
        unsafe { *self.owner.get() = Some(owner) };
        // SAFETY: as above. The reference ends here; the address stays good until the payload is taken.
        unsafe { (*self.payload.get()).insert(payload) }
    }

    /// Asks for cancellation, whoever has the future. The caller's reference keeps the IRP meanwhile (L37).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) fn cancel(&self) {
        self.irp.cancel();
    }

    fn take_payload(&self) -> Option<P> {
        // SAFETY: callers own the payload by the state.
        unsafe { (*self.payload.get()).take() }
    }

    /// In a completion routine.
    fn discard_payload(&self) {
        if let Some(payload) = self.take_payload() {
            payload.discard();
        }
    }

    fn owner(&self) -> Option<&P::Owner> {
        // SAFETY: not written while the operation is out, by the invariant.
        unsafe { (*self.owner.get()).as_ref() }
    }

    fn leave(&self) {
        if let Some(owner) = self.owner() {
            owner.leave();
        }
    }

    /// # Safety
    /// `parked` is the first field of a live operation.
    unsafe fn claim_parked(parked: NonNull<Parked>) -> bool {
        // SAFETY: as the caller promises.
        unsafe { parked.cast::<Self>().as_ref() }.state.reclaim()
    }

    /// # Safety
    /// `parked` is the first field of an operation that was claimed.
    unsafe fn free_parked(parked: NonNull<Parked>) {
        // SAFETY: claimed: the IRP's reference, which its completion will not take any more.
        let op = unsafe { Shared::<Self>::from_raw(parked.cast::<Self>().as_ptr()) };
        op.discard_payload();
    }

    /// Completes the IRP ourselves, which frees what IoSetCompletionRoutineEx holds, and then the operation.
    ///
    /// # Safety
    /// `parked` is the first field of a live operation whose IRP nobody else will complete.
    unsafe fn complete_parked(parked: NonNull<Parked>) {
        // SAFETY: live until the completion routine has run.
        let irp = unsafe { parked.cast::<Self>().as_ref() }.irp.as_ptr();
        // SAFETY: armed and, as the caller promises, nobody else's to complete.
        unsafe { Irp::complete_unsent(irp) };
    }
}

impl<P: Payload> Shared<Op<P>> {
    /// The link in a list of parked operations: the operation's first field, by a pointer good for all of it.
    fn link(&self) -> NonNull<Parked> {
        // SAFETY: a counted pointer is not null.
        unsafe { NonNull::new_unchecked(self.as_ptr().cast_mut().cast()) }
    }

    /// Makes it ready to be armed; `false` if somebody else still holds it.
    fn prepare(&mut self) -> bool {
        let Some(op) = self.unique() else { return false };
        op.state.reset();
        op.irp.reuse();
        true
    }

    /// # Safety
    /// The operation is prepared, and its IRP not handed out.
    unsafe fn arm(&self, arming: Arming) -> Result<(), NtStatus> {
        let context = self.clone().into_raw();
        let armed = match arming {
            Arming::OnDevice(device) => {
                // SAFETY: not out; the context is a reference for the IRP, which `completed` takes back.
                unsafe { self.irp.arm_on(device, Some(completed::<P>), context.cast_mut().cast()) }
            }
            Arming::Plain => {
                // SAFETY: as above.
                unsafe { self.irp.arm(Some(completed::<P>), context.cast_mut().cast()) };
                Ok(())
            }
        };
        if armed.is_err() {
            // SAFETY: the reference that the IRP did not take.
            drop(unsafe { Shared::from_raw(context) });
        }
        armed
    }
}

/// The completion routine: records the result and wakes (L36).
///
/// # Safety
/// `context` is the IRP's reference to its operation.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn completed<P: Payload>(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: as the caller promises; an IRP completes once.
    let op = unsafe { Shared::<Op<P>>::from_raw(context.cast_const().cast()) };
    // SAFETY: it has completed.
    let (status, information) = unsafe { op.irp.outcome() };
    // SAFETY: before `complete`, result and payload are the completion routine's.
    unsafe { *op.status.get() = status };
    // SAFETY: as above.
    if let Some(payload) = unsafe { &mut *op.payload.get() } {
        payload.completed(status, information);
    }
    let decision = op.state.complete();
    if decision.unpark
        && let Some(owner) = op.owner()
    {
        owner.parked().remove(op.link());
    }
    let waker = match decision.payload {
        PayloadOwner::Future => op.waker.take(),
        PayloadOwner::Completion => {
            op.discard_payload();
            None
        }
    };
    let owner = if decision.release { op.owner().cloned() } else { None };
    // Before the wake: the task may run inside it, and uses the operation again if it is the only one to hold it.
    drop(op);
    if let Some(waker) = waker {
        waker.wake();
    }
    // After the wake: the right keeps the executor that it goes through.
    if let Some(owner) = owner {
        owner.leave();
    }
    NtStatus::MORE_PROCESSING_REQUIRED.0
}

/// An operation in flight, as a future. Dropping it asks for cancellation and leaves the rest to the completion routine.
pub(crate) struct Pending<P: Payload> {
    op: Option<Shared<Op<P>>>,
    /// The call's error, if it was parked.
    failed: NtStatus,
    /// Dropping it asks for nothing.
    uncancelled: bool,
}

/// Starts an operation: `call` enters the provider's function with the payload and the IRP. `slot` may hold an operation
/// to use again. The right that `owner` leaves with must have been acquired; it goes with the operation.
///
/// # Errors
/// No memory, or no arming: the payload comes back, and the right stays the caller's.
///
/// # Safety
/// `call` hands the IRP to the provider, once, and gives it no pointers but into the payload and what lives longer.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) unsafe fn start<P: Payload>(
    slot: &mut Option<Shared<Op<P>>>,
    arming: Arming,
    owner: P::Owner,
    payload: P,
    call: impl FnOnce(*mut P, *mut IRP) -> NTSTATUS,
) -> Result<Pending<P>, (NtStatus, P)> {
    let reused = slot.take().and_then(|mut op| op.prepare().then_some(op));
    let op = match reused {
        Some(op) => op,
        None => match Op::new(arming) {
            Ok(op) => op,
            Err(error) => return Err((error.into(), payload)),
        },
    };
    // SAFETY: prepared, or new.
    if let Err(status) = unsafe { op.arm(arming) } {
        return Err((status, payload));
    }
    // SAFETY: as above.
    let payload = unsafe { op.load(owner, payload) };
    let status = NtStatus(call(payload, op.irp.as_ptr()));
    Ok(returned(op, status))
}

/// What follows the return of the call; see the states of [`wsk_lifecycle::op`].
fn returned<P: Payload>(op: Shared<Op<P>>, status: NtStatus) -> Pending<P> {
    let failed = !status.is_success();
    let link = op.link();
    if failed
        && !op.state.is_back()
        && let Some(owner) = op.owner()
    {
        // Listed before it can be parked: a completion that finds it parked finds it in the list.
        // SAFETY: in no list; it is removed here, by its completion, or claimed.
        unsafe { owner.parked().add(link) };
    }
    let decision = op.state.returned(failed);
    if decision == Returned::Back
        && failed
        && let Some(owner) = op.owner()
    {
        owner.parked().remove(link);
    }
    match decision {
        Returned::Pending => Pending { op: Some(op), failed: status, uncancelled: false },
        Returned::Back => {
            op.leave();
            Pending { op: Some(op), failed: status, uncancelled: false }
        }
        Returned::Parked => {
            op.leave();
            Pending { op: None, failed: status, uncancelled: false }
        }
    }
}

impl<P: Payload> Pending<P> {
    /// The operation, unless it is parked.
    pub(super) fn operation(&self) -> Option<&Shared<Op<P>>> {
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

    fn poll_back(&mut self, context: &mut Context<'_>) -> Poll<Result<Back<P>, NtStatus>> {
        if let Some(back) = self.take_back() {
            return Poll::Ready(Ok(back));
        }
        let Some(op) = &self.op else { return Poll::Ready(Err(self.failed)) };
        op.waker.register(context.waker());
        self.take_back().map_or(Poll::Pending, |back| Poll::Ready(Ok(back)))
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

    fn take_back(&mut self) -> Option<Back<P>> {
        let op = self.op.take_if(|op| op.state.is_back())?;
        // SAFETY: back: the result is the future's.
        let status = unsafe { *op.status.get() };
        Some(Back { op, status })
    }
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
        // The completion routine drops the operation, but not with it a task (L36).
        drop(op.waker.take());
        match op.state.dropped() {
            Dropped::Cancel if self.uncancelled => {}
            Dropped::Cancel => op.irp.cancel(),
            Dropped::Payload => drop(op.take_payload()),
            Dropped::Nothing => {}
        }
    }
}
