//! The thread that closes Wine's sockets: in a completion of the socket's, Wine's close would wait for itself.

#![allow(unsafe_code)] // A thread, an event, and sockets by pointer.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use nt_abi::NtStatus;

use super::socket::Socket;
use crate::kernel::thread::Thread;

/// Sockets that are to be closed, the last one first.
static TO_CLOSE: AtomicPtr<Socket> = AtomicPtr::new(null_mut());

static THREAD: Thread = Thread::new(run);

/// Starts the thread.
///
/// # Errors
/// What making a thread answered.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn begin() -> Result<(), NtStatus> {
    THREAD.start()
}

/// Ends it, when nothing is left to close.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn end() {
    THREAD.stop();
}

/// Has a socket closed.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) fn close(socket: *mut Socket) {
    let mut first = TO_CLOSE.load(Ordering::Acquire);
    loop {
        // SAFETY: a socket that is being closed stays until Wine has closed it.
        unsafe { (*socket).next.store(first, Ordering::Relaxed) };
        match TO_CLOSE.compare_exchange_weak(first, socket, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => break,
            Err(now) => first = now,
        }
    }
    THREAD.wake();
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn run(_: *mut c_void) {
    loop {
        let stop = THREAD.wait(None);
        let mut socket = TO_CLOSE.swap(null_mut(), Ordering::AcqRel);
        while !socket.is_null() {
            // SAFETY: as in `close`.
            let it = unsafe { &*socket };
            socket = it.next.load(Ordering::Relaxed);
            it.close_wine();
        }
        if stop {
            return;
        }
    }
}
