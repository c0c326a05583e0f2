//! Which driver this is, and what it can do.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::page::Malformed;
use crate::{Ask, Request, RequestHeader};

/// Asks for [`Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VersionRequest {
    /// [`RequestHeader::ANY_VERSION`], or as for every request.
    pub header: RequestHeader,
}

impl VersionRequest {
    /// Whatever version the driver has.
    pub const ANY: Self = Self { header: RequestHeader::ANY_VERSION };
}

impl Ask for VersionRequest {
    const REQUEST: Request = Request::Version;
    const LEAST_ROOM: usize = size_of::<Version>();
}

/// The driver's version. This structure is the same in all versions of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// Of the protocol: [`VERSION`](crate::VERSION) of the driver.
    pub version: u32,
    /// 0.
    pub reserved: u32,
    /// Of the driver: major, minor, patch, and 0.
    pub driver: [u16; 4],
    /// What it can do, a sum of `CAN_…`.
    pub capabilities: u64,
    /// How many services there can be.
    pub most_services: u32,
    /// How many events it remembers.
    pub most_events: u32,
}

/// It lists sockets.
pub const CAN_LIST_SOCKETS: u64 = 1;
/// Services can be listed, started, stopped, changed and saved.
pub const CAN_CHANGE_SERVICES: u64 = 1 << 1;
/// It resolves names.
pub const CAN_RESOLVE: u64 = 1 << 2;
/// It tells events.
pub const CAN_TELL_EVENTS: u64 = 1 << 3;
/// It can be a client that makes traffic.
pub const CAN_MAKE_TRAFFIC: u64 = 1 << 4;
/// It writes ETW events.
pub const CAN_TRACE: u64 = 1 << 5;

impl Version {
    /// Reads an answer, of whatever version.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(answer: &[u8]) -> Result<Self, Malformed> {
        Self::read_from_prefix(answer).map(|(version, _)| version).map_err(|_| Malformed)
    }
}
