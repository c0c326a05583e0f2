//! [`Tool`]: the driver as commands see it. Each request opens the device and closes it again (L38).

use control_abi::events::{Event, EventsRequest};
use control_abi::page::{END, MOST_ENTRIES, room};
use control_abi::resolve::{ResolveRequest, Resolved};
use control_abi::services::{Service, ServicesRequest};
use control_abi::sockets::{Socket, SocketsRequest};
use control_abi::state::StateRequest;
use control_abi::version::{Version, VersionRequest};
use control_abi::{Ask, Page, State, VERSION};
use zerocopy::FromBytes;

use crate::device::{ControlError, Device};
use crate::failure::Failure;
use crate::ntstatus::NtStatus;
use crate::output::Output;

/// The version of drivers that did not know the request for it.
const FIRST_VERSION: u32 = 1;

/// The driver, and where to print.
pub(crate) struct Tool {
    device: Box<dyn Device>,
    output: Output,
}

/// Some of the events that the driver remembers.
pub(crate) struct EventsPage {
    /// In order; maybe none.
    pub(crate) events: Vec<Event>,
    /// After which to ask for more.
    pub(crate) next: u64,
    /// How many were forgotten before these.
    pub(crate) lost: u64,
    /// The number of the newest event that there is.
    pub(crate) newest: u64,
}

impl Tool {
    /// The driver behind a device.
    pub(crate) fn new(device: impl Device + 'static, output: Output) -> Self {
        Self { device: Box::new(device), output }
    }

    /// Where to print.
    pub(crate) const fn output(&self) -> &Output {
        &self.output
    }

    /// Which driver it is; answered whatever version it has.
    pub(crate) fn version(&self) -> Result<Version, Failure> {
        let what = "asking for the version";
        let answer = self.send(&VersionRequest::ANY, VersionRequest::LEAST_ROOM).map_err(|error| error.during(what))?;
        Version::read(&answer).map_err(|_| nonsense(what))
    }

    /// The state of the driver.
    pub(crate) fn state(&self) -> Result<State, Failure> {
        let what = "asking for the state";
        let answer = self.ask(what, &StateRequest::NEW, StateRequest::LEAST_ROOM)?;
        State::read(&answer).map_err(|_| nonsense(what))
    }

    /// Every socket.
    pub(crate) fn sockets(&self) -> Result<Vec<Socket>, Failure> {
        self.list("listing sockets", SocketsRequest::at)
    }

    /// Every service.
    pub(crate) fn services(&self) -> Result<Vec<Service>, Failure> {
        self.list("listing services", ServicesRequest::at)
    }

    /// The service of this name.
    pub(crate) fn service(&self, name: &str) -> Result<Service, Failure> {
        let services = self.services()?;
        let found = services.iter().find(|service| name_of(service).eq_ignore_ascii_case(name)).copied();
        found.ok_or_else(|| Failure::NoSuchService {
            name: name.to_owned(),
            there_are: services.iter().map(|service| name_of(service).to_owned()).collect(),
        })
    }

    /// What came of a resolution of names.
    pub(crate) fn resolve(&self, request: &ResolveRequest) -> Result<Resolved, Failure> {
        let what = "resolving";
        let answer = self.ask(what, request, ResolveRequest::LEAST_ROOM)?;
        Resolved::read(&answer).map_err(|_| nonsense(what))
    }

    /// The events after one, as soon as there are some, or none within the time that the request gives.
    pub(crate) fn events(&self, request: &EventsRequest) -> Result<EventsPage, Failure> {
        let what = "asking for events";
        let answer = self.ask(what, request, room::<Event>(MOST_ENTRIES))?;
        let page = Page::<Event>::read(&answer).map_err(|_| nonsense(what))?;
        let (next, lost, newest) = (page.header.next, page.header.mark, page.header.total);
        Ok(EventsPage { events: page.entries().collect(), next, lost, newest })
    }

    /// A request without an answer.
    pub(crate) fn order(&self, what: &'static str, request: &impl Ask) -> Result<(), Failure> {
        self.ask(what, request, 0).map(drop)
    }

    /// Every entry of a list, page by page.
    pub(crate) fn list<A: Ask, T: FromBytes + Copy>(&self, what: &'static str, at: impl Fn(u64) -> A) -> Result<Vec<T>, Failure> {
        let (mut entries, mut cursor) = (Vec::new(), END);
        loop {
            let answer = self.ask(what, &at(cursor), room::<T>(MOST_ENTRIES))?;
            let page = Page::<T>::read(&answer).map_err(|_| nonsense(what))?;
            entries.extend(page.entries());
            cursor = page.header.next;
            if cursor == END {
                return Ok(entries);
            }
        }
    }

    /// Asks, with room for so many bytes of an answer. A driver of another version is told by its version.
    pub(crate) fn ask<A: Ask>(&self, what: &'static str, request: &A, room: usize) -> Result<Vec<u8>, Failure> {
        self.send(request, room).map_err(|error| match error {
            ControlError::Status(NtStatus::REVISION_MISMATCH) => {
                let driver = self.version().map_or(FIRST_VERSION, |version| version.version);
                Failure::OtherVersion { driver, ours: VERSION }
            }
            error => error.during(what),
        })
    }

    /// Opens, asks, closes.
    fn send<A: Ask>(&self, request: &A, room: usize) -> Result<Vec<u8>, ControlError> {
        let mut handle = self.device.open().map_err(ControlError::Failure)?;
        handle.control(A::REQUEST.code(), request.as_bytes(), room)
    }
}

/// A service's name.
pub(crate) fn name_of(service: &Service) -> &str {
    service.settings.name.as_str().unwrap_or("?")
}

fn nonsense(what: &'static str) -> Failure {
    Failure::Nonsense { what }
}
