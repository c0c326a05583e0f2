//! The functions of datagram sockets.

#![allow(unsafe_code)] // The edge to drivers: everything comes by pointer.

use std::net::SocketAddr;

use nt_abi::wsk::{CMSGHDR, SOCKADDR, WSK_BUF, WSK_BUF_LIST, WSK_DATAGRAM_INDICATION, WSK_SOCKET};
use nt_abi::{DISPATCH_LEVEL, IRP, NtStatus};

use super::{check_place, on_socket};
use crate::wsk::buffer::Buffers;
use crate::wsk::datagram::Results;
use crate::wsk::faults::{Function, Moment};
use crate::wsk::request::{Outcome, Request};
use crate::wsk::socket::{Kind, Socket};
use crate::wsk::transport::Ancillary;
use crate::wsk::{address, ancillary};

/// A function of a datagram socket's that takes an IRP.
///
/// # Safety
/// `socket` and `irp` are what a driver gave.
unsafe fn on_datagrams(
    function: Function,
    socket: *mut WSK_SOCKET,
    flags: u32,
    irp: *mut IRP,
    work: impl FnOnce(&Socket, Request) -> Outcome,
) -> NtStatus {
    let work = |socket: &Socket, request| match socket.kind {
        Kind::Datagram if flags == 0 => work(socket, request),
        Kind::Datagram => Outcome::Done(request, NtStatus::INVALID_PARAMETER, 0),
        _ => Outcome::Done(request, NtStatus::INVALID_DEVICE_REQUEST, 0),
    };
    // SAFETY: as the caller promises.
    unsafe { on_socket(function, socket, irp, work) }
}

/// What a datagram is sent with, where the client gave it.
struct Envelope {
    to: *const SOCKADDR,
    control: *const CMSGHDR,
    length: u32,
}

impl Envelope {
    /// # Safety
    /// The address is null or one of the family that it says.
    unsafe fn address(&self, socket: &Socket) -> Result<Option<SocketAddr>, NtStatus> {
        if self.to.is_null() {
            return Ok(None);
        }
        // SAFETY: as the caller promises.
        unsafe { address::read(self.to, socket.family) }.map(Some)
    }

    /// # Safety
    /// The control data is as long as is said.
    unsafe fn ancillary(&self, by_v6: bool) -> Result<Ancillary, NtStatus> {
        match self.length {
            0 => Ok(Ancillary::default()),
            _ if self.control.is_null() => Err(NtStatus::INVALID_PARAMETER),
            length => {
                // SAFETY: as the caller promises.
                let data = unsafe { std::slice::from_raw_parts(self.control.cast::<u8>(), length as usize) };
                ancillary::parse(data, by_v6)
            }
        }
    }

    /// # Safety
    /// All is what a driver gave.
    unsafe fn send(&self, socket: &Socket, request: Request, messages: Result<Vec<Buffers>, NtStatus>) -> Outcome {
        let read = || {
            // SAFETY: as the caller promises.
            let to = unsafe { self.address(socket)? };
            Ok((messages?, to))
        };
        match read() {
            // SAFETY: as the caller promises.
            Ok((messages, to)) => socket.send_to(request, messages, to, |by_v6| unsafe { self.ancillary(by_v6) }),
            Err(status) => Outcome::Done(request, status, 0),
        }
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn send_to(
    socket: *mut WSK_SOCKET,
    buffer: *mut WSK_BUF,
    flags: u32,
    to: *mut SOCKADDR,
    length: u32,
    control: *mut CMSGHDR,
    irp: *mut IRP,
) -> NtStatus {
    let function = Function::SendTo;
    let work = |socket: &Socket, request| {
        // SAFETY: what the driver gave.
        let message = match unsafe { buffer.as_ref() } {
            None => Err(NtStatus::INVALID_PARAMETER),
            // SAFETY: what the driver gave.
            Some(buffer) => unsafe { Buffers::of(buffer, function.name()) },
        };
        // SAFETY: what the driver gave.
        unsafe { Envelope { to, control, length }.send(socket, request, message.map(|one| vec![one])) }
    };
    // SAFETY: what the driver gave.
    unsafe { on_datagrams(function, socket, flags, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn send_messages(
    socket: *mut WSK_SOCKET,
    list: *mut WSK_BUF_LIST,
    flags: u32,
    to: *mut SOCKADDR,
    length: u32,
    control: *mut CMSGHDR,
    irp: *mut IRP,
) -> NtStatus {
    let function = Function::SendMessages;
    let read = || {
        let mut messages = Vec::new();
        let mut at = list;
        // SAFETY: what the driver gave; the list ends with null.
        while let Some(one) = unsafe { at.as_ref() } {
            // SAFETY: what the driver gave.
            messages.push(unsafe { Buffers::of(&raw const one.Buffer, function.name())? });
            at = one.Next;
        }
        if messages.is_empty() { Err(NtStatus::INVALID_PARAMETER) } else { Ok(messages) }
    };
    let work = |socket: &Socket, request| {
        // SAFETY: what the driver gave.
        unsafe { Envelope { to, control, length }.send(socket, request, read()) }
    };
    // SAFETY: what the driver gave.
    unsafe { on_datagrams(function, socket, flags, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn receive_from(
    socket: *mut WSK_SOCKET,
    buffer: *mut WSK_BUF,
    flags: u32,
    remote: *mut SOCKADDR,
    control_length: *mut u32,
    control: *mut CMSGHDR,
    control_flags: *mut u32,
    irp: *mut IRP,
) -> NtStatus {
    let function = Function::ReceiveFrom;
    let work = |socket: &Socket, request| {
        // SAFETY: what the driver gave.
        let buffers = match unsafe { buffer.as_ref() } {
            None => Err(NtStatus::INVALID_PARAMETER),
            // SAFETY: what the driver gave.
            Some(buffer) => unsafe { Buffers::of(buffer, function.name()) },
        };
        let results = Results { remote, control_length, control, flags: control_flags };
        match buffers {
            Ok(buffers) => socket.receive_from(request, buffers, results),
            Err(status) => Outcome::Done(request, status, 0),
        }
    };
    // SAFETY: what the driver gave.
    unsafe { on_datagrams(function, socket, flags, irp, work) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) unsafe extern "win64" fn release_datagrams(socket: *mut WSK_SOCKET, list: *mut WSK_DATAGRAM_INDICATION) -> NtStatus {
    let function = Function::Release;
    check_place(function, DISPATCH_LEVEL);
    // SAFETY: what the driver gave.
    let Some(socket) = (unsafe { Socket::enter(socket, function.name()) }) else { return NtStatus::INVALID_PARAMETER };
    socket.shared.faults.step(function, Moment::Enter);
    let inside = socket.step_inside();
    let status = socket.release_datagrams(list);
    drop(inside);
    socket.shared.faults.step(function, Moment::Return);
    status
}
