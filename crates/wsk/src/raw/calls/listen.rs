//! The functions of a listening socket.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::null_mut;

use wsk_sys::{SOCKADDR, WSK_SOCKET};

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
    let function = function!(call.WskAccept in listening | stream);
    // Under the call's right, and later that of the operation.
    let reserved = Reserved::new(call.enter.as_ref().ok_or(Detached)?, Kind::Connection)?;
    let context = reserved.context();
    let payload = Accepting { reserved: Some(reserved), socket: None, remote: RawAddress::EMPTY };
    let enter = |wsk, payload: *mut Accepting, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let remote = unsafe { &raw mut (*payload).remote }.cast::<SOCKADDR>();
        enter!(function, wsk, 0, context, &raw const CONNECTION_EVENTS, null_mut(), remote, irp)
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
