//! The event callbacks of a listening socket. None of them waits, allocates, or enters WSK.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;

use wdk_sys::NTSTATUS;
use wsk_sys::WSK_INSPECT_ACTION::{self, WskInspectPend, WskInspectReject};
use wsk_sys::{SOCKADDR, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_LISTEN_DISPATCH, WSK_INSPECT_ID, WSK_SOCKET};

use super::NtStatus;
use super::address::RawAddress;
use super::binding::Enter;
use super::events::CONNECTION_EVENTS;
use super::inspections::Request;
use super::listening::{Accepted, Listening};
use super::socket::{GONE, READABLE, Reserved, Socket};
use crate::sync::{AtDispatch, Shared};

pub(super) static LISTEN_EVENTS: WSK_CLIENT_LISTEN_DISPATCH = WSK_CLIENT_LISTEN_DISPATCH {
    WskAcceptEvent: Some(on_accept),
    WskInspectEvent: Some(on_inspect),
    WskAbortEvent: Some(on_abort),
};

/// [`WskAcceptEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_accept_event): takes the
/// connection if something was reserved for it, and the gate is open (L14).
///
/// # Safety
/// `context` is that of a listening socket whose close has not completed; the rest is as the page says.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_accept(
    context: *mut c_void,
    flags: u32,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    accepted: *mut WSK_SOCKET,
    accepted_context: *mut *mut c_void,
    accepted_dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NTSTATUS {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    if accepted.is_null() {
        socket.end(GONE);
        return NtStatus::REQUEST_NOT_ACCEPTED.0;
    }
    // Held until the socket is in the table.
    let Ok(_enter) = Enter::acquire(socket.shell()) else { return NtStatus::REQUEST_NOT_ACCEPTED.0 };
    // SAFETY: the flags of this callback; the token stays in it.
    let level = unsafe { AtDispatch::told(flags) };
    let Some((listening, reserved)) = reserve_of(&socket, level) else { return NtStatus::REQUEST_NOT_ACCEPTED.0 };
    // SAFETY: as the caller promises. The context lives until the accepted socket's close has completed.
    unsafe { *accepted_context = reserved.context() };
    // SAFETY: as the caller promises.
    unsafe { *accepted_dispatch = &raw const CONNECTION_EVENTS };
    // SAFETY: as the caller promises.
    let remote = unsafe { RawAddress::read(remote) };
    if let Some(account) = reserved.account() {
        // SAFETY: as the caller promises.
        account.bound_to(unsafe { RawAddress::read(local) });
        account.connected(remote);
    }
    if let Some(accepted) = reserved.opened(accepted) {
        accepted.mark(socket.inherited_flags());
        listening.put(Accepted { socket: accepted, remote }, level);
    }
    socket.raise(READABLE);
    NtStatus::SUCCESS.0
}

/// A reserve of a listener that is not being closed.
fn reserve_of(socket: &Socket, level: Option<AtDispatch>) -> Option<(&Listening, Reserved)> {
    let listening = socket.listening().filter(|_| !socket.is_ending())?;
    Some((listening, listening.take_reserve(level)?))
}

/// [`WskInspectEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_inspect_event): keeps the
/// request for whoever inspects, or rejects it if there are too many.
///
/// # Safety
/// As for [`on_accept`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_inspect(
    context: *mut c_void,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    id: *mut WSK_INSPECT_ID,
) -> WSK_INSPECT_ACTION::Type {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    // SAFETY: as the caller promises; null is answered.
    let Some(id) = (unsafe { id.as_ref() }) else {
        socket.end(GONE);
        return WskInspectReject;
    };
    // SAFETY: as the caller promises.
    let local = unsafe { RawAddress::read(local) };
    // SAFETY: as the caller promises.
    let remote = unsafe { RawAddress::read(remote) };
    let request = Request { id: (*id).into(), local, remote };
    match socket.listening().filter(|_| !socket.is_ending()) {
        Some(listening) if listening.inspections.lock().add(request) => {
            listening.inspector.wake();
            WskInspectPend
        }
        _ => WskInspectReject,
    }
}

/// [`WskAbortEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_abort_event)
///
/// # Safety
/// As for [`on_accept`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_abort(context: *mut c_void, id: *mut WSK_INSPECT_ID) -> NTSTATUS {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    // SAFETY: as the caller promises.
    if let (Some(listening), Some(id)) = (socket.listening(), unsafe { id.as_ref() }) {
        listening.inspections.lock().abort((*id).into());
    }
    NtStatus::SUCCESS.0
}
