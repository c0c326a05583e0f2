//! The meaning: what the control messages that we know say.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::messages::{Messages, Writer, array, put};

const IPPROTO_IP: i32 = 0;
const IPPROTO_UDP: i32 = 17;
const IPPROTO_IPV6: i32 = 41;

const IP_TOS: i32 = 3;
const IP_TTL: i32 = 4;
const PKTINFO: i32 = 19;
const HOPLIMIT: i32 = 21;
const IPV6_TCLASS: i32 = 39;
const ECN: i32 = 50;
const UDP_SEND_MSG_SIZE: i32 = 2;
const UDP_COALESCED_INFO: i32 = 3;

/// What goes with a datagram beside its bytes. What is `None` was not said, or is left to the provider.
///
/// ```
/// use wsk_cmsg::{Control, Ecn, Family};
/// let control = Control { ecn: Some(Ecn::Ect0), ..Control::NONE };
/// let mut bytes = [0; Control::ROOM];
/// let length = control.write(Family::V4, &mut bytes).unwrap();
/// assert_eq!(Control::parse(&bytes[..length]), control);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Received: where to and through which interface it came. Sent: the source address and the interface (IP_PKTINFO).
    pub packet_info: Option<PacketInfo>,
    /// The congestion notification bits of the IP header (IP_ECN).
    pub ecn: Option<Ecn>,
    /// The type of service, or traffic class, of the IP header, ECN bits included (IP_TOS, IPV6_TCLASS).
    pub traffic_class: Option<u8>,
    /// Time to live, or hop limit (IP_HOPLIMIT).
    pub hop_limit: Option<u8>,
    /// Sent: bytes of each datagram into which the stack cuts what is sent (UDP_SEND_MSG_SIZE).
    pub segment_size: Option<u32>,
    /// Received: bytes of each datagram (but the last) out of which the stack has made this one (UDP_COALESCED_INFO).
    pub coalesced_size: Option<u32>,
}

/// Address and interface of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInfo {
    /// The local address.
    pub address: IpAddr,
    /// The index of the interface; 0 is any.
    pub interface: u32,
}

/// Explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// The sender does not take part.
    NotEct = 0,
    /// ECN-capable, code point 1.
    Ect1 = 1,
    /// ECN-capable, code point 0.
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

/// The IP version of a datagram, which decides how control messages for it are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4, also from a socket for both.
    V4,
    /// IPv6.
    V6,
}

impl Control {
    /// Nothing said.
    pub const NONE: Self =
        Self { packet_info: None, ecn: None, traffic_class: None, hop_limit: None, segment_size: None, coalesced_size: None };

    /// Bytes that hold whatever can be said here.
    pub const ROOM: usize = 256;

    /// Whether nothing is said.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Takes what is known out of control messages. What is unknown, too short or out of range is passed over, and the last
    /// of several that say the same counts.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut control = Self::NONE;
        for message in Messages::new(bytes) {
            let (number, byte) = (message.number(), message.number().and_then(|number| u8::try_from(number).ok()));
            match (message.level, message.kind) {
                (IPPROTO_IP, PKTINFO) => set(&mut control.packet_info, packet_info_v4(message.data)),
                (IPPROTO_IPV6, PKTINFO) => set(&mut control.packet_info, packet_info_v6(message.data)),
                (IPPROTO_IP | IPPROTO_IPV6, ECN) => set(&mut control.ecn, number.and_then(Ecn::from_number)),
                (IPPROTO_IP, IP_TOS) | (IPPROTO_IPV6, IPV6_TCLASS) => set(&mut control.traffic_class, byte),
                (IPPROTO_IP, IP_TTL | HOPLIMIT) | (IPPROTO_IPV6, HOPLIMIT) => set(&mut control.hop_limit, byte),
                (IPPROTO_UDP, UDP_SEND_MSG_SIZE) => set(&mut control.segment_size, number),
                (IPPROTO_UDP, UDP_COALESCED_INFO) => set(&mut control.coalesced_size, number),
                _ => {}
            }
        }
        control
    }

    /// Writes what is said as control messages for a datagram of that family, and gives how many bytes that took: none if
    /// nothing is said. `None` if it does not fit, or if the local address is of the other family. [`ROOM`](Self::ROOM) is
    /// always enough.
    #[must_use]
    pub fn write(&self, family: Family, room: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(room);
        let (level, class) = match family {
            Family::V4 => (IPPROTO_IP, IP_TOS),
            Family::V6 => (IPPROTO_IPV6, IPV6_TCLASS),
        };
        if let Some(info) = self.packet_info {
            write_packet_info(&mut writer, family, info)?;
        }
        if let Some(ecn) = self.ecn {
            writer.push_number(level, ECN, ecn as u32)?;
        }
        if let Some(value) = self.traffic_class {
            writer.push_number(level, class, value.into())?;
        }
        if let Some(limit) = self.hop_limit {
            writer.push_number(level, HOPLIMIT, limit.into())?;
        }
        if let Some(size) = self.segment_size {
            writer.push_number(IPPROTO_UDP, UDP_SEND_MSG_SIZE, size)?;
        }
        if let Some(size) = self.coalesced_size {
            writer.push_number(IPPROTO_UDP, UDP_COALESCED_INFO, size)?;
        }
        Some(writer.length())
    }
}

impl Ecn {
    const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::NotEct),
            1 => Some(Self::Ect1),
            2 => Some(Self::Ect0),
            3 => Some(Self::Ce),
            _ => None,
        }
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *place = value;
    }
}

/// IN_PKTINFO.
fn packet_info_v4(data: &[u8]) -> Option<PacketInfo> {
    let address = Ipv4Addr::from(array::<4>(data, 0)?).into();
    Some(PacketInfo { address, interface: u32::from_ne_bytes(array(data, 4)?) })
}

/// IN6_PKTINFO.
fn packet_info_v6(data: &[u8]) -> Option<PacketInfo> {
    let address = Ipv6Addr::from(array::<16>(data, 0)?).into();
    Some(PacketInfo { address, interface: u32::from_ne_bytes(array(data, 16)?) })
}

/// The address has to be of the datagram's family; one that is IPv4 mapped into IPv6 is of either.
fn write_packet_info(writer: &mut Writer<'_>, family: Family, info: PacketInfo) -> Option<()> {
    let index = info.interface.to_ne_bytes();
    match (family, info.address.to_canonical(), info.address) {
        (Family::V4, IpAddr::V4(v4), _) => {
            let mut data = [0; 8];
            put(&mut data, 0, &v4.octets());
            put(&mut data, 4, &index);
            writer.push(IPPROTO_IP, PKTINFO, &data)
        }
        (Family::V6, _, IpAddr::V6(v6)) => {
            let mut data = [0; 20];
            put(&mut data, 0, &v6.octets());
            put(&mut data, 16, &index);
            writer.push(IPPROTO_IPV6, PKTINFO, &data)
        }
        _ => None,
    }
}
