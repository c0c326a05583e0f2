//! The list of sockets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::page::{self, PageRequest};
use crate::wire::wire_enum;
use crate::{Ask, Refusal, Request, RequestHeader, WireAddress};

/// Asks for a page of [`Socket`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SocketsRequest(pub PageRequest);

impl SocketsRequest {
    /// For the page at a cursor.
    pub const fn at(cursor: u64) -> Self {
        Self(PageRequest { header: RequestHeader::CURRENT, cursor })
    }
}

impl Ask for SocketsRequest {
    const REQUEST: Request = Request::Sockets;
    const LEAST_ROOM: usize = page::room::<Socket>(1);
}

wire_enum! {
    /// What a socket is for.
    SocketKind {
        /// It accepts connections.
        Listener = 1 "listener",
        /// It is a connection, or becomes one.
        Connection = 2 "connection",
        /// It sends and receives datagrams.
        Datagram = 3 "datagram",
        /// It becomes a connection, or accepts some.
        Stream = 4 "stream",
    }
}

wire_enum! {
    /// The protocol of a socket.
    Protocol {
        /// TCP.
        Tcp = 6 "tcp",
        /// UDP.
        Udp = 17 "udp",
    }
}

wire_enum! {
    /// Where a socket stands.
    SocketState {
        /// Made, neither bound nor connected.
        Open = 1 "open",
        /// Bound, and accepting connections or datagrams.
        Bound = 2 "bound",
        /// Being connected.
        Connecting = 3 "connecting",
        /// Connected.
        Connected = 4 "connected",
        /// The peer has ended its direction.
        PeerEnded = 5 "peer-ended",
        /// Its close has begun.
        Closing = 6 "closing",
    }
}

/// A socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Socket {
    /// Its number, which no other socket has while the driver is loaded.
    pub id: u64,
    /// The generation of its binding.
    pub binding: u64,
    /// The service or the traffic job that it belongs to, by its number; 0 if none.
    pub owner: u64,
    /// A [`SocketKind`].
    pub kind: u32,
    /// A [`Protocol`].
    pub protocol: u32,
    /// A [`SocketState`].
    pub state: u32,
    /// Calls to the provider in progress.
    pub calls: u32,
    /// Microseconds since it was made.
    pub age_us: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Its own address; none if it is not bound.
    pub local: WireAddress,
    /// Its peer's; none if it has none.
    pub remote: WireAddress,
}

/// Where in the list of sockets a page begins: a binding, and a place in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The generation of the binding, from 1; its sockets and those of newer bindings are still to come.
    pub binding: u64,
    /// The place in its table.
    pub slot: u32,
}

const SLOT_BITS: u32 = 20;

impl Cursor {
    /// Before the first socket.
    pub const FIRST: Self = Self { binding: 0, slot: 0 };

    /// As a number.
    pub const fn to_wire(self) -> u64 {
        self.binding << SLOT_BITS | self.slot as u64
    }

    /// The cursor that a number is.
    ///
    /// # Errors
    /// [`Refusal::Field`] if no page ever came with such a cursor.
    pub const fn from_wire(number: u64) -> Result<Self, Refusal> {
        let cursor = Self { binding: number >> SLOT_BITS, slot: (number & ((1 << SLOT_BITS) - 1)) as u32 };
        if cursor.binding == 0 && cursor.slot != 0 { Err(Refusal::Field("cursor")) } else { Ok(cursor) }
    }
}
