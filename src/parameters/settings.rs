//! The settings of one service.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::addresses::AddressList;
use super::value::{Source, Text};
use crate::log;

/// The longest name of a service.
pub(crate) const MOST_NAME: usize = 32;
/// The longest name of a host (RFC 1035).
pub(crate) const MOST_HOST: usize = 253;
/// Room for `Target`: a host's name, a colon and a port, with brackets.
const MOST_TARGET: usize = MOST_HOST + 8;
/// The most that UDP carries in a datagram, over IPv6; over IPv4 it is 20 bytes less.
pub(crate) const MOST_DATAGRAM: u32 = 65_527;

/// What a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RFC 862: what comes goes back.
    Echo,
    /// RFC 863: what comes is thrown away.
    Discard,
    /// RFC 864: characters, whatever comes.
    Chargen,
    /// What comes goes on to another address, and back.
    Forward,
}

/// Over what a service is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocols {
    pub(crate) tcp: bool,
    pub(crate) udp: bool,
}

/// The name of a host.
pub(crate) type HostName = Text<MOST_HOST>;

/// Where a forwarder connects to.
#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "there are at most 32, and a box would take memory of its own")]
pub(crate) enum Target {
    /// An address.
    Address(SocketAddr),
    /// A name, to be resolved when a connection comes.
    Name {
        /// The host.
        host: HostName,
        /// Its port.
        port: u16,
    },
}

/// One service.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) name: Text<MOST_NAME>,
    pub(crate) kind: Kind,
    pub(crate) protocols: Protocols,
    pub(crate) addresses: AddressList,
    pub(crate) port: u16,
    pub(crate) target: Option<Target>,
    pub(crate) max_connections: u32,
    pub(crate) max_bytes: u64,
    pub(crate) buffer_size: u32,
    /// How long a connection may go without traffic, if there is a limit.
    pub(crate) idle_timeout: Option<Duration>,
    /// Datagrams per second that are answered to one source.
    pub(crate) rate_per_source: u32,
}

impl Settings {
    /// The service `echo` from the values of the driver's own key, as before there was `Services`.
    pub(super) fn of_old(source: &Source) -> Self {
        Self {
            addresses: AddressList::read(source, "EchoAddress"),
            port: source.number("EchoPort", Kind::Echo.port().into(), 0..=65535) as u16,
            ..Self::limits(source, Text::known("echo"), Kind::Echo)
        }
    }

    /// A service from its key; `None` if it cannot be one, which is traced.
    pub(super) fn of_key(source: &Source, name: Text<MOST_NAME>) -> Option<Self> {
        let kind = kind(source, &name)?;
        let mut settings = Self {
            protocols: protocols(source),
            addresses: AddressList::read(source, "Address"),
            port: source.number("Port", kind.port().into(), 0..=65535) as u16,
            ..Self::limits(source, name, kind)
        };
        if kind == Kind::Forward {
            settings.target = Some(target(source)?);
            if settings.protocols.udp {
                log!("{} includes udp, but a forwarder is for tcp: using tcp", source.named("Protocol"));
                settings.protocols = Protocols { tcp: true, udp: false };
            }
        }
        Some(settings)
    }

    /// The values that the old way and the new way have in common, and defaults for the others.
    fn limits(source: &Source, name: Text<MOST_NAME>, kind: Kind) -> Self {
        let idle = source.number("IdleTimeoutMs", 0, 0..=86_400_000);
        Self {
            name,
            kind,
            protocols: Protocols { tcp: true, udp: false },
            addresses: AddressList::loopback(),
            port: kind.port(),
            target: None,
            max_connections: source.number("MaxConnections", 16384, 1..=262_000),
            max_bytes: source.number("MaxBytes", 256 << 20, 64 << 10..=u32::MAX).into(),
            buffer_size: source.number("BufferSize", 64 << 10, 4 << 10..=1 << 20),
            idle_timeout: (idle > 0).then(|| Duration::from_millis(idle.into())),
            rate_per_source: source.number("RatePerSource", 100, 1..=10_000_000),
        }
    }
}

impl Kind {
    pub(super) const ALL: [(&str, Self); 4] =
        [("echo", Self::Echo), ("discard", Self::Discard), ("chargen", Self::Chargen), ("forward", Self::Forward)];

    fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, kind)| *kind)
    }

    /// The default port.
    const fn port(self) -> u16 {
        match self {
            Self::Echo => 40007,
            Self::Discard => 40009,
            Self::Chargen => 40019,
            Self::Forward => 40080,
        }
    }
}

/// `Kind`; a service that is called like a kind needs none.
fn kind(source: &Source, name: &Text<MOST_NAME>) -> Option<Kind> {
    let by_name = Kind::named(name.as_str());
    let instead = if by_name.is_some() { "using the service's name" } else { "the service is left out" };
    let Some(text) = source.word::<32>("Kind", instead) else {
        if by_name.is_none() && !source.has("Kind") {
            log!("{} is not there: the service is left out", source.named("Kind"));
        }
        return by_name;
    };
    let known = Kind::named(text.as_str());
    if known.is_none() {
        log!("{} is '{text}', not echo, discard, chargen or forward: {instead}", source.named("Kind"));
    }
    known.or(by_name)
}

/// `Protocol`.
fn protocols(source: &Source) -> Protocols {
    const TCP: Protocols = Protocols { tcp: true, udp: false };
    let Some(text) = source.word::<32>("Protocol", "using tcp") else { return TCP };
    let is = |name| text.as_str().eq_ignore_ascii_case(name);
    match () {
        () if is("tcp") => TCP,
        () if is("udp") => Protocols { tcp: false, udp: true },
        () if is("both") => Protocols { tcp: true, udp: true },
        () => {
            log!("{} is '{text}', not tcp, udp or both: using tcp", source.named("Protocol"));
            TCP
        }
    }
}

/// `Target`, without which there is no forwarder.
fn target(source: &Source) -> Option<Target> {
    const LEFT_OUT: &str = "the service is left out";
    let named = source.named("Target");
    let Some(text) = source.word::<MOST_TARGET>("Target", LEFT_OUT) else {
        if !source.has("Target") {
            log!("{named} is not there: {LEFT_OUT}");
        }
        return None;
    };
    let target = if text.is_cut() { None } else { Target::parse(text.as_str()) };
    if target.is_none() {
        log!("{named} is '{text}', not an address or a name with a port: {LEFT_OUT}");
    }
    target
}

impl Target {
    /// `address:port`, `[address]:port` of IPv6, or `name:port`. Nobody can be reached at port 0.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self::Address(address)).filter(|_| address.port() != 0);
        }
        let (host, port) = text.split_at_checked(text.bytes().rposition(|byte| byte == b':')?)?;
        let port = port.get(1..)?.parse().ok().filter(|port| *port != 0)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let named = (1..=MOST_HOST).contains(&host.len()) && host.bytes().all(is_name);
        // A name whose last part is a number would be an address that is written badly.
        let last = host.bytes().rev().take_while(|byte| *byte != b'.');
        let last_is_number = last.clone().count() > 0 && last.clone().all(|byte| byte.is_ascii_digit());
        (named && !last_is_number).then(|| Self::Name { host: Text::known(host), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}
