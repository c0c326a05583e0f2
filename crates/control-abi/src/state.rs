//! The state of the driver.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::page::{Malformed, read_one};
use crate::wire::wire_enum;
use crate::{Ask, Request, RequestHeader};

macro_rules! plain_request {
    ($(#[$of:meta])* $name:ident, $request:ident, $room:expr) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            /// How every request begins.
            pub header: RequestHeader,
        }

        impl $name {
            /// The request.
            pub const NEW: Self = Self { header: RequestHeader::CURRENT };
        }

        impl Ask for $name {
            const REQUEST: Request = Request::$request;
            const LEAST_ROOM: usize = $room;
        }
    };
}

plain_request!(
    /// Asks for nothing.
    NoOpRequest,
    NoOp,
    0
);
plain_request!(
    /// Asks for [`State`].
    StateRequest,
    State,
    size_of::<State>()
);
plain_request!(
    /// Asks the driver to leave WSK.
    DeactivateRequest,
    Deactivate,
    0
);
plain_request!(
    /// Asks the driver to come back to WSK.
    ActivateRequest,
    Activate,
    0
);

wire_enum! {
    /// Where the registration with WSK stands.
    Registration {
        /// Not registered: deactivated.
        Out = 0 "out",
        /// Being registered.
        Registering = 1 "registering",
        /// Registered.
        In = 2 "in",
        /// Being deregistered.
        Leaving = 3 "leaving",
    }
}

wire_enum! {
    /// Whether the binding admits new work.
    Gate {
        /// There is no binding.
        None = 0 "none",
        /// It admits new work.
        Open = 1 "open",
        /// It is being taken away.
        Shut = 2 "shut",
    }
}

/// How many pool tags a [`State`] has room for.
pub const MOST_TAGS: usize = 32;

/// The state of the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct State {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// A [`Registration`].
    pub registration: u32,
    /// A [`Gate`].
    pub gate: u32,
    /// Provider calls in flight on the binding.
    pub in_flight: u32,
    /// Functions of its sockets that are being entered.
    pub inside: u32,
    /// Open sockets of the binding.
    pub sockets: u32,
    /// Counts the attachments since load; that of the binding which the fields above are about, or 0.
    pub generation: u64,
    /// The version of WSK that the binding negotiated, major * 256 + minor; 0 without one.
    pub wsk_version: u32,
    /// The lowest version of WSK that the provider offered last, and the highest in the upper 16 bits; 0 if none was seen.
    pub provider_versions: u32,
    /// Microseconds since the driver was loaded.
    pub loaded_us: u64,
    /// Microseconds since the binding was attached; 0 without one.
    pub attached_us: u64,
    /// What services did since load.
    pub totals: Totals,
    /// What services did since the newest binding was attached; of what is held, the same as in `totals`.
    pub since_attach: Totals,
    /// The most that there was at a time, since load.
    pub peaks: Peaks,
    /// How many of `pool` are in use.
    pub tags: u32,
    /// 0.
    pub reserved: u32,
    /// Nonpaged pool, tag by tag.
    pub pool: [PoolUse; MOST_TAGS],
}

/// What services did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Totals {
    /// Connections that are being served now.
    pub connections: u64,
    /// Connections accepted, those refused not counted.
    pub accepted: u64,
    /// Connections refused because a limit was reached.
    pub refused: u64,
    /// Connections that ended with an error: reset, no memory, taken away.
    pub failed: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes of nonpaged pool that connections hold now.
    pub held: u64,
    /// The most that they held, service by service: the sum of what each held at most.
    pub most_held: u64,
    /// Connections that were idle for too long, which are among those that failed.
    pub idle: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams answered.
    pub answered: u64,
    /// Datagrams that were not to be answered: from ports or addresses that must not be, above the rate, cut off.
    pub ignored: u64,
}

impl Totals {
    /// What came to these since `before`; of what is held now, as it is.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            connections: self.connections,
            accepted: self.accepted.wrapping_sub(before.accepted),
            refused: self.refused.wrapping_sub(before.refused),
            failed: self.failed.wrapping_sub(before.failed),
            received: self.received.wrapping_sub(before.received),
            sent: self.sent.wrapping_sub(before.sent),
            held: self.held,
            most_held: self.most_held,
            idle: self.idle.wrapping_sub(before.idle),
            datagrams: self.datagrams.wrapping_sub(before.datagrams),
            answered: self.answered.wrapping_sub(before.answered),
            ignored: self.ignored.wrapping_sub(before.ignored),
        }
    }
}

/// High-water marks since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Peaks {
    /// Open sockets of one binding.
    pub sockets: u64,
    /// Bytes of nonpaged pool, all tags together; the sum of each tag's own mark.
    pub pool: u64,
}

/// The nonpaged pool under one tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PoolUse {
    /// The tag, its letters as they are read.
    pub tag: [u8; 4],
    /// 0.
    pub reserved: u32,
    /// Bytes held.
    pub bytes: u64,
    /// Allocations held.
    pub allocations: u64,
    /// The most bytes that were held.
    pub peak: u64,
}

impl State {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(answer: &[u8]) -> Result<Self, Malformed> {
        read_one(answer, |state: &Self| state.version)
    }

    /// The tags in use.
    pub fn pool(&self) -> &[PoolUse] {
        self.pool.get(..self.tags as usize).unwrap_or(&self.pool)
    }
}
