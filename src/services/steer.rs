//! What a tool does with services. Nothing of it waits: runs that are to end are seen off by the keeper.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::time::Duration;

use control_abi::services::{Service as Wire, ServiceState};
use wsk::sync::{Pool, try_push};
use wsk::{Binding, Instant, Nudge, NtStatus};

use super::Services;
use super::book::{Book, Entry, MOST_LEAVING, Run};
use crate::parameters::{MOST_SERVICES, Settings, SettingsList};
use crate::trace::{Event, Who, tell};

impl Services {
    /// Starts the service of that name; nothing happens if it runs.
    ///
    /// # Errors
    /// There is none of that name, or no memory.
    pub(crate) fn start_one(&self, name: &str) -> Result<(), NtStatus> {
        let settings = self.book.with(|book| book.find(name).map(|entry| entry.settings))?;
        let run = Run::new(settings)?;
        let left_over = self.book.with(|book| book.start(name, run))?;
        drop(left_over);
        self.bell.ring();
        Ok(())
    }

    /// Begins to stop the service of that name.
    ///
    /// # Errors
    /// There is none of that name, or too many are being stopped.
    pub(crate) fn stop_one(&self, name: &str, grace: Duration) -> Result<(), NtStatus> {
        self.book.with(|book| book.stop(name, Instant::now().after(grace)))?;
        self.bell.ring();
        Ok(())
    }

    /// Adds a service, or changes one.
    ///
    /// # Errors
    /// There is one of that name and it was to be new; too many; no memory.
    pub(crate) fn set_one(&self, settings: Settings, start: bool, only_new: bool) -> Result<(), NtStatus> {
        let run = Run::new(settings)?;
        let who = run.service().who();
        let left_over = match self.book.with(|book| book.set(settings, run, start, only_new)) {
            Ok(left_over) => left_over,
            Err((status, run)) => {
                drop(run);
                return Err(status);
            }
        };
        drop(left_over);
        tell(Event::ServiceChanged(who));
        self.bell.ring();
        Ok(())
    }

    /// Stops the service of that name at once, and forgets it.
    ///
    /// # Errors
    /// There is none of that name, or too many are being stopped.
    pub(crate) fn remove_one(&self, name: &str) -> Result<(), NtStatus> {
        let who = self.book.with(|book| book.find(name).map(|entry| who(entry)))?;
        self.book.with(|book| book.remove(name))?;
        tell(Event::ServiceRemoved(who));
        self.bell.ring();
        Ok(())
    }

    /// The settings of the service of that name, and those of all that the registry has.
    ///
    /// # Errors
    /// There is none of that name, or no memory.
    pub(crate) fn to_save(&self, name: &str) -> Result<(Settings, SettingsList), NtStatus> {
        let mut saved = SettingsList::new_in(Pool);
        saved.try_reserve_exact(MOST_SERVICES).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        self.book.with(|book| {
            for entry in book.entries().filter(|entry| entry.is_in_registry()) {
                // There is room.
                let _ = try_push(&mut saved, entry.settings);
            }
            book.find(name).map(|entry| entry.settings)
        })
        .map(|settings| (settings, saved))
    }

    /// The service of that name is in the registry as it is.
    ///
    /// # Errors
    /// There is none of that name any more.
    pub(crate) fn saved(&self, name: &str) -> Result<(), NtStatus> {
        let who = self.book.with(|book| {
            let entry = book.find(name)?;
            entry.saved();
            Ok::<_, NtStatus>(who(entry))
        })?;
        tell(Event::ServiceSaved(who));
        Ok(())
    }

    /// The service after that number in the list, for tools, with its own number.
    pub(crate) fn describe_after(&self, number: u64) -> Option<(u64, Wire)> {
        let binding = self.binding.with(|binding| binding.clone());
        let attached = binding.is_some_and(|binding| !binding.is_stopping());
        self.book.with(|book| {
            let entry = book.after(number)?;
            Some((entry.number, describe(book, entry, attached)))
        })
    }

    /// How many there are, and how often the list has changed.
    pub(crate) fn count(&self) -> (u64, u64) {
        self.book.with(|book| (book.entries().count() as u64, book.changes()))
    }

    /// Sees those off that are to end: for the keeper. `true` as long as there is one.
    pub(super) fn see_off(&self, binding: Option<&Binding>) -> bool {
        let mut left = false;
        for place in 0..MOST_LEAVING {
            // Nobody else takes runs out: it is there until it is taken out here.
            let Some(service) = self.book.with(|book| book.leaving(place).map(|leaving| leaving.service())) else { continue };
            if service.is_idle() {
                if let Some((run, reset)) = self.book.with(|book| book.left(place)) {
                    service.tell();
                    tell(Event::ServiceStopped { service: service.who(), reset });
                    drop(run);
                }
                continue;
            }
            service.stopping.fire();
            let overdue = self.book.with(|book| book.leaving(place).is_some_and(|leaving| leaving.is_overdue()));
            if let Some(binding) = binding {
                // Again each time: a connection may have been accepted while the others were told.
                if overdue { binding.close_owned(service.id) } else { binding.nudge_owned(service.id, Nudge::Stop) }
            }
            left = true;
        }
        left
    }
}

fn who(entry: &Entry) -> Who {
    let id = entry.run().map_or(entry.number, |service| service.id);
    Who { id, name: control_abi::Text::cut(entry.settings.name.as_str()) }
}

fn describe(book: &Book, entry: &Entry, attached: bool) -> Wire {
    let (run, state) = (entry.run(), book.state(entry, attached));
    Wire {
        id: who(entry).id,
        state: state.to_wire(),
        origin: entry.origin().to_wire(),
        listening: run.map_or(0, |service| service.listening() as u32),
        places: run.map_or(0, |service| service.places.len() as u32),
        status: run.filter(|_| state != ServiceState::Running).map_or(0, |service| service.bind_status().0),
        port: run.and_then(|service| service.bound_port()).unwrap_or(entry.settings.port).into(),
        settings: entry.settings.to_wire(),
        totals: book.totals_of(entry),
    }
}

