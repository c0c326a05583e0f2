//! One value of the registry, checked: a value that cannot be used is traced, with what is used instead.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

use core::fmt::{self, Write};
use core::ops::RangeInclusive;

use wdk_sys::{REG_DWORD, REG_MULTI_SZ, REG_SZ};

use crate::log;
use crate::wdf::{Key, ValueError};

/// Text of at most `N` characters of ASCII, printable ones.
#[derive(Clone, Copy)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
    cut: bool,
}

/// A key whose values are read, if it is there, and how the trace calls it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) key: Option<&'a Key>,
    /// What the trace writes before a value's name.
    pub(crate) prefix: &'a str,
}

/// A value's name as the trace shows it.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a>(&'a str, &'a str);

/// A value as the trace shows it: text as text, anything else as bytes, and not more than a line of it.
struct Shown<'a>(u32, &'a [u8]);

impl<'a> Source<'a> {
    /// The name of a value for the trace.
    pub(crate) fn named(&self, name: &'a str) -> Named<'a> {
        Named(self.prefix, name)
    }

    /// A REG_DWORD within a range, or `default`.
    pub(crate) fn number(&self, name: &'a str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let Some(key) = self.key else { return default };
        let (named, mut bytes) = (self.named(name), [0; 64]);
        match key.value(name, &mut bytes) {
            Ok((REG_DWORD, 4)) => {
                let value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                if range.contains(&value) {
                    return value;
                }
                log!("{named} is {value}, which is not from {} to {}: using {default}", range.start(), range.end());
            }
            Ok((kind, length)) => {
                let value = Shown(kind, bytes.get(..length as usize).unwrap_or_default());
                log!("{named} is {value} of type {kind}, not a REG_DWORD: using {default}");
            }
            Err(ValueError::Missing) => {}
            Err(ValueError::TooLong(length)) => log!("{named} has {length} bytes, not a REG_DWORD: using {default}"),
            Err(ValueError::Status(status)) => log!("{named} cannot be read ({status}): using {default}"),
        }
        default
    }

    /// The UTF-16 of a text value, in `bytes`; `None` if there is none that could be used, and then the trace says that
    /// `instead` is.
    pub(crate) fn text<'b>(&self, name: &'a str, bytes: &'b mut [u8], instead: &str) -> Option<&'b [u8]> {
        let (named, room) = (self.named(name), bytes.len());
        match self.key?.value(name, bytes) {
            Ok((REG_SZ | REG_MULTI_SZ, length)) => return bytes.get(..length as usize),
            Ok((kind, length)) => {
                let value = Shown(kind, bytes.get(..length as usize).unwrap_or_default());
                log!("{named} is {value} of type {kind}, not REG_SZ or REG_MULTI_SZ: {instead}");
            }
            Err(ValueError::Missing) => {}
            Err(ValueError::TooLong(length)) => log!("{named} has {length} bytes, more than {room}: {instead}"),
            Err(ValueError::Status(status)) => log!("{named} cannot be read ({status}): {instead}"),
        }
        None
    }

    /// A REG_SZ that is one word.
    pub(crate) fn word<const N: usize>(&self, name: &'a str, instead: &str) -> Option<Text<N>> {
        let mut bytes = [0; 600];
        let text = self.text(name, &mut bytes, instead)?;
        Some(Text::of(units(text).take_while(|unit| *unit != 0)))
    }

    /// Whether there is a value of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.key.is_some_and(|key| key.value(name, &mut []).err() != Some(ValueError::Missing))
    }
}

impl<const N: usize> Text<N> {
    /// No text.
    pub(crate) const EMPTY: Self = Self { bytes: [0; N], length: 0, cut: false };

    /// The text of these units. What is not printable becomes a question mark, and what is too long is cut off.
    pub(crate) fn of(units: impl IntoIterator<Item = u16>) -> Self {
        let mut text = Self::EMPTY;
        for unit in units {
            let byte = u8::try_from(unit).ok().filter(u8::is_ascii_graphic);
            text.push(byte.unwrap_or(b'?'));
        }
        text
    }

    /// Text that is known when the driver is built.
    pub(crate) fn known(text: &str) -> Self {
        Self::of(text.encode_utf16())
    }

    /// Adds a character; what does not fit is lost, and told by [`is_cut`](Self::is_cut).
    pub(crate) fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.cut = true,
        }
    }

    /// Whether there was more than there is room for.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        f.write_str(if self.cut { "..." } else { "" })
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        f.write_str(self.1)
    }
}

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
pub(crate) fn units(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}
