//! Socket addresses in the form that WSK takes them.
//!
//! # IRQL
//! Any.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use wsk_sys::{SOCKADDR, SOCKADDR_IN, SOCKADDR_IN6};

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 23;

/// sizeof(SOCKADDR_IN), sizeof(SOCKADDR_IN6).
const V4_LENGTH: usize = 16;
const V6_LENGTH: usize = 28;

/// Room for any socket address (SOCKADDR_STORAGE), in network form.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct RawAddress([u8; 128]);

impl RawAddress {
    pub(crate) const EMPTY: Self = Self([0; 128]);

    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        raw.set(address);
        raw
    }

    /// How long an address of this one's family is.
    pub(crate) fn length_of(address: SocketAddr) -> usize {
        if address.is_ipv4() { V4_LENGTH } else { V6_LENGTH }
    }

    /// The address that these bytes are, if they are a whole one of a family that we know.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<SocketAddr> {
        let mut raw = Self::EMPTY;
        raw.put(0, bytes);
        let needed = match u16::from_ne_bytes(raw.array(0)) {
            AF_INET => V4_LENGTH,
            _ => V6_LENGTH,
        };
        if bytes.len() < needed { None } else { raw.to_address() }
    }

    /// Forgets the address: until somebody writes one, there is none.
    pub(crate) fn clear(&mut self) {
        self.put(0, &[0, 0]);
    }

    /// Puts an address in.
    pub(crate) fn set(&mut self, address: SocketAddr) {
        let [f0, f1] = family(address).to_ne_bytes();
        let [p0, p1] = address.port().to_be_bytes();
        self.put(0, &[f0, f1, p0, p1]);
        match address {
            SocketAddr::V4(v4) => {
                self.put(4, &v4.ip().octets());
                self.put(8, &[0; 8]);
            }
            SocketAddr::V6(v6) => {
                self.put(4, &v6.flowinfo().to_ne_bytes());
                self.put(8, &v6.ip().octets());
                self.put(24, &v6.scope_id().to_ne_bytes());
            }
        }
    }

    /// The wildcard address of another address's family, any port.
    pub(crate) fn any(like: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        raw.put(0, &family(like).to_ne_bytes());
        raw
    }

    /// The address, if its family is one that we know.
    pub(crate) fn to_address(self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(self.array(2));
        match u16::from_ne_bytes(self.array(0)) {
            AF_INET => Some(SocketAddrV4::new(Ipv4Addr::from(self.array::<4>(4)), port).into()),
            AF_INET6 => {
                let (flow, scope) = (u32::from_ne_bytes(self.array(4)), u32::from_ne_bytes(self.array(24)));
                Some(SocketAddrV6::new(Ipv6Addr::from(self.array::<16>(8)), port, flow, scope).into())
            }
            _ => None,
        }
    }

    /// Copies an address that the provider shows.
    ///
    /// # Safety
    /// Null, or an address that can be read to the length of its family.
    pub(crate) unsafe fn read(shown: *const SOCKADDR) -> Option<SocketAddr> {
        // SAFETY: as the caller promises: every address begins with its family.
        let family = unsafe { shown.cast::<u16>().as_ref() }?;
        let length = match *family {
            AF_INET => size_of::<SOCKADDR_IN>(),
            AF_INET6 => size_of::<SOCKADDR_IN6>(),
            _ => return None,
        };
        // SAFETY: as the caller promises.
        let bytes = unsafe { core::slice::from_raw_parts(shown.cast::<u8>(), length) };
        let mut raw = Self::EMPTY;
        raw.put(0, bytes);
        raw.to_address()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (place, byte) in self.0.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        for (place, byte) in array.iter_mut().zip(self.0.iter().skip(at)) {
            *place = *byte;
        }
        array
    }
}

pub(crate) fn family(address: SocketAddr) -> u16 {
    match address.ip() {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}
