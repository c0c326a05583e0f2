//! A socket as the driver sees it, over one of Wine's.
//!
//! What of Wine's would break the API's promises is kept from the driver here. At most one accept, one receive and one send
//! are with Wine at a time, and what the driver asks for beyond that waits in a queue (Wine takes one accept per listener and
//! ten requests per socket). Data goes through memory of ours (Wine takes no chains of MDLs), so that a request of the driver's
//! can be cancelled or closed at once while Wine still has the call. Closing is done by a thread of its own (in a completion it
//! would wait for itself).
//!
//! # Invariants
//! A socket's memory stays while the driver has it open, while an IRP of the driver's for it has not been completed, and while
//! a call of Wine's is under way for it.

#![allow(unsafe_code)] // Sockets are reached by pointer.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use nt_abi::wsk::{WSK_BUF, WSK_SOCKET};
use nt_abi::{IRP, NtStatus};

use super::block::Block;
use super::client::Binding;
use super::closer;
use super::inner::{Inner, call};
use super::irp::Taken;
use super::queue::{Queue, Wish};
use super::tables::{Kind, function};
use crate::kernel::lock::{Guard, Locked};
use crate::print::say;
use crate::trace::violation;

/// The queues of a socket.
pub(super) const ACCEPT: usize = 0;
pub(super) const RECEIVE: usize = 1;
pub(super) const SEND: usize = 2;
/// The send that Wine has.
pub(super) const SENDING: usize = 3;
/// The connect that Wine has.
pub(super) const CONNECTING: usize = 4;
const QUEUES: usize = 5;

/// A socket.
#[repr(C)]
pub(crate) struct Socket {
    /// What the driver sees of it.
    public: WSK_SOCKET,
    wine: AtomicPtr<WSK_SOCKET>,
    pub binding: *mut Binding,
    pub kind: Kind,
    /// Counts the sockets that were opened, from 1.
    pub number: AtomicU32,
    /// One for being open, and one for each call of Wine's.
    references: AtomicUsize,
    /// One for being open at Wine, and one for each IRP of the driver's.
    pending: AtomicUsize,
    /// The IRP that the driver closes it with.
    close: AtomicPtr<IRP>,
    /// The next one that is to be closed.
    pub next: AtomicPtr<Socket>,
    state: Locked<State>,
}

/// What changes.
pub(super) struct State {
    pub queues: [Queue; QUEUES],
    pub accepting: bool,
    pub receiving: bool,
    pub sending: bool,
    pub closing: bool,
    /// A connection that Wine has accepted and nobody has asked for yet.
    pub spare: Option<Spare>,
    /// What Wine has received and nobody has asked for yet.
    pub data: Option<Data>,
    /// How receiving has ended.
    pub ended: Option<NtStatus>,
}

/// A connection, with its addresses in the call that brought it.
pub(super) struct Spare(pub Block<Inner>, pub *mut Socket);

/// Bytes in the call that brought them.
pub(super) struct Data {
    pub call: Block<Inner>,
    pub from: usize,
    pub to: usize,
}

// SAFETY: what it points to is nobody else's.
unsafe impl Send for State {}

impl Socket {
    /// A socket that Wine's is still to be put under. None without memory.
    pub fn new(binding: *mut Binding, kind: Kind) -> Option<Block<Socket>> {
        let state = State {
            queues: [const { Queue::new() }; QUEUES],
            accepting: false,
            receiving: false,
            sending: false,
            closing: false,
            spare: None,
            data: None,
            ended: None,
        };
        Block::new(Socket {
            public: WSK_SOCKET { Dispatch: kind.table() },
            wine: AtomicPtr::new(null_mut()),
            binding,
            kind,
            number: AtomicU32::new(0),
            references: AtomicUsize::new(1),
            pending: AtomicUsize::new(1),
            close: AtomicPtr::new(null_mut()),
            next: AtomicPtr::new(null_mut()),
            state: Locked::new(state),
        })
    }

    /// Puts Wine's socket under it: from here on it is open.
    ///
    /// # Safety
    /// The binding is there.
    pub unsafe fn open(socket: Block<Socket>, wine: *mut WSK_SOCKET) -> *mut Socket {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed) + 1;
        socket.number.store(number, Ordering::Relaxed);
        socket.wine.store(wine, Ordering::Release);
        say!("SocketCreated {number} {}", socket.kind.name());
        // SAFETY: the caller's promise.
        unsafe { &*socket.binding }.begin();
        socket.into_raw()
    }

    /// The socket that a function was called with.
    ///
    /// # Safety
    /// It is one of ours, and open.
    pub unsafe fn of<'a>(public: *mut WSK_SOCKET) -> &'a Socket {
        // SAFETY: the public part comes first.
        unsafe { &*public.cast::<Socket>() }
    }

    pub fn as_ptr(&self) -> *mut Socket {
        core::ptr::from_ref(self).cast_mut()
    }

    /// Wine's socket.
    pub fn wine(&self) -> *mut WSK_SOCKET {
        self.wine.load(Ordering::Acquire)
    }

    pub fn state(&self) -> Guard<'_, State> {
        self.state.lock()
    }

    /// Takes an IRP that a function of the socket's was called with.
    ///
    /// # Safety
    /// As for [`Taken::new`].
    pub unsafe fn take(&self, irp: *mut IRP) -> Taken {
        self.pending.fetch_add(1, Ordering::AcqRel);
        // SAFETY: the caller's promise.
        unsafe { Taken::new(irp) }
    }

    /// Completes an IRP of the socket's. Nothing may be done with the socket afterwards that it is not kept for otherwise.
    pub fn answer(&self, irp: Taken, status: NtStatus, information: usize) {
        irp.complete(status, information);
        self.settle();
    }

    /// Queues an IRP, or completes it if it has been cancelled already or the socket is being closed. True if it is queued.
    pub fn queue(&self, irp: Taken, lane: usize, buffer: WSK_BUF) -> bool {
        let mut state = self.state();
        let refused = state.closing || !state.queues[lane].push(irp, Wish { socket: self.as_ptr(), lane, buffer });
        drop(state);
        if refused {
            self.answer(irp, NtStatus::CANCELLED, 0);
        }
        !refused
    }

    /// Keeps the socket for a call of Wine's.
    pub fn refer(&self) -> *mut Socket {
        self.references.fetch_add(1, Ordering::AcqRel);
        self.as_ptr()
    }

    /// Ends what [`refer`](Self::refer) began.
    ///
    /// # Safety
    /// It is done once for each, and the socket is not used afterwards.
    pub unsafe fn release(socket: *mut Socket) {
        // SAFETY: there until the last reference is gone.
        if unsafe { (*socket).references.fetch_sub(1, Ordering::AcqRel) } == 1 {
            // SAFETY: let go by `open`, and nobody has it any more.
            drop(unsafe { Block::from_raw(socket) });
        }
    }

    /// Begins to close it: what waits is cancelled, and the rest is the closer's. `irp` is null for a connection that the driver has
    /// never seen.
    ///
    /// # Safety
    /// It is called once, as the last function of the socket's.
    pub unsafe fn close(&self, irp: *mut IRP) {
        if !irp.is_null() {
            // SAFETY: the caller's: armed, and handed over. It is not counted: it ends when all others have.
            self.close.store(unsafe { Taken::new(irp) }.as_ptr(), Ordering::Release);
        }
        let spare = {
            let mut state = self.state();
            state.closing = true;
            state.spare.take()
        };
        if let Some(Spare(_, accepted)) = spare {
            // SAFETY: nobody has it yet, and nobody will.
            unsafe { (*accepted).close(null_mut()) };
        }
        while let Some(irp) = self.next_waiting() {
            self.answer(irp, NtStatus::CANCELLED, 0);
        }
        closer::close(self.as_ptr());
    }

    fn next_waiting(&self) -> Option<Taken> {
        self.state().queues.iter_mut().find_map(Queue::pop)
    }

    /// Closes Wine's socket.
    ///
    /// # IRQL
    /// PASSIVE_LEVEL
    pub fn close_wine(&self) {
        let made = Inner::new("WskCloseSocket", |close, _, _| {
            let socket = close.socket;
            drop(close);
            // SAFETY: the reference that the call has had.
            unsafe { (*socket).settle() };
            // SAFETY: as above.
            unsafe { Socket::release(socket) };
        });
        let Some(mut made) = made else {
            violation(format_args!("no memory to close socket {}", self.number.load(Ordering::Relaxed)));
            return self.settle();
        };
        made.socket = self.refer();
        let wine = self.wine();
        call(made, |_, irp| {
            match function!(wine, WSK_PROVIDER_BASIC_DISPATCH, WskCloseSocket) {
                // SAFETY: Wine's socket, which is entered for the last time.
                Some(close) => unsafe { close(wine, irp) },
                None => NtStatus::NOT_IMPLEMENTED,
            }
        });
    }

    /// One thing less that the close waits for.
    fn settle(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        say!("SocketClosed {}", self.number.load(Ordering::Relaxed));
        let (irp, binding) = (self.close.load(Ordering::Acquire), self.binding);
        // SAFETY: the socket's own reference.
        unsafe { Socket::release(self.as_ptr()) };
        if !irp.is_null() {
            // SAFETY: taken by `close`.
            unsafe { Taken::known(irp) }.complete(NtStatus::SUCCESS, 0);
        }
        // SAFETY: it stays until its sockets are gone.
        unsafe { Binding::end(binding) };
    }
}
