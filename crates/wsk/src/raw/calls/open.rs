//! The making of sockets.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdk_sys::{IRP, NTSTATUS};
use wsk_sys::IPPROTO::{IPPROTO_TCP, IPPROTO_UDP};
use wsk_sys::{
    SOCK_DGRAM, SOCK_STREAM, SOCKADDR, WSK_FLAG_CONNECTION_SOCKET, WSK_FLAG_DATAGRAM_SOCKET, WSK_FLAG_LISTEN_SOCKET,
    WSK_FLAG_STREAM_SOCKET, WSK_PROVIDER_DISPATCH, WSK_SOCKET,
};

use super::enter;
use crate::OpenError;
use crate::raw::NtStatus;
use crate::raw::address::RawAddress;
use crate::raw::binding::{Enter, Shell};
use crate::raw::events::{CONNECTION_EVENTS, DATAGRAM_EVENTS, STREAM_EVENTS};
use crate::raw::listen_events::LISTEN_EVENTS;
use crate::raw::op::{self, Arming, Payload, Pending};
use crate::raw::socket::{Kind, Reserved, SocketHandle};
use crate::sync::Shared;

/// The making of a socket.
pub(crate) struct Opening {
    reserved: Option<Reserved>,
    pub(crate) socket: Option<SocketHandle>,
}

impl Opening {
    fn new(reserved: Reserved) -> Self {
        Self { reserved: Some(reserved), socket: None }
    }
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

/// The making of a socket that is bound and connected by the same call.
pub(crate) struct Connecting {
    pub(crate) opening: Opening,
    local: RawAddress,
    remote: RawAddress,
}

impl Payload for Connecting {
    type Owner = Shared<Shell>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        if let Some(account) = self.opening.reserved.as_ref().and_then(Reserved::account) {
            account.connected(self.remote.to_address());
        }
        self.opening.completed(status, information);
    }
}

/// Socket type, protocol and flags of a kind, and our table of event callbacks for it.
fn description_of(kind: Kind) -> (u32, u32, u32, *const c_void) {
    let (stream, tcp) = (SOCK_STREAM as _, IPPROTO_TCP as _);
    match kind {
        Kind::Listen => (stream, tcp, WSK_FLAG_LISTEN_SOCKET, (&raw const LISTEN_EVENTS).cast()),
        Kind::Connection => (stream, tcp, WSK_FLAG_CONNECTION_SOCKET, (&raw const CONNECTION_EVENTS).cast()),
        Kind::Stream => (stream, tcp, WSK_FLAG_STREAM_SOCKET, (&raw const STREAM_EVENTS.0).cast()),
        Kind::Datagram => (SOCK_DGRAM as _, IPPROTO_UDP as _, WSK_FLAG_DATAGRAM_SOCKET, (&raw const DATAGRAM_EVENTS).cast()),
    }
}

/// [`WskSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_socket)
///
/// # Errors
/// Detach has begun, or there is no memory or slot.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn socket(shell: &Shared<Shell>, owner: u64, kind: Kind, family: u16) -> Result<Pending<Opening>, OpenError> {
    let (socket_type, protocol, flags, dispatch) = description_of(kind);
    let call = |(client, provider): Provider<'_>, context, _: *mut Opening, irp| {
        enter!(
            provider.WskSocket,
            client,
            family,
            socket_type as _,
            protocol,
            flags,
            context,
            dispatch,
            null_mut(),
            null_mut(),
            null_mut(),
            irp,
        )
    };
    // SAFETY: nothing but the context and statics is handed over.
    unsafe { start(shell, Reserving { kind, owner }, Opening::new, call) }
}

/// [`WskSocketConnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_socket_connect)
///
/// # Errors
/// Detach has begun, or there is no memory or slot.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn connect(
    shell: &Shared<Shell>,
    owner: u64,
    local: RawAddress,
    remote: RawAddress,
) -> Result<Pending<Connecting>, OpenError> {
    let make = |reserved| Connecting { opening: Opening::new(reserved), local, remote };
    let call = |(client, provider): Provider<'_>, context, payload: *mut Connecting, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let local = unsafe { &raw mut (*payload).local }.cast::<SOCKADDR>();
        // SAFETY: as above.
        let remote = unsafe { &raw mut (*payload).remote }.cast::<SOCKADDR>();
        enter!(
            provider.WskSocketConnect,
            client,
            SOCK_STREAM as _,
            IPPROTO_TCP as _,
            local,
            remote,
            0,
            context,
            &raw const CONNECTION_EVENTS,
            null_mut(),
            null_mut(),
            null_mut(),
            irp,
        )
    };
    // SAFETY: the addresses are in the payload.
    unsafe { start(shell, Reserving { kind: Kind::Connection, owner }, make, call) }
}

/// What is to be made, and on whose behalf.
struct Reserving {
    kind: Kind,
    owner: u64,
}

/// The client object, and the functions that take it.
type Provider<'a> = (*mut c_void, &'a WSK_PROVIDER_DISPATCH);

/// Starts the call that makes a socket, with everything reserved that the socket will need (L14).
///
/// # Errors
/// Detach has begun, or there is no memory or slot.
///
/// # Safety
/// `call` hands the IRP to the provider, once, and gives it no pointers but the context, into the payload and to what
/// lives longer.
unsafe fn start<P: Payload<Owner = Shared<Shell>>>(
    shell: &Shared<Shell>,
    Reserving { kind, owner }: Reserving,
    make: impl FnOnce(Reserved) -> P,
    call: impl FnOnce(Provider<'_>, *mut c_void, *mut P, *mut IRP) -> NTSTATUS,
) -> Result<Pending<P>, OpenError> {
    let enter = Enter::acquire(shell)?;
    let reserved = Reserved::new(&enter, kind, owner)?;
    let context = reserved.context();
    let provider = enter.provider();
    let call = |payload: *mut P, irp| call(provider, context, payload, irp);
    // SAFETY: the context lives until the socket's close; the rest is as the caller promises.
    let started = unsafe { op::start(&mut None, Arming::OnDevice(shell.device), shell, make(reserved), call) };
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
