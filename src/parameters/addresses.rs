//! The addresses that a service listens at.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::value::{Source, Text, units};
use crate::log;

/// How many addresses a service listens at, at most.
const MOST_ADDRESSES: usize = 8;
/// Room for the value, in UTF-16 units.
const MOST_TEXT: usize = 512;
/// The longest entry that is looked at; an address takes 45 at most.
const MOST_ONE: usize = 64;

/// The addresses to listen at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressList {
    addresses: [Option<IpAddr>; MOST_ADDRESSES],
    everywhere: bool,
}

impl AddressList {
    const EMPTY: Self = Self { addresses: [None; MOST_ADDRESSES], everywhere: false };

    /// Reads the value of that name. Entries are separated by zeros, as in REG_MULTI_SZ, by commas or by spaces.
    pub(super) fn read(source: &Source, name: &str) -> Self {
        let mut bytes = [0; 2 * MOST_TEXT];
        let Some(text) = source.text(name, &mut bytes, "using loopback") else { return Self::loopback() };
        let (mut list, mut entry) = (Self::EMPTY, Text::<MOST_ONE>::EMPTY);
        for unit in units(text).chain([0]) {
            match u8::try_from(unit) {
                Ok(0 | b',' | b' ' | b'\t') => {
                    if !entry.is_empty() {
                        list.add_text(source, name, &entry);
                    }
                    entry = Text::EMPTY;
                }
                Ok(byte) if byte.is_ascii_graphic() => entry.push(byte),
                _ => entry.push(b'?'),
            }
        }
        if list.is_empty() {
            log!("{} names no address: using loopback", source.named(name));
            return Self::loopback();
        }
        list
    }

    /// These addresses.
    pub(super) fn of(addresses: impl Iterator<Item = IpAddr>, everywhere: bool) -> Self {
        let mut list = Self { everywhere, ..Self::EMPTY };
        addresses.for_each(|address| _ = list.add(address));
        list
    }

    /// Loopback, of both families.
    pub(super) fn loopback() -> Self {
        let mut list = Self::EMPTY;
        list.add(IpAddr::V4(Ipv4Addr::LOCALHOST));
        list.add(IpAddr::V6(Ipv6Addr::LOCALHOST));
        list
    }

    /// The single addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().flatten().copied()
    }

    /// Whether every address of both families was asked for.
    pub(crate) fn everywhere(&self) -> bool {
        self.everywhere
    }

    fn is_empty(&self) -> bool {
        !self.everywhere && self.iter().next().is_none()
    }

    /// `false` if there is no room.
    fn add(&mut self, address: IpAddr) -> bool {
        if self.iter().any(|known| known == address) {
            return true;
        }
        match self.addresses.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(address);
                true
            }
            None => false,
        }
    }

    /// One entry of the value: an address, or `*`.
    fn add_text(&mut self, source: &Source, name: &str, entry: &Text<MOST_ONE>) {
        let named = source.named(name);
        match entry.as_str().parse() {
            _ if entry.as_str() == "*" => self.everywhere = true,
            Ok(address) if self.add(address) => {}
            Ok(address) => log!("{named} has more than {MOST_ADDRESSES} addresses: not listening at {address}"),
            Err(_) => log!("{named} has '{entry}', which is not an IP address: ignored"),
        }
    }
}

impl fmt::Display for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, address) in self.iter().enumerate() {
            write!(f, "{}{address}", if place == 0 { "" } else { "," })?;
        }
        match (self.everywhere, self.iter().next()) {
            (true, Some(_)) => f.write_str(",*"),
            (true, None) => f.write_str("*"),
            (false, _) => Ok(()),
        }
    }
}
