//! What happens, as the driver tells it.
//!
//! # IRQL
//! Any.

use core::fmt;
use core::net::SocketAddr;

use control_abi::events::{CloseReason, Event as Wire, EventKind, Limit};
use control_abi::settings::MOST_NAME;
use control_abi::sockets::{Protocol, SocketKind};
use control_abi::{Text, WireAddress};
use wsk::{BindError, IoError, NtStatus, OpenError};

/// Something that happened.
#[allow(dead_code)] // what services and sockets tell comes with their lists
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A provider is offered.
    Attaching { lowest: u16, highest: u16 },
    /// It was declined, or declined us.
    AttachFailed { status: NtStatus },
    /// It is attached.
    Attached { binding: u64 },
    /// The binding is being taken away; with nothing to do if it is not pending.
    DetachBegun { binding: u64, pending: bool, in_flight: u32, sockets: u32 },
    /// The last work is gone.
    DetachCompleted { binding: u64 },
    /// The binding's memory is free.
    CleanedUp { binding: u64 },
    /// The driver was asked to leave WSK.
    Deactivated,
    /// The driver was asked to come back to WSK.
    Activated,
    /// A service starts.
    ServiceStarted(Who),
    /// A service cannot listen at an address yet.
    ServiceFailed { service: Who, address: SocketAddr, error: BindError },
    /// A service has stopped; so many connections had to be reset.
    ServiceStopped { service: Who, reset: u32 },
    /// A service listens at an address.
    ServiceListening { service: Who, address: SocketAddr, protocol: Protocol },
    /// A service's settings were set.
    ServiceChanged(Who),
    /// A service was written to the registry.
    ServiceSaved(Who),
    /// A service was removed.
    ServiceRemoved(Who),
    /// A limit of a service was reached, which it was not before.
    LimitHit { service: Who, limit: Limit },
    /// A socket was opened.
    SocketOpened { socket: u64, binding: u64, kind: SocketKind, protocol: Protocol },
    /// A socket was closed.
    SocketClosed { socket: u64, binding: u64, reason: CloseReason },
    /// Something went wrong that should not.
    Fault { what: &'static str, status: NtStatus },
}

/// A service that something happened to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    /// Its number.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: Text<MOST_NAME>,
}

impl Event {
    /// What kind of event it is.
    pub(crate) fn kind(&self) -> EventKind {
        match self {
            Self::Attaching { .. } => EventKind::Attaching,
            Self::AttachFailed { .. } => EventKind::AttachFailed,
            Self::Attached { .. } => EventKind::Attached,
            Self::DetachBegun { .. } => EventKind::DetachBegun,
            Self::DetachCompleted { .. } => EventKind::DetachCompleted,
            Self::CleanedUp { .. } => EventKind::CleanedUp,
            Self::Deactivated => EventKind::Deactivated,
            Self::Activated => EventKind::Activated,
            Self::ServiceStarted(_) => EventKind::ServiceStarted,
            Self::ServiceFailed { .. } => EventKind::ServiceFailed,
            Self::ServiceStopped { .. } => EventKind::ServiceStopped,
            Self::ServiceListening { .. } => EventKind::ServiceListening,
            Self::ServiceChanged(_) => EventKind::ServiceChanged,
            Self::ServiceSaved(_) => EventKind::ServiceSaved,
            Self::ServiceRemoved(_) => EventKind::ServiceRemoved,
            Self::LimitHit { .. } => EventKind::LimitHit,
            Self::SocketOpened { .. } => EventKind::SocketOpened,
            Self::SocketClosed { .. } => EventKind::SocketClosed,
            Self::Fault { .. } => EventKind::Fault,
        }
    }

    /// Whether it is about one socket: those are many.
    pub(crate) fn is_of_socket(&self) -> bool {
        matches!(self, Self::SocketOpened { .. } | Self::SocketClosed { .. })
    }

    /// The event for tools, without number and time.
    pub(super) fn to_wire(self) -> Wire {
        let plain = Wire { kind: self.kind().to_wire(), ..Wire::default() };
        let of = |service: Who| Wire { subject: service.id, name: service.name, ..plain };
        match self {
            Self::Attaching { lowest, highest } => Wire { a: lowest.into(), b: highest.into(), ..plain },
            Self::AttachFailed { status } | Self::Fault { status, .. } => Wire { status: status.0, ..plain },
            Self::Attached { binding } | Self::DetachCompleted { binding } | Self::CleanedUp { binding } => {
                Wire { binding, ..plain }
            }
            Self::DetachBegun { binding, in_flight, sockets, .. } => {
                Wire { binding, a: in_flight.into(), b: sockets.into(), ..plain }
            }
            Self::Deactivated | Self::Activated => plain,
            Self::ServiceStarted(service)
            | Self::ServiceChanged(service)
            | Self::ServiceSaved(service)
            | Self::ServiceRemoved(service) => of(service),
            Self::ServiceFailed { service, address, error } => {
                Wire { address: WireAddress::from(address), status: status_of(error).0, ..of(service) }
            }
            Self::ServiceStopped { service, reset } => Wire { a: reset.into(), ..of(service) },
            Self::ServiceListening { service, address, protocol } => {
                Wire { address: WireAddress::from(address), a: protocol.to_wire().into(), ..of(service) }
            }
            Self::LimitHit { service, limit } => Wire { a: limit.to_wire().into(), ..of(service) },
            Self::SocketOpened { socket, binding, kind, protocol } => {
                Wire { subject: socket, binding, a: kind.to_wire().into(), b: protocol.to_wire().into(), ..plain }
            }
            Self::SocketClosed { socket, binding, reason } => {
                Wire { subject: socket, binding, a: reason.to_wire().into(), ..plain }
            }
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Attaching { lowest, highest } => write!(f, "WSK offers versions {lowest:#06x} to {highest:#06x}"),
            Self::AttachFailed { status } => write!(f, "not attached: {status}"),
            Self::Attached { binding } => write!(f, "attached, binding {binding}"),
            Self::DetachBegun { binding, pending: false, .. } => write!(f, "binding {binding}: detach, nothing to do"),
            Self::DetachBegun { binding, in_flight, sockets, .. } => {
                write!(f, "binding {binding}: detach pending, {in_flight} calls in flight, {sockets} sockets")
            }
            Self::DetachCompleted { binding } => write!(f, "binding {binding}: detach completed"),
            Self::CleanedUp { binding } => write!(f, "binding {binding}: cleaned up"),
            Self::Deactivated => f.write_str("deactivated"),
            Self::Activated => f.write_str("activated"),
            Self::ServiceStarted(service) => write!(f, "{}: started", service.name),
            Self::ServiceFailed { service, address, error } => {
                write!(f, "{}: cannot listen at {address} yet: {error}", service.name)
            }
            Self::ServiceStopped { service, reset } => write!(f, "{}: stopped, {reset} connections reset", service.name),
            Self::ServiceListening { service, address, protocol: Protocol::Udp } => {
                write!(f, "{}: listening at {address}, udp", service.name)
            }
            Self::ServiceListening { service, address, .. } => write!(f, "{}: listening at {address}", service.name),
            Self::ServiceChanged(service) => write!(f, "{}: set by hand", service.name),
            Self::ServiceSaved(service) => write!(f, "{}: saved", service.name),
            Self::ServiceRemoved(service) => write!(f, "{}: removed", service.name),
            Self::LimitHit { service, limit } => write!(f, "{}: the limit of {limit} is reached", service.name),
            Self::SocketOpened { socket, kind, protocol, .. } => write!(f, "socket {socket}: {kind}, {protocol}"),
            Self::SocketClosed { socket, reason, .. } => write!(f, "socket {socket}: closed, {reason}"),
            Self::Fault { what, status } => write!(f, "{what}: {status}"),
        }
    }
}

/// The status behind an error.
pub(crate) fn status_of(error: BindError) -> NtStatus {
    match error {
        BindError::Open(OpenError::Provider(status))
        | BindError::Option(IoError::Provider(status))
        | BindError::Bind(IoError::Provider(status))
        | BindError::Listen(IoError::Provider(status)) => status,
        BindError::Open(OpenError::OutOfMemory | OpenError::TooMany) => NtStatus::INSUFFICIENT_RESOURCES,
        BindError::Option(error) | BindError::Bind(error) | BindError::Listen(error) if error == IoError::OutOfMemory => {
            NtStatus::INSUFFICIENT_RESOURCES
        }
        _ => NtStatus::CANCELLED,
    }
}
