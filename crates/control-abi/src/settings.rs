//! The settings of a service, as they go over the wire, and within which limits.
//!
//! The limits are those of the values under `Parameters\Services`, so that whatever can be set can be saved.

use core::net::IpAddr;
use core::ops::RangeInclusive;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::wire_enum;
use crate::{Refusal, Text, WireAddress};

/// How many services there are at most.
pub const MOST_SERVICES: usize = 32;
/// The longest name of a service.
pub const MOST_NAME: usize = 32;
/// How many addresses a service listens at, at most.
pub const MOST_ADDRESSES: usize = 8;
/// The longest name of a host (RFC 1035).
pub const MOST_HOST: usize = 253;
/// `MaxConnections`.
pub const MAX_CONNECTIONS: RangeInclusive<u32> = 1..=262_000;
/// `MaxBytes`.
pub const MAX_BYTES: RangeInclusive<u64> = 64 << 10..=u32::MAX as u64;
/// `BufferSize`.
pub const BUFFER_SIZE: RangeInclusive<u32> = 4 << 10..=1 << 20;
/// `IdleTimeoutMs`; 0 for none.
pub const IDLE_TIMEOUT_MS: RangeInclusive<u32> = 0..=86_400_000;
/// `RatePerSource`.
pub const RATE_PER_SOURCE: RangeInclusive<u32> = 1..=10_000_000;

wire_enum! {
    /// What a service does.
    Kind {
        /// RFC 862: what comes goes back.
        Echo = 1 "echo",
        /// RFC 863: what comes is thrown away.
        Discard = 2 "discard",
        /// RFC 864: characters, whatever comes.
        Chargen = 3 "chargen",
        /// What comes goes on to another address, and back.
        Forward = 4 "forward",
    }
}

impl Kind {
    /// The port that a service of this kind has by default.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Echo => 40007,
            Self::Discard => 40009,
            Self::Chargen => 40019,
            Self::Forward => 40080,
        }
    }
}

/// Of [`Settings::protocols`]: it is served over TCP.
pub const OVER_TCP: u32 = 1;
/// Of [`Settings::protocols`]: it is served over UDP.
pub const OVER_UDP: u32 = 2;

wire_enum! {
    /// Where a forwarder connects to.
    TargetKind {
        /// It is no forwarder.
        None = 0 "none",
        /// To an address.
        Address = 1 "address",
        /// To the addresses of a name, resolved for each connection.
        Name = 2 "name",
    }
}

/// The settings of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// Its name: 1 to 32 printable characters of ASCII, no backslash. Case does not tell one from another.
    pub name: Text<MOST_NAME>,
    /// A [`Kind`].
    pub kind: u32,
    /// A sum of [`OVER_TCP`] and [`OVER_UDP`], not 0; a forwarder is for TCP alone.
    pub protocols: u32,
    /// The port to listen at; 0 for one that the provider chooses.
    pub port: u16,
    /// How many of `addresses` are used.
    pub address_count: u16,
    /// 1: at every address of both families, too. Else 0.
    pub everywhere: u32,
    /// The addresses to listen at, without ports; those that are not used are none.
    pub addresses: [WireAddress; MOST_ADDRESSES],
    /// A [`TargetKind`].
    pub target_kind: u32,
    /// The port of a target that is a name, else 0.
    pub target_port: u32,
    /// A target that is an address, else none.
    pub target_address: WireAddress,
    /// A target that is a name, else empty.
    pub target_name: Text<256>,
    /// See [`MAX_CONNECTIONS`].
    pub max_connections: u32,
    /// See [`BUFFER_SIZE`].
    pub buffer_size: u32,
    /// See [`MAX_BYTES`].
    pub max_bytes: u64,
    /// See [`IDLE_TIMEOUT_MS`].
    pub idle_timeout_ms: u32,
    /// See [`RATE_PER_SOURCE`].
    pub rate_per_source: u32,
}

impl Settings {
    /// A service of this name and kind with the defaults: TCP, loopback of both families, the kind's port. A forwarder needs its
    /// target still.
    pub fn new(name: Text<MOST_NAME>, kind: Kind) -> Self {
        let mut settings = Self {
            name,
            kind: kind.to_wire(),
            protocols: OVER_TCP,
            port: kind.default_port(),
            address_count: 0,
            everywhere: 0,
            addresses: [WireAddress::NONE; MOST_ADDRESSES],
            target_kind: TargetKind::None.to_wire(),
            target_port: 0,
            target_address: WireAddress::NONE,
            target_name: Text::EMPTY,
            max_connections: 16384,
            buffer_size: 64 << 10,
            max_bytes: 256 << 20,
            idle_timeout_ms: 0,
            rate_per_source: 100,
        };
        let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])];
        loopback.into_iter().for_each(|address| _ = settings.add_address(address));
        settings
    }

    /// One more address to listen at; `false` if there is no room.
    pub fn add_address(&mut self, address: IpAddr) -> bool {
        let Some(place) = self.addresses.get_mut(usize::from(self.address_count)) else { return false };
        *place = WireAddress::of_host(address);
        self.address_count += 1;
        true
    }

    /// No addresses to listen at.
    pub fn clear_addresses(&mut self) {
        (self.addresses, self.address_count, self.everywhere) = ([WireAddress::NONE; MOST_ADDRESSES], 0, 0);
    }

    /// The addresses to listen at.
    pub fn hosts(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().take(self.address_count.into()).filter_map(|address| Some(address.address()?.ip()))
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Refusal::Field`] of the first that is wrong.
    pub fn checked(&self) -> Result<(), Refusal> {
        check_name(&self.name)?;
        let kind = Kind::from_wire(self.kind).ok_or(Refusal::Field("kind"))?;
        let known = self.protocols != 0 && self.protocols & !(OVER_TCP | OVER_UDP) == 0;
        within(known && (kind != Kind::Forward || self.protocols == OVER_TCP), "protocols")?;
        self.check_addresses()?;
        self.check_target(kind)?;
        within(MAX_CONNECTIONS.contains(&self.max_connections), "max_connections")?;
        within(BUFFER_SIZE.contains(&self.buffer_size), "buffer_size")?;
        within(MAX_BYTES.contains(&self.max_bytes), "max_bytes")?;
        within(IDLE_TIMEOUT_MS.contains(&self.idle_timeout_ms), "idle_timeout_ms")?;
        within(RATE_PER_SOURCE.contains(&self.rate_per_source), "rate_per_source")
    }

    fn check_addresses(&self) -> Result<(), Refusal> {
        within(self.everywhere <= 1, "everywhere")?;
        let (used, rest) =
            self.addresses.split_at_checked(self.address_count.into()).ok_or(Refusal::Field("address_count"))?;
        within(!used.is_empty() || self.everywhere == 1, "address_count")?;
        for (place, address) in used.iter().enumerate() {
            let is_host = address.checked("addresses")?.is_some_and(|address| address.port() == 0);
            let is_new = used.iter().take(place).all(|other| other != address);
            within(is_host && is_new && address.scope == 0, "addresses")?;
        }
        within(rest.iter().all(|address| *address == WireAddress::NONE), "addresses")
    }

    fn check_target(&self, kind: Kind) -> Result<(), Refusal> {
        let target = TargetKind::from_wire(self.target_kind).ok_or(Refusal::Field("target_kind"))?;
        within((kind == Kind::Forward) == (target != TargetKind::None), "target_kind")?;
        let address = self.target_address.checked("target_address")?;
        match target {
            TargetKind::Address => within(address.is_some_and(|address| address.port() != 0), "target_address")?,
            _ => within(address.is_none(), "target_address")?,
        }
        if target == TargetKind::Name {
            within(is_host_name(self.target_name.checked("target_name")?), "target_name")?;
            return within((1..=u32::from(u16::MAX)).contains(&self.target_port), "target_port");
        }
        within(self.target_name.is_empty(), "target_name")?;
        within(self.target_port == 0, "target_port")
    }
}

/// Checks the name of a service.
///
/// # Errors
/// [`Refusal::Field`].
pub fn check_name(name: &Text<MOST_NAME>) -> Result<(), Refusal> {
    let text = name.checked("name")?;
    let good = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && byte != b'\\';
    within(!text.is_empty() && text.trim() == text && text.bytes().all(good), "name")
}

/// Whether this may be a host's name, and not an address that is written badly.
pub fn is_host_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let mut last = name.bytes().rev().take_while(|byte| *byte != b'.').peekable();
    let last_is_number = last.peek().is_some() && last.all(|byte| byte.is_ascii_digit());
    (1..=MOST_HOST).contains(&name.len()) && name.bytes().all(fits) && !last_is_number
}

fn within(good: bool, name: &'static str) -> Result<(), Refusal> {
    if good { Ok(()) } else { Err(Refusal::Field(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Settings {
        Settings::new(Text::new("echo").expect("it fits"), Kind::Echo)
    }

    fn forward() -> Settings {
        let target_address = WireAddress::from(core::net::SocketAddr::from(([127, 0, 0, 1], 80)));
        let target_kind = TargetKind::Address.to_wire();
        Settings { target_kind, target_address, ..Settings::new(Text::new("web").expect("it fits"), Kind::Forward) }
    }

    #[test]
    fn the_defaults_are_good() {
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Forward) {
            assert_eq!(Settings::new(Text::new("a b").expect("it fits"), *kind).checked(), Ok(()));
        }
        assert_eq!(forward().checked(), Ok(()));
        let name = Settings {
            target_kind: TargetKind::Name.to_wire(),
            target_address: WireAddress::NONE,
            target_name: Text::new("localhost").expect("it fits"),
            target_port: 80,
            ..forward()
        };
        assert_eq!(name.checked(), Ok(()));
    }

    #[test]
    fn each_field_is_checked() {
        let host = WireAddress::of_host([10, 0, 0, 1].into());
        let mut twice = echo();
        twice.addresses[1] = twice.addresses[0];
        let mut unused = echo();
        unused.addresses[2] = host;
        let mut ported = echo();
        ported.addresses[0].port = 1;
        let mut missing = echo();
        missing.address_count = 3;
        let wrong = [
            (Settings { name: Text::EMPTY, ..echo() }, "name"),
            (Settings { name: Text::new("a\\b").expect("text"), ..echo() }, "name"),
            (Settings { name: Text::new("ä").expect("text"), ..echo() }, "name"),
            (Settings { name: Text::new(" a").expect("text"), ..echo() }, "name"),
            (Settings { kind: 0, ..echo() }, "kind"),
            (Settings { kind: 5, ..echo() }, "kind"),
            (Settings { protocols: 0, ..echo() }, "protocols"),
            (Settings { protocols: 4, ..echo() }, "protocols"),
            (Settings { protocols: 3, ..forward() }, "protocols"),
            (Settings { everywhere: 2, ..echo() }, "everywhere"),
            (Settings { address_count: 9, ..echo() }, "address_count"),
            (Settings { address_count: 0, addresses: [WireAddress::NONE; 8], ..echo() }, "address_count"),
            (twice, "addresses"),
            (unused, "addresses"),
            (ported, "addresses"),
            (missing, "addresses"),
            (Settings { target_kind: 3, ..echo() }, "target_kind"),
            (Settings { target_kind: 1, ..echo() }, "target_kind"),
            (Settings { target_kind: 0, ..forward() }, "target_kind"),
            (Settings { target_address: host, ..forward() }, "target_address"),
            (Settings { target_address: WireAddress { port: 9, ..host }, ..echo() }, "target_address"),
            (Settings { target_kind: 2, target_port: 1, ..forward() }, "target_address"),
            (Settings { target_name: Text::new("a").expect("text"), ..forward() }, "target_name"),
            (Settings { target_port: 1, ..forward() }, "target_port"),
            (Settings { max_connections: 0, ..echo() }, "max_connections"),
            (Settings { max_connections: 262_001, ..echo() }, "max_connections"),
            (Settings { buffer_size: 4095, ..echo() }, "buffer_size"),
            (Settings { buffer_size: (1 << 20) + 1, ..echo() }, "buffer_size"),
            (Settings { max_bytes: (64 << 10) - 1, ..echo() }, "max_bytes"),
            (Settings { max_bytes: 1 << 32, ..echo() }, "max_bytes"),
            (Settings { idle_timeout_ms: 86_400_001, ..echo() }, "idle_timeout_ms"),
            (Settings { rate_per_source: 0, ..echo() }, "rate_per_source"),
            (Settings { rate_per_source: 10_000_001, ..echo() }, "rate_per_source"),
        ];
        for (settings, field) in wrong {
            assert_eq!(settings.checked(), Err(Refusal::Field(field)), "{settings:?}");
        }
    }

    #[test]
    fn host_names_are_told_from_addresses() {
        for name in ["localhost", "a.b-c.example", "1.2.3.x", "_x"] {
            assert!(is_host_name(name), "{name}");
        }
        for name in ["", "1.2.3.4", "a b", "a:1", "[::1]", "10"] {
            assert!(!is_host_name(name), "{name}");
        }
    }
}
