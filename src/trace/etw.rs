//! Events for Event Tracing for Windows, which describe themselves (TraceLogging).
//!
//! The provider is `WskClient`; its GUID comes from that name. An event's number is that of its [`EventKind`], its name and
//! its fields do not change; docs/tracing.md lists them. While no session wants an event, it costs a comparison.
//!
//! # IRQL
//! Any, where a function does not say otherwise.
#![allow(unsafe_code)] // registers and ends a registration that the image must not leave behind

use core::net::SocketAddr;

use control_abi::events::EventKind;
use tracelogging::{define_provider, write_event};
use wsk::{NtStatus, Passive};

use super::event::{Event, Who, status_of};
use crate::log;

define_provider!(WSKCLIENT, "WskClient");

/// Categories of events. 1 stands for none.
const LIFECYCLE: u64 = 0x2;
const SERVICES: u64 = 0x4;
const SOCKETS: u64 = 0x8;
const FAULTS: u64 = 0x10;

/// Registers the provider. Where that fails there are no events, and nothing else is amiss.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub(crate) fn register(_: Passive) {
    // SAFETY: `unregister` is called before the image goes, also when DriverEntry fails.
    let status = NtStatus(unsafe { WSKCLIENT.register() } as i32);
    if status.ok().is_err() {
        log!(Warning, "no events for ETW: {status}");
    }
}

/// Ends the registration, if there is one.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub(crate) fn unregister(_: Passive) {
    WSKCLIENT.unregister();
}

/// Writes an event of that kind, named as the kind is: with level, categories and fields.
macro_rules! write {
    ($kind:ident, $name:tt, $level:ident, $keyword:ident $(, $field:ident($($value:tt)*))*) => {{
        write_event!(
            WSKCLIENT,
            $name,
            id_version(EventKind::$kind as u16, 0),
            level($level),
            keyword($keyword)
            $(, $field($($value)*))*
        );
    }};
}

/// Writes an event, if a session wants it.
pub(super) fn write(event: &Event) {
    match *event {
        Event::Attaching { lowest, highest } => {
            write!(Attaching, "Attaching", Informational, LIFECYCLE, u16_hex("Lowest", &lowest), u16_hex("Highest", &highest));
        }
        Event::AttachFailed { status } => {
            write!(AttachFailed, "AttachFailed", Warning, LIFECYCLE, win_ntstatus("Status", &status.0));
        }
        Event::Attached { binding } => write!(Attached, "Attached", Informational, LIFECYCLE, u64("Binding", &binding)),
        Event::DetachBegun { binding, pending, in_flight, sockets } => write!(
            DetachBegun, "DetachBegun", Informational, LIFECYCLE, u64("Binding", &binding), bool8("Pending", &pending),
            u32("CallsInFlight", &in_flight), u32("Sockets", &sockets)
        ),
        Event::DetachCompleted { binding } => {
            write!(DetachCompleted, "DetachCompleted", Informational, LIFECYCLE, u64("Binding", &binding));
        }
        Event::CleanedUp { binding } => write!(CleanedUp, "CleanedUp", Informational, LIFECYCLE, u64("Binding", &binding)),
        Event::Deactivated => write!(Deactivated, "Deactivated", Informational, LIFECYCLE),
        Event::Activated => write!(Activated, "Activated", Informational, LIFECYCLE),
        Event::SocketOpened { socket, binding, kind, protocol } => write!(
            SocketOpened, "SocketOpened", Verbose, SOCKETS, u64("Socket", &socket), u64("Binding", &binding),
            str8("Kind", kind.name()), str8("Protocol", protocol.name())
        ),
        Event::SocketClosed { socket, binding, reason } => write!(
            SocketClosed, "SocketClosed", Verbose, SOCKETS, u64("Socket", &socket), u64("Binding", &binding),
            str8("Reason", reason.name())
        ),
        Event::Fault { what, status } => {
            write!(Fault, "Fault", Error, FAULTS, str8("What", what), win_ntstatus("Status", &status.0));
        }
        Event::ServiceStarted(_)
        | Event::ServiceChanged(_)
        | Event::ServiceSaved(_)
        | Event::ServiceRemoved(_)
        | Event::ServiceFailed { .. }
        | Event::ServiceListening { .. }
        | Event::ServiceStopped { .. }
        | Event::LimitHit { .. } => write_of_service(event),
    }
}

/// Writes an event of a service.
macro_rules! write_of_service {
    ($kind:ident, $name:tt, $level:ident, $service:expr $(, $field:ident($($value:tt)*))*) => {
        write!($kind, $name, $level, SERVICES, u64("Service", &$service.id), str8("Name", name_of(&$service)) $(, $field($($value)*))*)
    };
}

fn write_of_service(event: &Event) {
    match *event {
        Event::ServiceStarted(service) => write_of_service!(ServiceStarted, "ServiceStarted", Informational, service),
        Event::ServiceChanged(service) => write_of_service!(ServiceChanged, "ServiceChanged", Informational, service),
        Event::ServiceSaved(service) => write_of_service!(ServiceSaved, "ServiceSaved", Informational, service),
        Event::ServiceRemoved(service) => write_of_service!(ServiceRemoved, "ServiceRemoved", Informational, service),
        Event::ServiceFailed { service, address, error } => write_of_service!(
            ServiceFailed, "ServiceFailed", Warning, service, socketaddress("Address", SockAddr::from(address).as_bytes()),
            win_ntstatus("Status", &status_of(error).0)
        ),
        Event::ServiceListening { service, address, protocol } => write_of_service!(
            ServiceListening, "ServiceListening", Informational, service,
            socketaddress("Address", SockAddr::from(address).as_bytes()), str8("Protocol", protocol.name())
        ),
        Event::ServiceStopped { service, reset } => {
            write_of_service!(ServiceStopped, "ServiceStopped", Informational, service, u32("Reset", &reset));
        }
        Event::LimitHit { service, limit } => {
            write_of_service!(LimitHit, "LimitHit", Warning, service, str8("Limit", limit.name()));
        }
        _ => {}
    }
}

fn name_of(service: &Who) -> &str {
    service.name.as_str().unwrap_or_default()
}

/// The bytes of a `SOCKADDR_IN` or `SOCKADDR_IN6`, which tools decode.
struct SockAddr {
    bytes: [u8; 28],
    length: usize,
}

impl From<SocketAddr> for SockAddr {
    fn from(address: SocketAddr) -> Self {
        const AF_INET: u16 = 2;
        const AF_INET6: u16 = 23;
        let mut new = Self { bytes: [0; 28], length: 0 };
        match address {
            SocketAddr::V4(v4) => {
                new.push(&AF_INET.to_le_bytes());
                new.push(&v4.port().to_be_bytes());
                new.push(&v4.ip().octets());
                new.push(&[0; 8]);
            }
            SocketAddr::V6(v6) => {
                new.push(&AF_INET6.to_le_bytes());
                new.push(&v6.port().to_be_bytes());
                new.push(&v6.flowinfo().to_be_bytes());
                new.push(&v6.ip().octets());
                new.push(&v6.scope_id().to_le_bytes());
            }
        }
        new
    }
}

impl SockAddr {
    fn push(&mut self, part: &[u8]) {
        let end = self.length + part.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(part);
            self.length = end;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What `tracelogging` calls in functions of which the driver uses none. A build without optimization has them all the same, and
/// the kernel exports no `UuidCreate`.
#[cfg(debug_assertions)]
mod unused {
    use core::ffi::c_void;

    use wsk::NtStatus;

    // SAFETY: nothing else has this name: the kernel does not export it.
    #[unsafe(no_mangle)]
    extern "system" fn UuidCreate(_guid: *mut c_void) -> u32 {
        NtStatus::NOT_SUPPORTED.0 as u32
    }

    // SAFETY: the kernel's function of this name is then not imported, and nobody else calls it.
    #[unsafe(no_mangle)]
    extern "system" fn EtwActivityIdControl(_code: u32, _guid: *mut c_void) -> u32 {
        NtStatus::NOT_SUPPORTED.0 as u32
    }
}
