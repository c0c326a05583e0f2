//! The functions of a connection.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::null_mut;

use wsk_sys::{WSK_BUF, WSK_FLAG_ABORTIVE, WSK_FLAG_NODELAY};

use super::{Call, enter};
use crate::raw::op::{Op, Payload, Pending};
use crate::raw::socket::Socket;
use crate::raw::{Buffer, NtStatus};
use crate::sync::Shared;

/// A transfer to or from a buffer.
pub(crate) struct Transfer {
    pub(crate) buffer: Buffer,
    description: WSK_BUF,
    receive: bool,
}

// SAFETY: the description points to the buffer beside it.
unsafe impl Send for Transfer {}

impl Payload for Transfer {
    type Owner = Shared<Socket>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        if self.receive {
            let length = if status.is_success() { information } else { 0 };
            // SAFETY: the provider says that it has written so many bytes.
            unsafe { self.buffer.received(length) };
        }
    }
}

type TransferSlot = Option<Shared<Op<Transfer>>>;

/// [`WskReceive`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive) into all of the buffer.
///
/// # Errors
/// No memory; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn receive(call: Call<'_>, slot: &mut TransferSlot, buffer: Buffer) -> Result<Pending<Transfer>, (NtStatus, Buffer)> {
    let table = call.connection();
    let payload = Transfer { description: buffer.room(), buffer, receive: true };
    let enter = |wsk, payload, irp| enter!(table.WskReceive, wsk, description_of(payload), 0, irp);
    // SAFETY: buffer and description are in the payload.
    unsafe { call.start(slot, payload, enter) }.map_err(|(status, transfer)| (status, transfer.buffer))
}

/// [`WskSend`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send) of what is filled.
///
/// # Errors
/// No memory; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn send(call: Call<'_>, slot: &mut TransferSlot, buffer: Buffer) -> Result<Pending<Transfer>, (NtStatus, Buffer)> {
    let table = call.connection();
    let payload = Transfer { description: buffer.content(), buffer, receive: false };
    let enter = |wsk, payload, irp| enter!(table.WskSend, wsk, description_of(payload), WSK_FLAG_NODELAY, irp);
    // SAFETY: buffer and description are in the payload.
    unsafe { call.start(slot, payload, enter) }.map_err(|(status, transfer)| (status, transfer.buffer))
}

fn description_of(payload: *mut Transfer) -> *mut WSK_BUF {
    // SAFETY: the payload stays until the IRP is back; no reference is formed.
    unsafe { &raw mut (*payload).description }
}

/// A request without parameters.
pub(crate) struct Bare;

impl Payload for Bare {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WskDisconnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect); an abortive one
/// resets the connection.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn disconnect(call: Call<'_>, abortive: bool) -> Result<Pending<Bare>, NtStatus> {
    let table = call.connection();
    let flags = if abortive { WSK_FLAG_ABORTIVE } else { 0 };
    let enter = |wsk, _, irp| enter!(table.WskDisconnect, wsk, null_mut(), flags, irp);
    // SAFETY: there is nothing to keep.
    unsafe { call.start(&mut None, Bare, enter) }.map_err(|(status, _)| status)
}
