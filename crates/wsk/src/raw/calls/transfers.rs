//! The receives and sends of one connection, one after the other, by functions that are looked up once.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use wdk_sys::IRP;
use wsk_lifecycle::rundown::Right;
use wsk_sys::{PFN_WSK_RECEIVE, PFN_WSK_SEND, WSK_BUF, WSK_SOCKET};

use super::{Call, enter, function};
use crate::Detached;
use crate::raw::NtStatus;
use crate::raw::binding::Shell;
use crate::raw::socket::Socket;
use crate::sync::Shared;

/// The right to enter functions of one socket, one after the other: a place inside.
pub(in crate::raw) struct Stay<'a>(&'a Shared<Socket>);

impl<'a> Stay<'a> {
    /// Asks for it; the shell is the socket's.
    ///
    /// # Errors
    /// [`Detached`] once the binding's detach or the socket's close has begun.
    #[inline]
    pub(in crate::raw) fn begin(socket: &'a Shared<Socket>, shell: &Shell) -> Result<Self, Detached> {
        socket.enter_to_stay()?;
        let stay = Self(socket);
        if shell.is_open() { Ok(stay) } else { Err(Detached) }
    }
}

impl Drop for Stay<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave(Right::Enter);
    }
}

/// A connection of the provider's, with its two functions.
#[repr(C)]
pub(in crate::raw) struct Transfers {
    wsk: *mut WSK_SOCKET,
    receive: PFN_WSK_RECEIVE,
    send: PFN_WSK_SEND,
}

impl Transfers {
    /// Those of the call's socket.
    pub(in crate::raw) fn of(call: &Call<'_>) -> Self {
        let receive = function!(call.WskReceive in connection | stream);
        Self { wsk: call.socket.wsk(), receive, send: function!(call.WskSend in connection | stream) }
    }

    /// [`WskReceive`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive)
    ///
    /// # Safety
    /// The stay is in the socket of these functions, the IRP is armed, and what is described stays until it is back.
    #[inline]
    pub(in crate::raw) unsafe fn receive(&self, _: &Stay<'_>, room: *mut WSK_BUF, irp: *mut IRP) -> NtStatus {
        NtStatus(enter!(self.receive, self.wsk, room, 0, irp))
    }

    /// [`WskSend`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send)
    ///
    /// # Safety
    /// As for [`receive`](Self::receive).
    #[inline]
    pub(in crate::raw) unsafe fn send(&self, _: &Stay<'_>, content: *mut WSK_BUF, flags: u32, irp: *mut IRP) -> NtStatus {
        NtStatus(enter!(self.send, self.wsk, content, flags, irp))
    }
}
