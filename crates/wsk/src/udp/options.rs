//! Options of a UDP socket.
//!
//! A socket for both families has the options of IPv6 and, for what travels in IPv4, those of IPv4: both are set.
//!
//! API: [`WskControlSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_control_socket),
//! [IPPROTO_IP](https://learn.microsoft.com/windows/win32/winsock/ipproto-ip-socket-options),
//! [IPPROTO_IPV6](https://learn.microsoft.com/windows/win32/winsock/ipproto-ipv6-socket-options) and
//! [IPPROTO_UDP](https://learn.microsoft.com/windows/win32/winsock/ipproto-udp-socket-options) options.
//!
//! # Errors
//! Of everything here: [`IoError::Detached`]; no memory; the provider's status, for an option that it, or the transport, does
//! not have.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;

use wsk_cmsg::Family;
use wsk_sys::IPPROTO::{IPPROTO_IPV6, IPPROTO_UDP};
use wsk_sys::{
    IP_DONTFRAGMENT, IP_HOPLIMIT, IP_PKTINFO, IP_RECVECN, IP_RECVTOS, IP_TTL, IP_UNICAST_IF, IPPROTO_IP, IPV6_DONTFRAG,
    IPV6_HOPLIMIT, IPV6_PKTINFO, IPV6_RECVECN, IPV6_RECVTCLASS, IPV6_UNICAST_HOPS, IPV6_UNICAST_IF, IPV6_V6ONLY,
    SO_BROADCAST, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF, SOL_SOCKET, UDP_RECV_MAX_COALESCED_SIZE,
    UDP_SEND_MSG_SIZE,
};

use super::UdpSocket;
use crate::error::{BindError, IoError};
use crate::raw::calls::{control, datagram};
use crate::tcp::{Addresses, finish};

/// How a UDP socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindOptions {
    addresses: Addresses,
    reuse_address: bool,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl BindOptions {
    /// The addresses of its own family, and nobody else's address.
    #[must_use]
    pub const fn new() -> Self {
        Self { addresses: Addresses::OwnFamily, reuse_address: false }
    }

    /// Which addresses an IPv6 wildcard serves (IPV6_V6ONLY).
    #[must_use]
    pub const fn addresses(self, addresses: Addresses) -> Self {
        Self { addresses, ..self }
    }

    /// Whether the address may be one that another socket has (SO_REUSEADDR).
    #[must_use]
    pub const fn reuse_address(self, reuse_address: bool) -> Self {
        Self { reuse_address, ..self }
    }

    pub(super) fn serves_both(&self) -> bool {
        self.addresses == Addresses::Both
    }
}

/// An option that IPv4 and IPv6 have each for itself, by its numbers.
struct PerFamily {
    v4: u32,
    v6: u32,
}

const PACKET_INFO: PerFamily = PerFamily { v4: IP_PKTINFO, v6: IPV6_PKTINFO };
const RECEIVE_ECN: PerFamily = PerFamily { v4: IP_RECVECN, v6: IPV6_RECVECN };
const RECEIVE_CLASS: PerFamily = PerFamily { v4: IP_RECVTOS, v6: IPV6_RECVTCLASS };
const RECEIVE_HOP_LIMIT: PerFamily = PerFamily { v4: IP_HOPLIMIT, v6: IPV6_HOPLIMIT };
const HOP_LIMIT: PerFamily = PerFamily { v4: IP_TTL, v6: IPV6_UNICAST_HOPS };
const DONT_FRAGMENT: PerFamily = PerFamily { v4: IP_DONTFRAGMENT, v6: IPV6_DONTFRAG };

impl UdpSocket {
    /// Has what is received say where to and through which interface it came
    /// ([`Control::packet_info`](crate::Control::packet_info); IP_PKTINFO, IPV6_PKTINFO).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_packet_info(&self, on: bool) -> Result<(), IoError> {
        self.ask_for(PACKET_INFO, on).await
    }

    /// Has what is received say how the network fares ([`Control::ecn`](crate::Control::ecn); IP_RECVECN, IPV6_RECVECN).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_receive_ecn(&self, on: bool) -> Result<(), IoError> {
        self.ask_for(RECEIVE_ECN, on).await
    }

    /// Has what is received say its type of service
    /// ([`Control::traffic_class`](crate::Control::traffic_class); IP_RECVTOS, IPV6_RECVTCLASS).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_receive_traffic_class(&self, on: bool) -> Result<(), IoError> {
        self.ask_for(RECEIVE_CLASS, on).await
    }

    /// Has what is received say its hop limit ([`Control::hop_limit`](crate::Control::hop_limit); IP_HOPLIMIT,
    /// IPV6_HOPLIMIT).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_receive_hop_limit(&self, on: bool) -> Result<(), IoError> {
        self.ask_for(RECEIVE_HOP_LIMIT, on).await
    }

    /// The hop limit of what is sent (IP_TTL, IPV6_UNICAST_HOPS).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_hop_limit(&self, limit: u8) -> Result<(), IoError> {
        self.set_per_family(HOP_LIMIT, limit.into(), limit.into()).await
    }

    /// Whether what is sent must not be cut into fragments on its way (IP_DONTFRAGMENT, IPV6_DONTFRAG).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_dont_fragment(&self, on: bool) -> Result<(), IoError> {
        self.set_per_family(DONT_FRAGMENT, on.into(), on.into()).await
    }

    /// The interface through which datagrams to one host are sent, by its index; 0 leaves that to the routes (IP_UNICAST_IF,
    /// IPV6_UNICAST_IF).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_unicast_interface(&self, index: u32) -> Result<(), IoError> {
        // IPv4 has it in network byte order, IPv6 has not.
        self.set_per_family(PerFamily { v4: IP_UNICAST_IF, v6: IPV6_UNICAST_IF }, index.to_be(), index).await
    }

    /// Has the stack cut what is sent into datagrams of so many bytes; 0 for no cutting (UDP_SEND_MSG_SIZE). See also
    /// [`Control::segment_size`](crate::Control::segment_size).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_send_message_size(&self, bytes: u32) -> Result<(), IoError> {
        self.set(IPPROTO_UDP as _, UDP_SEND_MSG_SIZE, bytes).await
    }

    /// Lets the stack make one of several datagrams that come from the same sender, up to so many bytes; 0 for no such thing
    /// (UDP_RECV_MAX_COALESCED_SIZE). [`Control::coalesced_size`](crate::Control::coalesced_size) says how to cut it.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_receive_max_coalesced_size(&self, bytes: u32) -> Result<(), IoError> {
        self.with_control();
        self.set(IPPROTO_UDP as _, UDP_RECV_MAX_COALESCED_SIZE, bytes).await
    }

    /// Whether datagrams may be sent to broadcast addresses (SO_BROADCAST).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_broadcast(&self, on: bool) -> Result<(), IoError> {
        self.set(SOL_SOCKET, SO_BROADCAST, on.into()).await
    }

    /// How many bytes the transport keeps of what nobody has received yet (SO_RCVBUF).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_receive_buffer(&self, bytes: u32) -> Result<(), IoError> {
        self.set(SOL_SOCKET, SO_RCVBUF, bytes).await
    }

    /// How many bytes the transport keeps of what was sent (SO_SNDBUF).
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn set_send_buffer(&self, bytes: u32) -> Result<(), IoError> {
        self.set(SOL_SOCKET, SO_SNDBUF, bytes).await
    }

    /// Fixes the peer: [`send`](Self::send) goes there, and only what comes from there is received; `None` for nobody any more.
    /// ([SIO_WSK_SET_REMOTE_ADDRESS](https://learn.microsoft.com/windows-hardware/drivers/network/sio-wsk-set-remote-address))
    ///
    /// # Errors
    /// See [`IoError`]; an IPv6 address on a socket for IPv4 is STATUS_INVALID_PARAMETER.
    pub async fn set_remote(&self, peer: Option<SocketAddr>) -> Result<(), IoError> {
        self.fix(datagram::SET_REMOTE_ADDRESS, peer).await
    }

    /// Fixes where [`send`](Self::send) goes; `None` for nowhere any more. What is received comes from anybody.
    /// ([SIO_WSK_SET_SENDTO_ADDRESS](https://learn.microsoft.com/windows-hardware/drivers/network/sio-wsk-set-sendto-address))
    ///
    /// # Errors
    /// As for [`set_remote`](Self::set_remote).
    pub async fn set_send_to(&self, to: Option<SocketAddr>) -> Result<(), IoError> {
        self.fix(datagram::SET_SENDTO_ADDRESS, to).await
    }

    async fn fix(&self, code: u32, address: Option<SocketAddr>) -> Result<(), IoError> {
        let address = self.0.reachable(address)?;
        finish(&self.0.socket, datagram::fix_address(self.call()?, code, address)).await?;
        self.0.fixed_v4.store(self.0.family_of(address) == Family::V4, Ordering::Relaxed);
        Ok(())
    }

    /// Before it is bound.
    pub(super) async fn set_before_bind(&self, options: &BindOptions) -> Result<(), BindError> {
        if self.0.family == Family::V6 {
            let only = !options.serves_both();
            match self.set(IPPROTO_IPV6 as _, IPV6_V6ONLY, only.into()).await {
                // A provider without the option has IPv6 alone, or nothing to choose: only the wish for both can fail.
                Err(IoError::Provider(_)) if only => {}
                other => other.map_err(BindError::Option)?,
            }
        }
        if options.reuse_address {
            self.set(SOL_SOCKET, SO_REUSEADDR, 1).await.map_err(BindError::Option)?;
        }
        Ok(())
    }

    /// An option that has control data come with what is received.
    async fn ask_for(&self, option: PerFamily, on: bool) -> Result<(), IoError> {
        self.with_control();
        self.set_per_family(option, on.into(), on.into()).await
    }

    /// From now on there is room for control data.
    fn with_control(&self) {
        self.0.with_control.store(true, Ordering::Relaxed);
    }

    async fn set_per_family(&self, option: PerFamily, v4: u32, v6: u32) -> Result<(), IoError> {
        if self.0.family == Family::V6 {
            self.set(IPPROTO_IPV6 as _, option.v6, v6).await?;
        }
        if self.0.family == Family::V4 || self.0.both {
            self.set(IPPROTO_IP, option.v4, v4).await?;
        }
        Ok(())
    }

    async fn set(&self, level: u32, option: u32, value: u32) -> Result<(), IoError> {
        finish(&self.0.socket, control::set_option(self.call()?, level, option, value)).await.map(|_| ())
    }
}
