//! IRPs of the driver's that wait, each of which can be cancelled at any time: the cancel-safe queue of the I/O manager's book.
//!
//! # Invariants
//! Who takes the cancel routine out of a queued IRP owns it: whoever serves the queue, or IoCancelIrp. The parameters of its
//! location are its [`Wish`].

#![allow(unsafe_code)] // Links and unlinks IRPs.

use core::mem::offset_of;
use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

use nt_abi::kernel::IoReleaseCancelSpinLock;
use nt_abi::wsk::WSK_BUF;
use nt_abi::{DEVICE_OBJECT, DRIVER_CANCEL, IRP, LIST_ENTRY, MDL, NtStatus};

use super::irp::Taken;
use super::socket::Socket;

/// What an IRP in a queue is for. It is kept in the parameters of its location.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub socket: *mut Socket,
    /// Which queue of the socket's.
    pub lane: usize,
    pub buffer: WSK_BUF,
}

impl Wish {
    fn put(self, irp: Taken) {
        let WSK_BUF { Mdl, Offset, Length } = self.buffer;
        irp.location().Parameters = [self.socket as usize, Mdl as usize, Offset as usize | self.lane << 32, Length];
    }

    pub fn of(irp: Taken) -> Wish {
        let [socket, mdl, offset, length] = irp.location().Parameters;
        let buffer = WSK_BUF { Mdl: mdl as *mut MDL, Offset: offset as u32, Length: length };
        Wish { socket: socket as *mut Socket, lane: offset >> 32, buffer }
    }
}

/// The queue. It is used with its socket's lock held.
pub(super) struct Queue {
    first: *mut IRP,
    last: *mut IRP,
}

// SAFETY: the IRPs in it are nobody else's.
unsafe impl Send for Queue {}

impl Queue {
    pub const fn new() -> Queue {
        Queue { first: null_mut(), last: null_mut() }
    }

    /// Queues an IRP. False if it has been cancelled already: then it is the caller's to complete.
    pub fn push(&mut self, irp: Taken, wish: Wish) -> bool {
        wish.put(irp);
        set_cancel_routine(irp, Some(cancel));
        // SAFETY: ours until cancelled or served.
        let cancelled = unsafe { ptr::read_volatile(&raw const (*irp.as_ptr()).Cancel) } != 0;
        if cancelled && set_cancel_routine(irp, None).is_some() {
            return false;
        }
        self.link(irp.as_ptr());
        true
    }

    /// Takes the first one that is not just being cancelled.
    pub fn pop(&mut self) -> Option<Taken> {
        loop {
            let first = self.first;
            if first.is_null() {
                return None;
            }
            self.unlink(first);
            // SAFETY: it was in the queue.
            let taken = unsafe { Taken::known(first) };
            if set_cancel_routine(taken, None).is_some() {
                return Some(taken);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    fn link(&mut self, irp: *mut IRP) {
        // SAFETY: in the queue from here on.
        unsafe { *entry(irp) = LIST_ENTRY { Flink: null_mut(), Blink: self.last.cast() } };
        match self.last.is_null() {
            true => self.first = irp,
            // SAFETY: the last one is in the queue.
            false => unsafe { (*entry(self.last)).Flink = irp.cast() },
        }
        self.last = irp;
    }

    /// Takes an IRP out; nothing happens if it is out already.
    fn unlink(&mut self, irp: *mut IRP) {
        // SAFETY: it is or was in the queue, and has not been completed.
        let LIST_ENTRY { Flink: next, Blink: before } = unsafe { *entry(irp) };
        if next == entry(irp) {
            return;
        }
        match before.is_null() {
            true => self.first = next.cast(),
            // SAFETY: its neighbour is in the queue.
            false => unsafe { (*entry(before.cast())).Flink = next },
        }
        match next.is_null() {
            true => self.last = before.cast(),
            // SAFETY: as above.
            false => unsafe { (*entry(next.cast())).Blink = before },
        }
        // SAFETY: as above. Linked to itself: out.
        unsafe { *entry(irp) = LIST_ENTRY { Flink: entry(irp), Blink: entry(irp) } };
    }
}

/// The link of an IRP; neighbours are kept as addresses of IRPs.
fn entry(irp: *mut IRP) -> *mut LIST_ENTRY {
    irp.wrapping_byte_add(offset_of!(IRP, ListEntry)).cast()
}

/// IoSetCancelRoutine.
fn set_cancel_routine(irp: Taken, routine: Option<DRIVER_CANCEL>) -> Option<DRIVER_CANCEL> {
    // SAFETY: the IRP has not been completed.
    let place = unsafe { &raw mut (*irp.as_ptr()).CancelRoutine };
    // SAFETY: aligned, and touched atomically by everybody.
    let place = unsafe { AtomicPtr::<()>::from_ptr(place.cast()) };
    let address = routine.map_or(null_mut(), |routine| routine as *mut ());
    let before = place.swap(address, Ordering::AcqRel);
    // SAFETY: null or a cancel routine, which is what `Option` of a function pointer is.
    unsafe { core::mem::transmute::<*mut (), Option<DRIVER_CANCEL>>(before) }
}

/// # IRQL
/// DISPATCH_LEVEL, with the cancel spin lock
unsafe extern "win64" fn cancel(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the I/O manager calls with the lock held, and this IRQL to go back to.
    unsafe { IoReleaseCancelSpinLock((*irp).CancelIrql) };
    // SAFETY: it was queued.
    let taken = unsafe { Taken::known(irp) };
    let Wish { socket, lane, .. } = Wish::of(taken);
    // SAFETY: a socket stays while an IRP of its is not completed.
    let socket = unsafe { &*socket };
    socket.state().queues[lane].unlink(irp);
    socket.answer(taken, NtStatus::CANCELLED, 0);
}
