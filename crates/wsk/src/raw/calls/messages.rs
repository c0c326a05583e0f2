//! The sending of several datagrams by one request.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::net::SocketAddr;
use core::ptr::null_mut;

use wsk_sys::SOCKADDR;

use super::datagram::ControlRoom;
use super::{Call, enter, function};
use crate::raw::address::RawAddress;
use crate::raw::op::{InPlace, Payload, Ready};
use crate::raw::socket::Socket;
use crate::raw::{Batch, NtStatus};
use crate::sync::{OutOfMemory, Shared};

/// The sending of a batch.
pub(crate) struct SendMessages {
    batch: Option<Batch>,
    to: RawAddress,
    control: ControlRoom,
}

impl Payload for SendMessages {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

impl SendMessages {
    /// Makes the operation.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn ready(socket: &Shared<Socket>) -> Result<Ready<Self>, OutOfMemory> {
        Ready::new(socket, Self { batch: None, to: RawAddress::EMPTY, control: ControlRoom::new() })
    }

    pub(crate) fn take_batch(&mut self) -> Option<Batch> {
        self.batch.take()
    }

    /// Where the control data goes.
    pub(crate) fn control(&mut self) -> &mut ControlRoom {
        &mut self.control
    }
}

/// Whether the provider has WskSendMessages, which came after the others.
pub(crate) fn can_send(call: &Call<'_>) -> bool {
    function!(call.WskSendMessages in datagram).is_some()
}

/// [`WskSendMessages`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send_messages)
///
/// # Errors
/// No arming; the batch comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn send(
    call: Call<'_>,
    mut ready: Ready<SendMessages>,
    batch: Batch,
    to: Option<SocketAddr>,
) -> Result<InPlace<SendMessages>, (NtStatus, Option<Batch>)> {
    let function = function!(call.WskSendMessages in datagram);
    let payload = ready.payload();
    payload.batch = Some(batch);
    if let Some(to) = to {
        payload.to.set(to);
    }
    let enter = |wsk, payload: *mut SendMessages, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference outlives this closure.
        let payload = unsafe { &mut *payload };
        let list = payload.batch.as_mut().map_or(null_mut(), Batch::link);
        let address = if to.is_some() { (&raw mut payload.to).cast::<SOCKADDR>() } else { null_mut() };
        let (length, control) = payload.control.for_sending();
        enter!(function, wsk, list, 0, address, length, control, irp)
    };
    // SAFETY: everything is in the payload.
    let started = unsafe { call.start_in_place(ready, enter) };
    started.map_err(|(status, mut ready)| (status, ready.payload().take_batch()))
}
