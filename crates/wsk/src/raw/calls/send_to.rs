//! The sending of a datagram, out of whatever its bytes are in.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::net::SocketAddr;
use core::ptr::null_mut;

use wsk_sys::{SOCKADDR, WSK_BUF};

use super::datagram::{ControlRoom, NO_BYTES};
use super::{Call, enter, function};
use crate::raw::address::RawAddress;
use crate::raw::op::{InPlace, Payload, Ready};
use crate::raw::retained::Named;
use crate::raw::socket::Socket;
use crate::raw::{Buffer, Chain, Datagrams, NtStatus};
use crate::sync::{OutOfMemory, Shared};

/// The bytes of a datagram that is sent.
pub(crate) enum Body {
    Buffer(Buffer),
    Chain(Chain),
    /// One of a list, by its number.
    Datagram(Datagrams, usize),
}

impl Body {
    /// Where the bytes are, if they are those of one datagram. Good as long as the body is not changed, wherever it is moved.
    fn description(&mut self) -> Option<WSK_BUF> {
        match self {
            Self::Buffer(buffer) => Some(buffer.content()),
            Self::Chain(chain) if chain.pieces() > 1 => None,
            Self::Chain(chain) => Some(chain.piece(0).unwrap_or(NO_BYTES)),
            Self::Datagram(datagrams, number) => datagrams.description(*number),
        }
    }

    /// The name of the list that it is in, if it is in one.
    fn named(&self) -> Option<Named> {
        match self {
            Self::Buffer(_) => None,
            Self::Chain(chain) => chain.named(),
            Self::Datagram(datagrams, _) => Some(datagrams.named()),
        }
    }

    fn unlinked(mut self) -> Self {
        if let Self::Chain(chain) = &mut self {
            chain.unlink();
        }
        self
    }
}

/// The sending of a datagram.
pub(crate) struct SendTo {
    body: Option<Body>,
    description: WSK_BUF,
    to: RawAddress,
    control: ControlRoom,
}

// SAFETY: the description points to memory of the body beside it.
unsafe impl Send for SendTo {}

impl Payload for SendTo {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}

    fn discard(self) {
        match self.body {
            Some(Body::Chain(chain)) => chain.discard(),
            Some(Body::Datagram(datagrams, _)) => datagrams.hand_over(),
            Some(Body::Buffer(_)) | None => {}
        }
    }
}

impl SendTo {
    /// Makes the operation.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn ready(socket: &Shared<Socket>) -> Result<Ready<Self>, OutOfMemory> {
        let (to, control) = (RawAddress::EMPTY, ControlRoom::new());
        Ready::new(socket, Self { body: None, description: NO_BYTES, to, control })
    }

    pub(crate) fn take_body(&mut self) -> Option<Body> {
        self.body.take().map(Body::unlinked)
    }

    /// Where the control data goes.
    pub(crate) fn control(&mut self) -> &mut ControlRoom {
        &mut self.control
    }
}

/// [`WskSendTo`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send_to) with the control data that
/// the operation has; without an address to where the socket's fixed one says.
///
/// # Errors
/// No arming, or it is not one datagram (STATUS_INVALID_PARAMETER); the body comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn send_to(
    call: Call<'_>,
    mut ready: Ready<SendTo>,
    mut body: Body,
    to: Option<SocketAddr>,
) -> Result<InPlace<SendTo>, (NtStatus, Option<Body>)> {
    let function = function!(call.WskSendTo in datagram);
    let Some(description) = body.description() else { return Err((NtStatus::INVALID_PARAMETER, Some(body.unlinked()))) };
    let named = body.named();
    let payload = ready.payload();
    payload.description = description;
    payload.body = Some(body);
    if let Some(to) = to {
        payload.to.set(to);
    }
    let enter = |wsk, payload: *mut SendTo, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference outlives this closure.
        let payload = unsafe { &mut *payload };
        let address = if to.is_some() { (&raw mut payload.to).cast::<SOCKADDR>() } else { null_mut() };
        let (length, control) = payload.control.for_sending();
        enter!(function, wsk, &raw mut payload.description, 0, address, length, control, irp)
    };
    // SAFETY: everything is in the payload, which owns or keeps the bytes.
    let started = unsafe { call.start_in_place(ready, enter) };
    let pending = started.map_err(|(status, mut ready)| (status, ready.payload().take_body()))?;
    if pending.is_parked() {
        named.into_iter().for_each(Named::lost);
    }
    Ok(pending)
}
