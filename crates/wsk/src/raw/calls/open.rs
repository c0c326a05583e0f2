//! The making of sockets.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdk_sys::IRP;
use wsk_sys::IPPROTO::IPPROTO_TCP;
use wsk_sys::{SOCK_STREAM, WSK_FLAG_LISTEN_SOCKET, WSK_SOCKET};

use super::enter;
use crate::OpenError;
use crate::raw::NtStatus;
use crate::raw::binding::{Enter, Shell};
use crate::raw::events::LISTEN_EVENTS;
use crate::raw::op::{self, Arming, Payload, Pending};
use crate::raw::socket::{Reserved, SocketHandle};
use crate::sync::Shared;

/// The making of a socket.
pub(crate) struct Opening {
    reserved: Option<Reserved>,
    pub(crate) socket: Option<SocketHandle>,
}

impl Payload for Opening {
    type Owner = Shared<Shell>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        let Some(reserved) = self.reserved.take() else { return };
        if status.is_success() {
            self.socket = reserved.opened(information as *mut WSK_SOCKET);
        }
    }
}

/// A listening socket: [`WskSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_socket)
///
/// # Errors
/// Detach has begun, or there is no memory or slot.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn listener(shell: &Shared<Shell>, family: u16) -> Result<Pending<Opening>, OpenError> {
    let enter = Enter::acquire(shell)?;
    let reserved = Reserved::new(&enter)?;
    let context = reserved.context();
    let (client, provider) = enter.provider();
    let dispatch = (&raw const LISTEN_EVENTS).cast::<c_void>();
    let call = |_: *mut Opening, irp: *mut IRP| {
        enter!(
            provider.WskSocket,
            client,
            family,
            SOCK_STREAM as _,
            IPPROTO_TCP as _,
            WSK_FLAG_LISTEN_SOCKET,
            context,
            dispatch,
            null_mut(),
            null_mut(),
            null_mut(),
            irp,
        )
    };
    let payload = Opening { reserved: Some(reserved), socket: None };
    // SAFETY: the context lives until the socket's close; the dispatch tables are statics.
    let started = unsafe { op::start(&mut None, Arming::OnDevice(shell.device), shell.clone(), payload, call) };
    match started {
        Ok(pending) => {
            enter.transfer();
            Ok(pending)
        }
        Err((status, payload)) => {
            // The reservation goes while the right is held.
            drop(payload);
            Err(status.into())
        }
    }
}
