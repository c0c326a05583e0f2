//! Sending chains, and giving back what was kept.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use wdk_sys::NTSTATUS;
use wsk_sys::{WSK_BUF, WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_STREAM_DISPATCH, WSK_SOCKET};

use super::{Call, enter, function};
use crate::raw::op::{Op, Payload, Pending};
use crate::raw::retained::Release;
use crate::raw::socket::{Kind, Socket};
use crate::raw::{Chain, NtStatus};
use crate::sync::{OutOfMemory, Shared};

/// The sending of a chain, or of one part of an indication.
pub(crate) struct Carrying {
    pub(crate) chain: Chain,
    description: WSK_BUF,
}

// SAFETY: the description points to memory of the chain beside it.
unsafe impl Send for Carrying {}

impl Payload for Carrying {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}

    fn discard(self) {
        self.chain.discard();
    }
}

/// [`WskSend`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send) of one piece of a chain, with these
/// flags.
///
/// # Errors
/// No memory; the chain comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn send(
    call: Call<'_>,
    slot: &mut Option<Shared<Op<Carrying>>>,
    mut chain: Chain,
    number: usize,
    flags: u32,
) -> Result<Pending<Carrying>, (NtStatus, Chain)> {
    let function = function!(call.WskSend in connection | stream);
    let named = chain.named();
    let description = chain.piece(number).unwrap_or(WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 });
    let enter = |wsk, payload: *mut Carrying, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let description = unsafe { &raw mut (*payload).description };
        enter!(function, wsk, description, flags, irp)
    };
    // SAFETY: the chain, which owns or keeps the memory, and the description are in the payload.
    let started = unsafe { call.start(slot, Carrying { chain, description }, enter) };
    let pending = started.map_err(|(status, carrying)| (status, carrying.chain))?;
    if pending.is_parked()
        && let Some(named) = named
    {
        named.lost();
    }
    Ok(pending)
}

/// Has a connection keep what its receive event brings; see [`Shared::retain`].
///
/// # Errors
/// [`OutOfMemory`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn retain(socket: &Shared<Socket>, lists: u16, bytes: usize) -> Result<(), OutOfMemory> {
    let release: Release = match socket.kind() {
        Kind::Connection => release_on_connection,
        Kind::Stream => release_on_stream,
        Kind::Listen | Kind::Datagram => return Ok(()),
    };
    // SAFETY: the function is that of the socket's kind.
    unsafe { socket.retain(lists, bytes, release, true) }
}

/// # Safety
/// As [`Release`] says, of a connection. [`WskRelease`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_release_data_indication_list)
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe fn release_on_connection(wsk: *mut WSK_SOCKET, list: NonNull<c_void>) {
    // SAFETY: an open connection, whose table is this.
    let table = unsafe { &*(*wsk).Dispatch.cast::<WSK_PROVIDER_CONNECTION_DISPATCH>() };
    // There is nothing to be done about a refusal.
    let _: NTSTATUS = enter!(table.WskRelease, wsk, list.as_ptr().cast());
}

/// # Safety
/// As [`Release`] says, of a stream socket.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe fn release_on_stream(wsk: *mut WSK_SOCKET, list: NonNull<c_void>) {
    // SAFETY: an open stream socket, whose table is this.
    let table = unsafe { &*(*wsk).Dispatch.cast::<WSK_PROVIDER_STREAM_DISPATCH>() };
    // There is nothing to be done about a refusal.
    let _: NTSTATUS = enter!(table.WskRelease, wsk, list.as_ptr().cast());
}
