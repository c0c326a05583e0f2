//! What a socket keeps of the data that it was told of: lists of the provider's, given back by WskRelease (L21).
//!
//! ```text
//!   event callback: keep ----> queue ----> next_kept: a Kept ----> drop: WskRelease
//!                                |                       '-------> hand_over (completion routine): the executor drops it (L36)
//!                                '-- begin_close: flush, a job -> WskRelease
//! ```
//!
//! Each list that is kept has a place *inside* its socket, so that the close waits for it, and with the close the binding. Which
//! list is whose is decided by [`Retention`] under the lock; WskRelease is entered without it.
//!
//! A socket that ends while lists of it are out is disconnected abortively first: they may be in a send on another socket, which
//! waits for a list in a send on this one, and no peer takes anything.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::{ManuallyDrop, offset_of};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use allocator_api2::vec::Vec;
use wsk_lifecycle::retention::{Place, PlaceId, Retention};
use wsk_lifecycle::rundown::{Acquired, Right};
use wsk_sys::WSK_SOCKET;

use super::calls::Call;
use super::calls::connection::{self, Bare};
use super::op::{Arming, Op};
use super::socket::{READABLE, Socket};
use crate::sync::{AtDispatch, Lane, Node, OutOfMemory, Pool, Shared, SpinLock, tag, try_push};

type RetainedPool = Pool<{ tag(b"WskK") }>;

/// A list of the provider's.
#[derive(Clone, Copy)]
struct List {
    first: NonNull<c_void>,
    /// Those of the event callback that brought it.
    flags: u32,
}

// SAFETY: a kept list has no thread, and who may touch it is what this file is about.
unsafe impl Send for List {}

/// The function that gives a list back.
///
/// # Safety
/// The socket is open, the list is one that it kept, and it is given back once.
pub(crate) type Release = unsafe fn(*mut WSK_SOCKET, NonNull<c_void>);

/// Part of a socket.
pub(super) struct Retained {
    kit: SpinLock<Option<Kit>>,
    flush: Node,
    /// Datagrams that came when there was no room.
    missed: AtomicU32,
}

/// What a socket needs that keeps lists.
///
/// # Invariants
/// There is a carrier for each place; they stay where they are.
struct Kit {
    retention: Retention<List, Vec<Place<List>, RetainedPool>>,
    carriers: Vec<Carrier, RetainedPool>,
    release: Release,
    /// For the disconnect before the close.
    disconnect: Option<Shared<Op<Bare>>>,
}

/// Carries a list out of a completion routine. `node` comes first: a queue's node is the carrier.
///
/// # Invariants
/// `load` belongs to whoever has the [`Kept`] of this place, and then to the queue.
#[repr(C)]
struct Carrier {
    node: Node,
    load: UnsafeCell<Option<(Shared<Socket>, PlaceId)>>,
}

// SAFETY: what is in the cell is handed from one owner to the next, as the invariant says.
unsafe impl Send for Carrier {}
// SAFETY: as above.
unsafe impl Sync for Carrier {}

/// A list that is out. Dropping it gives it back.
///
/// # Invariants
/// It is the one owner of its place, and has a place inside the socket, unless the socket's end has taken both.
pub(crate) struct Kept {
    socket: Shared<Socket>,
    place: PlaceId,
    list: List,
}

// SAFETY: the provider's list has no thread, and is only read.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

/// Names a list that goes with an operation, for whoever starts that.
pub(crate) struct Named {
    socket: Shared<Socket>,
    place: PlaceId,
}

impl Retained {
    pub(super) const fn new() -> Self {
        Self { kit: SpinLock::new(None), flush: Node::new(flush), missed: AtomicU32::new(0) }
    }
}

impl Kit {
    fn new(lists: u16, bytes: usize, release: Release, disconnects: bool) -> Result<Self, OutOfMemory> {
        let mut places = Vec::new_in(RetainedPool::default());
        let mut carriers = Vec::new_in(RetainedPool::default());
        for _ in 0..lists.max(1) {
            try_push(&mut places, Place::EMPTY)?;
            try_push(&mut carriers, Carrier { node: Node::new(carried), load: UnsafeCell::new(None) })?;
        }
        let disconnect = if disconnects { Some(Op::new(Arming::Plain)?) } else { None };
        // INVARIANT: as many of both; the vectors are not touched again.
        Ok(Self { retention: Retention::new(places, bytes), carriers, release, disconnect })
    }
}

impl Shared<Socket> {
    /// Has the socket keep lists, from now to its end: at most so many, and so many bytes. `disconnects` says that it is a
    /// connection. A socket that keeps lists already stays as it is.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # Safety
    /// `release` is the function for a socket of this kind.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) unsafe fn retain(&self, lists: u16, bytes: usize, release: Release, disconnects: bool) -> Result<(), OutOfMemory> {
        let kit = Kit::new(lists, bytes, release, disconnects)?;
        let mut place = self.retained.kit.lock();
        if place.is_none() {
            *place = Some(kit);
            return Ok(());
        }
        drop(place);
        drop(kit);
        Ok(())
    }

    /// Keeps a list, for an event callback with these flags: `true` if it is the socket's now. It allocates nothing.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) fn keep(&self, first: NonNull<c_void>, flags: u32, bytes: usize, level: Option<AtDispatch>) -> bool {
        let mut guard = self.retained.kit.lock_at(level);
        let Some(kit) = guard.as_mut() else { return false };
        // Under the lock: the end of the socket, which shuts `inside` before it takes the lock, sees what was kept before.
        let inside = self.enter_to_keep();
        let kept = inside == Acquired::Granted && kit.retention.offer(List { first, flags }, bytes);
        drop(guard);
        match inside {
            Acquired::Granted if !kept => self.leave_kept(),
            Acquired::RefusedLast => self.hand_to_closer(),
            _ => {}
        }
        kept
    }

    /// Datagrams were not kept: counts them if that was for lack of room. `false` if nobody wants them.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) fn miss(&self, datagrams: u32) -> bool {
        let wanted = self.retained.kit.lock().as_ref().is_some_and(|kit| !kit.retention.is_closed());
        if wanted {
            self.retained.missed.fetch_add(datagrams, Ordering::Relaxed);
        }
        wanted
    }

    /// How many datagrams were missed.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn missed(&self) -> u32 {
        self.retained.missed.load(Ordering::Relaxed)
    }

    /// The next list, in the order in which they came.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn next_kept(&self) -> Option<Kept> {
        let taken = self.retained.kit.lock().as_mut()?.retention.take()?;
        // INVARIANT: just taken; the place inside came with it.
        Some(Kept { socket: self.clone(), place: taken.place, list: taken.list })
    }

    /// `true`, once per refusal, if there is room for what was refused.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn resumes(&self) -> bool {
        self.retained.kit.lock().as_mut().is_some_and(|kit| kit.retention.resumes())
    }

    /// The provider could not be asked to go on: [`resumes`](Self::resumes) says `true` again.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn not_resumed(&self) {
        if let Some(kit) = self.retained.kit.lock().as_mut() {
            kit.retention.not_resumed();
        }
    }

    /// Whether the provider has bytes that it told of, and will tell of again.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn is_owed(&self) -> bool {
        self.retained.kit.lock().as_ref().is_some_and(|kit| kit.retention.is_owed())
    }

    /// Gives a list back that is out, unless the end of the socket did.
    fn give_back(&self, place: PlaceId) {
        let mut guard = self.retained.kit.lock();
        let Some(kit) = guard.as_mut() else { return };
        let (given, release) = (kit.retention.give(place), kit.release);
        drop(guard);
        let Some(given) = given else { return };
        // SAFETY: kept by this socket, and taken back just now; the place inside that came with it keeps the socket open.
        unsafe { release(self.wsk(), given.list.first) };
        self.leave_kept();
        if given.wake {
            self.raise(READABLE);
        }
    }

    /// Nothing is kept any more. `true` if there may be something to give back: at the end of the socket
    /// [`queue_flush`](Self::queue_flush) follows.
    pub(crate) fn stop_keeping(&self) -> bool {
        let mut guard = self.retained.kit.lock();
        let Some(kit) = guard.as_mut() else { return false };
        kit.retention.close();
        true
    }

    /// Has the queued lists given back. The place inside that the caller holds goes with it.
    pub(super) fn queue_flush(&self) {
        let socket = self.as_ptr().cast_mut();
        // SAFETY: inside the socket, by a pointer that is good for all of it.
        let node = unsafe { NonNull::new_unchecked(&raw mut (*socket).retained.flush) };
        // SAFETY: happens once, at the beginning of the end; the place inside keeps the socket.
        unsafe { self.shell().executor.push(Lane::Dispatch, node) };
    }

    /// Gives back what nobody else will, and sees to it that the rest comes. The caller's place inside ends here.
    fn flush(&self) {
        while let Some((list, release)) = self.next_abandoned() {
            // SAFETY: kept by this socket, and taken back just now; the caller is inside.
            unsafe { release(self.wsk(), list.first) };
            self.leave_kept();
        }
        let disconnect = {
            let mut guard = self.retained.kit.lock();
            let waits = guard.as_mut().filter(|kit| kit.retention.out() > 0);
            waits.and_then(|kit| kit.disconnect.take())
        };
        match disconnect {
            // SAFETY: the place is the caller's, who does not use it afterwards.
            Some(op) => connection::abort_with(unsafe { Call::at_end(self) }, op),
            None => self.leave(Right::Enter),
        }
    }

    fn next_abandoned(&self) -> Option<(List, Release)> {
        let mut guard = self.retained.kit.lock();
        let kit = guard.as_mut()?;
        Some((kit.retention.abandoned()?, kit.release))
    }
}

impl Kept {
    /// The socket that it came from.
    pub(super) fn socket(&self) -> &Shared<Socket> {
        &self.socket
    }

    /// The list. It is the provider's: to be read as long as this value lives.
    pub(crate) fn list(&self) -> NonNull<c_void> {
        self.list.first
    }

    /// The flags with which it came.
    pub(super) fn flags(&self) -> u32 {
        self.list.flags
    }

    /// The list's name, for the time after it has gone into an operation.
    pub(crate) fn named(&self) -> Named {
        Named { socket: self.socket.clone(), place: self.place }
    }

    /// Gives the list back from where WSK may be entered: for completion routines (L36).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn hand_over(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the reference is moved.
        let socket = unsafe { core::ptr::read(&raw const this.socket) };
        let carrier = socket.retained.kit.lock().as_ref().and_then(|kit| kit.carriers.get(this.place.index())).map(NonNull::from);
        let Some(carrier) = carrier else { return };
        let keep = socket.clone();
        // SAFETY: carriers stay as long as their socket; this one is ours by the invariant.
        unsafe { *carrier.as_ref().load.get() = Some((socket, this.place)) };
        // SAFETY: in no queue, for there is one `Kept` of a place; the socket in it keeps it.
        unsafe { keep.shell().executor.push(Lane::Dispatch, carrier.cast()) };
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.socket.give_back(self.place);
    }
}

impl Named {
    /// The operation that the list went with was parked (L35): who closes the socket does not wait for it.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`, in no completion routine.
    pub(crate) fn lost(self) {
        let mut guard = self.socket.retained.kit.lock();
        let Some(kit) = guard.as_mut() else { return };
        let (given, release) = (kit.retention.lose(self.place), kit.release);
        drop(guard);
        let Some(given) = given else { return };
        // SAFETY: as in `give_back`.
        unsafe { release(self.socket.wsk(), given.list.first) };
        self.socket.leave_kept();
    }
}

/// # Safety
/// `node` is a carrier's, queued by [`Kept::hand_over`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe fn carried(node: NonNull<Node>) {
    // SAFETY: the socket in it keeps it, until it is taken out below.
    let carrier: &Carrier = unsafe { node.cast().as_ref() };
    // SAFETY: handed over with the node, by the invariant.
    let Some((socket, place)) = (unsafe { (*carrier.load.get()).take() }) else { return };
    socket.give_back(place);
}

/// # Safety
/// `node` is that of a socket, queued by [`Shared::queue_flush`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe fn flush(node: NonNull<Node>) {
    // SAFETY: the node is part of the socket.
    let socket = unsafe { node.byte_sub(offset_of!(Socket, retained.flush)) }.cast::<Socket>();
    // SAFETY: the place inside that came with the node keeps the socket open, and so the table's reference.
    let socket = unsafe { Shared::clone_raw(socket.as_ptr()) };
    socket.flush();
}
