//! [`Fake`]: a driver whose answers are known. It checks what it is asked as the driver does, by `control_abi::parse`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use control_abi::events::Event;
use control_abi::page::{END, PageHeader, entries_in};
use control_abi::resolve::Resolved;
use control_abi::services::{Origin, Service, ServiceState};
use control_abi::sockets::{Cursor, Socket};
use control_abi::traffic::{End, Phase, Report, Started};
use control_abi::version::Version;
use control_abi::{Command, State, Totals, VERSION, parse};
use zerocopy::{Immutable, IntoBytes};

use crate::device::{ControlError, Device, Handle};
use crate::failure::Failure;
use crate::ntstatus::NtStatus;

/// A driver. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Fake(Rc<Shared>);

struct Shared {
    open: Cell<u32>,
    asked: Cell<u32>,
    says: RefCell<Says>,
}

/// What it answers.
pub(crate) struct Says {
    pub(crate) version: Version,
    pub(crate) state: State,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) services: Vec<Service>,
    pub(crate) events: Vec<Event>,
    /// The number of the oldest event it remembers.
    pub(crate) oldest: u64,
    pub(crate) resolved: Option<Resolved>,
    /// Jobs of traffic.
    pub(crate) jobs: Vec<Report>,
    /// How often a job can be asked about before it is over.
    pub(crate) looks: u32,
    /// Why jobs end.
    pub(crate) end: End,
    /// It cannot be opened.
    pub(crate) shut: Option<fn() -> Failure>,
    /// It refuses every request with this.
    pub(crate) refuses: Option<NtStatus>,
}

impl Fake {
    pub(crate) fn new(says: Says) -> Self {
        Self(Rc::new(Shared { open: Cell::new(0), asked: Cell::new(0), says: RefCell::new(says) }))
    }

    /// How many requests it was asked.
    pub(crate) fn asked(&self) -> u32 {
        self.0.asked.get()
    }

    /// Changes what it says.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.0.says.borrow_mut());
    }

    /// What it says.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Says) -> T) -> T {
        look(&self.0.says.borrow())
    }
}

impl Device for Fake {
    fn open(&self) -> Result<Box<dyn Handle>, Failure> {
        if let Some(why) = self.0.says.borrow().shut {
            return Err(why());
        }
        assert_eq!(self.0.open.replace(1), 0, "a handle is open already (L38)");
        Ok(Box::new(Opened(self.clone())))
    }
}

struct Opened(Fake);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.0.open.set(0);
    }
}

impl Handle for Opened {
    fn control(&mut self, code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, ControlError> {
        let shared = &self.0.0;
        shared.asked.set(shared.asked.get() + 1);
        let mut says = shared.says.borrow_mut();
        let command = parse(code, input, room).map_err(|refusal| status(refusal.status()))?;
        match says.refuses {
            Some(refused) if command != Command::Version => Err(ControlError::Status(refused)),
            _ => says.answer(command, room),
        }
    }
}

fn status(status: i32) -> ControlError {
    ControlError::Status(NtStatus(status as u32))
}

impl Says {
    fn answer(&mut self, command: Command, room: usize) -> Result<Vec<u8>, ControlError> {
        match command {
            Command::Version => Ok(self.version.as_bytes().to_vec()),
            Command::State => Ok(self.state.as_bytes().to_vec()),
            Command::Sockets(Cursor { slot, .. }) => {
                Ok(list(&self.sockets, slot as usize, room, |slot| Cursor { binding: 2, slot: slot as u32 }.to_wire()))
            }
            Command::Services(cursor) => Ok(list(&self.services, cursor as usize, room, |place| place as u64)),
            Command::Events(events) => Ok(self.page_of_events(events.after, room)),
            Command::Resolve(_) => self.resolved.map(|found| found.as_bytes().to_vec()).ok_or(status(0xc000_0010_u32 as i32)),
            Command::ServiceStart(named) => self.to(named.name.as_str(), ServiceState::Running),
            Command::ServiceStop(named) => self.to(named.name.as_str(), ServiceState::Stopped),
            Command::ServiceSet(set) => {
                let state = if set.and_start { ServiceState::Running } else { ServiceState::Stopped };
                let new = service(90, set.settings, state);
                match self.services.iter_mut().find(|service| service.settings.name == set.settings.name) {
                    Some(service) => *service = new,
                    None => self.services.push(new),
                }
                Ok(Vec::new())
            }
            Command::ServiceRemove(named) => {
                self.services.retain(|service| service.settings.name != named.name);
                Ok(Vec::new())
            }
            Command::TrafficStart(wanted) => {
                let id = 7;
                self.jobs.push(Report { asked: wanted.to_wire(), phase: Phase::Running.to_wire(), ..super::traffic::job(id) });
                Ok(Started { version: VERSION, reserved: 0, id }.as_bytes().to_vec())
            }
            Command::TrafficAsk { id, renew } => {
                self.looks = self.looks.saturating_sub(renew.into());
                let is_over = self.looks == 0;
                let (end, job) = (self.end, self.job(id)?);
                if renew && is_over {
                    (job.phase, job.end) = (Phase::Over.to_wire(), end.to_wire());
                }
                Ok(job.as_bytes().to_vec())
            }
            Command::TrafficCancel(id) => {
                let job = self.job(id)?;
                (job.phase, job.end) = (Phase::Over.to_wire(), End::Cancelled.to_wire());
                Ok(Vec::new())
            }
            Command::TrafficList(after) => Ok(list(&self.jobs, after as usize, room, |place| place as u64)),
            _ => Ok(Vec::new()),
        }
    }

    fn job(&mut self, id: u64) -> Result<&mut Report, ControlError> {
        self.jobs.iter_mut().find(|job| job.id == id).ok_or(ControlError::Status(NtStatus::NOT_FOUND))
    }

    fn to(&mut self, name: Option<&str>, state: ServiceState) -> Result<Vec<u8>, ControlError> {
        let found = self.services.iter_mut().find(|service| service.settings.name.as_str() == name);
        found.ok_or(ControlError::Status(NtStatus::NOT_FOUND))?.state = state.to_wire();
        Ok(Vec::new())
    }

    fn page_of_events(&self, after: u64, room: usize) -> Vec<u8> {
        let newest = self.events.last().map_or(0, |event| event.number);
        let lost = self.oldest.saturating_sub(after + 1);
        let wanted = self.events.iter().filter(|event| event.number > after);
        let events: Vec<_> = wanted.take(entries_in::<Event>(room)).copied().collect();
        let next = events.last().map_or(after, |event| event.number);
        page(PageHeader { version: VERSION, count: events.len() as u32, next, total: newest, mark: lost }, &events)
    }
}

/// A service as it is listed.
pub(crate) fn service(id: u64, settings: control_abi::settings::Settings, state: ServiceState) -> Service {
    let places = u32::from(settings.address_count);
    let listening = if state == ServiceState::Running { places } else { 0 };
    let (origin, port) = (Origin::ByHand.to_wire(), settings.port.into());
    Service { id, state: state.to_wire(), origin, listening, places, status: 0, port, settings, totals: Totals::default() }
}

/// Three entries a page, so that there are several.
fn list<T: IntoBytes + Immutable>(all: &[T], place: usize, room: usize, cursor: impl Fn(usize) -> u64) -> Vec<u8> {
    let rest = &all[place..];
    let entries = &rest[..rest.len().min(entries_in::<T>(room)).min(3)];
    let next = if entries.len() == rest.len() { END } else { cursor(place + entries.len()) };
    let total = all.len() as u64;
    page(PageHeader { version: VERSION, count: entries.len() as u32, next, total, mark: 1 }, entries)
}

fn page<T: IntoBytes + Immutable>(header: PageHeader, entries: &[T]) -> Vec<u8> {
    let mut bytes = header.as_bytes().to_vec();
    entries.iter().for_each(|entry| bytes.extend_from_slice(entry.as_bytes()));
    bytes
}
