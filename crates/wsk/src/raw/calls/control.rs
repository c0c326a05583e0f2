//! Options and I/O controls of sockets, and which events are on.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::null_mut;

use wsk_sys::WSK_CONTROL_SOCKET_TYPE::WskSetOption;
use wsk_sys::{SO_WSK_EVENT_CALLBACK, SOL_SOCKET, WSK_EVENT_CALLBACK_CONTROL, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE};

use super::{Call, enter};
use crate::raw::NtStatus;
use crate::raw::op::{Payload, Pending};
use crate::raw::socket::Socket;
use crate::sync::Shared;

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

/// Switches the receive and disconnect events of a connection on. It takes no IRP.
///
/// # Errors
/// The provider's status.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn enable_events(call: &Call<'_>) -> Result<(), NtStatus> {
    let mut control = WSK_EVENT_CALLBACK_CONTROL {
        NpiId: &raw const wsk_sys::NPI_WSK_INTERFACE_ID,
        EventMask: (WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT) as _,
    };
    NtStatus(enter!(
        call.basic().WskControlSocket,
        call.socket.wsk(),
        WskSetOption,
        SO_WSK_EVENT_CALLBACK,
        SOL_SOCKET,
        size_of::<WSK_EVENT_CALLBACK_CONTROL>() as _,
        (&raw mut control).cast(),
        0,
        null_mut(),
        null_mut(),
        null_mut(),
    ))
    .ok()
}
