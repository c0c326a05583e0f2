//! The functions of sockets.

#![allow(unsafe_code)] // The edge to drivers: everything comes by pointer.

use std::ffi::c_void;

use nt_abi::wsk::*;
use nt_abi::{DISPATCH_LEVEL, IRP, NtStatus, PASSIVE_LEVEL};

use super::{check_place, on_socket, with_buffer};
use crate::ke::irql;
use crate::wsk::address;
use crate::wsk::buffer::Buffers;
use crate::wsk::control::Control;
use crate::wsk::faults::{Action, Function, Moment};
use crate::wsk::perform::{answer, perform, refuse};
use crate::wsk::request::{Outcome, Owner, Request};
use crate::wsk::socket::{Hold, Kind, Socket};
use crate::wsk::state::Accept;

/// The most that WskConnectEx sends.
const LARGEST: usize = 65_535;

/// # IRQL
/// <= DISPATCH_LEVEL; PASSIVE_LEVEL for lists of addresses
pub(super) unsafe extern "win64" fn control_socket(
    socket: *mut WSK_SOCKET,
    kind: WSK_CONTROL_SOCKET_TYPE,
    code: u32,
    level: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    returned: *mut usize,
    irp: *mut IRP,
) -> NtStatus {
    let function = Function::ControlSocket;
    let (input, output) = ((input.cast_const(), input_size), (output, output_size));
    let control = Control { kind, code, level, input, output, returned };
    let lists = [SIO_ADDRESS_LIST_QUERY, SIO_ADDRESS_LIST_CHANGE, SIO_ADDRESS_LIST_SORT];
    if kind == WskIoctl && lists.contains(&code) {
        irql::at_most(function.name(), PASSIVE_LEVEL);
    }
    if !control.is_events() {
        if control.takes_no_irp() {
            // SAFETY: what the driver gave.
            return unsafe { without_irp(socket, &control, irp) };
        }
        let work = |socket: &Socket, request| socket.control_later(&control, request);
        // SAFETY: what the driver gave.
        return unsafe { on_socket(function, socket, irp, work) };
    }
    check_place(function, DISPATCH_LEVEL);
    // SAFETY: what the driver gave.
    let Some(socket) = (unsafe { Socket::enter(socket, function.name()) }) else { return refuse(irp) };
    // SAFETY: what the driver gave.
    unsafe { events(&socket, &control, irp) }
}

/// WskControlSocket that takes no IRP: one that is given is completed with an error, after it has been reported.
///
/// # Safety
/// `socket` and `irp` are what a driver gave.
unsafe fn without_irp(socket: *mut WSK_SOCKET, control: &Control, irp: *mut IRP) -> NtStatus {
    let function = Function::ControlSocket;
    check_place(function, DISPATCH_LEVEL);
    // SAFETY: what the driver gave.
    let Some(socket) = (unsafe { Socket::enter(socket, function.name()) }) else { return refuse(irp) };
    if !irp.is_null() {
        let text = format!("WskControlSocket with code {:#x} was called with an IRP, which it does not take", control.code);
        crate::verifier::violation("WSK-IRP", text);
        return refuse(irp);
    }
    let faults = &socket.shared.faults;
    let inside = socket.step_inside();
    faults.step(function, Moment::Enter);
    let status = match faults.plan(function) {
        Some(Action::Fail(status) | Action::Abandon(status)) => status,
        _ => socket.control(control).err().unwrap_or(NtStatus::SUCCESS),
    };
    drop(inside);
    faults.step(function, Moment::Return);
    status
}

/// SO_WSK_EVENT_CALLBACK, the one function whose IRP may be left out.
///
/// # Safety
/// `irp` is what a driver gave.
unsafe fn events(socket: &Hold, control: &Control, irp: *mut IRP) -> NtStatus {
    let function = Function::ControlSocket;
    let faults = &socket.shared.faults;
    faults.step(function, Moment::Enter);
    let inside = socket.step_inside();
    let request = match socket.hold().map(Owner::Socket).filter(|_| !irp.is_null()) {
        // SAFETY: as the caller promises.
        Some(owner) => unsafe { Request::take(irp, owner, function) },
        None => None,
    };
    let (status, request) = match faults.plan(function) {
        Some(Action::Fail(status)) => (status, request),
        _ => socket.switch_events(control, request),
    };
    if let Some(request) = request {
        request.complete(status, 0);
    }
    drop(inside);
    faults.step(function, Moment::Return);
    status
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn close_socket(socket: *mut WSK_SOCKET, irp: *mut IRP) -> NtStatus {
    let function = Function::Close;
    check_place(function, DISPATCH_LEVEL);
    // SAFETY: what the driver gave.
    let Some(hold) = (unsafe { Socket::enter(socket, function.name()) }) else { return refuse(irp) };
    let shared = std::sync::Arc::clone(&hold.shared);
    shared.faults.step(function, Moment::Enter);
    let plan = shared.faults.plan(function);
    let owner = hold.client.hold().map(Owner::Client);
    // SAFETY: what the driver gave.
    let request = owner.and_then(|owner| unsafe { Request::take(irp, owner, function) });
    let Some(mut request) = request else { return NtStatus::INVALID_PARAMETER };
    request.late = shared.faults.current().and_then(|faults| faults.close_delay);
    let work = |request| match Socket::close(hold, request) {
        Some(request) => Outcome::Done(request, NtStatus::SUCCESS, 0),
        None => Outcome::Pending,
    };
    let status = perform(plan, request, work);
    shared.faults.step(function, Moment::Return);
    status
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn bind(socket: *mut WSK_SOCKET, to: *mut SOCKADDR, flags: u32, irp: *mut IRP) -> NtStatus {
    let work = |socket: &Socket, request| {
        // SAFETY: what the driver gave.
        let to = unsafe { address::read(to, socket.family) };
        let to = to.and_then(|to| if flags == 0 { Ok(to) } else { Err(NtStatus::INVALID_PARAMETER) });
        answer(request, to.and_then(|to| socket.bind(to)).map(|()| 0))
    };
    // SAFETY: what the driver gave.
    unsafe { on_socket(Function::Bind, socket, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn accept(
    socket: *mut WSK_SOCKET,
    flags: u32,
    context: *mut c_void,
    dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    irp: *mut IRP,
) -> NtStatus {
    let work = |socket: &Socket, request| {
        if flags != 0 || socket.role() != Kind::Listen {
            return Outcome::Done(request, NtStatus::INVALID_PARAMETER, 0);
        }
        socket.accept(Accept { request, context, dispatch, local, remote, lost: false })
    };
    // SAFETY: what the driver gave.
    unsafe { on_socket(Function::Accept, socket, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn inspect_complete(
    socket: *mut WSK_SOCKET,
    id: *mut WSK_INSPECT_ID,
    action: WSK_INSPECT_ACTION,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: what the driver gave.
    let id = unsafe { id.as_ref() }.copied().ok_or(NtStatus::INVALID_PARAMETER);
    let work = |socket: &Socket, request| answer(request, id.and_then(|id| socket.inspect_complete(id, action)));
    // SAFETY: what the driver gave.
    unsafe { on_socket(Function::InspectComplete, socket, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn listen(socket: *mut WSK_SOCKET, irp: *mut IRP) -> NtStatus {
    let work = |socket: &Socket, request| answer(request, socket.listen().map(|()| 0));
    // SAFETY: what the driver gave.
    unsafe { on_socket(Function::Listen, socket, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn connect(socket: *mut WSK_SOCKET, to: *mut SOCKADDR, flags: u32, irp: *mut IRP) -> NtStatus {
    let work = |socket: &Socket, request| {
        // SAFETY: what the driver gave.
        match unsafe { address::read(to, socket.family) } {
            Ok(to) if flags == 0 => socket.connect(request, to, None, false),
            Ok(_) => Outcome::Done(request, NtStatus::INVALID_PARAMETER, 0),
            Err(status) => Outcome::Done(request, status, 0),
        }
    };
    // SAFETY: what the driver gave.
    unsafe { on_socket(Function::Connect, socket, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn connect_ex(
    socket: *mut WSK_SOCKET,
    to: *mut SOCKADDR,
    buffer: *mut WSK_BUF,
    flags: u32,
    irp: *mut IRP,
) -> NtStatus {
    let read = |socket: &Socket| {
        // SAFETY: what the driver gave.
        let to = unsafe { address::read(to, socket.family)? };
        // SAFETY: what the driver gave.
        let buffers = unsafe { Buffers::of(buffer, Function::ConnectEx.name())? };
        match buffers.len() {
            _ if flags != 0 => Err(NtStatus::INVALID_PARAMETER),
            0 => Ok((to, None)),
            1..=LARGEST => Ok((to, Some(buffers))),
            _ => Err(NtStatus::BUFFER_OVERFLOW),
        }
    };
    let work = |socket: &Socket, request| match read(socket) {
        Ok((to, data)) => socket.connect(request, to, data, false),
        Err(status) => Outcome::Done(request, status, 0),
    };
    // SAFETY: what the driver gave.
    unsafe { on_socket(Function::ConnectEx, socket, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn get_local_address(socket: *mut WSK_SOCKET, to: *mut SOCKADDR, irp: *mut IRP) -> NtStatus {
    let work = |socket: &Socket, request| {
        // SAFETY: what the driver gave, with room for the socket's family.
        let write = |address| unsafe { address::write(to, address, socket.family) };
        answer(request, socket.local().map(write).map(|()| 0))
    };
    // SAFETY: what the driver gave.
    unsafe { on_socket(Function::GetLocalAddress, socket, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn get_remote_address(socket: *mut WSK_SOCKET, to: *mut SOCKADDR, irp: *mut IRP) -> NtStatus {
    let work = |socket: &Socket, request| {
        // SAFETY: what the driver gave, with room for the socket's family.
        let write = |address| unsafe { address::write(to, address, socket.family) };
        answer(request, socket.remote().map(write).map(|()| 0))
    };
    // SAFETY: what the driver gave.
    unsafe { on_socket(Function::GetRemoteAddress, socket, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn send(socket: *mut WSK_SOCKET, buffer: *mut WSK_BUF, flags: u32, irp: *mut IRP) -> NtStatus {
    let work = |socket: &Socket, request, buffers| socket.send(request, buffers, flags);
    // SAFETY: what the driver gave.
    unsafe { with_buffer(Function::Send, socket, buffer, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn receive(
    socket: *mut WSK_SOCKET,
    buffer: *mut WSK_BUF,
    flags: u32,
    irp: *mut IRP,
) -> NtStatus {
    let work = |socket: &Socket, request, buffers| socket.receive(request, buffers, flags);
    // SAFETY: what the driver gave.
    unsafe { with_buffer(Function::Receive, socket, buffer, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn disconnect(
    socket: *mut WSK_SOCKET,
    buffer: *mut WSK_BUF,
    flags: u32,
    irp: *mut IRP,
) -> NtStatus {
    let work = |socket: &Socket, request, buffers| socket.disconnect(request, buffers, flags);
    // SAFETY: what the driver gave.
    unsafe { with_buffer(Function::Disconnect, socket, buffer, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn release(socket: *mut WSK_SOCKET, list: *mut WSK_DATA_INDICATION) -> NtStatus {
    let function = Function::Release;
    check_place(function, DISPATCH_LEVEL);
    // SAFETY: what the driver gave.
    let Some(socket) = (unsafe { Socket::enter(socket, function.name()) }) else { return NtStatus::INVALID_PARAMETER };
    socket.shared.faults.step(function, Moment::Enter);
    let inside = socket.step_inside();
    let status = socket.release(list);
    drop(inside);
    socket.shared.faults.step(function, Moment::Return);
    status
}
