//! One operation: an IRP, what it reads and writes, and the right under which it is in flight (L13).
//!
//! The states and who owns what in them are those of [`wsk_lifecycle::op`]: an operation has one owner at a time, the
//! future as a rule, and the IRP has only its address. A dropped future frees nothing that a provider still writes to, and
//! IoCancelIrp never meets a freed IRP (L37). A call of a binding's holds an `Enter` (L13), and is *counted*; a call of a
//! socket's needs none, for that socket's drain right stays until all its IRPs are back.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::task::Waker;

use wdk_sys::{DEVICE_OBJECT, IRP, NTSTATUS};
use wsk_lifecycle::op::{Completed, OpState, Returned};

mod pending;
mod reuse;

pub(crate) use pending::Pending;
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
    /// Whether its operations hold an [`Enter`](wsk_lifecycle::rundown::Right::Enter) until their IRPs are back.
    const COUNTED: bool;

    /// Gives that `Enter` back; where there is none, says that a call is not in flight any more.
    fn leave(&self);

    /// Whether it is the same.
    fn is(&self, other: &Self) -> bool;

    /// Where its operations are parked (L35).
    fn parked(&self) -> &ParkedList;
}

/// # Invariants
/// All of it is accessed by whom the state names as its owner. Beside him, while the IRP is out: the completion routine
/// writes `status` and the payload before it says that it has completed, and takes `waker` if one was published.
/// `owner` is written only by [`load`](Self::load), while the IRP is not out.
#[repr(C)]
pub(crate) struct Op<P: Payload> {
    parked: Parked,
    state: OpState,
    irp: Irp,
    waker: UnsafeCell<Option<Waker>>,
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
            waker: UnsafeCell::new(None),
            owner: UnsafeCell::new(None),
            payload: UnsafeCell::new(None),
            status: UnsafeCell::new(NtStatus::SUCCESS),
        })
    }

    /// Puts in what it works with, and gives the payload's address.
    ///
    /// # Safety
    /// The operation is prepared, and its IRP not handed out.
    unsafe fn load(&self, owner: &P::Owner, payload: P) -> *mut P {
        // SAFETY: not out, so both cells are the submitter's.
        let place = unsafe { &mut *self.owner.get() };
        if !place.as_ref().is_some_and(|known| known.is(owner)) {
            *place = Some(owner.clone());
        }
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

    /// The link in a list of parked operations: the operation's first field, by a pointer good for all of it.
    fn link(raw: *const Self) -> NonNull<Parked> {
        // SAFETY: an operation's address is not null.
        unsafe { NonNull::new_unchecked(raw.cast_mut().cast()) }
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

    /// Takes the waker out, or puts one in.
    ///
    /// # Safety
    /// The waker's place is the caller's by the state.
    unsafe fn replace_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        // SAFETY: as the caller promises.
        unsafe { core::mem::replace(&mut *self.waker.get(), waker) }
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
        // SAFETY: claimed, so that its completion will not free it any more.
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
        let context = self.as_ptr().cast_mut().cast();
        match arming {
            // SAFETY: not out; whoever owns the operation keeps it until `completed` has been through.
            Arming::OnDevice(device) => unsafe { self.irp.arm_on(device, Some(completed::<P>), context) },
            Arming::Plain => {
                // SAFETY: as above.
                unsafe { self.irp.arm(Some(completed::<P>), context) };
                Ok(())
            }
        }
    }
}

/// The completion routine: records the result and wakes (L36).
///
/// # Safety
/// `context` is the IRP's operation.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn completed<P: Payload>(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    let raw = context.cast_const().cast::<Op<P>>();
    // SAFETY: an operation stays until its completion is through; an IRP completes once.
    let op = unsafe { &*raw };
    // SAFETY: it has completed.
    let (status, information) = unsafe { op.irp.outcome() };
    // SAFETY: before `complete`, result and payload are the completion routine's.
    unsafe { *op.status.get() = status };
    // SAFETY: as above.
    if let Some(payload) = unsafe { &mut *op.payload.get() } {
        payload.completed(status, information);
    }
    if !P::Owner::COUNTED {
        // SAFETY: just completed.
        unsafe { after(raw, op.state.complete()) };
        return NtStatus::MORE_PROCESSING_REQUIRED.0;
    }
    // Before the operation may be somebody else's. The right keeps the executor that a wake goes through: it is given
    // back after that.
    let owner = op.owner().cloned();
    let counted = op.state.complete_counted();
    // SAFETY: as above.
    unsafe { after(raw, counted.then) };
    if let Some(owner) = owner.filter(|_| counted.release) {
        owner.leave();
    }
    NtStatus::MORE_PROCESSING_REQUIRED.0
}

/// # Safety
/// The operation's state has just said this to its completion routine.
unsafe fn after<P: Payload>(raw: *const Op<P>, then: Completed) {
    match then {
        Completed::Left => {}
        Completed::Wake => {
            // SAFETY: the future lets it be until the waker has been taken.
            let op = unsafe { &*raw };
            // SAFETY: published, so the completion routine's to take.
            let waker = unsafe { op.replace_waker(None) };
            if op.state.waker_taken() {
                // SAFETY: the future was dropped meanwhile, and has left it.
                unsafe { free(raw, true) };
            }
            // The operation is the future's again, which may run inside this.
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        // SAFETY: the future was dropped before.
        Completed::Free => unsafe { free(raw, true) },
        Completed::Unpark => {
            // SAFETY: parked, so the completion routine's.
            let op = unsafe { &*raw };
            if let Some(owner) = op.owner() {
                owner.parked().remove(Op::link(raw));
            }
            // SAFETY: in no list any more.
            unsafe { free(raw, false) };
        }
    }
}

/// Frees an operation in its completion routine. One that is `in_flight` still, by a count that decides nothing, is not after
/// this.
///
/// # Safety
/// It is the completion routine's.
unsafe fn free<P: Payload>(raw: *const Op<P>, in_flight: bool) {
    // SAFETY: as the caller promises.
    let op = unsafe { Shared::<Op<P>>::from_raw(raw) };
    op.discard_payload();
    if in_flight && !P::Owner::COUNTED {
        op.leave();
    }
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
    owner: &P::Owner,
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
#[inline]
fn returned<P: Payload>(op: Shared<Op<P>>, status: NtStatus) -> Pending<P> {
    if !status.is_success() {
        return returned_failed(op, status);
    }
    let decision = if P::Owner::COUNTED { op.state.returned_counted(false) } else { op.state.returned(false) };
    let landed = decision != Returned::Pending;
    if P::Owner::COUNTED && landed {
        op.leave();
    }
    Pending { op: Some(op), failed: status, uncancelled: false, landed }
}

#[cold]
fn returned_failed<P: Payload>(op: Shared<Op<P>>, status: NtStatus) -> Pending<P> {
    // Of its own: one that is parked may be freed by its completion at any time.
    let owner = op.owner().cloned().filter(|_| P::Owner::COUNTED);
    let op = match returned_with_error(&op) {
        Returned::Pending | Returned::Back => Some(op),
        Returned::Parked => {
            // It is its list's, and not to be touched any more.
            let _ = op.into_raw();
            None
        }
    };
    if let Some(owner) = owner {
        owner.leave();
    }
    Pending { op, failed: status, uncancelled: false, landed: true }
}

fn returned_with_error<P: Payload>(op: &Shared<Op<P>>) -> Returned {
    let link = Op::link(op.as_ptr());
    let Some(parked) = op.owner().filter(|_| !op.state.is_back()).map(Owner::parked) else {
        return if P::Owner::COUNTED { op.state.returned_counted(true) } else { op.state.returned(true) };
    };
    // Listed before it can be parked: a completion that finds it parked finds it in the list.
    // SAFETY: in no list; it is removed here, by its completion, or claimed.
    unsafe { parked.add(link) };
    let decision = if P::Owner::COUNTED { op.state.returned_counted(true) } else { op.state.returned(true) };
    if decision == Returned::Back {
        parked.remove(link);
    }
    decision
}
