//! The functions of a listening socket.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::null_mut;

use wsk_sys::{SOCKADDR, WSK_SOCKET};

use super::{Call, enter};
use crate::raw::NtStatus;
use crate::raw::address::RawAddress;
use crate::raw::binding::Enter;
use crate::raw::events::CONNECTION_EVENTS;
use crate::raw::op::{Op, Payload, Pending};
use crate::raw::socket::{Reserved, Socket, SocketHandle};
use crate::sync::Shared;
use crate::{Detached, OpenError};

/// A request whose parameter is an address, going or coming.
pub(crate) struct Addressed(pub(crate) RawAddress);

impl Payload for Addressed {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// Takes an address out of a payload without a reference that would outlive the call.
fn sockaddr_of(payload: *mut Addressed) -> *mut SOCKADDR {
    payload.cast()
}

/// [`WskBind`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_bind), on a listening socket.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn bind(call: Call<'_>, address: RawAddress) -> Result<Pending<Addressed>, NtStatus> {
    let table = call.listening();
    let enter = |wsk, address, irp| enter!(table.WskBind, wsk, sockaddr_of(address), 0, irp);
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, Addressed(address), enter) }.map_err(|(status, _)| status)
}

/// [`WskGetLocalAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_local_address), of a
/// listening socket.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn local_address(call: Call<'_>) -> Result<Pending<Addressed>, NtStatus> {
    let table = call.listening();
    let enter = |wsk, address, irp| enter!(table.WskGetLocalAddress, wsk, sockaddr_of(address), irp);
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, Addressed(RawAddress::EMPTY), enter) }.map_err(|(status, _)| status)
}

/// The accepting of a connection.
pub(crate) struct Accepting {
    reserved: Option<Reserved>,
    pub(crate) socket: Option<SocketHandle>,
    pub(crate) remote: RawAddress,
}

impl Payload for Accepting {
    type Owner = Shared<Socket>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        let Some(reserved) = self.reserved.take() else { return };
        if status.is_success() {
            self.socket = reserved.opened(information as *mut WSK_SOCKET);
        }
    }
}

/// [`WskAccept`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_accept)
///
/// # Errors
/// No memory or slot.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn accept(call: Call<'_>, slot: &mut Option<Shared<Op<Accepting>>>) -> Result<Pending<Accepting>, OpenError> {
    let table = call.listening();
    // Under the call's right, and later that of the operation.
    let reserved = Reserved::new(call.enter.as_ref().ok_or(Detached)?)?;
    let context = reserved.context();
    let payload = Accepting { reserved: Some(reserved), socket: None, remote: RawAddress::EMPTY };
    let enter = |wsk, payload: *mut Accepting, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let remote = unsafe { &raw mut (*payload).remote }.cast::<SOCKADDR>();
        enter!(table.WskAccept, wsk, 0, context, &raw const CONNECTION_EVENTS, null_mut(), remote, irp)
    };
    let right = call.enter.as_ref().map(Enter::another);
    // SAFETY: context and tables live until the accepted socket's close; the address is in the payload.
    let started = unsafe { call.start(slot, payload, enter) };
    started.map_err(|(status, payload)| {
        // The reservation goes while a right is held.
        drop(payload);
        drop(right);
        status.into()
    })
}
