//! WskControlSocket of datagram sockets: options that are told to the network and remembered for the client, and the
//! two I/O controls that fix an address.

#![allow(unsafe_code)] // Addresses come by pointer.
#![allow(non_upper_case_globals)] // The documented names, in patterns.

use std::net::SocketAddr;

use nt_abi::NtStatus;
use nt_abi::wsk::*;

use super::{Datagram, is_from};
use crate::wsk::address;
use crate::wsk::ancillary::Wanted;
use crate::wsk::control::Control;
use crate::wsk::faults::Function;
use crate::wsk::socket::Socket;
use crate::wsk::transport::{Family, Setting};

/// What an option is about. Those of IP are there for each of its versions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    ReuseAddress,
    Broadcast,
    SendBuffer,
    ReceiveBuffer,
    OnlyV6,
    SegmentSize,
    MaxCoalesced,
    Local(Family),
    HopLimitInfo(Family),
    HopLimit(Family),
    Ecn(Family),
    Class(Family),
    DontFragment(Family),
    UnicastInterface(Family),
}

/// The values of the options, as clients gave them.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) wanted: Wanted,
    /// The largest datagram that several may be received as; 0: each is received for itself.
    pub(super) max_coalesced: u32,
    segment: u32,
    hop_limit: [u32; 2],
    dont_fragment: [bool; 2],
    unicast_interface: [u32; 2],
    only_v6: bool,
    reuse_address: bool,
    broadcast: bool,
    send_buffer: u32,
    receive_buffer: u32,
}

impl Default for Options {
    /// What Windows has.
    fn default() -> Self {
        Self {
            wanted: Wanted::default(),
            max_coalesced: 0,
            segment: 0,
            hop_limit: [128; 2],
            dont_fragment: [false; 2],
            unicast_interface: [0; 2],
            only_v6: true,
            reuse_address: false,
            broadcast: false,
            send_buffer: 0x1_0000,
            receive_buffer: 0x1_0000,
        }
    }
}

impl Choice {
    /// The one that a socket of `family` means. An IPv6 socket has those of IPv4 too, for it may be dual-stack.
    fn of(level: u32, code: u32, family: Family) -> Option<Self> {
        use Family::{V4, V6};
        Some(match (level, code, family) {
            (SOL_SOCKET, SO_REUSEADDR, _) => Self::ReuseAddress,
            (SOL_SOCKET, SO_BROADCAST, _) => Self::Broadcast,
            (SOL_SOCKET, SO_SNDBUF, _) => Self::SendBuffer,
            (SOL_SOCKET, SO_RCVBUF, _) => Self::ReceiveBuffer,
            (IPPROTO_UDP, UDP_SEND_MSG_SIZE, _) => Self::SegmentSize,
            (IPPROTO_UDP, UDP_RECV_MAX_COALESCED_SIZE, _) => Self::MaxCoalesced,
            (IPPROTO_IP, IP_PKTINFO, _) => Self::Local(V4),
            (IPPROTO_IP, IP_RECVTTL, _) => Self::HopLimitInfo(V4),
            (IPPROTO_IP, IP_TTL, _) => Self::HopLimit(V4),
            (IPPROTO_IP, IP_RECVECN, _) => Self::Ecn(V4),
            (IPPROTO_IP, IP_RECVTOS, _) => Self::Class(V4),
            (IPPROTO_IP, IP_DONTFRAGMENT, _) => Self::DontFragment(V4),
            (IPPROTO_IP, IP_UNICAST_IF, _) => Self::UnicastInterface(V4),
            (IPPROTO_IPV6, IPV6_V6ONLY, V6) => Self::OnlyV6,
            (IPPROTO_IPV6, IPV6_PKTINFO, V6) => Self::Local(V6),
            (IPPROTO_IPV6, IPV6_HOPLIMIT, V6) => Self::HopLimitInfo(V6),
            (IPPROTO_IPV6, IPV6_UNICAST_HOPS, V6) => Self::HopLimit(V6),
            (IPPROTO_IPV6, IPV6_RECVECN, V6) => Self::Ecn(V6),
            (IPPROTO_IPV6, IPV6_RECVTCLASS, V6) => Self::Class(V6),
            (IPPROTO_IPV6, IPV6_DONTFRAG, V6) => Self::DontFragment(V6),
            (IPPROTO_IPV6, IPV6_UNICAST_IF, V6) => Self::UnicastInterface(V6),
            _ => return None,
        })
    }
}

impl Options {
    /// UDP_SEND_MSG_SIZE.
    pub(super) fn segment(&self) -> u32 {
        self.segment
    }

    /// The value of an option as a number.
    fn value(&self, option: Choice) -> u32 {
        match option {
            Choice::ReuseAddress => self.reuse_address.into(),
            Choice::Broadcast => self.broadcast.into(),
            Choice::SendBuffer => self.send_buffer,
            Choice::ReceiveBuffer => self.receive_buffer,
            Choice::OnlyV6 => self.only_v6.into(),
            Choice::SegmentSize => self.segment,
            Choice::MaxCoalesced => self.max_coalesced,
            Choice::Local(family) => self.wanted.local[family as usize].into(),
            Choice::HopLimitInfo(family) => self.wanted.hop_limit[family as usize].into(),
            Choice::HopLimit(family) => self.hop_limit[family as usize],
            Choice::Ecn(family) => self.wanted.ecn[family as usize].into(),
            Choice::Class(family) => self.wanted.class[family as usize].into(),
            Choice::DontFragment(family) => self.dont_fragment[family as usize].into(),
            Choice::UnicastInterface(family) => self.unicast_interface[family as usize],
        }
    }

    /// Takes a value over.
    fn change(&mut self, option: Choice, value: u32) {
        let on = value != 0;
        match option {
            Choice::ReuseAddress => self.reuse_address = on,
            Choice::Broadcast => self.broadcast = on,
            Choice::SendBuffer => self.send_buffer = value,
            Choice::ReceiveBuffer => self.receive_buffer = value,
            Choice::OnlyV6 => self.only_v6 = on,
            Choice::SegmentSize => self.segment = value,
            Choice::MaxCoalesced => self.max_coalesced = value,
            Choice::Local(family) => self.wanted.local[family as usize] = on,
            Choice::HopLimitInfo(family) => self.wanted.hop_limit[family as usize] = on,
            Choice::HopLimit(family) => self.hop_limit[family as usize] = value,
            Choice::Ecn(family) => self.wanted.ecn[family as usize] = on,
            Choice::Class(family) => self.wanted.class[family as usize] = on,
            Choice::DontFragment(family) => self.dont_fragment[family as usize] = on,
            Choice::UnicastInterface(family) => self.unicast_interface[family as usize] = value,
        }
    }

    /// What the network is to be told of an option of these, which it has just become.
    fn setting(&self, option: Choice) -> Option<Setting> {
        let on = self.value(option) != 0;
        Some(match option {
            Choice::ReuseAddress => Setting::ReuseAddress(on),
            Choice::Broadcast => Setting::Broadcast(on),
            Choice::SendBuffer => Setting::SendBuffer(self.send_buffer),
            Choice::ReceiveBuffer => Setting::ReceiveBuffer(self.receive_buffer),
            Choice::OnlyV6 => Setting::OnlyV6(on),
            Choice::SegmentSize => Setting::SegmentSize(self.segment),
            Choice::MaxCoalesced => Setting::Coalescing(on),
            // It always says that.
            Choice::Local(_) => return None,
            Choice::HopLimitInfo(family) => Setting::HopLimitInfo(family, on),
            Choice::HopLimit(family) => Setting::HopLimit(family, self.hop_limit[family as usize]),
            Choice::Ecn(family) | Choice::Class(family) => {
                let wanted = self.wanted.ecn[family as usize] || self.wanted.class[family as usize];
                Setting::ClassInfo(family, wanted)
            }
            Choice::DontFragment(family) => Setting::DontFragment(family, on),
            // Windows has an index of IPv4 in network byte order.
            Choice::UnicastInterface(Family::V4) => {
                Setting::UnicastInterface(Family::V4, u32::from_be(self.unicast_interface[0]))
            }
            Choice::UnicastInterface(Family::V6) => Setting::UnicastInterface(Family::V6, self.unicast_interface[1]),
        })
    }
}

impl Socket {
    /// What only datagram sockets have of WskControlSocket; None is left to what all sockets have.
    pub(in crate::wsk) fn control_datagrams(&self, control: &Control) -> Option<Result<usize, NtStatus>> {
        let option = Choice::of(control.level, control.code, self.family);
        match (control.kind, control.code) {
            (WskIoctl, SIO_WSK_SET_REMOTE_ADDRESS | SIO_WSK_SET_SENDTO_ADDRESS) => Some(self.fix_address(control)),
            (WskSetOption, _) => option.map(|option| self.set_datagram_option(control, option)),
            (WskGetOption, SO_TYPE) if control.level == SOL_SOCKET => Some(control.write(u32::from(SOCK_DGRAM))),
            (WskGetOption, _) => {
                let inner = self.lock();
                let value = inner.datagrams.as_ref()?.options.value(option?);
                Some(control.write(value))
            }
            _ => None,
        }
    }

    fn set_datagram_option(&self, control: &Control, option: Choice) -> Result<usize, NtStatus> {
        let value = control.number()?;
        if option == Choice::OnlyV6 && value == 0 && self.shared.faults.current().is_some_and(|one| one.refuse_dual_stack) {
            return Err(NtStatus::NOT_SUPPORTED);
        }
        let too_large = match option {
            Choice::SegmentSize => value > u32::from(u16::MAX),
            Choice::HopLimit(_) => value > u32::from(u8::MAX),
            _ => false,
        };
        if too_large {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let mut inner = self.lock();
        let endpoint = inner.link.endpoint.as_ref().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
        let datagrams = inner.datagrams.as_ref().ok_or(NtStatus::INVALID_DEVICE_REQUEST)?;
        let mut options = datagrams.options;
        options.change(option, value);
        let told = options.setting(option).map_or(Ok(()), |setting| endpoint.set(setting));
        match told.map_err(|error| address::status(&error)) {
            Ok(()) => {}
            Err(NtStatus::NOT_SUPPORTED) => return Err(control.lacking(Function::ControlSocket, self.address())),
            Err(status) => return Err(status),
        }
        if let Some(datagrams) = &mut inner.datagrams {
            datagrams.options = options;
        }
        Ok(0)
    }

    /// SIO_WSK_SET_REMOTE_ADDRESS, SIO_WSK_SET_SENDTO_ADDRESS.
    fn fix_address(&self, control: &Control) -> Result<usize, NtStatus> {
        let to = self.fixed_address(control)?;
        let mut inner = self.lock();
        if let Some(status) = self.unusable(&inner) {
            return Err(status);
        }
        let Some(datagrams) = &mut inner.datagrams else { return Err(NtStatus::INVALID_DEVICE_REQUEST) };
        if control.code == SIO_WSK_SET_SENDTO_ADDRESS {
            datagrams.destination = to;
            return Ok(0);
        }
        datagrams.remote = to;
        // What has been read already is from anybody.
        let keep = |one: &Datagram| to.is_none_or(|to| is_from(&one.received, to));
        datagrams.waiting.retain(keep);
        datagrams.left.retain(keep);
        Ok(0)
    }

    /// The address that a control gives; None: there is to be none.
    fn fixed_address(&self, control: &Control) -> Result<Option<SocketAddr>, NtStatus> {
        let needed = if self.family == Family::V4 { size_of::<SOCKADDR_IN>() } else { size_of::<SOCKADDR_IN6>() };
        match control.input {
            (at, 0) if at.is_null() => Ok(None),
            (_, size) if size < needed => Err(NtStatus::INVALID_PARAMETER),
            // SAFETY: the caller's buffer is as large as it says, which is enough for the family.
            (at, _) => unsafe { address::read(at.cast(), self.family) }.map(Some),
        }
    }
}
