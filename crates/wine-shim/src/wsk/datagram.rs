//! Datagram sockets, of which Wine has none: a socket is refused before any of these is called.

#![allow(unsafe_code)] // Functions that the driver could call.

use nt_abi::wsk::{CMSGHDR, SOCKADDR, WSK_BUF, WSK_BUF_LIST, WSK_DATAGRAM_INDICATION, WSK_SOCKET};
use nt_abi::{IRP, NtStatus};

use super::socket::Socket;

/// Completes the IRP with what Wine would say.
///
/// # Safety
/// Socket and IRP are the driver's.
unsafe fn refuse(socket: *mut WSK_SOCKET, name: &str, irp: *mut IRP) -> NtStatus {
    super::tell(name, NtStatus::NOT_IMPLEMENTED);
    // SAFETY: the caller's promise.
    let socket = unsafe { Socket::of(socket) };
    // SAFETY: as above.
    let taken = unsafe { socket.take(irp) };
    socket.answer(taken, NtStatus::NOT_IMPLEMENTED, 0);
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn send_to(
    socket: *mut WSK_SOCKET,
    _buffer: *mut WSK_BUF,
    _flags: u32,
    _remote: *mut SOCKADDR,
    _control_length: u32,
    _control: *mut CMSGHDR,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: the driver's arguments.
    unsafe { refuse(socket, "WskSendTo", irp) }
}

pub(super) unsafe extern "win64" fn receive_from(
    socket: *mut WSK_SOCKET,
    _buffer: *mut WSK_BUF,
    _flags: u32,
    _remote: *mut SOCKADDR,
    _control_length: *mut u32,
    _control: *mut CMSGHDR,
    _control_flags: *mut u32,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: the driver's arguments.
    unsafe { refuse(socket, "WskReceiveFrom", irp) }
}

pub(super) unsafe extern "win64" fn send_messages(
    socket: *mut WSK_SOCKET,
    _list: *mut WSK_BUF_LIST,
    _flags: u32,
    _remote: *mut SOCKADDR,
    _control_length: u32,
    _control: *mut CMSGHDR,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: the driver's arguments.
    unsafe { refuse(socket, "WskSendMessages", irp) }
}

/// There is nothing to give back.
pub(super) unsafe extern "win64" fn release(_socket: *mut WSK_SOCKET, _list: *mut WSK_DATAGRAM_INDICATION) -> NtStatus {
    NtStatus::INVALID_PARAMETER
}
