//! The functions of a listening socket.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use wsk_sys::{SOCKADDR, WSK_SOCKET};

use super::connection::Bare;
use super::{Call, enter, function};
use crate::raw::NtStatus;
use crate::raw::address::RawAddress;
use crate::raw::binding::Enter;
use crate::raw::events::CONNECTION_EVENTS;
use crate::raw::op::{Op, Payload, Pending};
use crate::raw::socket::{Kind, Reserved, Socket, SocketHandle};
use crate::sync::Shared;
use crate::{Detached, OpenError};

/// The accepting of a connection.
pub(crate) struct Accepting {
    reserved: Option<Reserved>,
    pub(crate) socket: Option<SocketHandle>,
    local: RawAddress,
    pub(crate) remote: RawAddress,
}

impl Payload for Accepting {
    type Owner = Shared<Socket>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        let Some(reserved) = self.reserved.take() else { return };
        if status.is_success() {
            if let Some(account) = reserved.account() {
                account.bound_to(self.local.to_address());
                account.connected(self.remote.to_address());
            }
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
    let function = function!(call.WskAccept in listening | stream);
    // The reservation goes while a right is held, or the listener's close is not back.
    let right = Enter::acquire(call.socket.shell())?;
    let reserved = Reserved::new(&right, Kind::Connection, call.socket.account().owner())?;
    let context = reserved.context();
    let payload = Accepting { reserved: Some(reserved), socket: None, local: RawAddress::EMPTY, remote: RawAddress::EMPTY };
    let enter = |wsk, payload: *mut Accepting, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let local = unsafe { &raw mut (*payload).local }.cast::<SOCKADDR>();
        // SAFETY: as above.
        let remote = unsafe { &raw mut (*payload).remote }.cast::<SOCKADDR>();
        enter!(function, wsk, 0, context, &raw const CONNECTION_EVENTS, local, remote, irp)
    };
    // SAFETY: context and tables live until the accepted socket's close; the address is in the payload.
    let started = unsafe { call.start(slot, payload, enter) };
    started.map_err(|(status, payload)| {
        drop(payload);
        drop(right);
        status.into()
    })
}

/// [`WskListen`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_listen), of a bound stream socket.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn listen(call: Call<'_>) -> Result<Pending<Bare>, NtStatus> {
    let function = function!(call.WskListen in stream);
    let enter = |wsk, _, irp| enter!(function, wsk, irp);
    // SAFETY: there is nothing to keep.
    unsafe { call.start(&mut None, Bare::new(), enter) }.map_err(|(status, _)| status)
}

/// Reserves what the accept event will need, as much as the listener has room for.
///
/// # Errors
/// Detach has begun, or there is no memory or slot; what was reserved stays.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn refill(call: &Call<'_>) -> Result<(), OpenError> {
    let listening = call.socket.listening().ok_or(Detached)?;
    let enter = Enter::acquire(call.socket.shell())?;
    while listening.is_lacking() {
        // One too many goes while the right is held.
        let left_over = listening.add(Reserved::new(&enter, Kind::Connection, call.socket.account().owner())?).err();
        drop(left_over);
    }
    Ok(())
}
