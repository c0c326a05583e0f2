//! Addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Refusal;

/// A transport address, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WireAddress {
    /// 4 or 6 for the versions of IP; 0 for no address, with everything else 0 too.
    pub family: u16,
    /// The port, in the order of the host.
    pub port: u16,
    /// Of IPv6: the scope (an interface); else 0.
    pub scope: u32,
    /// The address, in the order of the network. Of IPv4: the first four bytes, and zeros.
    pub bytes: [u8; 16],
}

impl WireAddress {
    /// No address.
    pub const NONE: Self = Self { family: 0, port: 0, scope: 0, bytes: [0; 16] };

    /// The address, or none.
    ///
    /// # Errors
    /// [`Refusal::Field`] of that name if it is neither.
    pub fn checked(&self, name: &'static str) -> Result<Option<SocketAddr>, Refusal> {
        let [a, b, c, d, rest @ ..] = self.bytes;
        match self.family {
            0 if *self == Self::NONE => Ok(None),
            4 if self.scope == 0 && rest == [0; 12] => Ok(Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), self.port))),
            6 => Ok(Some(SocketAddrV6::new(Ipv6Addr::from(self.bytes), self.port, 0, self.scope).into())),
            _ => Err(Refusal::Field(name)),
        }
    }

    /// The address in an answer; `None` for none, or for what is none.
    pub fn address(&self) -> Option<SocketAddr> {
        self.checked("address").ok().flatten()
    }

    /// An address without a port.
    pub fn of_host(address: IpAddr) -> Self {
        SocketAddr::new(address, 0).into()
    }
}

impl From<SocketAddr> for WireAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => {
                let mut bytes = [0; 16];
                let octets = v4.ip().octets();
                bytes.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
                Self { family: 4, port: v4.port(), scope: 0, bytes }
            }
            SocketAddr::V6(v6) => Self { family: 6, port: v6.port(), scope: v6.scope_id(), bytes: v6.ip().octets() },
        }
    }
}

impl From<Option<SocketAddr>> for WireAddress {
    fn from(address: Option<SocketAddr>) -> Self {
        address.map_or(Self::NONE, Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back() {
        for text in ["127.0.0.1:80", "0.0.0.0:0", "[::1]:40007", "[fe80::1%7]:9", "255.255.255.255:65535"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(WireAddress::from(address).checked("x"), Ok(Some(address)), "{text}");
        }
        assert_eq!(WireAddress::from(None).checked("x"), Ok(None));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let good = WireAddress::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        let mut long = good;
        long.bytes[4] = 1;
        let wrong = [
            WireAddress { family: 1, ..good },
            WireAddress { family: 0, ..good },
            WireAddress { scope: 1, ..good },
            WireAddress { port: 1, ..WireAddress::NONE },
            long,
        ];
        for address in wrong {
            assert_eq!(address.checked("x"), Err(Refusal::Field("x")), "{address:?}");
            assert_eq!(address.address(), None);
        }
    }
}
