//! What happened, in order.
//!
//! The driver remembers the last [`REMEMBERED`] events, and never waits for a reader: who is slower loses the oldest, and
//! is told how many.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::page;
use crate::settings::MOST_NAME;
use crate::wire::wire_enum;
use crate::{Ask, Refusal, Request, RequestHeader, Text, WireAddress};

/// How many events the driver remembers.
pub const REMEMBERED: u32 = 1024;
/// How long a request for events may pend, in milliseconds (L38).
pub const MOST_WAIT_MS: u32 = 1_000;

/// Asks for the next [`Event`]s. They come as a page; its `next` is what to go on with, `mark` how many of those asked for were lost,
/// `total` the number of the newest event. If there are none in time, an empty page comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventsRequest {
    /// How every request begins.
    pub header: RequestHeader,
    /// The number of the last event that is known; they count from 1. 0 for all that are remembered.
    pub after: u64,
    /// How long to wait for one if there is none, at most [`MOST_WAIT_MS`].
    pub wait_ms: u32,
    /// [`WITH_SOCKETS`] or 0.
    pub flags: u32,
}

/// Of [`EventsRequest::flags`]: sockets that are opened and closed too, which are remembered apart from the others. Numbers of the two kinds of
/// request are not to be mixed.
pub const WITH_SOCKETS: u32 = 1;

/// Which events are wanted; everything has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Those after this one.
    pub after: u64,
    /// How long to wait for one.
    pub wait_ms: u32,
    /// Those of sockets too.
    pub with_sockets: bool,
}

impl EventsRequest {
    /// The request for the events after this one.
    pub const fn after(after: u64, wait_ms: u32) -> Self {
        Self { header: RequestHeader::CURRENT, after, wait_ms, flags: 0 }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// What is wrong.
    pub fn checked(&self) -> Result<Events, Refusal> {
        if self.wait_ms > MOST_WAIT_MS {
            return Err(Refusal::Field("wait_ms"));
        }
        if self.flags & !WITH_SOCKETS != 0 {
            return Err(Refusal::Field("flags"));
        }
        Ok(Events { after: self.after, wait_ms: self.wait_ms, with_sockets: self.flags & WITH_SOCKETS != 0 })
    }
}

impl Ask for EventsRequest {
    const REQUEST: Request = Request::Events;
    const LEAST_ROOM: usize = page::room::<Event>(1);
}

wire_enum! {
    /// What happened. The numbers are those of the ETW events, too.
    EventKind {
        /// A provider is offered; `a` is its lowest version, `b` its highest (major * 256 + minor).
        Attaching = 1 "attaching",
        /// It was declined, or declined us; `status` says why.
        AttachFailed = 2 "attach-failed",
        /// It is attached; `binding` counts the attachments.
        Attached = 3 "attached",
        /// The binding is being taken away; `a` calls are in flight, `b` sockets are open. Both are 0 if there was no work.
        DetachBegun = 4 "detach-begun",
        /// The last work is gone.
        DetachCompleted = 5 "detach-completed",
        /// The binding's memory is free.
        CleanedUp = 6 "cleaned-up",
        /// The driver was asked to leave WSK.
        Deactivated = 7 "deactivated",
        /// The driver was asked to come back to WSK.
        Activated = 8 "activated",
        /// A service starts.
        ServiceStarted = 16 "service-started",
        /// A service cannot listen at `address`; `status` says why. It goes on trying.
        ServiceFailed = 17 "service-failed",
        /// A service has stopped; `a` connections had to be reset.
        ServiceStopped = 18 "service-stopped",
        /// A service listens at `address`; `a` is the protocol.
        ServiceListening = 19 "service-listening",
        /// A service's settings were set.
        ServiceChanged = 20 "service-changed",
        /// A service was written to the registry.
        ServiceSaved = 21 "service-saved",
        /// A service was removed.
        ServiceRemoved = 22 "service-removed",
        /// A limit of a service was reached: connections or datagrams are turned away from now on; `a` says which limit.
        LimitHit = 23 "limit-hit",
        /// A socket was opened: `a` is its kind, `b` its protocol, `subject` its number.
        SocketOpened = 32 "socket-opened",
        /// A socket was closed: `a` is the reason, `subject` its number.
        SocketClosed = 33 "socket-closed",
        /// Something went wrong that should not: `status` says what.
        Fault = 48 "fault",
        /// A traffic job was started; `subject` is its number.
        TrafficStarted = 64 "traffic-started",
        /// A traffic job is over; `subject` is its number, `status` how it ended.
        TrafficEnded = 65 "traffic-ended",
    }
}

wire_enum! {
    /// Which limit was reached.
    Limit {
        /// `MaxConnections` or `MaxBytes`: a connection was refused.
        Connections = 1 "connections",
        /// `RatePerSource`: datagrams are not answered.
        Rate = 2 "rate",
    }
}

wire_enum! {
    /// Why a socket was closed.
    CloseReason {
        /// Its owner was done with it.
        Done = 1 "done",
        /// The peer had reset the connection.
        Reset = 2 "reset",
        /// The binding was being taken away.
        Detached = 3 "detached",
        /// The provider had taken it away.
        Gone = 4 "gone",
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// Its number: one more than that of the event before.
    pub number: u64,
    /// When: the system time in units of 100 ns since 1601 (UTC), as FILETIME has it.
    pub time: u64,
    /// An [`EventKind`].
    pub kind: u32,
    /// An NTSTATUS, or 0.
    pub status: i32,
    /// The generation of the binding that it is about, or 0.
    pub binding: u64,
    /// The number of the service, socket or job that it is about, or 0.
    pub subject: u64,
    /// See [`EventKind`].
    pub a: u64,
    /// See [`EventKind`].
    pub b: u64,
    /// The address that it is about, or none.
    pub address: WireAddress,
    /// The name of the service that it is about, or empty.
    pub name: Text<MOST_NAME>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_checked() {
        let good = EventsRequest::after(7, MOST_WAIT_MS);
        assert_eq!(good.checked(), Ok(Events { after: 7, wait_ms: 1000, with_sockets: false }));
        assert!(EventsRequest { flags: WITH_SOCKETS, ..good }.checked().is_ok_and(|events| events.with_sockets));
        assert_eq!(EventsRequest { wait_ms: 1001, ..good }.checked(), Err(Refusal::Field("wait_ms")));
        assert_eq!(EventsRequest { flags: 2, ..good }.checked(), Err(Refusal::Field("flags")));
    }
}
