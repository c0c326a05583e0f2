//! The settings under the service key's `Parameters`. A value that cannot be used is traced, with what is used instead; it
//! never fails the load.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

use core::fmt::{self, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;
use core::time::Duration;

use wdk_sys::{REG_DWORD, REG_MULTI_SZ, REG_SZ, WDFDRIVER};

use crate::log;
use crate::wdf::{ParametersKey, ValueError};

/// How many addresses the service listens at, at most.
const MOST_ADDRESSES: usize = 8;
/// Room for `EchoAddress`, in UTF-16 units.
const MOST_ADDRESS_TEXT: usize = 512;
/// The longest entry that is looked at; an address takes 45 at most.
const MOST_ONE_ADDRESS: usize = 64;

/// The settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    pub(crate) echo_port: u16,
    pub(crate) echo_addresses: AddressList,
    pub(crate) max_connections: u32,
    pub(crate) max_bytes: u64,
    pub(crate) buffer_size: u32,
    pub(crate) stop_grace: Duration,
}

impl Parameters {
    /// Reads them.
    pub(crate) fn read(driver: WDFDRIVER) -> Self {
        let key = ParametersKey::open(driver);
        if let Err(status) = &key {
            log!("no Parameters key ({status}): using the defaults");
        }
        let key = key.ok();
        let number = |name, default, range| number(key.as_ref(), name, default, range);
        Self {
            echo_port: number("EchoPort", 40007, 0..=65535) as u16,
            echo_addresses: addresses(key.as_ref()),
            max_connections: number("MaxConnections", 16384, 1..=262_000),
            max_bytes: number("MaxBytes", 256 << 20, 64 << 10..=u32::MAX).into(),
            buffer_size: number("BufferSize", 64 << 10, 4 << 10..=1 << 20),
            stop_grace: Duration::from_millis(number("StopGraceMs", 0, 0..=600_000).into()),
        }
    }
}

fn number(key: Option<&ParametersKey>, name: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
    let Some(key) = key else { return default };
    let mut bytes = [0; 64];
    match key.value(name, &mut bytes) {
        Ok((REG_DWORD, 4)) => {
            let value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            if range.contains(&value) {
                return value;
            }
            log!("{name} is {value}, which is not from {} to {}: using {default}", range.start(), range.end());
        }
        Ok((kind, length)) => {
            let value = Shown(kind, bytes.get(..length as usize).unwrap_or_default());
            log!("{name} is {value} of type {kind}, not a REG_DWORD: using {default}");
        }
        Err(ValueError::Missing) => {}
        Err(ValueError::TooLong(length)) => log!("{name} has {length} bytes, not a REG_DWORD: using {default}"),
        Err(ValueError::Status(status)) => log!("{name} cannot be read ({status}): using {default}"),
    }
    default
}

/// A value as the trace shows it: text as text, anything else as bytes, and not more than a line of it.
struct Shown<'a>(u32, &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 32;
        let Self(kind, bytes) = *self;
        if !matches!(kind, REG_SZ | REG_MULTI_SZ) {
            return bytes.iter().take(MOST).try_for_each(|byte| write!(f, "{byte:02x} "));
        }
        f.write_str("'")?;
        for unit in units(bytes).take_while(|unit| *unit != 0).take(MOST) {
            f.write_char(char::from_u32(unit.into()).filter(char::is_ascii_graphic).unwrap_or('?'))?;
        }
        f.write_str("'")
    }
}

/// The UTF-16 units of a text value.
fn units(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// The addresses to listen at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressList {
    addresses: [Option<IpAddr>; MOST_ADDRESSES],
    everywhere: bool,
}

impl AddressList {
    const EMPTY: Self = Self { addresses: [None; MOST_ADDRESSES], everywhere: false };

    /// Loopback, of both families.
    fn loopback() -> Self {
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
    fn add_text(&mut self, text: &str) {
        match text.parse() {
            _ if text == "*" => self.everywhere = true,
            Ok(address) if self.add(address) => {}
            Ok(address) => log!("EchoAddress has more than {MOST_ADDRESSES} addresses: not listening at {address}"),
            Err(_) => log!("EchoAddress has '{text}', which is not an IP address: ignored"),
        }
    }
}

fn addresses(key: Option<&ParametersKey>) -> AddressList {
    let default = AddressList::loopback();
    let Some(key) = key else { return default };
    let mut bytes = [0; 2 * MOST_ADDRESS_TEXT];
    let text = match key.value("EchoAddress", &mut bytes) {
        Ok((REG_SZ | REG_MULTI_SZ, length)) => bytes.get(..length as usize).unwrap_or_default(),
        Ok((kind, length)) => {
            let value = Shown(kind, bytes.get(..length as usize).unwrap_or_default());
            log!("EchoAddress is {value} of type {kind}, not REG_SZ or REG_MULTI_SZ: using loopback");
            return default;
        }
        Err(ValueError::Missing) => return default,
        Err(ValueError::TooLong(length)) => {
            log!("EchoAddress has {length} bytes, more than {}: using loopback", 2 * MOST_ADDRESS_TEXT);
            return default;
        }
        Err(ValueError::Status(status)) => {
            log!("EchoAddress cannot be read ({status}): using loopback");
            return default;
        }
    };
    let list = parse_addresses(text);
    if list.is_empty() {
        log!("EchoAddress names no address: using loopback");
        return default;
    }
    list
}

/// Entries are separated by zeros, as in REG_MULTI_SZ, by commas or by spaces.
fn parse_addresses(utf16: &[u8]) -> AddressList {
    let mut list = AddressList::EMPTY;
    let mut entry = Entry::default();
    for unit in units(utf16).chain([0]) {
        match u8::try_from(unit) {
            Ok(0 | b',' | b' ' | b'\t') => {
                if let Some(text) = entry.take() {
                    list.add_text(text.as_str());
                }
            }
            Ok(byte) if byte.is_ascii_graphic() => entry.push(byte),
            _ => entry.push(b'?'),
        }
    }
    list
}

/// One entry as it is put together; what is too long to be an address is cut, and then is none.
#[derive(Clone, Copy)]
struct Entry {
    bytes: [u8; MOST_ONE_ADDRESS],
    length: usize,
}

impl Default for Entry {
    fn default() -> Self {
        Self { bytes: [0; MOST_ONE_ADDRESS], length: 0 }
    }
}

impl Entry {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn take(&mut self) -> Option<Self> {
        (self.length > 0).then(|| core::mem::take(self))
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}
