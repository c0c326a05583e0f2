//! Which events of a socket are on.
//!
//! See [Enabling and Disabling Event Callback Functions](https://learn.microsoft.com/windows-hardware/drivers/network/enabling-and-disabling-event-callback-functions).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::null_mut;

use wdk_sys::{IRP, NTSTATUS};
use wsk_sys::WSK_CONTROL_SOCKET_TYPE::WskSetOption;
use wsk_sys::{
    PFN_WSK_CONTROL_SOCKET, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, WSK_EVENT_CALLBACK_CONTROL, WSK_EVENT_DISABLE,
    WSK_SET_STATIC_EVENT_CALLBACKS, WSK_SOCKET,
};

use super::{Call, enter};
use crate::raw::NtStatus;
use crate::raw::binding::Enter;
use crate::raw::op::{Payload, Pending};
use crate::raw::socket::Socket;
use crate::sync::Shared;

/// What SO_WSK_EVENT_CALLBACK is given.
pub(crate) struct Control {
    /// Read by the provider, through its address.
    _parameter: WSK_EVENT_CALLBACK_CONTROL,
}

// SAFETY: it points to a static.
unsafe impl Send for Control {}

impl Control {
    fn new(mask: u32) -> Self {
        let id = &raw const wsk_sys::NPI_WSK_INTERFACE_ID;
        Self { _parameter: WSK_EVENT_CALLBACK_CONTROL { NpiId: id, EventMask: mask } }
    }
}

impl Payload for Control {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

const SIZE: usize = size_of::<WSK_EVENT_CALLBACK_CONTROL>();

/// SO_WSK_EVENT_CALLBACK.
fn control(function: PFN_WSK_CONTROL_SOCKET, wsk: *mut WSK_SOCKET, control: *mut Control, irp: *mut IRP) -> NTSTATUS {
    let (option, level, size) = (SO_WSK_EVENT_CALLBACK, SOL_SOCKET, SIZE as _);
    enter!(function, wsk, WskSetOption, option, level, size, control.cast(), 0, null_mut(), null_mut(), irp)
}

/// SO_WSK_EVENT_CALLBACK without an IRP.
fn control_now(call: &Call<'_>, mask: u32) -> Result<NtStatus, NtStatus> {
    let mut parameter = Control::new(mask);
    let status = NtStatus(control(call.basic().WskControlSocket, call.socket.wsk(), &raw mut parameter, null_mut()));
    status.ok().map(|()| status)
}

/// Switches events on. It takes no IRP.
///
/// # Errors
/// The provider's status.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn enable(call: &Call<'_>, mask: u32) -> Result<(), NtStatus> {
    control_now(call, mask).map(|_| ())
}

/// Switches one event off, without an IRP: `false` if callbacks of it are still under way.
///
/// # Errors
/// The provider's status.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn begin_disable(call: &Call<'_>, event: u32) -> Result<bool, NtStatus> {
    control_now(call, event | WSK_EVENT_DISABLE).map(|status| status != NtStatus::EVENT_PENDING)
}

/// Switches one event off; done when no callback of it is under way any more.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn disable(call: Call<'_>, event: u32) -> Result<Pending<Control>, NtStatus> {
    let function = call.basic().WskControlSocket;
    let enter = |wsk, parameter, irp| control(function, wsk, parameter, irp);
    // SAFETY: the control structure is in the payload.
    unsafe { call.start(&mut None, Control::new(event | WSK_EVENT_DISABLE), enter) }.map_err(|(status, _)| status)
}

/// Switches events on for every socket that this client makes from now on, for good
/// ([WSK_SET_STATIC_EVENT_CALLBACKS](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-set-static-event-callbacks)).
/// It takes no IRP, and has to come before the first socket.
///
/// # Errors
/// The provider's status.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn enable_for_all(right: &Enter, mask: u32) -> Result<(), NtStatus> {
    let (client, provider) = right.provider();
    let (code, size) = (WSK_SET_STATIC_EVENT_CALLBACKS, SIZE as _);
    let mut control = Control::new(mask);
    let control = (&raw mut control).cast();
    NtStatus(enter!(provider.WskControlClient, client, code, size, control, 0, null_mut(), null_mut(), null_mut())).ok()
}
