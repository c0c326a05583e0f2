//! Names of hosts and services: what is asked and answered, and how the host's resolver does it.
//!
//! Neighbours: `resolve`, which has WskGetAddressInfo and WskGetNameInfo, asks through [`super::Transport`].

use std::net::SocketAddr;

use dns_lookup::{AddrInfo, AddrInfoHints, LookupError, LookupErrorKind};
use nt_abi::wsk::{
    AI_ADDRCONFIG, AI_ALL, AI_CANONNAME, AI_FQDN, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE, AI_V4MAPPED, NI_DGRAM, NI_NAMEREQD,
    NI_NOFQDN, NI_NUMERICHOST, NI_NUMERICSERV,
};

use super::Family;

/// What addresses are asked for. At least one of `host` and `service` is there.
#[derive(Clone, Debug)]
pub struct Question {
    /// Name or numeric address.
    pub host: Option<String>,
    /// Name or port number.
    pub service: Option<String>,
    /// None is any.
    pub family: Option<Family>,
    /// SOCK_*, 0 is any.
    pub kind: i32,
    /// IPPROTO_*, 0 is any.
    pub protocol: i32,
    /// AI_*.
    pub flags: u32,
}

/// One address of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// With the service's port.
    pub address: SocketAddr,
    /// SOCK_*, 0 where nobody said.
    pub kind: i32,
    /// IPPROTO_*, 0 where nobody said.
    pub protocol: i32,
}

/// What a name stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// At least one.
    pub found: Vec<Found>,
    /// The host's canonical name, where it was asked for.
    pub canonical: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unresolved {
    /// There is no such host, or nobody knows of it now.
    NoMatch,
    /// There is no such service.
    NoService,
    /// The question does not make sense.
    Malformed,
    /// The family or the kind of socket is not there.
    NotSupported,
    /// Out of memory.
    NoMemory,
}

/// AI_* and NI_*: Windows' number, the host's.
const ASK: [(u32, i32); 8] = [
    (AI_PASSIVE, libc::AI_PASSIVE),
    (AI_CANONNAME, libc::AI_CANONNAME),
    (AI_FQDN, libc::AI_CANONNAME),
    (AI_NUMERICHOST, libc::AI_NUMERICHOST),
    (AI_NUMERICSERV, libc::AI_NUMERICSERV),
    (AI_ALL, libc::AI_ALL),
    (AI_ADDRCONFIG, libc::AI_ADDRCONFIG),
    (AI_V4MAPPED, libc::AI_V4MAPPED),
];
const TELL: [(u32, i32); 5] = [
    (NI_NOFQDN, libc::NI_NOFQDN),
    (NI_NUMERICHOST, libc::NI_NUMERICHOST),
    (NI_NAMEREQD, libc::NI_NAMEREQD),
    (NI_NUMERICSERV, libc::NI_NUMERICSERV),
    (NI_DGRAM, libc::NI_DGRAM),
];

fn translate(flags: u32, table: &[(u32, i32)]) -> Result<i32, Unresolved> {
    let known = table.iter().filter(|(theirs, _)| flags & theirs != 0);
    let (theirs, ours) = known.fold((0, 0), |(theirs, ours), (one, other)| (theirs | one, ours | other));
    if theirs == flags { Ok(ours) } else { Err(Unresolved::Malformed) }
}

/// RFC 6761: these names are known not to exist without asking anybody.
fn is_invalid(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "invalid" || host.ends_with(".invalid")
}

/// Asks the host's resolver. Blocks.
pub(super) fn ask(question: &Question) -> Result<Answer, Unresolved> {
    let (host, service) = (question.host.as_deref(), question.service.as_deref());
    if host.is_some_and(is_invalid) {
        return Err(Unresolved::NoMatch);
    }
    let hints = AddrInfoHints {
        flags: translate(question.flags, &ASK)?,
        address: question
            .family
            .map_or(libc::AF_UNSPEC, |family| if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 }),
        socktype: question.kind,
        protocol: question.protocol,
    };
    let answer = dns_lookup::getaddrinfo(host, service, Some(hints)).map_err(|error| why(&error))?;
    let all: Vec<AddrInfo> = answer.flatten().collect();
    let canonical = all.iter().find_map(|one| one.canonname.clone());
    let numeric = service.is_none_or(|service| service.bytes().all(|byte| byte.is_ascii_digit()));
    let anything = question.kind == 0 && question.protocol == 0 && numeric;
    let mut found: Vec<Found> = Vec::new();
    for one in all {
        // Where nothing says for which kind of socket, Windows says it neither, and each address once.
        let (kind, protocol) = if anything { (0, 0) } else { (one.socktype, one.protocol) };
        let next = Found { address: one.sockaddr, kind, protocol };
        if !found.contains(&next) {
            found.push(next);
        }
    }
    if found.is_empty() { Err(Unresolved::NoMatch) } else { Ok(Answer { found, canonical }) }
}

/// Asks the host for the names of an address and of its port; `flags` are NI_*. Blocks.
pub(super) fn tell(address: &SocketAddr, flags: u32) -> Result<(String, String), Unresolved> {
    dns_lookup::getnameinfo(address, translate(flags, &TELL)?).map_err(|error| why(&error))
}

fn why(error: &LookupError) -> Unresolved {
    match error.kind() {
        LookupErrorKind::Service => Unresolved::NoService,
        LookupErrorKind::Badflags => Unresolved::Malformed,
        LookupErrorKind::Family | LookupErrorKind::Socktype => Unresolved::NotSupported,
        LookupErrorKind::Memory => Unresolved::NoMemory,
        // No resolver to be reached, or no such name: a client of Windows' cannot tell these apart either.
        _ => Unresolved::NoMatch,
    }
}
