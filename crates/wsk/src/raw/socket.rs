//! One socket, from the reservation of all that it will need to the return of its close.
//!
//! ```text
//!   (1) Reserved: slot, context, armed close IRP --------- abandon --------> gone
//!         | opened: pointer stored, drain right taken, in the table (L14)
//!         v
//!   (2) Open ---- begin_close ----> (3) Closing: nobody new inside ---- last one out ----> (4) Handed to the closer
//!                                                                                              | WskCloseSocket (L23)
//!        gone <---- out of the table, drain right given back ---- (5) Close IRP back <---------'
//! ```
//!
//! What is kept of the provider's has a place inside too (see [`retained`](super::retained)), and begin_close has it given back.
//!
//! References: the table's from (2) to (5), the close IRP's from (1) to (5), and the handles'. Event callbacks and pending
//! operations end before (5), so the context outlives them (L25).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

mod closing;
mod flags;

pub(crate) use flags::*;

use atomic_waker::AtomicWaker;
use wsk_lifecycle::rundown::{Acquired, BeginEnd, Released, Right, Rundown};
use wsk_lifecycle::table::{Chunk, SlotId};
use wsk_sys::WSK_SOCKET;

use closing::{close, closed};

use super::account::Account;
use super::binding::{DrainRight, Enter, Shell};
use super::listening::Listening;
use super::op::Owner;
use super::parked::ParkedList;
use super::retained::Retained;
use super::{Irp, NtStatus};
use crate::sync::shared::tagged;
use crate::sync::{Lane, Node, Pool, Shared, SpinLock, Watched, prefetch};
use crate::{Detached, OpenError, Trace};

/// What a socket is for: it says which tables of functions it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It accepts connections.
    Listen,
    /// It is a connection, or becomes one.
    Connection,
    /// It sends and receives datagrams.
    Datagram,
    /// It becomes a connection, or accepts some.
    Stream,
}

/// A socket's context, as the provider and everybody else know it.
///
/// # Invariants
/// `wsk` is the provider's socket from [`opened`](Self::opened) on; it may be used inside, by the closer, and by nobody else.
/// The close IRP is armed from birth, with a reference to this socket, and completes exactly once. The provider's table is
/// that of `kind`.
pub(crate) struct Socket {
    pub(super) hot: Hot,
    shell: Shared<Shell>,
    pub(super) account: Account,
    slot: SlotId,
    close_irp: Irp,
    close: Node,
    drain: SpinLock<Option<DrainRight>>,
    parked: ParkedList,
    pub(super) retained: Retained,
    /// The task that reads, or accepts, if it waits.
    pub(crate) reader: Watched,
    /// The task that waits for the ideal send backlog to change.
    pub(crate) writer: AtomicWaker,
    ideal_backlog: AtomicUsize,
    /// Of one that listens, or may.
    listening: Option<Shared<Listening>>,
}

tagged!(Socket, b"WskS");

/// What every call touches, in one cache line.
#[repr(C, align(64))]
pub(super) struct Hot {
    inside: Rundown,
    flags: AtomicU32,
    /// Counts the [`SocketHandle`]s.
    owners: AtomicU32,
    wsk: AtomicPtr<WSK_SOCKET>,
    /// Bytes, as [`account`](super::account) counts them.
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    kind: Kind,
}

/// A socket that is not open yet, and is given up unless it is opened. It is dropped while a right is held, or by the
/// cleanup callback (a parked operation's).
pub(crate) struct Reserved(Option<Shared<Socket>>);

/// One of an open socket's owners: dropping the last one closes the socket.
pub(crate) struct SocketHandle(Shared<Socket>);

impl Reserved {
    /// Reserves all that the socket will need (L14, L24).
    ///
    /// # Errors
    /// No memory, or no slot.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn new(enter: &Enter, kind: Kind, owner: u64) -> Result<Self, OpenError> {
        let close_irp = Irp::new()?;
        let listening = match kind {
            Kind::Listen | Kind::Stream => Some(Shared::try_new(Listening::new())?),
            Kind::Connection | Kind::Datagram => None,
        };
        let slot = reserve_slot(enter)?;
        let made = Shared::try_new(Socket {
            hot: Hot {
                inside: Rundown::new(),
                flags: AtomicU32::new(enter.shell().first_flags(kind)),
                owners: AtomicU32::new(1),
                wsk: AtomicPtr::new(null_mut()),
                received: AtomicU64::new(0),
                sent: AtomicU64::new(0),
                kind,
            },
            shell: enter.shell().clone(),
            account: Account::new(enter.shell().registration.next_socket(), owner),
            slot,
            close_irp,
            close: Node::new(close),
            drain: SpinLock::new(None),
            parked: ParkedList::new(),
            retained: Retained::new(),
            reader: Watched::new(),
            writer: AtomicWaker::new(),
            ideal_backlog: AtomicUsize::new(0),
            listening,
        });
        let armed = made.map_err(NtStatus::from).and_then(|socket| socket.arm_close().map(|()| socket));
        armed.map(|socket| Self(Some(socket))).map_err(|_| {
            enter.table().lock().remove(slot);
            OpenError::OutOfMemory
        })
    }

    /// The context for the provider's function.
    pub(super) fn context(&self) -> *mut c_void {
        self.0.as_ref().map_or(null_mut(), |socket| socket.as_ptr().cast_mut().cast())
    }

    /// What is known of the socket.
    pub(super) fn account(&self) -> Option<&Account> {
        self.0.as_ref().map(|socket| &socket.account)
    }

    /// The provider has made the socket. The caller holds a right, but for a call that had failed and whose completion comes
    /// after all (L35). If the binding's end has been decided by then, nothing of the binding may be touched any more: the
    /// socket is left to the provider, and what was reserved is lost.
    pub(super) fn opened(mut self, wsk: *mut WSK_SOCKET) -> Option<SocketHandle> {
        let socket = self.0.take()?;
        let Some(right) = DrainRight::unless_ended(&socket.shell) else {
            core::mem::forget(socket);
            return None;
        };
        socket.opened(wsk, right);
        Some(SocketHandle(socket))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(socket) = self.0.take() {
            socket.abandon();
        }
    }
}

impl SocketHandle {
    /// Another owner.
    pub(crate) fn another(&self) -> Self {
        self.0.hot.owners.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }

    /// Whether both own the same socket.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.as_ptr() == other.0.as_ptr()
    }
}

impl core::ops::Deref for SocketHandle {
    type Target = Shared<Socket>;

    fn deref(&self) -> &Shared<Socket> {
        &self.0
    }
}

impl Drop for SocketHandle {
    fn drop(&mut self) {
        if self.0.hot.owners.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.begin_close();
        }
    }
}

/// A slot of the binding's table; the table grows outside its lock.
fn reserve_slot(enter: &Enter) -> Result<SlotId, OpenError> {
    loop {
        if let Some(slot) = enter.table().lock().reserve() {
            return Ok(slot);
        }
        let chunk = Chunk::new(Pool).map_err(|_| OpenError::OutOfMemory)?;
        let refused = enter.table().lock().grow(chunk).err();
        if refused.is_some() {
            return Err(OpenError::TooMany);
        }
    }
}

impl Shared<Socket> {
    fn arm_close(&self) -> Result<(), NtStatus> {
        let context = self.clone().into_raw();
        // SAFETY: new, so not in flight; the context is the IRP's reference, which `closed` takes back.
        let armed = unsafe { self.close_irp.arm_on(self.shell.device, Some(closed), context.cast_mut().cast()) };
        if armed.is_err() {
            // SAFETY: the reference that the IRP did not take.
            drop(unsafe { Shared::from_raw(context) });
        }
        armed
    }

    /// Stores the pointer, then enters the table; whoever shuts the gate before that is made up for here.
    fn opened(&self, wsk: *mut WSK_SOCKET, right: DrainRight) {
        self.hot.wsk.store(wsk, Ordering::Release);
        *self.drain.lock() = Some(right);
        let opened = self.hot.inside.open();
        debug_assert!(opened, "a socket was opened twice");
        let mut table = self.shell.table_while_held().lock();
        let left_over = table.fill(self.slot, self.clone()).err();
        let count = table.len();
        drop(table);
        debug_assert!(left_over.is_none(), "the slot was somebody else's");
        self.shell.registration.has_sockets(count);
        let (generation, id) = (self.shell.generation, self.account.id());
        self.shell.registration.trace(Trace::SocketOpened { generation, id, kind: self.public_kind() });
        if !self.shell.is_open() {
            self.begin_close();
        }
    }

    /// Gives up a socket that the provider has not made. The caller holds a right, or is the cleanup callback.
    fn abandon(&self) {
        self.shell.table_while_held().lock().remove(self.slot);
        // SAFETY: armed from birth, and never handed to the provider. Completing it takes its reference back.
        unsafe { Irp::complete_unsent(self.close_irp.as_ptr()) };
    }

    /// Asks for the end: from now on nobody enters, pending operations come back cancelled, and the last one inside hands
    /// the socket to the closer. Any number of times, from anywhere.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn begin_close(&self) {
        self.note_reason();
        let begun = self.hot.inside.begin_end();
        if begun != BeginEnd::Already {
            // First, so that what comes back because of the close is known to.
            self.end(CLOSING);
        }
        match begun {
            BeginEnd::Already => {}
            BeginEnd::Idle => self.hand_to_closer(),
            BeginEnd::Busy if self.stop_keeping() => self.queue_flush(),
            BeginEnd::Busy => self.leave(Right::Enter),
        }
    }

    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) fn hand_to_closer(&self) {
        let socket = self.as_ptr().cast_mut();
        // SAFETY: inside the socket, by a pointer that is good for all of it.
        let node = unsafe { NonNull::new_unchecked(&raw mut (*socket).close) };
        // SAFETY: happens once, by whoever is last; table and IRP keep the socket until its close has completed.
        unsafe { self.shell.executor.push(Lane::Dispatch, node) };
    }

    /// Enters the socket (L23).
    ///
    /// # Errors
    /// [`Detached`] if its close has begun.
    pub(super) fn enter_inside(&self) -> Result<(), Detached> {
        match self.hot.inside.acquire_flying() {
            Acquired::Granted => Ok(()),
            Acquired::Refused => Err(Detached),
            Acquired::RefusedLast => {
                self.hand_to_closer();
                Err(Detached)
            }
        }
    }

    /// The same, for a place that goes with no call: what is done there is one flight, which is counted by itself.
    ///
    /// # Errors
    /// [`Detached`] if its close has begun.
    #[inline]
    pub(super) fn enter_to_stay(&self) -> Result<(), Detached> {
        match self.hot.inside.acquire() {
            Acquired::Granted => Ok(()),
            Acquired::Refused => Err(Detached),
            Acquired::RefusedLast => {
                self.hand_to_closer();
                Err(Detached)
            }
        }
    }

    /// Gives the place back; `in_flight` if an operation was started there that is not back.
    pub(super) fn leave_inside(&self, in_flight: bool) {
        let released = if in_flight { self.hot.inside.release(Right::Enter) } else { self.hot.inside.release_landed() };
        if released == Released::Last {
            self.hand_to_closer();
        }
    }

    /// Counts the flight of a call whose place inside was somebody else's.
    pub(super) fn take_off(&self) {
        self.hot.inside.take_off();
    }

    /// What [`take_off`](Self::take_off) counted is over.
    pub(super) fn leave_flight(&self) {
        self.hot.inside.land();
    }

    /// Gives back a place that goes with no call.
    #[inline]
    pub(super) fn leave(&self, right: Right) {
        if self.hot.inside.release(right) == Released::Last {
            self.hand_to_closer();
        }
    }

    /// Asks for a place inside for something that is kept, and has to go back before the close (L21).
    pub(super) fn enter_to_keep(&self) -> Acquired {
        self.hot.inside.acquire_as(Right::Drain)
    }

    /// What was kept has gone back.
    pub(super) fn leave_kept(&self) {
        if self.hot.inside.release(Right::Drain) == Released::Last {
            self.hand_to_closer();
        }
    }

    /// Sets a flag and wakes the reader.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn raise(&self, flag: u32) {
        self.hot.flags.fetch_or(flag, Ordering::AcqRel);
        self.reader.wake();
    }

    /// Sets a flag that ends it, and wakes everybody.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn end(&self, flag: u32) {
        self.raise(flag);
        self.writer.wake();
        if let Some(listening) = &self.listening {
            listening.inspector.wake();
        }
    }

    /// The provider says how much should be on its way.
    pub(super) fn backlog_changed(&self, ideal: usize) {
        self.ideal_backlog.store(ideal, Ordering::Relaxed);
        self.hot.flags.fetch_or(BACKLOG, Ordering::AcqRel);
        self.writer.wake();
    }

    /// What the last [`BACKLOG`] said, in bytes.
    pub(crate) fn ideal_backlog(&self) -> usize {
        self.ideal_backlog.load(Ordering::Relaxed)
    }

    /// Sets a flag that nobody waits for.
    pub(crate) fn mark(&self, flag: u32) {
        if self.hot.flags.load(Ordering::Relaxed) & flag != flag {
            self.hot.flags.fetch_or(flag, Ordering::Relaxed);
        }
    }

    /// Takes flags: those of `which` that were set, and are not any more.
    pub(crate) fn take_flags(&self, which: u32) -> u32 {
        self.hot.flags.fetch_and(!which, Ordering::AcqRel) & which
    }

    /// The flags.
    pub(crate) fn flags(&self) -> u32 {
        self.hot.flags.load(Ordering::Acquire)
    }

    /// Functions of this socket that are being entered, and calls whose results are still to come.
    pub(crate) fn work(&self) -> (u32, u32) {
        let now = self.hot.inside.snapshot();
        (now.enters, now.flights)
    }
}

impl Socket {
    pub(crate) fn kind(&self) -> Kind {
        self.hot.kind
    }

    /// What it keeps if it listens, or may.
    pub(crate) fn listening(&self) -> Option<&Listening> {
        self.listening.as_deref()
    }

    /// The flags that a connection has because this listener's event brought it.
    pub(super) fn inherited_flags(&self) -> u32 {
        if self.hot.flags.load(Ordering::Relaxed) & BEQUEATH == 0 { 0 } else { EVENTS }
    }

    /// Whether its end has begun, from whichever side.
    pub(crate) fn is_ending(&self) -> bool {
        self.hot.flags.load(Ordering::Acquire) & (CLOSING | GONE) != 0 || !self.shell.is_open()
    }

    /// Has the line that every call touches come to this processor.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch(&raw const self.hot);
    }

    pub(crate) fn shell(&self) -> &Shared<Shell> {
        &self.shell
    }

    /// The provider's socket, for whoever is inside, and for the closer.
    pub(super) fn wsk(&self) -> *mut WSK_SOCKET {
        self.hot.wsk.load(Ordering::Acquire)
    }
}

impl Owner for Shared<Socket> {
    const COUNTED: bool = false;

    fn leave(&self) {
        self.hot.inside.land();
    }

    fn is(&self, other: &Self) -> bool {
        self.as_ptr() == other.as_ptr()
    }

    fn parked(&self) -> &ParkedList {
        &self.parked
    }
}
