//! Names, resolved in the kernel.

use core::ops::RangeInclusive;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::page::{Malformed, read_one};
use crate::settings::MOST_HOST;
use crate::wire::wire_enum;
use crate::{Ask, Refusal, Request, RequestHeader, Text, WireAddress};

/// How many addresses an answer has room for.
pub const MOST_ADDRESSES: usize = 32;
/// How long an answer may be waited for, in milliseconds; the request pends for no longer (L38).
pub const TIMEOUT_MS: RangeInclusive<u32> = 1..=10_000;
/// The time-out that suits as a rule, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u32 = 5_000;

/// Asks for the addresses of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResolveRequest {
    /// How every request begins.
    pub header: RequestHeader,
    /// The host: a name, or an address in text.
    pub host: Text<256>,
    /// The service whose port is wanted: a name or a number; empty for none.
    pub service: Text<32>,
    /// 4 or 6 for addresses of that version of IP alone, else 0.
    pub family: u32,
    /// [`CANONICAL_NAME`] or 0.
    pub flags: u32,
    /// See [`TIMEOUT_MS`].
    pub timeout_ms: u32,
    /// 0.
    pub reserved: u32,
}

/// Of [`ResolveRequest::flags`]: the canonical name is wanted too.
pub const CANONICAL_NAME: u32 = 1;

/// A name to be resolved; everything has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The host, not empty.
    pub host: Text<256>,
    /// The service, or empty.
    pub service: Text<32>,
    /// 4, 6, or 0 for both.
    pub family: u32,
    /// The canonical name is wanted too.
    pub canonical_name: bool,
    /// How long to wait.
    pub timeout_ms: u32,
}

impl ResolveRequest {
    /// The request for a host, of both families, with the default time-out; `None` if this can be no host.
    pub fn new(host: &str) -> Option<Self> {
        let request = Self {
            header: RequestHeader::CURRENT,
            host: Text::new(host)?,
            service: Text::EMPTY,
            family: 0,
            flags: 0,
            timeout_ms: DEFAULT_TIMEOUT_MS,
            reserved: 0,
        };
        request.checked().is_ok().then_some(request)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// What is wrong.
    pub fn checked(&self) -> Result<Resolve, Refusal> {
        let host = self.host.checked("host")?;
        if !(1..=MOST_HOST).contains(&host.len()) || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::Field("host"));
        }
        if !self.service.checked("service")?.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::Field("service"));
        }
        if !matches!(self.family, 0 | 4 | 6) {
            return Err(Refusal::Field("family"));
        }
        if self.flags & !CANONICAL_NAME != 0 {
            return Err(Refusal::Field("flags"));
        }
        if !TIMEOUT_MS.contains(&self.timeout_ms) {
            return Err(Refusal::Field("timeout_ms"));
        }
        if self.reserved != 0 {
            return Err(Refusal::Reserved);
        }
        let Self { host, service, family, timeout_ms, .. } = *self;
        Ok(Resolve { host, service, family, canonical_name: self.flags & CANONICAL_NAME != 0, timeout_ms })
    }
}

impl Ask for ResolveRequest {
    const REQUEST: Request = Request::Resolve;
    const LEAST_ROOM: usize = size_of::<Resolved>();
}

wire_enum! {
    /// What came of a resolution.
    Outcome {
        /// There are addresses.
        Found = 1 "found",
        /// There is no such name.
        NotFound = 2 "not found",
        /// The provider failed.
        Failed = 3 "failed",
        /// The provider did not answer in time.
        TimedOut = 4 "timed out",
        /// There is no binding, or it went meanwhile.
        Detached = 5 "detached",
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Resolved {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// An [`Outcome`].
    pub outcome: u32,
    /// The provider's NTSTATUS, where it answered.
    pub status: i32,
    /// How many addresses it gave.
    pub total: u32,
    /// How many of them are here.
    pub count: u32,
    /// 0.
    pub reserved: u32,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// The canonical name, if it was wanted and the provider has it.
    pub canonical_name: Text<256>,
    /// The addresses, best first.
    pub addresses: [WireAddress; MOST_ADDRESSES],
}

impl Resolved {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(answer: &[u8]) -> Result<Self, Malformed> {
        read_one(answer, |resolved: &Self| resolved.version)
    }

    /// The addresses.
    pub fn addresses(&self) -> &[WireAddress] {
        self.addresses.get(..self.count as usize).unwrap_or(&self.addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_checked() {
        let good = ResolveRequest::new("localhost").expect("a host");
        assert!(good.checked().is_ok() && ResolveRequest::new("::1").is_some());
        for host in ["", "a b", "ä"] {
            assert!(ResolveRequest::new(host).is_none(), "{host}");
        }
        let wrong = [
            (ResolveRequest { host: Text::EMPTY, ..good }, Refusal::Field("host")),
            (ResolveRequest { service: Text::new("a b").expect("text"), ..good }, Refusal::Field("service")),
            (ResolveRequest { family: 5, ..good }, Refusal::Field("family")),
            (ResolveRequest { flags: 2, ..good }, Refusal::Field("flags")),
            (ResolveRequest { timeout_ms: 0, ..good }, Refusal::Field("timeout_ms")),
            (ResolveRequest { timeout_ms: 10_001, ..good }, Refusal::Field("timeout_ms")),
            (ResolveRequest { reserved: 1, ..good }, Refusal::Reserved),
        ];
        for (request, refusal) in wrong {
            assert_eq!(request.checked(), Err(refusal));
        }
    }
}
