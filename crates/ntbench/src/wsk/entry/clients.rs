//! The functions of WSK_PROVIDER_DISPATCH.

#![allow(unsafe_code)] // The edge to drivers: everything comes by pointer.

use std::ffi::c_void;

use nt_abi::wsk::*;
use nt_abi::{DISPATCH_LEVEL, GUID, IRP, NtStatus, PASSIVE_LEVEL, UNICODE_STRING};

use super::{check_place, on_client};
use crate::wsk::address;
use crate::wsk::client::Client;
use crate::wsk::connect::Wish;
use crate::wsk::control::Control;
use crate::wsk::faults::{Action, Function, Moment};
use crate::wsk::perform::answer;
use crate::wsk::request::Outcome;
use crate::wsk::resolve::Ask;
use crate::wsk::socket::Kind;

fn wish(family: u16, kind: (u16, u32, u32), context: *mut c_void, dispatch: *const c_void) -> Result<Wish, NtStatus> {
    let socket_type = kind.0;
    let family = address::family(family).ok_or(NtStatus::PROTOCOL_NOT_SUPPORTED)?;
    let kind = match kind {
        (SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_LISTEN_SOCKET) => Kind::Listen,
        (SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_CONNECTION_SOCKET) => Kind::Connection,
        (SOCK_DGRAM, IPPROTO_UDP, WSK_FLAG_DATAGRAM_SOCKET) => Kind::Datagram,
        (SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_STREAM_SOCKET) => Kind::Stream,
        (_, _, WSK_FLAG_BASIC_SOCKET) => Kind::Basic,
        (kind, protocol, flags) => {
            let detail = format!("type {kind}, protocol {protocol}, flags {flags:#x}: no such sockets here");
            crate::wsk::trace("WskSocket", 0, Some(NtStatus::NOT_SUPPORTED), detail);
            return Err(NtStatus::NOT_SUPPORTED);
        }
    };
    Ok(Wish { kind, family, context, dispatch, socket_type, descriptor: std::ptr::null() })
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn socket(
    client: PWSK_CLIENT,
    family: u16,
    kind: u16,
    protocol: u32,
    flags: u32,
    context: *mut c_void,
    dispatch: *const c_void,
    _process: *mut c_void,
    _thread: *mut c_void,
    descriptor: *mut c_void,
    irp: *mut IRP,
) -> NtStatus {
    let work = |client: &Client, request| {
        let wish = wish(family, (kind, protocol, flags), context, dispatch).map(|wish| Wish { descriptor, ..wish });
        let made = wish.and_then(|wish| client.socket(&wish, Function::Socket));
        answer(request, made.map(|socket| socket.address()))
    };
    // SAFETY: what the driver gave.
    unsafe { on_client(Function::Socket, DISPATCH_LEVEL, client, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn socket_connect(
    client: PWSK_CLIENT,
    kind: u16,
    protocol: u32,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    flags: u32,
    context: *mut c_void,
    dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    _process: *mut c_void,
    _thread: *mut c_void,
    descriptor: *mut c_void,
    irp: *mut IRP,
) -> NtStatus {
    let read = || {
        if local.is_null() || remote.is_null() || flags != 0 {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        // SAFETY: what the driver gave.
        unsafe {
            let wish = wish((*local).sa_family, (kind, protocol, WSK_FLAG_CONNECTION_SOCKET), context, dispatch.cast())?;
            let wish = Wish { descriptor, ..wish };
            let ends = (address::read(local, wish.family)?, address::read(remote, wish.family)?);
            Ok((wish, ends))
        }
    };
    let work = |client: &Client, request| match read() {
        Ok((wish, (local, remote))) => client.socket_connect(request, &wish, local, remote),
        Err(status) => Outcome::Done(request, status, 0),
    };
    // SAFETY: what the driver gave.
    unsafe { on_client(Function::SocketConnect, DISPATCH_LEVEL, client, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn control_client(
    client: PWSK_CLIENT,
    code: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    returned: *mut usize,
    irp: *mut IRP,
) -> NtStatus {
    let function = Function::ControlClient;
    let (input, output) = ((input.cast_const(), input_size), (output, output_size));
    let control = Control { kind: WskIoctl, code, level: 0, input, output, returned };
    if !irp.is_null() {
        let work = |client: &Client, request| client.control_later(&control, request);
        // SAFETY: what the driver gave.
        return unsafe { on_client(function, DISPATCH_LEVEL, client, irp, work) };
    }
    check_place(function, DISPATCH_LEVEL);
    // SAFETY: what the driver gave.
    let Some(client) = (unsafe { Client::known(client, function.name()) }) else { return NtStatus::INVALID_PARAMETER };
    // What has been cached can be released until the client's own detach is complete.
    let hold = client.hold();
    if hold.is_none() && code != WSK_RELEASE_SD {
        return NtStatus::INVALID_PARAMETER;
    }
    client.shared.faults.step(function, Moment::Enter);
    let status = match client.shared.faults.plan(function) {
        Some(Action::Fail(status) | Action::Abandon(status)) => status,
        _ => client.control(&control),
    };
    client.shared.faults.step(function, Moment::Return);
    status
}

/// # IRQL
/// PASSIVE_LEVEL
pub(super) unsafe extern "win64" fn get_address_info(
    client: PWSK_CLIENT,
    node: *const UNICODE_STRING,
    service: *const UNICODE_STRING,
    name_space: u32,
    provider: *const GUID,
    hints: *const ADDRINFOEXW,
    result: *mut *mut ADDRINFOEXW,
    process: *mut c_void,
    thread: *mut c_void,
    irp: *mut IRP,
) -> NtStatus {
    let ask = Ask { node, service, name_space, provider, hints };
    // SAFETY: what the driver gave.
    let work = |client: &Client, request| unsafe { client.address_info(request, &ask, result, (process, thread)) };
    // SAFETY: what the driver gave.
    unsafe { on_client(Function::GetAddressInfo, PASSIVE_LEVEL, client, irp, work) }
}

/// # IRQL
/// PASSIVE_LEVEL
pub(super) unsafe extern "win64" fn free_address_info(client: PWSK_CLIENT, info: *mut ADDRINFOEXW) {
    let function = Function::FreeAddressInfo;
    check_place(function, PASSIVE_LEVEL);
    // SAFETY: what the driver gave.
    let Some(client) = (unsafe { Client::known(client, function.name()) }) else { return };
    client.shared.faults.step(function, Moment::Enter);
    client.free_address_info(info);
    client.shared.faults.step(function, Moment::Return);
}

/// # IRQL
/// PASSIVE_LEVEL
pub(super) unsafe extern "win64" fn get_name_info(
    client: PWSK_CLIENT,
    address: *const SOCKADDR,
    length: u32,
    node: *mut UNICODE_STRING,
    service: *mut UNICODE_STRING,
    flags: u32,
    process: *mut c_void,
    thread: *mut c_void,
    irp: *mut IRP,
) -> NtStatus {
    let work = |client: &Client, request| {
        // SAFETY: what the driver gave, as long as it says.
        let address = unsafe { address::read_sized(address, length) };
        // SAFETY: what the driver gave.
        unsafe { client.name_info(request, address, (node, service), flags, (process, thread)) }
    };
    // SAFETY: what the driver gave.
    unsafe { on_client(Function::GetNameInfo, PASSIVE_LEVEL, client, irp, work) }
}
