//! What sockets of every kind can be asked about addresses: to be bound to one, and which one that is.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use wsk_sys::SOCKADDR;

use super::{Call, enter, function};
use crate::raw::NtStatus;
use crate::raw::address::RawAddress;
use crate::raw::op::{Payload, Pending};
use crate::raw::socket::Socket;
use crate::sync::Shared;

/// A request whose parameter is an address, going or coming.
pub(crate) struct Addressed(pub(crate) RawAddress);

impl Payload for Addressed {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// Takes an address out of a payload without a reference that would outlive the call.
pub(super) fn sockaddr_of(payload: *mut Addressed) -> *mut SOCKADDR {
    payload.cast()
}

/// [`WskBind`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_bind)
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn bind(call: Call<'_>, address: RawAddress) -> Result<Pending<Addressed>, NtStatus> {
    let function = function!(call.WskBind in listening | connection | stream | datagram);
    let enter = |wsk, address, irp| enter!(function, wsk, sockaddr_of(address), 0, irp);
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, Addressed(address), enter) }.map_err(|(status, _)| status)
}

/// [`WskGetLocalAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_local_address)
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn local_address(call: Call<'_>) -> Result<Pending<Addressed>, NtStatus> {
    let function = function!(call.WskGetLocalAddress in listening | connection | stream | datagram);
    let enter = |wsk, address, irp| enter!(function, wsk, sockaddr_of(address), irp);
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, Addressed(RawAddress::EMPTY), enter) }.map_err(|(status, _)| status)
}
