//! The event callbacks: what the provider tells, and what it is answered. None of them waits, or enters WSK. Where it says that
//! it calls at DISPATCH_LEVEL (WSK_FLAG_AT_DISPATCH_LEVEL), the locks are taken without raising the IRQL.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_sys::NTSTATUS;
use wsk_sys::{
    WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_DATAGRAM_DISPATCH, WSK_CLIENT_STREAM_DISPATCH, WSK_DATA_INDICATION,
    WSK_DATAGRAM_INDICATION, WSK_FLAG_ABORTIVE,
};

use super::listen_events::LISTEN_EVENTS;
use super::socket::{ENDED, GONE, READABLE, RESET, Socket};
use super::{NtStatus, datagrams};
use crate::sync::{AtDispatch, Shared};

pub(super) static CONNECTION_EVENTS: WSK_CLIENT_CONNECTION_DISPATCH = WSK_CLIENT_CONNECTION_DISPATCH {
    WskReceiveEvent: Some(on_receive),
    WskDisconnectEvent: Some(on_disconnect),
    WskSendBacklogEvent: Some(on_send_backlog),
};

/// A table that points to the other two.
pub(super) struct StreamEvents(pub(super) WSK_CLIENT_STREAM_DISPATCH);

// SAFETY: it points to statics that are never written.
unsafe impl Sync for StreamEvents {}

pub(super) static STREAM_EVENTS: StreamEvents =
    StreamEvents(WSK_CLIENT_STREAM_DISPATCH { Listen: &raw const LISTEN_EVENTS, Connect: &raw const CONNECTION_EVENTS });

pub(super) static DATAGRAM_EVENTS: WSK_CLIENT_DATAGRAM_DISPATCH =
    WSK_CLIENT_DATAGRAM_DISPATCH { WskReceiveFromEvent: Some(on_receive_from) };

/// [`WskReceiveEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_event): keeps
/// the data if the stream is read in place and there is room; otherwise says that there is something, and takes nothing.
///
/// # Safety
/// `context` is that of a socket whose close has not completed.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_receive(
    context: *mut c_void,
    flags: u32,
    indication: *mut WSK_DATA_INDICATION,
    indicated: wdk_sys::SIZE_T,
    _accepted: *mut wdk_sys::SIZE_T,
) -> NTSTATUS {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    let Some(list) = NonNull::new(indication) else {
        socket.end(GONE | READABLE);
        return NtStatus::SUCCESS.0;
    };
    // SAFETY: the flags of this callback; the token stays in it.
    let level = unsafe { AtDispatch::told(flags) };
    let kept = socket.keep(list.cast(), flags, indicated as usize, level);
    socket.raise(READABLE);
    if kept { NtStatus::PENDING.0 } else { NtStatus::DATA_NOT_ACCEPTED.0 }
}

/// [`WskDisconnectEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect_event): how
/// the stream ended; a receive would say so too.
///
/// # Safety
/// As for [`on_receive`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_disconnect(context: *mut c_void, flags: u32) -> NTSTATUS {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    socket.raise(READABLE | if flags & WSK_FLAG_ABORTIVE != 0 { RESET } else { ENDED });
    NtStatus::SUCCESS.0
}

/// [`WskSendBacklogEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send_backlog_event)
///
/// # Safety
/// As for [`on_receive`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_send_backlog(context: *mut c_void, ideal: wdk_sys::SIZE_T) -> NTSTATUS {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    socket.backlog_changed(ideal as usize);
    NtStatus::SUCCESS.0
}

/// [`WskReceiveFromEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_from_event):
/// keeps the datagrams while there is room, and drops them when there is none. Where nobody wants them they stay with the
/// provider, which switches the event off, unless it is on for all sockets.
///
/// # Safety
/// `context` is that of a socket whose close has not completed.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_receive_from(context: *mut c_void, flags: u32, indication: *mut WSK_DATAGRAM_INDICATION) -> NTSTATUS {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    let Some(list) = NonNull::new(indication) else {
        socket.end(GONE | READABLE);
        return NtStatus::SUCCESS.0;
    };
    // SAFETY: it is being indicated.
    let (datagrams, bytes) = unsafe { datagrams::count(list) };
    // SAFETY: the flags of this callback; the token stays in it.
    let level = unsafe { AtDispatch::told(flags) };
    if socket.keep(list.cast(), flags, bytes, level) {
        socket.count_received_by_many(bytes);
        socket.raise(READABLE);
        return NtStatus::PENDING.0;
    }
    if socket.miss(datagrams) { NtStatus::SUCCESS.0 } else { NtStatus::DATA_NOT_ACCEPTED.0 }
}
