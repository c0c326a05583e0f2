//! The verdict on a connection request (conditional accept).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::NonNull;

use allocator_api2::boxed::Box;
use wsk_sys::WSK_INSPECT_ACTION::{self, WskInspectAccept, WskInspectReject};
use wsk_sys::WSK_INSPECT_ID;

use super::{Call, enter, function};
use crate::Detached;
use crate::raw::NtStatus;
use crate::raw::binding::Enter;
use crate::raw::inspections::{InspectionId, Request};
use crate::raw::op::{Arming, Op, Payload, Pending};
use crate::raw::socket::Socket;
use crate::sync::{Lane, Node, OutOfMemory, Pool, Shared, tag};

/// A verdict on its way.
pub(crate) struct Deciding {
    id: WSK_INSPECT_ID,
}

impl Payload for Deciding {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

type Slot = Option<Shared<Op<Deciding>>>;

/// [`WskInspectComplete`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_inspect_complete)
fn complete(
    call: Call<'_>,
    slot: &mut Slot,
    id: InspectionId,
    action: WSK_INSPECT_ACTION::Type,
) -> Result<Pending<Deciding>, NtStatus> {
    let function = function!(call.WskInspectComplete in listening);
    let enter = |wsk, payload: *mut Deciding, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let id = unsafe { &raw mut (*payload).id };
        enter!(function, wsk, id, action, irp)
    };
    // SAFETY: the id is in the payload.
    unsafe { call.start(slot, Deciding { id: id.to_raw() }, enter) }.map_err(|(status, _)| status)
}

/// What a rejection takes: it is made before the request is delivered, so that dropping the request can reject it.
///
/// # Invariants
/// `node` is the first field, and in a queue only while the queue owns the whole.
#[repr(C)]
struct Means {
    node: Node,
    socket: Shared<Socket>,
    slot: Slot,
    request: Option<(u64, InspectionId)>,
    /// While it is queued: detach waits for it, and with it whoever runs it.
    right: Option<Enter>,
}

type MeansPool = Pool<{ tag(b"WskI") }>;

/// The duty to say something about a request. Dropping it rejects the request.
pub(crate) struct Verdict(Option<Box<Means, MeansPool>>);

// SAFETY: what it owns has no thread.
unsafe impl Send for Verdict {}

impl Verdict {
    /// For a request that is still to come.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn new(socket: &Shared<Socket>) -> Result<Self, OutOfMemory> {
        let slot = Some(Op::new(Arming::Plain)?);
        let means = Means { node: Node::new(reject), socket: socket.clone(), slot, request: None, right: None };
        Ok(Self(Some(Box::try_new_in(means, Pool)?)))
    }

    /// Takes the next request that waits.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn take_request(&mut self) -> Option<Request> {
        let means = self.0.as_mut()?;
        let (number, request) = means.socket.listening()?.inspections.lock().deliver()?;
        means.request = Some((number, request.id));
        Some(request)
    }

    /// Whether the request has been aborted.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn is_aborted(&self) -> bool {
        let Some(means) = &self.0 else { return false };
        let (Some((number, _)), Some(listening)) = (means.request, means.socket.listening()) else { return false };
        listening.inspections.lock().is_aborted(number)
    }

    /// Says it. `Ok(None)` if the request has been aborted.
    ///
    /// # Errors
    /// Detach or the listener's close has begun, or what the provider says.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn give(mut self, accept: bool) -> Result<Option<Pending<Deciding>>, GiveError> {
        let Some(mut means) = self.0.take() else { return Ok(None) };
        let Some(id) = means.settle() else { return Ok(None) };
        let Means { socket, slot, .. } = &mut *means;
        let call = Call::begin(socket).map_err(|Detached| GiveError::Detached)?;
        let action = if accept { WskInspectAccept } else { WskInspectReject };
        let pending = complete(call, slot, id, action).map_err(GiveError::Provider)?;
        // What has been said is not to be taken back.
        Ok(Some(pending.uncancelled()))
    }
}

/// Why a verdict could not be given.
pub(crate) enum GiveError {
    Detached,
    Provider(NtStatus),
}

impl Means {
    /// The request's id, if there is a request and it has not been aborted. There is room for another one.
    fn settle(&mut self) -> Option<InspectionId> {
        let (number, id) = self.request.take()?;
        self.socket.listening()?.inspections.lock().settle(number).then_some(id)
    }
}

impl Drop for Verdict {
    fn drop(&mut self) {
        let Some(mut means) = self.0.take().filter(|means| means.request.is_some()) else { return };
        // Without the right the listener is being closed, and its requests with it.
        let Ok(right) = Enter::acquire(means.socket.shell()) else { return };
        let executor = right.shell().executor.clone();
        means.right = Some(right);
        // SAFETY: a box is not null.
        let node = unsafe { NonNull::new_unchecked(Box::into_raw(means)) }.cast::<Node>();
        // SAFETY: new to every queue, and owned by the queue from here on: `reject` takes it back.
        unsafe { executor.push(Lane::Dispatch, node) };
    }
}

/// Rejects a request that was dropped: not in the drop itself, which may happen in a completion routine (L36).
///
/// # Safety
/// Queued by [`Verdict::drop`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe fn reject(node: NonNull<Node>) {
    // SAFETY: the node is the first field of what was given to the queue.
    let mut means = unsafe { Box::from_raw_in(node.as_ptr().cast::<Means>(), MeansPool::default()) };
    let Some(id) = means.settle() else { return };
    let Means { socket, slot, .. } = &mut *means;
    let Ok(call) = Call::begin(socket) else { return };
    // An error says that the provider has dropped the request itself.
    let _ = complete(call, slot, id, WskInspectReject).map(Pending::uncancelled);
}
