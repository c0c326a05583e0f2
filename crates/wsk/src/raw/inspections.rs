//! Connection requests that wait for a verdict (conditional accept).
//!
//! ```text
//!   WskInspectEvent              inspect                  verdict
//!   ---------------> (1) Queued --------> (2) Delivered ---------> gone
//!                     | WskAbortEvent      | WskAbortEvent             ^
//!                     v                    v                          |
//!                    gone              (3) Aborted -------------------'
//! ```
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::net::SocketAddr;

use allocator_api2::vec::Vec;
use wsk_sys::WSK_INSPECT_ID;

use crate::sync::{OutOfMemory, Pool, tag, try_push};

/// Names a connection request. The accepted connection has it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectionId {
    pub(super) key: u64,
    pub(super) serial: u32,
}

impl From<WSK_INSPECT_ID> for InspectionId {
    fn from(id: WSK_INSPECT_ID) -> Self {
        Self { key: id.Key, serial: id.SerialNumber }
    }
}

impl InspectionId {
    pub(super) fn to_raw(self) -> WSK_INSPECT_ID {
        WSK_INSPECT_ID { Key: self.key, SerialNumber: self.serial }
    }
}

/// A connection request.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) id: InspectionId,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    Delivered,
    Aborted,
}

struct Entry {
    /// Counts the requests of a listener: the provider may use an id again.
    number: u64,
    request: Request,
    state: State,
}

/// The requests of one listener, a bounded number of them.
pub(super) struct Inspections {
    places: Vec<Option<Entry>, Pool<{ tag(b"WskI") }>>,
    last: u64,
}

impl Inspections {
    /// No room for any.
    pub(super) const fn none() -> Self {
        Self { places: Vec::new_in(Pool), last: 0 }
    }

    /// Room for so many.
    pub(super) fn with_capacity(capacity: usize) -> Result<Self, OutOfMemory> {
        let mut this = Self::none();
        this.places.try_reserve_exact(capacity)?;
        for _ in 0..capacity {
            try_push(&mut this.places, None)?;
        }
        Ok(this)
    }

    /// Takes a request in; `false` if there is no room.
    pub(super) fn add(&mut self, request: Request) -> bool {
        let Some(place) = self.places.iter_mut().find(|place| place.is_none()) else { return false };
        self.last += 1;
        *place = Some(Entry { number: self.last, request, state: State::Queued });
        true
    }

    /// The peer has gone. Nobody will hear of a request that was not delivered yet.
    pub(super) fn abort(&mut self, id: InspectionId) {
        let is_it = |entry: &Entry| entry.request.id == id && entry.state != State::Aborted;
        let Some(place) = self.places.iter_mut().find(|place| place.as_ref().is_some_and(is_it)) else { return };
        match place {
            Some(entry) if entry.state == State::Delivered => entry.state = State::Aborted,
            queued => *queued = None,
        }
    }

    /// The oldest request that was not delivered yet, and its number; it counts as delivered now.
    pub(super) fn deliver(&mut self) -> Option<(u64, Request)> {
        let queued = self.places.iter_mut().flatten().filter(|entry| entry.state == State::Queued);
        let entry = queued.min_by_key(|entry| entry.number)?;
        entry.state = State::Delivered;
        Some((entry.number, entry.request))
    }

    /// Whether a delivered request has been aborted.
    pub(super) fn is_aborted(&self, number: u64) -> bool {
        self.places.iter().flatten().any(|entry| entry.number == number && entry.state == State::Aborted)
    }

    /// The verdict is known: makes room for another. `false` if the request had been aborted.
    pub(super) fn settle(&mut self, number: u64) -> bool {
        let is_it = |place: &&mut Option<Entry>| place.as_ref().is_some_and(|entry| entry.number == number);
        let entry = self.places.iter_mut().find(is_it).and_then(Option::take);
        entry.is_some_and(|entry| entry.state == State::Delivered)
    }
}
