//! The end of a socket: its close goes to the provider, and comes back.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;

use wdk_sys::{DEVICE_OBJECT, IRP, NTSTATUS};

use super::Socket;
use crate::Trace;
use crate::raw::{NtStatus, calls};
use crate::sync::{Node, Shared};

/// The closer: enters WskCloseSocket, once per socket (L23).
///
/// # Safety
/// Queued by [`Shared::hand_to_closer`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(super) unsafe fn close(node: NonNull<Node>) {
    // SAFETY: the node is part of the socket, which table and IRP keep.
    let socket: &Socket = unsafe { node.byte_sub(offset_of!(Socket, close)).cast().as_ref() };
    let (wsk, irp) = (socket.wsk(), socket.close_irp.as_ptr());
    // SAFETY: nobody is inside, nobody will be, and the drain right is held until the IRP is back. The socket may be gone
    // when this returns; whatever it returns, the completion routine decides.
    unsafe { calls::close(wsk, irp) };
}

/// The close IRP's completion: the provider is done with the socket, or never had it.
///
/// # Safety
/// `context` is the close IRP's reference to its socket.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(super) unsafe extern "C" fn closed(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: as the caller promises; an IRP completes once.
    let socket = unsafe { Shared::<Socket>::from_raw(context.cast_const().cast()) };
    let right = socket.drain.lock().take();
    if let Some(right) = right {
        // Under the right still: what is reclaimed may give slots of the table back (L35).
        socket.parked.reclaim();
        if let Some(listening) = socket.listening() {
            listening.give_up();
        }
        let listed = right.table().lock().remove(socket.slot);
        drop(listed);
        let (generation, id) = (socket.shell.generation, socket.account.id());
        socket.shell.registration.trace(Trace::SocketClosed { generation, id, reason: socket.reason() });
        drop(socket);
        drop(right);
    }
    NtStatus::MORE_PROCESSING_REQUIRED.0
}
