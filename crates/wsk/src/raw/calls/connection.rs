//! The functions of a connection.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::null_mut;

use wsk_sys::{SOCKADDR, WSK_BUF, WSK_FLAG_ABORTIVE};

use super::addressed::{Addressed, sockaddr_of};
use super::{Call, enter, function};
use crate::raw::address::RawAddress;
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

/// [`WskReceive`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive) into all of the buffer, with
/// these flags.
///
/// # Errors
/// No memory; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn receive(
    call: Call<'_>,
    slot: &mut TransferSlot,
    buffer: Buffer,
    flags: u32,
) -> Result<Pending<Transfer>, (NtStatus, Buffer)> {
    let function = function!(call.WskReceive in connection | stream);
    let payload = Transfer { description: buffer.room(), buffer, receive: true };
    let enter = |wsk, payload, irp| enter!(function, wsk, description_of(payload), flags, irp);
    // SAFETY: buffer and description are in the payload.
    unsafe { call.start(slot, payload, enter) }.map_err(|(status, transfer)| (status, transfer.buffer))
}

/// [`WskSend`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send) of what is filled, with these
/// flags.
///
/// # Errors
/// No memory; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn send(
    call: Call<'_>,
    slot: &mut TransferSlot,
    buffer: Buffer,
    flags: u32,
) -> Result<Pending<Transfer>, (NtStatus, Buffer)> {
    let function = function!(call.WskSend in connection | stream);
    let payload = Transfer { description: buffer.content(), buffer, receive: false };
    let enter = |wsk, payload, irp| enter!(function, wsk, description_of(payload), flags, irp);
    // SAFETY: buffer and description are in the payload.
    unsafe { call.start(slot, payload, enter) }.map_err(|(status, transfer)| (status, transfer.buffer))
}

fn description_of(payload: *mut Transfer) -> *mut WSK_BUF {
    // SAFETY: the payload stays until the IRP is back; no reference is formed.
    unsafe { &raw mut (*payload).description }
}

/// A request that is about a connection as a whole.
pub(crate) struct Bare {
    /// Read by the provider, through its address.
    description: WSK_BUF,
}

// SAFETY: the description describes nothing.
unsafe impl Send for Bare {}

impl Bare {
    pub(super) const fn new() -> Self {
        Self { description: WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 } }
    }
}

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
    let function = function!(call.WskDisconnect in connection | stream);
    let flags = if abortive { WSK_FLAG_ABORTIVE } else { 0 };
    let enter = |wsk, _, irp| enter!(function, wsk, null_mut(), flags, irp);
    // SAFETY: there is nothing to keep.
    unsafe { call.start(&mut None, Bare::new(), enter) }.map_err(|(status, _)| status)
}

/// The same, abortively and with an operation that was made beforehand; nobody waits for it.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(in crate::raw) fn abort_with(call: Call<'_>, op: Shared<Op<Bare>>) {
    let function = function!(call.WskDisconnect in connection | stream);
    let enter = |wsk, _, irp| enter!(function, wsk, null_mut(), WSK_FLAG_ABORTIVE, irp);
    // SAFETY: there is nothing to keep.
    if let Ok(pending) = unsafe { call.start(&mut Some(op), Bare::new(), enter) } {
        drop(pending.uncancelled());
    }
}

/// [`WskDisconnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect), gracefully, after
/// what is filled of the buffer.
///
/// # Errors
/// No memory; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn disconnect_with(
    call: Call<'_>,
    slot: &mut TransferSlot,
    buffer: Buffer,
) -> Result<Pending<Transfer>, (NtStatus, Buffer)> {
    let function = function!(call.WskDisconnect in connection | stream);
    let payload = Transfer { description: buffer.content(), buffer, receive: false };
    let enter = |wsk, payload, irp| enter!(function, wsk, description_of(payload), 0, irp);
    // SAFETY: buffer and description are in the payload.
    unsafe { call.start(slot, payload, enter) }.map_err(|(status, transfer)| (status, transfer.buffer))
}

/// [`WskReceive`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive) without room, with
/// these flags.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn receive_nothing(
    call: Call<'_>,
    slot: &mut Option<Shared<Op<Bare>>>,
    flags: u32,
) -> Result<Pending<Bare>, NtStatus> {
    let function = function!(call.WskReceive in connection | stream);
    let enter = |wsk, payload: *mut Bare, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let description = unsafe { &raw mut (*payload).description };
        enter!(function, wsk, description, flags, irp)
    };
    // SAFETY: the description is in the payload.
    unsafe { call.start(slot, Bare::new(), enter) }.map_err(|(status, _)| status)
}

/// [`WskConnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_connect) of a bound socket.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn connect(call: Call<'_>, remote: RawAddress) -> Result<Pending<Addressed>, NtStatus> {
    let function = function!(call.WskConnect in connection | stream);
    let enter = |wsk, remote, irp| enter!(function, wsk, sockaddr_of(remote), 0, irp);
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, Addressed(remote), enter) }.map_err(|(status, _)| status)
}

/// The connecting of a socket with data to be sent.
pub(crate) struct Greeting {
    pub(crate) buffer: Buffer,
    description: WSK_BUF,
    remote: RawAddress,
}

// SAFETY: the description points to the buffer beside it.
unsafe impl Send for Greeting {}

impl Payload for Greeting {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WskConnectEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_connect_ex) of a bound socket,
/// which sends what is filled of the buffer.
///
/// # Errors
/// The provider has no such function, or no memory; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn connect_with(call: Call<'_>, remote: RawAddress, buffer: Buffer) -> Result<Pending<Greeting>, (NtStatus, Buffer)> {
    let function = function!(call.WskConnectEx in connection | stream);
    if function.is_none() {
        return Err((NtStatus::NOT_SUPPORTED, buffer));
    }
    let enter = |wsk, payload: *mut Greeting, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let remote = unsafe { &raw mut (*payload).remote }.cast::<SOCKADDR>();
        // SAFETY: as above.
        let description = unsafe { &raw mut (*payload).description };
        enter!(function, wsk, remote, description, 0, irp)
    };
    let payload = Greeting { description: buffer.content(), buffer, remote };
    // SAFETY: buffer, description and address are in the payload.
    unsafe { call.start(&mut None, payload, enter) }.map_err(|(status, greeting)| (status, greeting.buffer))
}

/// [`WskGetRemoteAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_remote_address)
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn remote_address(call: Call<'_>) -> Result<Pending<Addressed>, NtStatus> {
    let function = function!(call.WskGetRemoteAddress in connection | stream);
    let enter = |wsk, address, irp| enter!(function, wsk, sockaddr_of(address), irp);
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, Addressed(RawAddress::EMPTY), enter) }.map_err(|(status, _)| status)
}
