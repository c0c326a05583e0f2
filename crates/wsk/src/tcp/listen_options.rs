//! How to listen.
//!
//! # IRQL
//! Any.

/// Which addresses a listener on an IPv6 wildcard serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Those of its own family.
    OwnFamily,
    /// Those of both families, if the provider has it.
    Both,
}

/// How to listen. Without any wish: for the addresses of its own family, one pending accept at a time, unconditionally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    pub(super) addresses: Addresses,
    pub(super) reuse_address: bool,
    pub(super) backlog: u16,
    pub(super) events: bool,
    pub(super) inspected: u16,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenOptions {
    /// No wishes.
    pub const fn new() -> Self {
        Self { addresses: Addresses::OwnFamily, reuse_address: false, backlog: 0, events: false, inspected: 0 }
    }

    /// Which addresses an IPv6 listener serves (IPV6_V6ONLY).
    pub const fn addresses(self, addresses: Addresses) -> Self {
        Self { addresses, ..self }
    }

    /// Whether an address may be taken that others have (SO_REUSEADDR).
    pub const fn reuse_address(self, reuse_address: bool) -> Self {
        Self { reuse_address, ..self }
    }

    /// Has connections brought by an event
    /// ([`WskAcceptEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_accept_event)) rather than
    /// by one accept after the other. Everything that `backlog` connections need is reserved in advance; a connection that
    /// comes when so many wait for [`accept`](crate::TcpListener::accept) is refused. A provider that does not have the event
    /// makes no difference but in speed.
    pub const fn by_event(self, backlog: u16) -> Self {
        Self { backlog, ..self }
    }

    /// Connections that an event brings have their receive and disconnect events on from the beginning, for good, as
    /// if by [`TcpStream::enable_events`](crate::TcpStream::enable_events).
    pub const fn with_events(self, events: bool) -> Self {
        Self { events, ..self }
    }

    /// Has every connection request [inspected](crate::Inspector) before there is a connection (SO_CONDITIONAL_ACCEPT).
    /// Requests beyond `at_once` that wait for a verdict are rejected.
    pub const fn conditional(self, at_once: u16) -> Self {
        Self { inspected: at_once, ..self }
    }
}
