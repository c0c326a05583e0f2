//! The functions that clients call, and the tables they find them in.
//!
//! Each does the same: checks the place it is called from, finds its object, takes the IRP, consults the faults, does
//! what it is for, and completes the IRP or leaves it pending.

#![allow(unsafe_code)] // The edge to drivers: everything comes by pointer.

use std::ffi::c_void;

use nt_abi::wsk::*;
use nt_abi::{DISPATCH_LEVEL, IRP, KIRQL, NtStatus};

use super::buffer::Buffers;
use super::client::Client;
use super::faults::{Action, Function, Moment};
use super::perform::{perform, refuse};
use super::request::{Outcome, Owner, Request};
use super::socket::{Kind, Socket};
use crate::callout;
use crate::ke::irql;

mod clients;
mod datagrams;
mod sockets;

use clients::{control_client, free_address_info, get_address_info, get_name_info, socket, socket_connect};
use datagrams::{receive_from, release_datagrams, send_messages, send_to};
use sockets::{
    accept, bind, close_socket, connect, connect_ex, control_socket, disconnect, get_local_address, get_remote_address,
    inspect_complete, listen, receive, release, send,
};

/// The table of a client.
pub(super) static PROVIDER: WSK_PROVIDER_DISPATCH = WSK_PROVIDER_DISPATCH {
    Version: WSK_VERSION_1_0,
    Reserved: 0,
    WskSocket: socket,
    WskSocketConnect: socket_connect,
    WskControlClient: control_client,
    WskGetAddressInfo: get_address_info,
    WskFreeAddressInfo: free_address_info,
    WskGetNameInfo: get_name_info,
};

static BASIC: WSK_PROVIDER_BASIC_DISPATCH =
    WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: control_socket, WskCloseSocket: close_socket };

static LISTEN: WSK_PROVIDER_LISTEN_DISPATCH = WSK_PROVIDER_LISTEN_DISPATCH {
    Basic: WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: control_socket, WskCloseSocket: close_socket },
    WskBind: bind,
    WskAccept: accept,
    WskInspectComplete: inspect_complete,
    WskGetLocalAddress: get_local_address,
};

static CONNECTION: WSK_PROVIDER_CONNECTION_DISPATCH = WSK_PROVIDER_CONNECTION_DISPATCH {
    Basic: WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: control_socket, WskCloseSocket: close_socket },
    WskBind: bind,
    WskConnect: connect,
    WskGetLocalAddress: get_local_address,
    WskGetRemoteAddress: get_remote_address,
    WskSend: send,
    WskReceive: receive,
    WskDisconnect: disconnect,
    WskRelease: release,
    WskConnectEx: connect_ex,
    WskSendEx: std::ptr::null(),
    WskReceiveEx: std::ptr::null(),
};

static DATAGRAM: WSK_PROVIDER_DATAGRAM_DISPATCH = WSK_PROVIDER_DATAGRAM_DISPATCH {
    Basic: WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: control_socket, WskCloseSocket: close_socket },
    WskBind: bind,
    WskSendTo: send_to,
    WskReceiveFrom: receive_from,
    WskRelease: release_datagrams,
    WskGetLocalAddress: get_local_address,
    WskSendMessages: send_messages,
};

static STREAM: WSK_PROVIDER_STREAM_DISPATCH = WSK_PROVIDER_STREAM_DISPATCH {
    Basic: WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: control_socket, WskCloseSocket: close_socket },
    WskBind: bind,
    WskAccept: accept,
    WskConnect: connect,
    WskListen: listen,
    WskSend: send,
    WskReceive: receive,
    WskDisconnect: disconnect,
    WskRelease: release,
    WskGetLocalAddress: get_local_address,
    WskGetRemoteAddress: get_remote_address,
    WskConnectEx: connect_ex,
    WskSendEx: std::ptr::null(),
    WskReceiveEx: std::ptr::null(),
};

/// The table of a kind of socket.
pub(super) fn table(kind: Kind) -> *const c_void {
    match kind {
        Kind::Basic => (&raw const BASIC).cast(),
        Kind::Listen => (&raw const LISTEN).cast(),
        Kind::Connection => (&raw const CONNECTION).cast(),
        Kind::Datagram => (&raw const DATAGRAM).cast(),
        Kind::Stream => (&raw const STREAM).cast(),
    }
}

/// Where a function may be called from.
fn check_place(function: Function, bound: KIRQL) {
    irql::at_most(function.name(), bound);
    if callout::innermost() == Some(callout::Kind::Completion) {
        let text = format!("{} was entered from a completion routine", function.name());
        crate::verifier::violation("L36", text);
    }
}

/// A function of a client's that takes an IRP.
///
/// # Safety
/// `client` and `irp` are what a driver gave.
unsafe fn on_client(
    function: Function,
    bound: KIRQL,
    client: PWSK_CLIENT,
    irp: *mut IRP,
    work: impl FnOnce(&Client, Request) -> Outcome,
) -> NtStatus {
    check_place(function, bound);
    // SAFETY: as the caller promises.
    let Some(client) = (unsafe { Client::enter(client, function.name()) }) else { return refuse(irp) };
    let faults = &client.shared.faults;
    faults.step(function, Moment::Enter);
    let status = match faults.plan(function) {
        Some(Action::Abandon(status)) => status,
        plan => {
            let owner = client.hold().map(Owner::Client);
            // SAFETY: as the caller promises.
            match owner.and_then(|owner| unsafe { Request::take(irp, owner, function) }) {
                None => NtStatus::INVALID_PARAMETER,
                Some(request) => perform(plan, request, |request| work(&client, request)),
            }
        }
    };
    faults.step(function, Moment::Return);
    status
}

/// A function of a socket's that takes an IRP.
///
/// # Safety
/// `socket` and `irp` are what a driver gave.
unsafe fn on_socket(
    function: Function,
    socket: *mut WSK_SOCKET,
    irp: *mut IRP,
    work: impl FnOnce(&Socket, Request) -> Outcome,
) -> NtStatus {
    check_place(function, DISPATCH_LEVEL);
    // SAFETY: as the caller promises.
    let Some(socket) = (unsafe { Socket::enter(socket, function.name()) }) else { return refuse(irp) };
    let faults = &socket.shared.faults;
    let inside = socket.step_inside();
    faults.step(function, Moment::Enter);
    let status = match faults.plan(function) {
        Some(Action::Abandon(status)) => status,
        plan => {
            let owner = socket.hold().map(Owner::Socket);
            // SAFETY: as the caller promises.
            match owner.and_then(|owner| unsafe { Request::take(irp, owner, function) }) {
                None => NtStatus::INVALID_PARAMETER,
                Some(request) => perform(plan, request, |request| work(&socket, request)),
            }
        }
    };
    drop(inside);
    faults.step(function, Moment::Return);
    status
}

/// The same, with a WSK_BUF.
///
/// # Safety
/// All are what a driver gave.
unsafe fn with_buffer(
    function: Function,
    socket: *mut WSK_SOCKET,
    buffer: *const WSK_BUF,
    irp: *mut IRP,
    work: impl FnOnce(&Socket, Request, Buffers) -> Outcome,
) -> NtStatus {
    let work = |socket: &Socket, request| {
        if socket.role() != Kind::Connection {
            return Outcome::Done(request, NtStatus::INVALID_DEVICE_REQUEST, 0);
        }
        // SAFETY: as the caller promises.
        match unsafe { Buffers::of(buffer, function.name()) } {
            Ok(buffers) => work(socket, request, buffers),
            Err(status) => Outcome::Done(request, status, 0),
        }
    };
    // SAFETY: as the caller promises.
    unsafe { on_socket(function, socket, irp, work) }
}
