//! Names to addresses, and addresses to names.
//!
//! The provider's answer is copied and given back at once, so what these functions return is the caller's alone.
//!
//! # IRQL
//! `PASSIVE_LEVEL`, where a function does not say otherwise.

use core::fmt;
use core::net::SocketAddr;

use allocator_api2::vec::Vec;
use wsk_sys::IPPROTO::{IPPROTO_TCP, IPPROTO_UDP};
use wsk_sys::{
    AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE, NI_DGRAM, NI_MAXHOST, NI_MAXSERV, NI_NAMEREQD, NI_NOFQDN,
    NI_NUMERICHOST, NI_NUMERICSERV, SOCK_DGRAM, SOCK_STREAM,
};

use crate::raw::NtStatus;
use crate::raw::address::{AF_INET, AF_INET6, RawAddress};
use crate::raw::calls::resolve::{self, Question, Reverse, Wanted};
use crate::raw::given::GivenList;
use crate::raw::wide::{Text, Wide, WideError};
use crate::sync::{OutOfMemory, Passive, Pool, tag, try_push};
use crate::tcp::Family;
use crate::{Binding, IoError};

/// Text lengths without the NUL.
const LONGEST_HOST: u16 = NI_MAXHOST as u16 - 1;
const LONGEST_SERVICE: u16 = NI_MAXSERV as u16 - 1;

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Of one family only.
    pub family: Option<Family>,
    /// For one protocol only, where the service depends on it.
    pub protocol: Option<Protocol>,
    /// Without a host: addresses to listen at rather than to connect to (AI_PASSIVE).
    pub to_listen: bool,
    /// The canonical name of the host too (AI_CANONNAME).
    pub canonical_name: bool,
    /// The host is an address in text, and is not looked up (AI_NUMERICHOST).
    pub numeric_host: bool,
    /// The service is a number, and is not looked up (AI_NUMERICSERV).
    pub numeric_service: bool,
}

/// What a service is offered over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

/// How a name is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameHints {
    /// The service is one of datagrams (NI_DGRAM).
    pub datagrams: bool,
    /// The address in text, not looked up (NI_NUMERICHOST).
    pub numeric_host: bool,
    /// The port in text, not looked up (NI_NUMERICSERV).
    pub numeric_service: bool,
    /// A host without a name is an error (NI_NAMEREQD).
    pub name_required: bool,
    /// Hosts of the local domain by their short name (NI_NOFQDN).
    pub short: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// See [`Detached`](crate::Detached).
    Detached,
    /// No memory for question or answer.
    OutOfMemory,
    /// A name is longer than a name can be, has a NUL inside, or both are empty.
    Name,
    /// There is no such name, or none for the address.
    NotFound,
    /// The provider's answer.
    Provider(NtStatus),
}

/// The addresses of a name. The list is the caller's: the provider's own has gone back to it.
#[derive(Debug)]
pub struct AddressList {
    addresses: Vec<SocketAddr, Pool<{ tag(b"WskL") }>>,
    canonical_name: Option<Text>,
}

/// The name of an address.
#[derive(Debug)]
pub struct Name {
    host: Text,
    service: Text,
}

/// Asks for the addresses of a host and a service. Either may be empty, not both. The calling task is on the passive thread, and so is
/// the question; the answer comes on another one, and nothing blocks meanwhile.
/// [WskGetAddressInfo](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_address_info)
///
/// Dropping the future asks the provider to cancel, which it may not be able to: the binding's end waits for its answer (L34).
///
/// # Errors
/// See [`ResolveError`].
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub async fn resolve(
    passive: Passive,
    binding: &Binding,
    host: &str,
    service: &str,
    hints: Hints,
) -> Result<AddressList, ResolveError> {
    if host.is_empty() && service.is_empty() {
        return Err(ResolveError::Name);
    }
    let (host, service) = (wide(host, LONGEST_HOST)?, wide(service, LONGEST_SERVICE)?);
    let question = Question::new(&binding.0, host, service, &hints.wanted())?;
    let done = resolve::addresses(passive, &binding.0, question)?.await.map_err(|status| ended(binding, status))?;
    done.status.ok().map_err(|status| ended(binding, status))?;
    let given = done.payload.into_list().ok_or(ResolveError::NotFound)?;
    let copied = AddressList::copy(&given);
    given.give_back(passive);
    copied.map_err(ResolveError::from)
}

/// Asks for the name of an address, and that of the service at its port.
/// [WskGetNameInfo](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_name_info)
///
/// Dropping the future is as for [`resolve`].
///
/// # Errors
/// See [`ResolveError`].
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub async fn resolve_name(
    passive: Passive,
    binding: &Binding,
    address: SocketAddr,
    hints: NameHints,
) -> Result<Name, ResolveError> {
    let (host, service) = (Wide::room(LONGEST_HOST)?, Wide::room(LONGEST_SERVICE)?);
    let reverse = Reverse::new(RawAddress::new(address), host, service);
    let length = RawAddress::length_of(address);
    let asked = resolve::name(passive, &binding.0, reverse, length, hints.flags())?;
    let done = asked.await.map_err(|status| ended(binding, status))?;
    done.status.ok().map_err(|status| ended(binding, status))?;
    let (host, service) = done.payload.texts()?;
    Ok(Name { host, service })
}

/// A text for the provider; none if it is empty.
fn wide(text: &str, most: u16) -> Result<Option<Wide>, ResolveError> {
    if text.is_empty() { Ok(None) } else { Ok(Some(Wide::new(text, most)?)) }
}

/// A status in the light of where the binding stands.
fn ended(binding: &Binding, status: NtStatus) -> ResolveError {
    match status {
        NtStatus::CANCELLED if !binding.is_open() => ResolveError::Detached,
        NtStatus::INSUFFICIENT_RESOURCES => ResolveError::OutOfMemory,
        NtStatus::NO_MATCH | NtStatus::NOT_FOUND => ResolveError::NotFound,
        other => ResolveError::Provider(other),
    }
}

impl Hints {
    fn wanted(self) -> Wanted {
        let (socket_type, protocol) = match self.protocol {
            None => (0, 0),
            Some(Protocol::Tcp) => (SOCK_STREAM, IPPROTO_TCP as u32),
            Some(Protocol::Udp) => (SOCK_DGRAM, IPPROTO_UDP as u32),
        };
        let family = match self.family {
            None => 0,
            Some(Family::V4) => AF_INET,
            Some(Family::V6) => AF_INET6,
        };
        let flags = all_of(&[
            (self.to_listen, AI_PASSIVE),
            (self.canonical_name, AI_CANONNAME),
            (self.numeric_host, AI_NUMERICHOST),
            (self.numeric_service, AI_NUMERICSERV),
        ]);
        Wanted { flags, family, socket_type, protocol }
    }
}

impl NameHints {
    fn flags(self) -> u32 {
        all_of(&[
            (self.datagrams, NI_DGRAM),
            (self.numeric_host, NI_NUMERICHOST),
            (self.numeric_service, NI_NUMERICSERV),
            (self.name_required, NI_NAMEREQD),
            (self.short, NI_NOFQDN),
        ])
    }
}

fn all_of(flags: &[(bool, u32)]) -> u32 {
    flags.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag)
}

impl AddressList {
    /// Each address once: the provider may have it once per protocol.
    fn copy(given: &GivenList) -> Result<Self, OutOfMemory> {
        let mut list = Self { addresses: Vec::new_in(Pool), canonical_name: None };
        for entry in given.entries() {
            if let Some(address) = entry.address().filter(|address| !list.addresses.contains(address)) {
                try_push(&mut list.addresses, address)?;
            }
            if list.canonical_name.is_none() {
                list.canonical_name = entry.canonical_name()?;
            }
        }
        Ok(list)
    }

    /// The addresses, best first.
    ///
    /// # IRQL
    /// Any.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().copied()
    }

    /// The canonical name, if it was asked for.
    ///
    /// # IRQL
    /// Any.
    pub fn canonical_name(&self) -> Option<&str> {
        self.canonical_name.as_deref()
    }
}

impl Name {
    /// The host's.
    ///
    /// # IRQL
    /// Any.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The service's.
    ///
    /// # IRQL
    /// Any.
    pub fn service(&self) -> &str {
        &self.service
    }
}

impl From<OutOfMemory> for ResolveError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<WideError> for ResolveError {
    fn from(error: WideError) -> Self {
        match error {
            WideError::OutOfMemory => Self::OutOfMemory,
            WideError::Unfit => Self::Name,
        }
    }
}

impl From<IoError> for ResolveError {
    fn from(error: IoError) -> Self {
        match error {
            IoError::Detached => Self::Detached,
            IoError::OutOfMemory => Self::OutOfMemory,
            IoError::Cancelled => Self::Provider(NtStatus::CANCELLED),
            IoError::Provider(status) => Self::Provider(status),
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => crate::Detached.fmt(f),
            Self::OutOfMemory => f.write_str("no memory for a name"),
            Self::Name => f.write_str("this can be no name"),
            Self::NotFound => f.write_str("there is no such name"),
            Self::Provider(status) => write!(f, "status {status}"),
        }
    }
}
