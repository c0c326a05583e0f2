//! TraceLogging: events that bring their own description, made readable.
//!
//! The description of an event is its size, a tag, its name, and for each field a name, a type byte, an optional format byte and
//! an optional tag; the data has the values one after the other, unaligned.
//! [TraceLogging](https://learn.microsoft.com/windows/win32/tracelogging/trace-logging-about)

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nt_abi::NtStatus;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// Fields of an event, in its own order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub Vec<(String, Value)>);

impl Fields {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| match value {
            Value::String(text) => write!(f, " {name}={text}"),
            value => write!(f, " {name}={value}"),
        })
    }
}

/// What of the type byte is the type, and what makes it an array.
const TYPE: u8 = 0x1f;
const CONSTANT_COUNT: u8 = 0x20;
const VARIABLE_COUNT: u8 = 0x40;
/// Another byte follows.
const MORE: u8 = 0x80;

/// Formats that differ from what the type says.
const BOOLEAN: u8 = 3;
const HEX: u8 = 4;
const PORT: u8 = 7;
const IPV4: u8 = 8;
const IPV6: u8 = 9;
const SOCKET_ADDRESS: u8 = 10;
const NTSTATUS: u8 = 14;

/// The name in a provider's description.
pub(super) fn provider_name(metadata: &[u8]) -> Result<String, String> {
    let mut cursor = Cursor(metadata);
    if usize::from(cursor.number::<2>()? as u16) != metadata.len() {
        return Err("the size in the provider's description is not its size".into());
    }
    cursor.text()
}

/// The name and the fields of an event.
pub(super) fn event(metadata: &[u8], data: &[u8]) -> Result<(String, Fields), String> {
    let mut description = Cursor(metadata);
    if usize::from(description.number::<2>()? as u16) != metadata.len() {
        return Err("the size in the event's description is not its size".into());
    }
    description.skip_tag()?;
    let name = description.text()?;
    let (mut data, mut fields) = (Cursor(data), Vec::new());
    while !description.0.is_empty() {
        fields.push(field(&mut description, &mut data).map_err(|error| format!("{name}: {error}"))?);
    }
    if !data.0.is_empty() {
        return Err(format!("{name}: {} bytes are left after the last field", data.0.len()));
    }
    Ok((name, Fields(fields)))
}

/// One field with its value.
fn field(description: &mut Cursor<'_>, data: &mut Cursor<'_>) -> Result<(String, Value), String> {
    let name = description.text()?;
    let kind = description.number::<1>()? as u8;
    let format = if kind & MORE == 0 { 0 } else { description.number::<1>()? as u8 };
    if format & MORE != 0 {
        description.skip_tag()?;
    }
    let format = format & !MORE;
    let count = match kind & (CONSTANT_COUNT | VARIABLE_COUNT) {
        0 => return value(description, data, kind & TYPE, format).map(|value| (name, value)),
        CONSTANT_COUNT => description.number::<2>()?,
        VARIABLE_COUNT => data.number::<2>()?,
        _ => return Err(format!("{name} has an encoding of its provider's own")),
    };
    let members = *description;
    let mut all = Vec::new();
    for _ in 0..count {
        // Each element of an array of structures has the same members.
        *description = members;
        all.push(value(description, data, kind & TYPE, format)?);
    }
    Ok((name, Value::Array(all)))
}

fn value(description: &mut Cursor<'_>, data: &mut Cursor<'_>, kind: u8, format: u8) -> Result<Value, String> {
    Ok(match kind {
        1 => data.units_to_zero()?.into(),
        2 => data.text()?.into(),
        3 => (data.number::<1>()? as i8).into(),
        4 if format == BOOLEAN => (data.number::<1>()? != 0).into(),
        5 => (data.number::<2>()? as i16).into(),
        6 if format == PORT => (data.number::<2>()? as u16).swap_bytes().into(),
        7 => (data.number::<4>()? as i32).into(),
        8 if format == IPV4 => Ipv4Addr::from((data.number::<4>()? as u32).to_le_bytes()).to_string().into(),
        8 | 20 if format == NTSTATUS => NtStatus(data.number::<4>()? as i32).to_string().into(),
        4 => unsigned(data.number::<1>()?, format),
        6 => unsigned(data.number::<2>()?, format),
        8 => unsigned(data.number::<4>()?, format),
        10 => unsigned(data.number::<8>()?, format),
        9 => (data.number::<8>()? as i64).into(),
        11 => f32::from_bits(data.number::<4>()? as u32).into(),
        12 => f64::from_bits(data.number::<8>()?).into(),
        13 => (data.number::<4>()? != 0).into(),
        15 => hexadecimal(data.take(16)?).into(),
        17 => data.number::<8>()?.into(),
        18 => hexadecimal(data.take(16)?).into(),
        20 => unsigned(data.number::<4>()?, HEX),
        21 => unsigned(data.number::<8>()?, HEX),
        22 => data.counted().map(|bytes| utf16(bytes).into())?,
        23 => data.counted().map(|bytes| String::from_utf8_lossy(bytes).into())?,
        14 | 25 => data.counted().map(|bytes| binary(bytes, format).into())?,
        24 => {
            let mut members = Map::new();
            for _ in 0..format {
                let (name, value) = field(description, data)?;
                members.insert(name, value);
            }
            members.into()
        }
        other => return Err(format!("a field of type {other}, which is none")),
    })
}

fn unsigned(value: u64, format: u8) -> Value {
    if format == HEX { format!("{value:#x}").into() } else { value.into() }
}

/// Bytes by their format: addresses are written as such.
fn binary(bytes: &[u8], format: u8) -> String {
    let address = match format {
        IPV6 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string()),
        SOCKET_ADDRESS => socket_address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    address.unwrap_or_else(|| hexadecimal(bytes))
}

/// `SOCKADDR_IN` and `SOCKADDR_IN6`.
fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let mut cursor = Cursor(bytes);
    let family = cursor.number::<2>().ok()?;
    let port = (cursor.number::<2>().ok()? as u16).swap_bytes();
    let ip: IpAddr = match family {
        2 => Ipv4Addr::from((cursor.number::<4>().ok()? as u32).to_le_bytes()).into(),
        23 => {
            cursor.take(4).ok()?;
            Ipv6Addr::from(<[u8; 16]>::try_from(cursor.take(16).ok()?).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// What is left of a description or of data.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| format!("it ends {length} bytes too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many bytes.
    fn number<const BYTES: usize>(&mut self) -> Result<u64, String> {
        let bytes = self.take(BYTES)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Text to a zero.
    fn text(&mut self) -> Result<String, String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or("a name or text without an end")?;
        let text = self.take(end)?;
        self.take(1)?;
        String::from_utf8(text.to_vec()).map_err(|_| "a name or text that is not UTF-8".into())
    }

    fn units_to_zero(&mut self) -> Result<String, String> {
        let units = self.0.chunks_exact(2).position(|unit| unit == [0, 0]).ok_or("text without an end")?;
        let text = self.take(units * 2)?;
        self.take(2)?;
        Ok(utf16(text))
    }

    fn counted(&mut self) -> Result<&'a [u8], String> {
        let length = self.number::<2>()? as usize;
        self.take(length)
    }

    /// A tag: seven bits a byte, the last one without [`MORE`].
    fn skip_tag(&mut self) -> Result<(), String> {
        while self.number::<1>()? as u8 & MORE != 0 {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description with its size before it.
    fn sized(rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() + 2) as u16;
        [&length.to_le_bytes(), rest].concat()
    }

    fn decoded(fields: &[u8], data: &[u8]) -> Result<(String, Fields), String> {
        event(&sized(&[b"\0Event\0", fields].concat()), data)
    }

    fn line(fields: &[u8], data: &[u8]) -> String {
        decoded(fields, data).unwrap().1.to_string()
    }

    #[test]
    fn values_have_their_types() {
        assert_eq!(line(b"A\0\x08B\0\x84\x03C\0\x04", b"\x01\x02\0\0\x01\xff"), " A=513 B=true C=255");
        assert_eq!(line(b"S\0\x97\x23T\0\x01", b"\x02\0hiy\0o\0\0\0"), " S=hi T=yo");
        assert_eq!(line(b"Status\0\x94\x0e", &0xc000_0001_u32.to_le_bytes()), " Status=STATUS_UNSUCCESSFUL");
        assert_eq!(line(b"At\0\x8e\x0a", b"\x10\0\x02\0\0\x07\x7f\0\0\x01\0\0\0\0\0\0\0\0"), " At=127.0.0.1:7");
    }

    #[test]
    fn arrays_and_structures() {
        assert_eq!(line(b"A\0\x48", b"\x02\0\x01\0\0\0\x02\0\0\0"), " A=[1,2]");
        assert_eq!(line(b"A\0\x24\x03\0", b"\x01\x02\x03"), " A=[1,2,3]");
        assert_eq!(line(b"P\0\x98\x02X\0\x04Y\0\x04Z\0\x04", b"\x01\x02\x03"), " P={\"X\":1,\"Y\":2} Z=3");
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(decoded(b"A\0\x08", b"\x01\x02").unwrap_err().contains("too early"));
        assert!(decoded(b"A\0\x04", b"\x01\x02").unwrap_err().contains("left after"));
        assert!(decoded(b"A\0\x1f", b"").unwrap_err().contains("type 31"));
        assert!(decoded(b"A", b"").unwrap_err().contains("without an end"));
        assert!(event(b"\x09\0\0A\0", b"").unwrap_err().contains("not its size"));
        assert_eq!(provider_name(&sized(b"Us.Driver\0")), Ok("Us.Driver".into()));
    }
}
