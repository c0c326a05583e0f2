//! Control data of datagrams as clients give and get it: objects that each begin with a CMSGHDR, with the numbers of
//! Windows. Here they become [`Ancillary`], and are made from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nt_abi::NtStatus;
use nt_abi::wsk::{
    CMSGHDR, IP_ECN, IP_HOPLIMIT, IP_PKTINFO, IP_TOS, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, IPV6_ECN, IPV6_HOPLIMIT,
    IPV6_PKTINFO, IPV6_TCLASS, UDP_COALESCED_INFO, UDP_SEND_MSG_SIZE,
};

use super::transport::{Ancillary, Received};

const HEADER: usize = size_of::<CMSGHDR>();
/// Each object begins at a multiple of this.
const ALIGNMENT: usize = 8;

/// What received datagrams are to say, one of IPv4 and one of IPv6 each.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) local: [bool; 2],
    pub(super) hop_limit: [bool; 2],
    pub(super) ecn: [bool; 2],
    pub(super) class: [bool; 2],
}

/// Control data for a client.
///
/// # Invariants
/// `used` bytes of `room` are whole objects.
pub(super) struct Objects {
    room: [u64; 20],
    used: usize,
    /// How many bytes the client has room for.
    limit: usize,
    /// There was more than that.
    pub(super) cut: bool,
}

impl Objects {
    /// What there is to say of a datagram, as far as it is wanted and fits.
    pub(super) fn of(received: &Received, wanted: &Wanted, limit: usize) -> Self {
        let mut objects = Self { room: [0; 20], used: 0, limit, cut: false };
        let about = &received.about;
        let by_v6 = usize::from(by_v6(received));
        let level = [IPPROTO_IP, IPPROTO_IPV6][by_v6];
        if let Some((address, index)) = about.local.filter(|_| wanted.local[by_v6]) {
            objects.put_local(address, index);
        }
        if let Some(limit) = about.hop_limit.filter(|_| wanted.hop_limit[by_v6]) {
            objects.put(level, [IP_HOPLIMIT, IPV6_HOPLIMIT][by_v6], &limit.to_ne_bytes());
        }
        if let Some(class) = about.class.filter(|_| wanted.ecn[by_v6]) {
            objects.put(level, [IP_ECN, IPV6_ECN][by_v6], &u32::from(class & 3).to_ne_bytes());
        }
        if let Some(class) = about.class.filter(|_| wanted.class[by_v6]) {
            objects.put(level, [IP_TOS, IPV6_TCLASS][by_v6], &u32::from(class).to_ne_bytes());
        }
        if let Some(size) = about.segment {
            objects.put(IPPROTO_UDP, UDP_COALESCED_INFO, &size.to_ne_bytes());
        }
        objects
    }

    fn put_local(&mut self, address: IpAddr, index: u32) {
        let index = index.to_ne_bytes();
        match address {
            IpAddr::V4(v4) => self.put(IPPROTO_IP, IP_PKTINFO, &[&v4.octets()[..], &index].concat()),
            IpAddr::V6(v6) => self.put(IPPROTO_IPV6, IPV6_PKTINFO, &[&v6.octets()[..], &index].concat()),
        }
    }

    fn put(&mut self, level: u32, kind: u32, data: &[u8]) {
        let length = HEADER + data.len();
        if self.cut || self.used + length > self.limit {
            self.cut = true;
            return;
        }
        let mut object = Vec::with_capacity(length);
        object.extend_from_slice(&length.to_ne_bytes());
        object.extend_from_slice(&level.to_ne_bytes());
        object.extend_from_slice(&kind.to_ne_bytes());
        object.extend_from_slice(data);
        object.resize(length.next_multiple_of(ALIGNMENT), 0);
        for (word, bytes) in self.room[self.used / ALIGNMENT..].iter_mut().zip(object.chunks_exact(ALIGNMENT)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("a chunk of this size"));
        }
        // INVARIANT: one object more; only the padding behind the last may be left out.
        self.used += object.len().min(self.limit - self.used);
    }

    /// Where they are, and how many bytes.
    pub(super) fn bytes(&mut self) -> (*mut CMSGHDR, usize) {
        (self.room.as_mut_ptr().cast(), self.used)
    }
}

/// Whether a datagram came by IPv6 itself, and not by IPv4 to a dual-stack socket.
fn by_v6(received: &Received) -> bool {
    match received.about.local {
        Some((local, _)) => local.is_ipv6(),
        None => received.from.ip().to_canonical().is_ipv6(),
    }
}

/// Reads a client's control data for a datagram that goes by IPv6 or not. All of it must be understood.
pub(super) fn parse(mut data: &[u8], by_v6: bool) -> Result<Ancillary, NtStatus> {
    let mut found = Ancillary::default();
    while !data.is_empty() {
        let header = data.get(..HEADER).ok_or(NtStatus::INVALID_PARAMETER)?;
        let length = usize::from_ne_bytes(array(&header[..8])?);
        let content = data.get(HEADER..length).ok_or(NtStatus::INVALID_PARAMETER)?;
        let (level, kind) = (u32::from_ne_bytes(array(&header[8..12])?), u32::from_ne_bytes(array(&header[12..])?));
        found.take(level, kind, content, by_v6)?;
        data = data.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Ok(found)
}

impl Ancillary {
    fn take(&mut self, level: u32, kind: u32, content: &[u8], by_v6: bool) -> Result<(), NtStatus> {
        match (level, kind, by_v6) {
            (IPPROTO_IP, IP_PKTINFO, false) => {
                let [a, b, c, d, index @ ..] = array::<8>(content)?;
                self.local = Some((Ipv4Addr::new(a, b, c, d).into(), u32::from_ne_bytes(index)));
            }
            (IPPROTO_IPV6, IPV6_PKTINFO, true) => {
                let both = array::<20>(content)?;
                let address = Ipv6Addr::from(array::<16>(&both[..16])?);
                self.local = Some((address.into(), u32::from_ne_bytes(array(&both[16..])?)));
            }
            (IPPROTO_IP, IP_ECN, false) | (IPPROTO_IPV6, IPV6_ECN, true) => {
                let codepoint = number(content, 3)? as u8;
                self.class = Some(self.class.unwrap_or(0) & !3 | codepoint);
            }
            (IPPROTO_IP, IP_TOS, false) | (IPPROTO_IPV6, IPV6_TCLASS, true) => {
                self.class = Some(number(content, 255)? as u8);
            }
            (IPPROTO_IP, IP_HOPLIMIT, false) | (IPPROTO_IPV6, IPV6_HOPLIMIT, true) => {
                self.hop_limit = Some(number(content, 255)?);
            }
            (IPPROTO_UDP, UDP_SEND_MSG_SIZE, _) => self.segment = Some(number(content, u32::from(u16::MAX))?),
            _ => return Err(NtStatus::INVALID_PARAMETER),
        }
        Ok(())
    }
}

fn number(content: &[u8], highest: u32) -> Result<u32, NtStatus> {
    let value = u32::from_ne_bytes(array(content)?);
    if value <= highest { Ok(value) } else { Err(NtStatus::INVALID_PARAMETER) }
}

fn array<const N: usize>(from: &[u8]) -> Result<[u8; N], NtStatus> {
    from.try_into().map_err(|_| NtStatus::INVALID_PARAMETER)
}
