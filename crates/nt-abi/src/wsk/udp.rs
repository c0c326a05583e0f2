//! The numbers and structures of `ws2def.h` and `ws2ipdef.h` for datagrams: options, control data objects, flags.

#![allow(non_camel_case_types, non_snake_case, missing_docs)]

/// Flags of a received datagram.
pub const MSG_TRUNC: u32 = 0x100;
pub const MSG_CTRUNC: u32 = 0x200;
pub const MSG_BCAST: u32 = 0x400;
pub const MSG_MCAST: u32 = 0x800;

pub const SO_BROADCAST: u32 = 0x20;

// Of IPPROTO_IP. Options and the objects that they bring have the same number, but for IP_RECVTOS.
pub const IP_TOS: u32 = 3;
pub const IP_TTL: u32 = 4;
pub const IP_DONTFRAGMENT: u32 = 14;
pub const IP_PKTINFO: u32 = 19;
pub const IP_HOPLIMIT: u32 = 21;
pub const IP_RECVTTL: u32 = 21;
pub const IP_UNICAST_IF: u32 = 31;
pub const IP_RECVTOS: u32 = 40;
pub const IP_ECN: u32 = 50;
pub const IP_RECVECN: u32 = 50;

// Of IPPROTO_IPV6, in the same way; the option for IPV6_TCLASS is IPV6_RECVTCLASS.
pub const IPV6_UNICAST_HOPS: u32 = 4;
pub const IPV6_DONTFRAG: u32 = 14;
pub const IPV6_PKTINFO: u32 = 19;
pub const IPV6_HOPLIMIT: u32 = 21;
pub const IPV6_UNICAST_IF: u32 = 31;
pub const IPV6_TCLASS: u32 = 39;
pub const IPV6_RECVTCLASS: u32 = 40;
pub const IPV6_ECN: u32 = 50;
pub const IPV6_RECVECN: u32 = 50;

// Of IPPROTO_UDP.
pub const UDP_SEND_MSG_SIZE: u32 = 2;
pub const UDP_RECV_MAX_COALESCED_SIZE: u32 = 3;
pub const UDP_COALESCED_INFO: u32 = 3;

/// IN_PKTINFO. The address is in network byte order, the index is not.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IN_PKTINFO {
    pub ipi_addr: [u8; 4],
    pub ipi_ifindex: u32,
}

/// IN6_PKTINFO.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IN6_PKTINFO {
    pub ipi6_addr: [u8; 16],
    pub ipi6_ifindex: u32,
}

crate::layout!(IN_PKTINFO, 8, ipi_addr @ 0, ipi_ifindex @ 4);
crate::layout!(IN6_PKTINFO, 20, ipi6_addr @ 0, ipi6_ifindex @ 16);
crate::layout!(super::CMSGHDR, 16, cmsg_len @ 0, cmsg_level @ 8, cmsg_type @ 12);
