//! Whom a service does not answer, whatever the rate.
//!
//! Well-known ports belong to services, some of which answer everything: two of those would talk for ever. So would this
//! driver with itself. Groups and broadcast addresses are many.
//!
//! # IRQL
//! Any.

use core::net::{IpAddr, SocketAddr};

/// Ports below this one are not answered.
pub const FIRST_ANSWERED_PORT: u16 = 1024;

/// Why a datagram is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Its source port is below [`FIRST_ANSWERED_PORT`].
    WellKnownPort,
    /// Its source port is one that the driver itself listens at.
    OwnPort,
    /// Its source address is no single host's.
    NoHost,
}

/// Whether a datagram from `from` may be answered. `is_own` knows the driver's ports.
///
/// # Errors
/// Why not.
pub fn check(from: SocketAddr, is_own: impl FnOnce(u16) -> bool) -> Result<(), Unanswered> {
    if !is_host(from.ip()) {
        return Err(Unanswered::NoHost);
    }
    if from.port() < FIRST_ANSWERED_PORT {
        return Err(Unanswered::WellKnownPort);
    }
    if is_own(from.port()) {
        return Err(Unanswered::OwnPort);
    }
    Ok(())
}

/// Whether the address can be that of one host. A subnet's own broadcast address cannot be told from one without the
/// subnet's mask: the provider refuses to send to it from a socket without SO_BROADCAST.
pub fn is_host(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            // 0/8 is "this network", 240/4 is reserved, with the broadcast address as its last.
            first != 0 && !v4.is_multicast() && first < 240
        }
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn from(text: &str) -> Result<(), Unanswered> {
        check(text.parse().expect("an address"), |port| port == 40007)
    }

    #[test]
    fn an_ordinary_peer_is_answered() {
        for text in ["127.0.0.1:1024", "192.0.2.7:65535", "[::1]:50000", "[2001:db8::1]:40008", "[::ffff:192.0.2.1]:5000"] {
            assert_eq!(from(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn ports_of_services_are_not() {
        for port in [0, 1, 7, 19, 53, 123, 1023] {
            assert_eq!(from(&std::format!("192.0.2.7:{port}")), Err(Unanswered::WellKnownPort));
            assert_eq!(from(&std::format!("[::1]:{port}")), Err(Unanswered::WellKnownPort));
        }
        assert_eq!(from("127.0.0.1:40007"), Err(Unanswered::OwnPort));
    }

    #[test]
    fn what_is_no_host_is_not() {
        let many =
            ["255.255.255.255", "224.0.0.1", "239.255.255.250", "0.0.0.0", "0.1.2.3", "240.0.0.1", "::", "ff02::1", "ff0e::1"];
        for ip in many.into_iter().chain(["::ffff:224.0.0.1", "::ffff:255.255.255.255"]) {
            let ip: IpAddr = ip.parse().expect("an address");
            assert_eq!(check(SocketAddr::new(ip, 5000), |_| false), Err(Unanswered::NoHost), "{}", ip.to_string());
        }
    }
}
