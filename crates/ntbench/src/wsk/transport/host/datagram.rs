//! Datagrams of the host's: recvmsg and sendmmsg with their control messages, and the options that bring those.

#![allow(unsafe_code)] // The safe crates know neither these control messages nor recvmmsg.

use std::ffi::c_int;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{cmsghdr, in_pktinfo, in6_pktinfo, iovec, mmsghdr, msghdr, sockaddr_storage};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;

use super::super::{Ancillary, Family, Received, Setting, Slot};

/// Datagrams in one call of the host's.
const BATCH: usize = 16;

/// Room for all control messages of a datagram, aligned as they want it.
type Control = [u64; 32];

/// Every datagram says where it was sent to; on a dual-stack socket each in its own protocol's way.
pub(super) fn say_where_to(fd: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    set_number(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    if family == Family::V6 {
        set_number(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    }
    Ok(())
}

/// The settings that only datagrams have.
pub(super) fn set(fd: BorrowedFd<'_>, setting: Setting) -> io::Result<()> {
    use Family::{V4, V6};
    use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, SOL_SOCKET};
    let (level, name, value) = match setting {
        Setting::Broadcast(on) => (SOL_SOCKET, libc::SO_BROADCAST, c_int::from(on)),
        Setting::HopLimitInfo(V4, on) => (IPPROTO_IP, libc::IP_RECVTTL, c_int::from(on)),
        Setting::HopLimitInfo(V6, on) => (IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, c_int::from(on)),
        Setting::HopLimit(family, limit) => {
            let limit = c_int::try_from(limit).map_err(|_| Errno::INVAL)?;
            match family {
                V4 => (IPPROTO_IP, libc::IP_TTL, limit),
                V6 => (IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, limit),
            }
        }
        Setting::ClassInfo(V4, on) => (IPPROTO_IP, libc::IP_RECVTOS, c_int::from(on)),
        Setting::ClassInfo(V6, on) => (IPPROTO_IPV6, libc::IPV6_RECVTCLASS, c_int::from(on)),
        Setting::DontFragment(V4, true) => (IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        Setting::DontFragment(V4, false) => (IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        Setting::DontFragment(V6, on) => (IPPROTO_IPV6, libc::IPV6_DONTFRAG, c_int::from(on)),
        Setting::UnicastInterface(V4, index) => (IPPROTO_IP, libc::IP_UNICAST_IF, index.to_be() as c_int),
        Setting::UnicastInterface(V6, index) => (IPPROTO_IPV6, libc::IPV6_UNICAST_IF, index.to_be() as c_int),
        Setting::SegmentSize(bytes) => {
            let bytes = c_int::try_from(bytes).map_err(|_| Errno::INVAL)?;
            (IPPROTO_UDP, libc::UDP_SEGMENT, bytes)
        }
        Setting::Coalescing(on) => (IPPROTO_UDP, libc::UDP_GRO, c_int::from(on)),
        _ => return Err(Errno::NOPROTOOPT.into()),
    };
    set_number(fd, level, name, value)
}

fn set_number(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let size = size_of::<c_int>() as u32;
    // SAFETY: the value is as large as is said.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the host writes beside the bytes of one datagram.
struct Beside {
    from: MaybeUninit<sockaddr_storage>,
    control: Control,
}

impl Beside {
    const NONE: Beside = Beside { from: MaybeUninit::uninit(), control: [0; 32] };

    /// The header for a call; good as long as both stay where they are.
    fn header(&mut self, pieces: *mut iovec, count: usize) -> msghdr {
        // SAFETY: numbers and pointers, all of which may be zero.
        let mut header: msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = self.from.as_mut_ptr().cast();
        header.msg_namelen = size_of::<sockaddr_storage>() as u32;
        header.msg_iov = pieces;
        header.msg_iovlen = count;
        header.msg_control = self.control.as_mut_ptr().cast();
        header.msg_controllen = size_of::<Control>();
        header
    }
}

/// Receives one datagram.
pub(super) fn receive(fd: BorrowedFd<'_>, into: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
    let mut beside = Beside::NONE;
    let mut header = beside.header(into.as_mut_ptr().cast(), into.len());
    // SAFETY: an IoSliceMut is an iovec; all that the header points to stays during the call.
    let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, 0) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the host has just filled it.
    unsafe { read(&header, count) }
}

/// Receives as many datagrams as there are, at most one into each slot.
pub(super) fn receive_many(fd: BorrowedFd<'_>, into: &mut [Slot]) -> io::Result<usize> {
    let mut beside = [const { Beside::NONE }; BATCH];
    let mut pieces = [iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: numbers and pointers, all of which may be zero.
    let mut headers: [mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let wanted = into.len().min(BATCH);
    for (index, slot) in into.iter_mut().take(wanted).enumerate() {
        pieces[index] = iovec { iov_base: slot.room.as_mut_ptr().cast(), iov_len: slot.room.len() };
        headers[index].msg_hdr = beside[index].header(&raw mut pieces[index], 1);
    }
    let (nothing, at) = (std::ptr::null_mut(), headers.as_mut_ptr());
    // SAFETY: all that the headers point to stays during the call.
    let count = unsafe { libc::recvmmsg(fd.as_raw_fd(), at, wanted as u32, 0, nothing) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    for (slot, header) in into.iter_mut().zip(&headers[..count]) {
        // SAFETY: the host has just filled it.
        slot.received = Some(unsafe { read(&header.msg_hdr, header.msg_len as usize)? });
    }
    Ok(count)
}

/// What the host says of a datagram.
///
/// # Safety
/// The host has filled the header, and what it points to is still there.
unsafe fn read(header: &msghdr, bytes: usize) -> io::Result<Received> {
    // SAFETY: as the caller promises.
    let from = unsafe { address(header.msg_name.cast()) }.ok_or(io::ErrorKind::InvalidData)?;
    let cut = header.msg_flags & libc::MSG_TRUNC != 0;
    let mut received = Received { from, bytes, cut, broadcast: false, about: Ancillary::default() };
    // SAFETY: as the caller promises.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: it is null, or the host made it.
    while let Some(one) = unsafe { at.as_ref() } {
        // SAFETY: as above.
        unsafe { received.take(one) };
        // SAFETY: as above.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    Ok(received)
}

impl Received {
    /// Takes account of a control message.
    ///
    /// # Safety
    /// The host made it.
    unsafe fn take(&mut self, one: &cmsghdr) {
        // SAFETY: as the caller promises.
        let data = unsafe { libc::CMSG_DATA(one) };
        match (one.cmsg_level, one.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: an object of this type holds this.
                let info = unsafe { data.cast::<in_pktinfo>().read_unaligned() };
                let to = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                // For a unicast the host says the same address twice.
                self.broadcast = info.ipi_spec_dst.s_addr != info.ipi_addr.s_addr && !to.is_multicast();
                self.about.local = Some((to.into(), info.ipi_ifindex as u32));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: an object of this type holds this.
                let info = unsafe { data.cast::<in6_pktinfo>().read_unaligned() };
                let to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                if to.to_ipv4_mapped().is_none() {
                    self.about.local = Some((to.into(), info.ipi6_ifindex));
                }
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                // SAFETY: objects of these types hold a number.
                self.about.hop_limit = Some(unsafe { data.cast::<u32>().read_unaligned() });
            }
            // SAFETY: an object of this type holds a byte.
            (libc::IPPROTO_IP, libc::IP_TOS) => self.about.class = Some(unsafe { data.read() }),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: an object of this type holds a number.
                self.about.class = Some(unsafe { data.cast::<u32>().read_unaligned() } as u8);
            }
            (libc::IPPROTO_UDP, libc::UDP_GRO) => {
                // SAFETY: an object of this type holds a number.
                self.about.segment = Some(unsafe { data.cast::<u32>().read_unaligned() });
            }
            _ => {}
        }
    }
}

/// # Safety
/// The host has written an address there.
unsafe fn address(at: *const sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: as the caller promises.
    let family = unsafe { (*at).ss_family };
    match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: of this family.
            let v4 = unsafe { at.cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: of this family.
            let v6 = unsafe { at.cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Sends datagrams, each from its slices; how many.
pub(super) fn send_many(fd: BorrowedFd<'_>, from: &[&[IoSlice<'_>]], to: SocketAddr, with: &Ancillary) -> io::Result<usize> {
    let mut control = Writer { room: [0; 32], used: 0 };
    control.put_all(with, to)?;
    // SAFETY: numbers and pointers, all of which may be zero.
    let mut headers: [mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let wanted = from.len().min(BATCH);
    // SAFETY: the address is used while it is there.
    unsafe {
        to.with_sockaddr(|name, size| {
            for (header, pieces) in headers.iter_mut().zip(from) {
                header.msg_hdr.msg_name = name.cast_mut().cast();
                header.msg_hdr.msg_namelen = size as u32;
                header.msg_hdr.msg_iov = pieces.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_iovlen = pieces.len();
                if control.used > 0 {
                    header.msg_hdr.msg_control = control.room.as_mut_ptr().cast();
                    header.msg_hdr.msg_controllen = control.used;
                }
            }
            let count = libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), wanted as u32, libc::MSG_NOSIGNAL);
            usize::try_from(count).map_err(|_| io::Error::last_os_error())
        })
    }
}

/// Control messages for the host.
struct Writer {
    room: Control,
    used: usize,
}

impl Writer {
    /// Those of a datagram; they are of the protocol that it goes by.
    fn put_all(&mut self, what: &Ancillary, to: SocketAddr) -> io::Result<()> {
        let by_v4 = match to.ip() {
            IpAddr::V4(_) => true,
            IpAddr::V6(to) => to.to_ipv4_mapped().is_some(),
        };
        match what.local.map(|(ip, index)| (ip.to_canonical(), index)) {
            Some((IpAddr::V4(ip), index)) if by_v4 => {
                let nowhere = libc::in_addr { s_addr: 0 };
                let source = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
                let info = in_pktinfo { ipi_ifindex: index as c_int, ipi_spec_dst: source, ipi_addr: nowhere };
                self.put(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some((IpAddr::V6(ip), index)) if !by_v4 => {
                let source = libc::in6_addr { s6_addr: ip.octets() };
                let info = in6_pktinfo { ipi6_addr: source, ipi6_ifindex: index };
                self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            Some(_) => return Err(Errno::INVAL.into()),
            None => {}
        }
        match what.class.map(c_int::from) {
            Some(class) if by_v4 => self.put(libc::IPPROTO_IP, libc::IP_TOS, class),
            Some(class) => self.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class),
            None => {}
        }
        match what.hop_limit {
            Some(limit) if by_v4 => self.put(libc::IPPROTO_IP, libc::IP_TTL, limit),
            Some(limit) => self.put(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, limit),
            None => {}
        }
        if let Some(size) = what.segment {
            let size = u16::try_from(size).map_err(|_| Errno::INVAL)?;
            self.put(libc::IPPROTO_UDP, libc::UDP_SEGMENT, size);
        }
        Ok(())
    }

    /// Puts one down. All that there can be fit.
    fn put<T: Copy>(&mut self, level: c_int, kind: c_int, data: T) {
        // SAFETY: it only counts.
        let (length, space) = unsafe { (libc::CMSG_LEN(size_of::<T>() as u32), libc::CMSG_SPACE(size_of::<T>() as u32)) };
        assert!(self.used + space as usize <= size_of::<Control>());
        let at = self.room.as_mut_ptr().cast::<u8>().wrapping_add(self.used).cast::<cmsghdr>();
        // SAFETY: there is room for it, as was just seen, and it is aligned, as all before it are.
        unsafe { at.write(cmsghdr { cmsg_len: length as usize, cmsg_level: level, cmsg_type: kind }) };
        // SAFETY: the room for the data comes behind.
        unsafe { libc::CMSG_DATA(at).cast::<T>().write_unaligned(data) };
        self.used += space as usize;
    }
}
