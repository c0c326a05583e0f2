//! The book of services: which there are, with which settings, and which of them run.
//!
//! ```text
//!   entry, stopped ---- start ----> entry with a run ---- stop ----> run on its way out, entry stopped
//!        ^                                 |  set: the same, and a new run at once            |
//!        '---------------------------------'                      the keeper: signal, nudges, at the deadline
//!                                                                 resets, and when it is idle it is freed
//! ```
//!
//! Everything here is done in one step under the lock that the book is in.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.
#![allow(unsafe_code)] // a run is freed when its counts say so

use core::ptr::NonNull;

use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use control_abi::Totals;
use control_abi::services::{Origin, ServiceState};
use wsk::sync::{Pool, tag, try_push};
use wsk::{Instant, NtStatus, OutOfMemory};

use super::Service;
use crate::ids;
use crate::parameters::{MOST_SERVICES, Settings};

/// How many runs can be on their way out at once.
pub(super) const MOST_LEAVING: usize = 64;

/// Places, all of which are there from the beginning.
type Places<T> = Vec<Option<T>, BookPool>;
type BookPool = Pool<{ tag(b"WskV") }>;

/// See above.
pub(super) struct Book {
    entries: Places<Entry>,
    leaving: Places<Leaving>,
    /// What was done by services that were removed.
    removed: Totals,
    /// Counts changes of the list.
    changes: u64,
}

/// A service by its name.
pub(super) struct Entry {
    /// Counts the entries: the order of the list.
    pub(super) number: u64,
    pub(super) settings: Settings,
    in_registry: bool,
    changed: bool,
    run: Option<Run>,
    /// What runs did that are over.
    past: Totals,
}

/// A run on its way out.
pub(super) struct Leaving {
    run: Run,
    /// Of which entry.
    entry: u64,
    /// When its connections are reset.
    deadline: Instant,
    /// How many had to be, once that has come.
    reset: Option<u32>,
}

/// A service that may run.
///
/// # Invariants
/// It came from a box of [`BookPool`]. It is dropped when it [is idle](Service::is_idle) and is not started any more, or when
/// no task runs at all: only then the references that [`service`](Self::service) gives out are gone. Whoever uses one is counted
/// in the service, or is the keeper, which is who takes runs out of the book, or holds the book's lock.
pub(super) struct Run(NonNull<Service>);

// SAFETY: it owns a service, which can be used from any thread.
unsafe impl Send for Run {}
// SAFETY: as above.
unsafe impl Sync for Run {}

impl Run {
    /// A service that listens nowhere yet.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(settings: Settings) -> Result<Self, OutOfMemory> {
        let service = Box::try_new_in(Service::new(settings)?, BookPool::default())?;
        // INVARIANT: out of a box, and new, so idle.
        Ok(Self(NonNull::from(Box::leak(service))))
    }

    /// The service, for whom the invariant allows it.
    pub(super) fn service(&self) -> &'static Service {
        // SAFETY: live until this is dropped, which is when the invariant says.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // SAFETY: out of such a box, and dropped when nobody uses it, by the invariant.
        drop(unsafe { Box::from_raw_in(self.0.as_ptr(), BookPool::default()) });
    }
}

impl Book {
    /// A book without entries, with room for all that it may have.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let (entries, leaving) = (places(MOST_SERVICES)?, places(MOST_LEAVING)?);
        Ok(Self { entries, leaving, removed: Totals::default(), changes: 0 })
    }

    /// Adds a service of the registry's, of which there are no more than there is room for.
    pub(super) fn add(&mut self, run: Run) {
        self.push(run.service().settings, Some(run), true);
    }

    /// Where the service of that name is; case does not tell one from another.
    pub(super) fn find(&mut self, name: &str) -> Result<&mut Entry, NtStatus> {
        let found = self.entries.iter_mut().flatten().find(|entry| entry.settings.name.as_str().eq_ignore_ascii_case(name));
        found.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)
    }

    /// The entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// The first entry after that number.
    pub(super) fn after(&self, number: u64) -> Option<&Entry> {
        self.entries().filter(|entry| entry.number > number).min_by_key(|entry| entry.number)
    }

    /// How often the list has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Every run, those on their way out too.
    pub(super) fn services(&self) -> impl Iterator<Item = &'static Service> + '_ {
        let leaving = self.leaving.iter().flatten().map(|leaving| &leaving.run);
        self.entries().filter_map(|entry| entry.run.as_ref()).chain(leaving).map(Run::service)
    }

    /// The first entry after that number, with what of it is to listen. One whose last run has sockets still is left alone.
    pub(super) fn to_listen_after(&self, number: u64) -> Option<(u64, Option<&'static Service>)> {
        let entry = self.after(number)?;
        let blocked = self.leaving.iter().flatten().any(|leaving| leaving.entry == entry.number && leaving.run.service().has_places());
        let run = entry.run.as_ref().filter(|_| !blocked);
        Some((entry.number, run.map(Run::service)))
    }

    /// Gives the entry of that name a run. `false`, with the run, if it has one.
    ///
    /// # Errors
    /// There is no such entry.
    pub(super) fn start(&mut self, name: &str, run: Run) -> Result<Option<Run>, NtStatus> {
        let entry = self.find(name)?;
        if entry.run.is_some() {
            return Ok(Some(run));
        }
        entry.run = Some(run);
        self.changes += 1;
        Ok(None)
    }

    /// Takes the run of the entry of that name out. `false` if it has none.
    ///
    /// # Errors
    /// There is no such entry, or no room.
    pub(super) fn stop(&mut self, name: &str, deadline: Instant) -> Result<bool, NtStatus> {
        let place = self.leaving.iter().position(Option::is_none);
        let entry = self.find(name)?;
        if entry.run.is_none() {
            return Ok(false);
        }
        let (place, number) = (place.ok_or(NtStatus::DEVICE_BUSY)?, entry.number);
        let run = entry.run.take();
        if let (Some(place), Some(run)) = (self.leaving.get_mut(place), run) {
            *place = Some(Leaving { run, entry: number, deadline, reset: None });
        }
        self.changes += 1;
        Ok(true)
    }

    /// Sets the settings of an entry, or makes one. What ran runs with the new ones: `run` is for that, and comes back if it is
    /// not needed.
    ///
    /// # Errors
    /// With the run: `only_new` and there is one, or no room.
    pub(super) fn set(&mut self, settings: Settings, run: Run, start: bool, only_new: bool) -> Result<Option<Run>, (NtStatus, Run)> {
        let name = settings.name;
        let is_full = self.is_full();
        let running = match self.find(name.as_str()) {
            Err(_) if is_full => return Err((NtStatus::QUOTA_EXCEEDED, run)),
            Err(_) => {
                let (run, left_over) = if start { (Some(run), None) } else { (None, Some(run)) };
                self.push(settings, run, false);
                return Ok(left_over);
            }
            Ok(_) if only_new => return Err((NtStatus::OBJECT_NAME_COLLISION, run)),
            Ok(entry) => entry.run.is_some(),
        };
        if let Err(status) = self.stop(name.as_str(), Instant::now()) {
            return Err((status, run));
        }
        self.changes += 1;
        let Ok(entry) = self.find(name.as_str()) else { return Ok(Some(run)) };
        (entry.settings, entry.changed) = (settings, true);
        if running || start {
            entry.run = Some(run);
            return Ok(None);
        }
        Ok(Some(run))
    }

    fn is_full(&self) -> bool {
        self.entries.iter().all(Option::is_some)
    }

    /// Adds an entry. There is room.
    fn push(&mut self, settings: Settings, run: Option<Run>, in_registry: bool) {
        let entry = Entry { number: ids::next(), settings, in_registry, changed: false, run, past: Totals::default() };
        self.changes += 1;
        if let Some(place) = self.entries.iter_mut().find(|place| place.is_none()) {
            *place = Some(entry);
        }
    }

    /// Takes an entry out, and its run with it.
    ///
    /// # Errors
    /// There is no such entry, or no room.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), NtStatus> {
        self.stop(name, Instant::now())?;
        let number = self.find(name)?.number;
        let its = |place: &&mut Option<Entry>| place.as_ref().is_some_and(|entry| entry.number == number);
        if let Some(entry) = self.entries.iter_mut().find(its).and_then(Option::take) {
            add(&mut self.removed, &entry.past);
        }
        self.changes += 1;
        Ok(())
    }

    /// The run on its way out that has this place, from 0 to [`MOST_LEAVING`].
    pub(super) fn leaving(&mut self, place: usize) -> Option<&mut Leaving> {
        self.leaving.get_mut(place)?.as_mut()
    }

    /// Takes it out for good; it is idle. What it did counts on.
    pub(super) fn left(&mut self, place: usize) -> Option<(Run, u32)> {
        let Leaving { run, entry, reset, .. } = self.leaving.get_mut(place)?.take()?;
        let entry = self.entries.iter_mut().flatten().find(|other| other.number == entry);
        add(entry.map_or(&mut self.removed, |entry| &mut entry.past), &run.service().totals());
        self.changes += 1;
        Some((run, reset.unwrap_or(0)))
    }

    /// What all of them did.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.removed;
        self.entries().for_each(|entry| add(&mut totals, &entry.past));
        self.services().for_each(|service| add(&mut totals, &service.totals()));
        totals
    }

    /// Where an entry stands; `attached` if there is a binding.
    pub(super) fn state(&self, entry: &Entry, attached: bool) -> ServiceState {
        let Some(service) = entry.run() else {
            let leaving = self.leaving.iter().flatten().any(|leaving| leaving.entry == entry.number);
            return if leaving { ServiceState::Stopping } else { ServiceState::Stopped };
        };
        match service.listening() {
            _ if !attached => ServiceState::Waiting,
            0 => ServiceState::Starting,
            some if some < service.places.len() => ServiceState::Partly,
            _ => ServiceState::Running,
        }
    }

    /// What an entry did, its runs on their way out included.
    pub(super) fn totals_of(&self, entry: &Entry) -> Totals {
        let mut totals = entry.past;
        let leaving = self.leaving.iter().flatten().filter(|leaving| leaving.entry == entry.number).map(|leaving| &leaving.run);
        entry.run.iter().chain(leaving).for_each(|run| add(&mut totals, &run.service().totals()));
        totals
    }
}

impl Entry {
    /// Its run.
    pub(super) fn run(&self) -> Option<&'static Service> {
        self.run.as_ref().map(Run::service)
    }

    /// Whether the registry has one of its name.
    pub(super) fn is_in_registry(&self) -> bool {
        self.in_registry
    }

    /// The registry has it as it is.
    pub(super) fn saved(&mut self) {
        (self.in_registry, self.changed) = (true, false);
    }

    /// What it has to do with the registry.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self { in_registry: false, .. } => Origin::ByHand,
            Self { changed: false, run: Some(_), .. } => Origin::Saved,
            _ => Origin::Changed,
        }
    }
}

impl Leaving {
    pub(super) fn service(&self) -> &'static Service {
        self.run.service()
    }

    /// Whether its connections are to be reset: when that is first so, they are counted.
    pub(super) fn is_overdue(&mut self) -> bool {
        if self.reset.is_none() && Instant::now() >= self.deadline {
            self.reset = Some(self.run.service().limits.connections());
        }
        self.reset.is_some()
    }
}

fn places<T>(count: usize) -> Result<Places<T>, OutOfMemory> {
    let mut places = Vec::new_in(Pool);
    places.try_reserve_exact(count)?;
    for _ in 0..count {
        try_push(&mut places, None)?;
    }
    Ok(places)
}

/// Adds what one did to what others did: of what is held, as much as both hold; the most that it was, of each.
fn add(totals: &mut Totals, one: &Totals) {
    *totals = Totals {
        connections: totals.connections + one.connections,
        accepted: totals.accepted + one.accepted,
        refused: totals.refused + one.refused,
        failed: totals.failed + one.failed,
        received: totals.received + one.received,
        sent: totals.sent + one.sent,
        held: totals.held + one.held,
        most_held: totals.most_held + one.most_held,
        idle: totals.idle + one.idle,
        datagrams: totals.datagrams + one.datagrams,
        answered: totals.answered + one.answered,
        ignored: totals.ignored + one.ignored,
    };
}
