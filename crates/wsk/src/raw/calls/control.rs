//! Options and I/O controls of sockets.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::null_mut;

use wsk_sys::WSK_CONTROL_SOCKET_TYPE::{WskIoctl, WskSetOption};
use wsk_sys::{IOC_OUT, IOC_VOID, IOC_WSK, SO_WSK_SECURITY, SOL_SOCKET, WSK_INSPECT_ID};

use super::{Call, enter};
use crate::raw::NtStatus;
use crate::raw::op::{Payload, Pending};
use crate::raw::security::Use;
use crate::raw::socket::Socket;
use crate::sync::Shared;

/// SIO_WSK_QUERY_IDEAL_SEND_BACKLOG. (Bindings have no macros with parameters.)
pub(crate) const QUERY_IDEAL_SEND_BACKLOG: u32 = IOC_OUT | IOC_WSK | 3;
/// SIO_WSK_QUERY_RECEIVE_BACKLOG.
pub(crate) const QUERY_RECEIVE_BACKLOG: u32 = IOC_OUT | IOC_WSK | 4;
/// SIO_WSK_QUERY_INSPECT_ID.
const QUERY_INSPECT_ID: u32 = IOC_OUT | IOC_WSK | 5;
/// SIO_WSK_SET_TCP_SILENT_MODE.
pub(crate) const SET_TCP_SILENT_MODE: u32 = IOC_VOID | IOC_WSK | 7;

/// An option that is set by an IRP.
pub(crate) struct OptionValue {
    /// Read by the provider, through its address.
    _value: u32,
}

impl Payload for OptionValue {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WskControlSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_control_socket), WskSetOption,
/// for an option that is a ULONG.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn set_option(call: Call<'_>, level: u32, option: u32, value: u32) -> Result<Pending<OptionValue>, NtStatus> {
    let table = call.basic();
    let enter = |wsk, value: *mut OptionValue, irp| {
        let size = size_of::<u32>();
        enter!(table.WskControlSocket, wsk, WskSetOption, option, level, size as _, value.cast(), 0, null_mut(), null_mut(), irp)
    };
    // SAFETY: the value is in the payload.
    unsafe { call.start(&mut None, OptionValue { _value: value }, enter) }.map_err(|(status, _)| status)
}

/// A size that an I/O control asks for.
pub(crate) struct AskedSize(pub(crate) usize);

impl Payload for AskedSize {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WskControlSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_control_socket), WskIoctl, for
/// a code that answers with a SIZE_T.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn ask_size(call: Call<'_>, code: u32) -> Result<Pending<AskedSize>, NtStatus> {
    let table = call.basic();
    let enter = |wsk, value: *mut AskedSize, irp| {
        let size = size_of::<usize>();
        enter!(table.WskControlSocket, wsk, WskIoctl, code, 0, 0, null_mut(), size as _, value.cast(), null_mut(), irp)
    };
    // SAFETY: the answer goes into the payload.
    unsafe { call.start(&mut None, AskedSize(0), enter) }.map_err(|(status, _)| status)
}

/// A security descriptor that is put on a socket, in use until the IRP is back.
pub(crate) struct Secured {
    /// Read by the provider, through its address.
    descriptor: *mut c_void,
    _in_use: Use,
}

// SAFETY: the descriptor is the provider's own, in use by the same value.
unsafe impl Send for Secured {}

impl Payload for Secured {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [SO_WSK_SECURITY](https://learn.microsoft.com/windows-hardware/drivers/network/so-wsk-security), before the socket is bound.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn secure(call: Call<'_>, in_use: Use) -> Result<Pending<Secured>, NtStatus> {
    let table = call.basic();
    let enter = |wsk, secured: *mut Secured, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let place = unsafe { &raw mut (*secured).descriptor };
        let (level, option, size) = (SOL_SOCKET, SO_WSK_SECURITY, size_of::<*mut c_void>());
        enter!(table.WskControlSocket, wsk, WskSetOption, option, level, size as _, place.cast(), 0, null_mut(), null_mut(), irp)
    };
    let secured = Secured { descriptor: in_use.as_ptr(), _in_use: in_use };
    // SAFETY: the pointer is in the payload, and the payload keeps what it points to.
    unsafe { call.start(&mut None, secured, enter) }.map_err(|(status, _)| status)
}

/// An I/O control without data.
pub(crate) struct Command;

impl Payload for Command {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WskControlSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_control_socket), WskIoctl, for
/// a code without data.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn command(call: Call<'_>, code: u32) -> Result<Pending<Command>, NtStatus> {
    let table = call.basic();
    let enter = |wsk, _: *mut Command, irp| {
        enter!(table.WskControlSocket, wsk, WskIoctl, code, 0, 0, null_mut(), 0, null_mut(), null_mut(), irp)
    };
    // SAFETY: there is nothing to keep.
    unsafe { call.start(&mut None, Command, enter) }.map_err(|(status, _)| status)
}

/// SIO_WSK_QUERY_INSPECT_ID, which takes no IRP.
///
/// # Errors
/// The provider's status.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn inspect_id(call: &Call<'_>) -> Result<WSK_INSPECT_ID, NtStatus> {
    let (mut id, mut returned) = (WSK_INSPECT_ID::default(), 0);
    NtStatus(enter!(
        call.basic().WskControlSocket,
        call.socket.wsk(),
        WskIoctl,
        QUERY_INSPECT_ID,
        0,
        0,
        null_mut(),
        size_of::<WSK_INSPECT_ID>() as _,
        (&raw mut id).cast(),
        &raw mut returned,
        null_mut(),
    ))
    .ok()?;
    Ok(id)
}
