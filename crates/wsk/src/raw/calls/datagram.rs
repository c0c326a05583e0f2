//! The functions of a datagram socket.
//!
//! All that a function is given (buffers, addresses, control data, places for results) is in the payload, and stays there
//! until the IRP is back.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::net::SocketAddr;
use core::ptr::{NonNull, null_mut};

use wdk_sys::{NTSTATUS, ULONG};
use wsk_cmsg::{Control, Family};
use wsk_sys::WSK_CONTROL_SOCKET_TYPE::WskIoctl;
use wsk_sys::{
    CMSGHDR, IOC_IN, IOC_WSK, MSG_TRUNC, SOCKADDR, SOCKADDR_IN, SOCKADDR_IN6, WSK_BUF,
    WSK_PROVIDER_DATAGRAM_DISPATCH, WSK_SOCKET,
};

use super::addressed::Addressed;
use super::{Call, enter, function};
use crate::raw::address::RawAddress;
use crate::raw::op::{InPlace, Payload, Pending, Ready};
use crate::raw::socket::{Kind, Socket};
use crate::raw::{Buffer, NtStatus};
use crate::sync::{OutOfMemory, Shared};

/// SIO_WSK_SET_REMOTE_ADDRESS. (Bindings have no macros with parameters.)
pub(crate) const SET_REMOTE_ADDRESS: u32 = IOC_IN | IOC_WSK | 1;
/// SIO_WSK_SET_SENDTO_ADDRESS.
pub(crate) const SET_SENDTO_ADDRESS: u32 = IOC_IN | IOC_WSK | 6;

/// [`WskControlSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_control_socket), WskIoctl, for
/// a code that takes an address, or none.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn fix_address(call: Call<'_>, code: u32, address: Option<SocketAddr>) -> Result<Pending<Addressed>, NtStatus> {
    let table = call.basic();
    let size = match address {
        None => 0,
        Some(SocketAddr::V4(_)) => size_of::<SOCKADDR_IN>(),
        Some(SocketAddr::V6(_)) => size_of::<SOCKADDR_IN6>(),
    };
    let enter = |wsk, input: *mut Addressed, irp| {
        let input = if size == 0 { null_mut() } else { input.cast() };
        enter!(table.WskControlSocket, wsk, WskIoctl, code, 0, size as _, input, 0, null_mut(), null_mut(), irp)
    };
    let payload = Addressed(address.map_or(RawAddress::EMPTY, RawAddress::new));
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, payload, enter) }.map_err(|(status, _)| status)
}

/// Room for the control data of one operation.
#[repr(C, align(8))]
pub(crate) struct ControlRoom {
    bytes: [u8; Control::ROOM],
    /// What is used; for a receive, before it, what there is.
    length: ULONG,
}

impl ControlRoom {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; Control::ROOM], length: 0 }
    }

    /// Writes what goes with a datagram. `false` if it cannot be said for one of that family.
    pub(crate) fn set(&mut self, control: &Control, family: Family) -> bool {
        let written = control.write(family, &mut self.bytes);
        self.length = written.unwrap_or_default() as ULONG;
        written.is_some()
    }

    /// For the provider: length and bytes, or nothing.
    pub(super) fn for_sending(&mut self) -> (ULONG, *mut CMSGHDR) {
        match self.length {
            0 => (0, null_mut()),
            length => (length, self.bytes.as_mut_ptr().cast()),
        }
    }

    fn parse(&self) -> Control {
        let length = usize::try_from(self.length).unwrap_or_default();
        // More than there is room for was not written.
        Control::parse(self.bytes.get(..length).unwrap_or(&self.bytes))
    }
}

/// The receiving of a datagram.
pub(crate) struct ReceiveFrom {
    buffer: Option<Buffer>,
    description: WSK_BUF,
    from: RawAddress,
    control: ControlRoom,
    flags: ULONG,
    truncated: bool,
}

// SAFETY: the description points to the buffer beside it.
unsafe impl Send for ReceiveFrom {}

impl Payload for ReceiveFrom {
    type Owner = Shared<Socket>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        self.truncated = status == NtStatus::BUFFER_OVERFLOW || self.flags & MSG_TRUNC != 0;
        let length = if status.is_success() || self.truncated { information } else { 0 };
        if let Some(buffer) = &mut self.buffer {
            // SAFETY: the provider says that it has written so many bytes.
            unsafe { buffer.received(length) };
        }
    }
}

impl ReceiveFrom {
    /// Makes the operation.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn ready(socket: &Shared<Socket>) -> Result<Ready<Self>, OutOfMemory> {
        let (from, control) = (RawAddress::EMPTY, ControlRoom::new());
        Ready::new(socket, Self { buffer: None, description: NO_BYTES, from, control, flags: 0, truncated: false })
    }

    pub(crate) fn take_buffer(&mut self) -> Option<Buffer> {
        self.buffer.take()
    }

    /// The sender, if the provider has said who it is.
    pub(crate) fn from(&self) -> Option<SocketAddr> {
        self.from.to_address()
    }

    /// What came with it, if it was asked for.
    pub(crate) fn control(&self) -> Control {
        if self.control.length == 0 { Control::NONE } else { self.control.parse() }
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    pub(crate) fn flags(&self) -> u32 {
        self.flags
    }
}

pub(super) const NO_BYTES: WSK_BUF = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };

/// [`WskReceiveFrom`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_from) into all of the
/// buffer; `with_control` has the control data too.
///
/// # Errors
/// No arming; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn receive_from(
    call: Call<'_>,
    mut ready: Ready<ReceiveFrom>,
    buffer: Buffer,
    with_control: bool,
) -> Result<InPlace<ReceiveFrom>, (NtStatus, Option<Buffer>)> {
    let function = function!(call.WskReceiveFrom in datagram);
    let payload = ready.payload();
    payload.description = buffer.room();
    payload.buffer = Some(buffer);
    payload.flags = 0;
    payload.from.clear();
    payload.control.length = if with_control { Control::ROOM as ULONG } else { 0 };
    let enter = |wsk, payload: *mut ReceiveFrom, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference outlives this closure.
        let payload = unsafe { &mut *payload };
        let (description, from) = (&raw mut payload.description, (&raw mut payload.from).cast::<SOCKADDR>());
        let control: (*mut ULONG, *mut CMSGHDR) = match with_control {
            true => (&raw mut payload.control.length, (&raw mut payload.control.bytes).cast()),
            false => (null_mut(), null_mut()),
        };
        enter!(function, wsk, description, 0, from, control.0, control.1, &raw mut payload.flags, irp)
    };
    // SAFETY: everything is in the payload.
    let started = unsafe { call.start_in_place(ready, enter) };
    started.map_err(|(status, mut ready)| (status, ready.payload().take_buffer()))
}

/// Has a datagram socket keep what its receive event brings; see [`Shared::retain`].
///
/// # Errors
/// [`OutOfMemory`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn retain(socket: &Shared<Socket>, lists: u16, bytes: usize) -> Result<(), OutOfMemory> {
    if socket.kind() != Kind::Datagram {
        return Ok(());
    }
    // SAFETY: the function is that of the socket's kind.
    unsafe { socket.retain(lists, bytes, release, false) }
}

/// # Safety
/// As [`Release`](crate::raw::retained::Release) says, of a datagram socket.
/// [`WskRelease`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_release_datagram_indication_list)
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe fn release(wsk: *mut WSK_SOCKET, list: NonNull<c_void>) {
    // SAFETY: an open datagram socket, whose table is this.
    let table = unsafe { &*(*wsk).Dispatch.cast::<WSK_PROVIDER_DATAGRAM_DISPATCH>() };
    // There is nothing to be done about a refusal.
    let _: NTSTATUS = enter!(table.WskRelease, wsk, list.as_ptr().cast());
}
