//! What a socket that listens keeps for its event callbacks, which allocate nothing: sockets reserved in advance (L14), those
//! that have been accepted, and connection requests that wait for a verdict.
//!
//! ```text
//!   refill, in a task          WskAcceptEvent                accept
//!   ------------------> free ------------------> ready ------------------> the caller
//!                    (at most `backlog` in both together)
//! ```
//!
//! Reserves are added by somebody inside the socket, and given up when its close has completed, under its drain right: no
//! one of them outlives the binding.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};

use atomic_waker::AtomicWaker;

use super::inspections::Inspections;
use super::socket::{Reserved, SocketHandle};
use crate::sync::shared::tagged;
use crate::sync::{AtDispatch, OutOfMemory, Ring, SpinLock};

/// A connection that was accepted by an event.
pub(crate) struct Accepted {
    pub(crate) socket: SocketHandle,
    pub(crate) remote: Option<SocketAddr>,
}

struct Accepts {
    free: Ring<Reserved>,
    ready: Ring<Accepted>,
}

/// What a listening socket keeps.
pub(crate) struct Listening {
    accepts: SpinLock<Accepts>,
    refused: AtomicU64,
    pub(super) inspections: SpinLock<Inspections>,
    /// The task that inspects, if it waits.
    pub(crate) inspector: AtomicWaker,
}

tagged!(Listening, b"WskL");

impl Accepts {
    const fn none() -> Self {
        Self { free: Ring::new(), ready: Ring::new() }
    }

    /// How many more may be reserved.
    fn lacking(&self) -> usize {
        self.ready.capacity().saturating_sub(self.free.len() + self.ready.len())
    }
}

impl Listening {
    pub(super) const fn new() -> Self {
        Self {
            accepts: SpinLock::new(Accepts::none()),
            refused: AtomicU64::new(0),
            inspections: SpinLock::new(Inspections::none()),
            inspector: AtomicWaker::new(),
        }
    }

    /// Makes room for so many accepted connections, and so many that are inspected. Only before the socket is bound.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn make_room(&self, backlog: usize, inspected: usize) -> Result<(), OutOfMemory> {
        let accepts = Accepts { free: Ring::with_capacity(backlog)?, ready: Ring::with_capacity(backlog)? };
        let inspections = Inspections::with_capacity(inspected)?;
        let before = core::mem::replace(&mut *self.accepts.lock(), accepts);
        drop(before);
        let before = core::mem::replace(&mut *self.inspections.lock(), inspections);
        drop(before);
        Ok(())
    }

    /// Whether another reserve is wanted.
    pub(super) fn is_lacking(&self) -> bool {
        self.accepts.lock().lacking() > 0
    }

    /// Adds a reserve; it comes back if there are enough.
    pub(super) fn add(&self, reserved: Reserved) -> Result<(), Reserved> {
        let mut accepts = self.accepts.lock();
        if accepts.lacking() == 0 {
            return Err(reserved);
        }
        accepts.free.push(reserved)
    }

    /// Whether an event that came now would find no reserve, and none has come that could be taken.
    pub(crate) fn is_bare(&self) -> bool {
        let accepts = self.accepts.lock();
        accepts.free.is_empty() && accepts.ready.is_empty()
    }

    /// A reserve for what an event brings. The event counts as refused if there is none.
    pub(super) fn take_reserve(&self, level: Option<AtDispatch>) -> Option<Reserved> {
        let reserve = self.accepts.lock_at(level).free.pop();
        if reserve.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        reserve
    }

    /// Puts in what an event has brought. There is room for every reserve.
    pub(super) fn put(&self, accepted: Accepted, level: Option<AtDispatch>) {
        let left_over = self.accepts.lock_at(level).ready.push(accepted).err();
        drop(left_over);
    }

    /// Takes the connection that has waited longest.
    pub(crate) fn take(&self) -> Option<Accepted> {
        self.accepts.lock().ready.pop()
    }

    /// How many connections were refused because nothing was reserved for them.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Gives up the reserves, and the connections that nobody has taken. The caller holds a right, and no callback of the
    /// socket is under way, or its accept event is off.
    pub(crate) fn give_up(&self) {
        let accepts = core::mem::replace(&mut *self.accepts.lock(), Accepts::none());
        drop(accepts);
    }
}
