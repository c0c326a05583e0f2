//! Functions of a socket that are one call of Wine's each.

#![allow(unsafe_code)] // Functions that the driver calls, and Wine's.

use core::ffi::c_void;
use core::ptr::null_mut;

use nt_abi::wsk::{
    AF_INET6, SOCKADDR, WSK_BUF, WSK_DATA_INDICATION, WSK_INSPECT_ACTION, WSK_INSPECT_ID, WSK_SOCKET,
};
use nt_abi::{IRP, NtStatus};

use super::block::Block;
use super::inner::{Address, Finish, Inner, call};
use super::irp::Taken;
use super::socket::{CONNECTING, Socket};
use super::tables::{Kind, function};

/// How many bytes an address has.
fn length(address: &SOCKADDR) -> usize {
    if address.sa_family == AF_INET6 { 28 } else { 16 }
}

impl Address {
    /// Keeps an address of the driver's.
    ///
    /// # Safety
    /// It is null or an address.
    pub unsafe fn keep(&mut self, address: *const SOCKADDR) {
        // SAFETY: the caller's promise.
        if let Some(it) = unsafe { address.as_ref() } {
            // SAFETY: an address of that family has so many bytes, and there is room for more.
            unsafe { self.0.as_mut_ptr().copy_from_nonoverlapping(address.cast(), length(it)) };
        }
    }

    /// Tells the driver an address.
    ///
    /// # Safety
    /// `to` is null, or has room for an address of the socket's family.
    pub unsafe fn give(&mut self, to: *mut SOCKADDR) {
        if to.is_null() {
            return;
        }
        // SAFETY: it begins with a SOCKADDR.
        let length = length(unsafe { &*self.as_ptr() });
        // SAFETY: the caller's promise.
        unsafe { to.cast::<u8>().copy_from_nonoverlapping(self.0.as_ptr(), length) };
    }
}

/// Prepares a call for an IRP of the driver's, which is completed if there is no memory for it.
fn prepare(socket: &Socket, name: &'static str, irp: *mut IRP, finish: Finish) -> Option<Block<Inner>> {
    // SAFETY: the driver's IRP.
    let taken = unsafe { socket.take(irp) };
    let Some(mut made) = Inner::new(name, finish) else {
        socket.answer(taken, NtStatus::INSUFFICIENT_RESOURCES, 0);
        return None;
    };
    made.socket = socket.refer();
    made.client = taken.as_ptr();
    Some(made)
}

/// The end of a call: the driver's IRP ends as Wine's has.
fn finish(call: Block<Inner>, status: NtStatus, information: usize) {
    super::tell(call.name(), status);
    answer(call, status, information);
}

/// Completes the IRP that waits for a call.
pub(super) fn answer(call: Block<Inner>, status: NtStatus, information: usize) {
    let (client, socket) = (call.client(), call.socket);
    drop(call);
    if let Some(client) = client {
        // SAFETY: the call's reference.
        unsafe { &*socket }.answer(client, status, information);
    }
    // SAFETY: the reference that `prepare` took.
    unsafe { Socket::release(socket) };
}

/// A call that asks for an address.
fn finish_address(mut call: Block<Inner>, status: NtStatus, information: usize) {
    if status.is_success() {
        let to = call.wanted[0].cast();
        // SAFETY: what the driver gave for it.
        unsafe { call.local.give(to) };
    }
    finish(call, status, information);
}

/// Calls a function of Wine's, or says that there is none.
macro_rules! enter {
    ($wine:expr, $table:ident, $($name:ident).+, |$function:ident| $call:expr) => {
        match function!($wine, $table, $($name).+) {
            // SAFETY: the driver's arguments, which stay until its IRP is completed.
            Some($function) => unsafe { $call },
            None => NtStatus::NOT_IMPLEMENTED,
        }
    };
}

#[allow(clippy::too_many_arguments)]
pub(super) unsafe extern "win64" fn control(
    socket: *mut WSK_SOCKET,
    request: i32,
    code: u32,
    level: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    returned: *mut usize,
    irp: *mut IRP,
) -> NtStatus {
    const NAME: &str = "WskControlSocket";
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    let wine = socket.wine();
    let ask = |irp: *mut IRP| {
        enter!(wine, WSK_PROVIDER_BASIC_DISPATCH, WskControlSocket, |function| function(
            wine,
            request,
            code,
            level,
            input_size,
            input,
            output_size,
            output,
            returned,
            irp
        ))
    };
    if irp.is_null() {
        let status = ask(irp);
        super::tell(NAME, status);
        return status;
    }
    if let Some(made) = prepare(socket, NAME, irp, finish) {
        call(made, |_, irp| ask(irp));
    }
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn close(socket: *mut WSK_SOCKET, irp: *mut IRP) -> NtStatus {
    // SAFETY: a socket of the driver's, which is entered for the last time.
    unsafe { Socket::of(socket).close(irp) };
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn bind(socket: *mut WSK_SOCKET, address: *mut SOCKADDR, flags: u32, irp: *mut IRP) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    let wine = socket.wine();
    let Some(mut made) = prepare(socket, "WskBind", irp, finish) else { return NtStatus::PENDING };
    // SAFETY: the driver's address.
    unsafe { made.local.keep(address) };
    call(made, |call, irp| {
        let address = call.local.as_ptr();
        // The place is the same in the tables of every kind that can be bound.
        enter!(wine, WSK_PROVIDER_LISTEN_DISPATCH, WskBind, |function| function(wine, address, flags, irp))
    });
    NtStatus::PENDING
}

/// The end of a connect, whose IRP may have been cancelled meanwhile.
fn finish_connect(call: Block<Inner>, status: NtStatus, information: usize) {
    super::tell(call.name(), status);
    let socket = call.socket;
    drop(call);
    // SAFETY: the call's reference.
    let it = unsafe { &*socket };
    let waiting = it.state().queues[CONNECTING].pop();
    if let Some(irp) = waiting {
        it.answer(irp, status, information);
    }
    // SAFETY: as above.
    unsafe { Socket::release(socket) };
}

pub(super) unsafe extern "win64" fn connect(
    socket: *mut WSK_SOCKET,
    address: *mut SOCKADDR,
    flags: u32,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    // SAFETY: the driver's IRP.
    let taken = unsafe { socket.take(irp) };
    let Some(mut made) = Inner::new("WskConnect", finish_connect) else {
        socket.answer(taken, NtStatus::INSUFFICIENT_RESOURCES, 0);
        return NtStatus::PENDING;
    };
    // SAFETY: the driver's address.
    unsafe { made.remote.keep(address) };
    made.socket = socket.refer();
    let reference = made.socket;
    if !socket.queue(taken, CONNECTING, WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 }) {
        // SAFETY: just taken.
        unsafe { Socket::release(reference) };
        return NtStatus::PENDING;
    }
    let wine = socket.wine();
    let is_stream = socket.kind == Kind::Stream;
    call(made, |call, irp| {
        let address = call.remote.as_ptr();
        match is_stream {
            true => enter!(wine, WSK_PROVIDER_STREAM_DISPATCH, WskConnect, |function| function(wine, address, flags, irp)),
            false => enter!(wine, WSK_PROVIDER_CONNECTION_DISPATCH, WskConnect, |function| function(wine, address, flags, irp)),
        }
    });
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn local_address(socket: *mut WSK_SOCKET, address: *mut SOCKADDR, irp: *mut IRP) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    let wine = socket.wine();
    let kind = socket.kind;
    let Some(mut made) = prepare(socket, "WskGetLocalAddress", irp, finish_address) else { return NtStatus::PENDING };
    made.wanted[0] = address.cast();
    call(made, |call, irp| {
        let to = call.local.as_ptr();
        macro_rules! ask {
            ($table:ident) => {
                enter!(wine, $table, WskGetLocalAddress, |function| function(wine, to, irp))
            };
        }
        match kind {
            Kind::Basic => NtStatus::NOT_SUPPORTED,
            Kind::Listening => ask!(WSK_PROVIDER_LISTEN_DISPATCH),
            Kind::Connection => ask!(WSK_PROVIDER_CONNECTION_DISPATCH),
            Kind::Datagram => ask!(WSK_PROVIDER_DATAGRAM_DISPATCH),
            Kind::Stream => ask!(WSK_PROVIDER_STREAM_DISPATCH),
        }
    });
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn remote_address(socket: *mut WSK_SOCKET, address: *mut SOCKADDR, irp: *mut IRP) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    let (wine, kind) = (socket.wine(), socket.kind);
    let Some(mut made) = prepare(socket, "WskGetRemoteAddress", irp, finish_address) else { return NtStatus::PENDING };
    made.wanted[0] = address.cast();
    call(made, |call, irp| {
        let to = call.local.as_ptr();
        match kind {
            Kind::Stream => {
                enter!(wine, WSK_PROVIDER_STREAM_DISPATCH, WskGetRemoteAddress, |function| function(wine, to, irp))
            }
            _ => enter!(wine, WSK_PROVIDER_CONNECTION_DISPATCH, WskGetRemoteAddress, |function| function(wine, to, irp)),
        }
    });
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn disconnect(socket: *mut WSK_SOCKET, buffer: *mut WSK_BUF, flags: u32, irp: *mut IRP) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    let (wine, kind) = (socket.wine(), socket.kind);
    let Some(made) = prepare(socket, "WskDisconnect", irp, finish) else { return NtStatus::PENDING };
    call(made, |_, irp| match kind {
        Kind::Stream => {
            enter!(wine, WSK_PROVIDER_STREAM_DISPATCH, WskDisconnect, |function| function(wine, buffer, flags, irp))
        }
        _ => enter!(wine, WSK_PROVIDER_CONNECTION_DISPATCH, WskDisconnect, |function| function(wine, buffer, flags, irp)),
    });
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn listen(socket: *mut WSK_SOCKET, irp: *mut IRP) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    let wine = socket.wine();
    if let Some(made) = prepare(socket, "WskListen", irp, finish) {
        call(made, |_, irp| enter!(wine, WSK_PROVIDER_STREAM_DISPATCH, WskListen, |function| function(wine, irp)));
    }
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn inspect_complete(
    socket: *mut WSK_SOCKET,
    id: *mut WSK_INSPECT_ID,
    action: WSK_INSPECT_ACTION,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    let wine = socket.wine();
    if let Some(made) = prepare(socket, "WskInspectComplete", irp, finish) {
        call(made, |_, irp| {
            enter!(wine, WSK_PROVIDER_LISTEN_DISPATCH, WskInspectComplete, |function| function(wine, id, action, irp))
        });
    }
    NtStatus::PENDING
}

/// Wine has no events, so that there is nothing to give back.
pub(super) unsafe extern "win64" fn release(_socket: *mut WSK_SOCKET, _list: *mut WSK_DATA_INDICATION) -> NtStatus {
    super::tell("WskRelease", NtStatus::INVALID_PARAMETER);
    NtStatus::INVALID_PARAMETER
}

/// Wine does not have it, nor would it know how to connect and send at once.
pub(super) unsafe extern "win64" fn connect_ex(
    socket: *mut WSK_SOCKET,
    _address: *mut SOCKADDR,
    _buffer: *mut WSK_BUF,
    _flags: u32,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    super::tell("WskConnectEx", NtStatus::NOT_IMPLEMENTED);
    // SAFETY: the driver's IRP.
    let taken: Taken = unsafe { socket.take(irp) };
    socket.answer(taken, NtStatus::NOT_IMPLEMENTED, 0);
    NtStatus::PENDING
}
