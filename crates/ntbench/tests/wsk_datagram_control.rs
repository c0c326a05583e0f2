//! Control data of datagrams both ways, the options that ask for it, and all the others of datagram sockets. What is
//! set is looked for at the peer, or in the host's socket.

#![allow(unsafe_code)] // Calls of the provider's, and of the host's for what the peer sees.

#[macro_use]
mod wsk_client;

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{null, null_mut};
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use ntbench::wsk::Faults;
use rustix::net::sockopt;
use wsk_client::indications::*;
use wsk_client::*;

/// The host's number of the loopback interface.
fn loopback() -> u32 {
    // SAFETY: a name that ends with a zero.
    unsafe { libc::if_nametoindex(c"lo".as_ptr()) }
}

/// An object that holds an address and an interface.
fn pktinfo(address: &str, index: u32) -> Object {
    let (level, kind, mut data) = match address.parse().unwrap() {
        std::net::IpAddr::V4(v4) => (IPPROTO_IP, IP_PKTINFO, v4.octets().to_vec()),
        std::net::IpAddr::V6(v6) => (IPPROTO_IPV6, IPV6_PKTINFO, v6.octets().to_vec()),
    };
    data.extend_from_slice(&index.to_ne_bytes());
    Object { level, kind, data }
}

/// What the peer receives next, with the traffic class that it came by.
fn heard_with_class(peer: &UdpSocket) -> (Vec<u8>, u8) {
    let mut bytes = [0u8; 2048];
    let mut room = [0u64; 16];
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: numbers and pointers, all of which may be zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut piece, 1);
    (header.msg_control, header.msg_controllen) = (room.as_mut_ptr().cast(), size_of_val(&room));
    // SAFETY: all that the header points to stays during the call.
    let count = unsafe { libc::recvmsg(peer.as_raw_fd(), &raw mut header, 0) };
    assert!(count >= 0);
    // SAFETY: the host has just filled it.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header).as_ref() }.expect("a control message");
    assert!(matches!(
        (first.cmsg_level, first.cmsg_type),
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
    ));
    // SAFETY: it has a byte at least; the number of IPv6 begins with its lowest.
    (bytes[..count as usize].to_vec(), unsafe { libc::CMSG_DATA(first).read() })
}

/// The host's socket that is bound to an address.
fn host_socket(at: SocketAddr) -> BorrowedFd<'static> {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // SAFETY: those that are no longer open are refused by the host.
    let mut files = numbers.map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    files
        .find(|file| rustix::net::getsockname(file).is_ok_and(|found| SocketAddr::try_from(found).is_ok_and(|it| it == at)))
        .expect("the socket of the provider's")
}

/// A number that the host has of a socket.
fn host_number(socket: BorrowedFd<'_>, level: i32, name: i32) -> i32 {
    let (mut value, mut size) = (0i32, size_of::<i32>() as u32);
    // SAFETY: the value is as large as is said.
    let status = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size) };
    assert_eq!(status, 0);
    value
}

isolated! {
    fn what_is_asked_for_comes_with_a_datagram() {
        with_bench(|_| {
            let (socket, _) = quiet(AF_INET, "0.0.0.0:0");
            let peer = peer("127.0.0.1:0");
            peer.set_ttl(17).unwrap();
            sockopt::set_ip_tos(&peer, 0x2a).unwrap();
            let to = ("127.0.0.1", socket.local().port());
            let hears = || {
                peer.send_to(b"data", to).unwrap();
                let (bytes, report) = socket.hears();
                assert_eq!(bytes, b"data");
                report.objects()
            };
            assert_eq!(hears(), []);
            let expected = [
                (IP_PKTINFO, pktinfo("127.0.0.1", loopback())),
                (IP_RECVTTL, number(IPPROTO_IP, IP_HOPLIMIT, 17)),
                (IP_RECVECN, number(IPPROTO_IP, IP_ECN, 2)),
                (IP_RECVTOS, number(IPPROTO_IP, IP_TOS, 0x2a)),
            ];
            for (option, object) in &expected {
                assert_eq!(socket.value(IPPROTO_IP, *option), Ok(0));
                assert_eq!(socket.set(IPPROTO_IP, *option, 1), NtStatus::SUCCESS);
                assert_eq!(socket.value(IPPROTO_IP, *option), Ok(1));
                assert_eq!(hears(), std::slice::from_ref(object));
                assert_eq!(socket.set(IPPROTO_IP, *option, 0), NtStatus::SUCCESS);
                assert_eq!(hears(), []);
            }
            expected.iter().for_each(|(option, _)| assert_eq!(socket.set(IPPROTO_IP, *option, 1), NtStatus::SUCCESS));
            let all: Vec<_> = expected.into_iter().map(|(_, object)| object).collect();
            assert_eq!(hears(), all);

            // Too little room: whole objects, and a flag. None at all: none wanted, or none there is room for.
            let memory = Memory::new(8);
            for (length, count, flags) in [(128, 4, 0), (50, 2, MSG_CTRUNC), (23, 0, MSG_CTRUNC), (0, 0, MSG_CTRUNC)] {
                let mut report = Report { length, ..Report::default() };
                peer.send_to(b"data", to).unwrap();
                assert_eq!(socket.receive_from(memory.all(), &mut report).end().status, NtStatus::SUCCESS);
                assert_eq!((report.objects(), report.flags), (all[..count].to_vec(), flags));
                assert!(report.length <= length);
            }
            peer.send_to(b"data", to).unwrap();
            assert_eq!(socket.receive(memory.all()).end().status, NtStatus::SUCCESS);
            socket.close();
        });
    }
}

isolated! {
    fn ipv6_has_its_own_objects_and_dual_stack_both() {
        with_bench(|_| {
            let record = Record::leaked();
            let socket = unbound(AF_INET6, record.context(), &raw const EVENTS);
            assert_eq!(socket.set(IPPROTO_IPV6, IPV6_V6ONLY, 0), NtStatus::SUCCESS);
            let six = [IPV6_PKTINFO, IPV6_HOPLIMIT, IPV6_RECVECN, IPV6_RECVTCLASS];
            six.iter().for_each(|option| assert_eq!(socket.set(IPPROTO_IPV6, *option, 1), NtStatus::SUCCESS));
            assert_eq!(socket.bind("[::]:0"), NtStatus::SUCCESS);
            let port = socket.local().port();
            let (v4, v6) = (peer("127.0.0.1:0"), peer("[::1]:0"));
            sockopt::set_ipv6_unicast_hops(&v6, Some(9)).unwrap();
            sockopt::set_ipv6_tclass(&v6, 0x2d).unwrap();
            v4.set_ttl(33).unwrap();
            v4.send_to(b"four", ("127.0.0.1", port)).unwrap();
            assert_eq!(socket.hears().1.objects(), []);
            let four = [IP_PKTINFO, IP_RECVTTL, IP_RECVECN];
            four.iter().for_each(|option| assert_eq!(socket.set(IPPROTO_IP, *option, 1), NtStatus::SUCCESS));
            // Indications have them too.
            assert_eq!(socket.events(WSK_EVENT_RECEIVE_FROM, null_mut()), NtStatus::SUCCESS);
            v4.send_to(b"four", ("127.0.0.1", port)).unwrap();
            until("the first", || record.heard().len() == 1);
            v6.send_to(b"six", ("::1", port)).unwrap();
            until("the second", || record.heard().len() == 2);
            let seen: Vec<_> = record.lists.lock().unwrap().iter().map(|(_, list)| list[0].objects.clone()).collect();
            let (of_four, of_six) = (IPPROTO_IP, IPPROTO_IPV6);
            assert_eq!(seen[0], [
                pktinfo("127.0.0.1", loopback()),
                number(of_four, IP_HOPLIMIT, 33),
                number(of_four, IP_ECN, 0),
            ]);
            assert_eq!(seen[1], [
                pktinfo("::1", loopback()),
                number(of_six, IPV6_HOPLIMIT, 9),
                number(of_six, IPV6_ECN, 1),
                number(of_six, IPV6_TCLASS, 0x2d),
            ]);
            socket.close();
        });
    }
}

isolated! {
    fn a_datagram_takes_its_source_and_its_class_along() {
        with_bench(|_| {
            let (socket, at) = quiet(AF_INET, "0.0.0.0:0");
            let other = peer("127.0.0.1:0");
            sockopt::set_ip_recvtos(&other, true).unwrap();
            let to = other.local_addr().unwrap();
            let memory = Memory::with(b"data");
            let send = |objects: &[Object]| socket.send_to(memory.all(), Some(to), objects).end().status;
            assert_eq!(send(&[pktinfo("127.0.0.5", 0)]), NtStatus::SUCCESS);
            assert_eq!(heard(&other).1, any(&format!("127.0.0.5:{}", at.port())));
            assert_eq!(send(&[number(IPPROTO_IP, IP_ECN, 1)]), NtStatus::SUCCESS);
            assert_eq!(heard_with_class(&other), (b"data".to_vec(), 1));
            assert_eq!(send(&[number(IPPROTO_IP, IP_TOS, 0x28), number(IPPROTO_IP, IP_ECN, 3)]), NtStatus::SUCCESS);
            assert_eq!(heard_with_class(&other).1, 0x2b);
            // A batch takes it along with each.
            let sent = socket.send_messages(&[memory.all(); 2], Some(to), &[number(IPPROTO_IP, IP_ECN, 2)]).end();
            assert_eq!((sent.status, sent.information), (NtStatus::SUCCESS, 8));
            assert_eq!((heard_with_class(&other).1, heard_with_class(&other).1), (2, 2));
            socket.close();

            let six = unbound(AF_INET6, null_mut(), null());
            assert_eq!(six.set(IPPROTO_IPV6, IPV6_V6ONLY, 0), NtStatus::SUCCESS);
            assert_eq!(six.bind("[::]:0"), NtStatus::SUCCESS);
            let mapped = any(&format!("[::ffff:127.0.0.1]:{}", to.port()));
            let objects = [pktinfo("127.0.0.9", loopback()), number(IPPROTO_IP, IP_ECN, 2)];
            assert_eq!(six.send_to(memory.all(), Some(mapped), &objects).end().status, NtStatus::SUCCESS);
            assert_eq!(heard_with_class(&other).1, 2);
            let other = peer("[::1]:0");
            sockopt::set_ipv6_recvtclass(&other, true).unwrap();
            let to = other.local_addr().unwrap();
            let objects = [pktinfo("::1", loopback()), number(IPPROTO_IPV6, IPV6_ECN, 2)];
            assert_eq!(six.send_to(memory.all(), Some(to), &objects).end().status, NtStatus::SUCCESS);
            assert_eq!(heard_with_class(&other).1, 2);
            assert_eq!(six.send_to(memory.all(), Some(to), &[number(IPPROTO_IPV6, IPV6_TCLASS, 0x51)]).end().information, 4);
            assert_eq!(heard_with_class(&other).1, 0x51);
            six.close();
        });
    }
}

isolated! {
    fn control_data_that_is_wrong_is_refused() {
        with_bench(|_| {
            let (socket, _) = quiet(AF_INET, "0.0.0.0:0");
            let peer = peer("127.0.0.1:0");
            let to = peer.local_addr().unwrap();
            let memory = Memory::with(b"data");
            let good = control(&[number(IPPROTO_IP, IP_ECN, 1)]);
            let with_length = |length: u64| [&length.to_ne_bytes()[..], &good[8..]].concat();
            let bad = [
                good[..8].to_vec(),
                good[..19].to_vec(),
                with_length(15),
                with_length(0),
                with_length(21),
                with_length(u64::MAX),
                [good.clone(), vec![0; 4], vec![0; 3]].concat(),
                control(&[number(IPPROTO_IP, IP_ECN, 4)]),
                control(&[number(IPPROTO_IP, IP_TOS, 256)]),
                control(&[number(IPPROTO_IP, IP_HOPLIMIT, 256)]),
                control(&[number(IPPROTO_IP, IP_PKTINFO, 1)]),
                control(&[number(IPPROTO_IPV6, IPV6_ECN, 1)]),
                control(&[pktinfo("::ffff:127.0.0.1", 0)]),
                control(&[number(IPPROTO_UDP, UDP_SEND_MSG_SIZE, 65_536)]),
                control(&[Object { level: IPPROTO_UDP, kind: UDP_SEND_MSG_SIZE, data: vec![1, 0] }]),
                control(&[number(IPPROTO_TCP, 1, 1)]),
            ];
            for data in &bad {
                let ended = socket.send_raw(memory.all(), Some(to), data).end();
                assert_eq!([ended.returned, ended.status], [NtStatus::INVALID_PARAMETER; 2], "{data:?}");
            }
            let (send, mut at, mut buf) = (socket.table().WskSendTo, address(to), memory.all());
            // SAFETY: as the page has it, but for the missing control data.
            let ended = request(|irp| unsafe { send(socket.0.0, &raw mut buf, 0, at.at(), 24, null_mut(), irp) }).end();
            assert_eq!(ended.status, NtStatus::INVALID_PARAMETER);
            // Nothing of all this was sent.
            assert_eq!(socket.send_raw(memory.buf(0, 1), Some(to), &good).end().status, NtStatus::SUCCESS);
            assert_eq!(heard(&peer).0, b"d");
            socket.close();
        });
    }
}

isolated! {
    fn what_is_sent_is_cut_into_segments() {
        with_bench(|_| {
            let (socket, _) = quiet(AF_INET, "127.0.0.1:0");
            let peer = peer("127.0.0.1:0");
            let to = peer.local_addr().unwrap();
            let memory = Memory::with(b"0123456789");
            let size = number(IPPROTO_UDP, UDP_SEND_MSG_SIZE, 4);
            assert_eq!(socket.send_to(memory.all(), Some(to), &[size]).end().information, 10);
            let three = || [heard(&peer).0, heard(&peer).0, heard(&peer).0];
            assert_eq!(three(), [&b"0123"[..], b"4567", b"89"]);
            // More segments than the host takes in one call.
            let long = Memory::new(12_803);
            long.bytes().iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 64) as u8);
            let size = number(IPPROTO_UDP, UDP_SEND_MSG_SIZE, 64);
            assert_eq!(socket.send_to(long.all(), Some(to), &[size]).end().information, 12_803);
            (0..200u8).for_each(|round| assert_eq!(heard(&peer).0, [round; 64]));
            assert_eq!(heard(&peer).0, [200; 3]);
            assert_eq!(socket.value(IPPROTO_UDP, UDP_SEND_MSG_SIZE), Ok(0));
            assert_eq!(socket.set(IPPROTO_UDP, UDP_SEND_MSG_SIZE, 5), NtStatus::SUCCESS);
            assert_eq!(socket.value(IPPROTO_UDP, UDP_SEND_MSG_SIZE), Ok(5));
            assert_eq!(socket.send_messages(&[memory.all(), memory.buf(0, 3)], Some(to), &[]).end().information, 13);
            assert_eq!(three(), [&b"01234"[..], b"56789", b"012"]);
            assert_eq!(socket.set(IPPROTO_UDP, UDP_SEND_MSG_SIZE, 65_536), NtStatus::INVALID_PARAMETER);
            assert_eq!(socket.set(IPPROTO_UDP, UDP_SEND_MSG_SIZE, 0), NtStatus::SUCCESS);
            assert_eq!(socket.send_to(memory.all(), Some(to), &[]).end().information, 10);
            assert_eq!(heard(&peer).0, b"0123456789");
            socket.close();
        });
    }
}

isolated! {
    fn segments_are_received_as_one_up_to_a_size() {
        with_bench(|_| {
            let record = Record::leaked();
            let (socket, at) = datagrams(record.context(), &raw const EVENTS);
            let peer = peer("127.0.0.1:0");
            let segment = 1000i32;
            let (fd, size) = (peer.as_raw_fd(), size_of::<i32>() as u32);
            // SAFETY: the value is as large as is said.
            let status = unsafe { libc::setsockopt(fd, libc::IPPROTO_UDP, libc::UDP_SEGMENT, (&raw const segment).cast(), size) };
            assert_eq!(status, 0);
            let data: Vec<u8> = (0..3500u32).map(|at| at as u8).collect();
            let info = number(IPPROTO_UDP, UDP_COALESCED_INFO, 1000);
            let hears = |sizes: &[usize]| {
                peer.send_to(&data, at).unwrap();
                let mut rest = &data[..];
                for size in sizes {
                    let (bytes, report) = socket.hears();
                    assert_eq!(bytes, rest[..*size]);
                    let expected = if *size > 1000 { vec![info.clone()] } else { vec![] };
                    assert_eq!(report.objects(), expected);
                    rest = &rest[*size..];
                }
                assert!(rest.is_empty());
            };
            hears(&[1000, 1000, 1000, 500]);
            assert_eq!(socket.set(IPPROTO_UDP, UDP_RECV_MAX_COALESCED_SIZE, 65_000), NtStatus::SUCCESS);
            assert_eq!(socket.value(IPPROTO_UDP, UDP_RECV_MAX_COALESCED_SIZE), Ok(65_000));
            hears(&[3500]);
            assert_eq!(socket.set(IPPROTO_UDP, UDP_RECV_MAX_COALESCED_SIZE, 2_400), NtStatus::SUCCESS);
            hears(&[2000, 1500]);
            assert_eq!(socket.set(IPPROTO_UDP, UDP_RECV_MAX_COALESCED_SIZE, 1_500), NtStatus::SUCCESS);
            hears(&[1000, 1000, 1000, 500]);
            assert_eq!(socket.set(IPPROTO_UDP, UDP_RECV_MAX_COALESCED_SIZE, 2_400), NtStatus::SUCCESS);
            // A receive that waits, and one with too little room: the rest of its datagram is gone, the next is not.
            let memory = Memory::new(4096);
            let pending = socket.receive(memory.buf(0, 100));
            peer.send_to(&data, at).unwrap();
            let ended = pending.end();
            assert_eq!((ended.status, ended.information), (NtStatus::BUFFER_OVERFLOW, 100));
            assert_eq!(socket.hears().0, data[2000..]);
            assert_eq!(socket.events(WSK_EVENT_RECEIVE_FROM, null_mut()), NtStatus::SUCCESS);
            peer.send_to(&data, at).unwrap();
            until("both", || record.heard() == [data[..2000].to_vec(), data[2000..].to_vec()]);
            assert_eq!(record.lists.lock().unwrap()[0].1[0].objects, [info.clone()]);
            let off = WSK_EVENT_RECEIVE_FROM | WSK_EVENT_DISABLE;
            assert_eq!(socket.events(off, null_mut()), NtStatus::SUCCESS);
            assert_eq!(socket.set(IPPROTO_UDP, UDP_RECV_MAX_COALESCED_SIZE, 0), NtStatus::SUCCESS);
            hears(&[1000, 1000, 1000, 500]);
            socket.close();
        });
    }
}

isolated! {
    fn a_remote_address_is_for_both_directions() {
        with_bench(|_| {
            let (socket, at) = quiet(AF_INET, "127.0.0.1:0");
            let (friend, stranger) = (peer("127.0.0.1:0"), peer("127.0.0.1:0"));
            let to = friend.local_addr().unwrap();
            let memory = Memory::with(b"data");
            assert_eq!(socket.fix(SIO_WSK_SET_REMOTE_ADDRESS, Some(to)).status, NtStatus::SUCCESS);
            assert_eq!(socket.send_to(memory.all(), None, &[]).end().information, 4);
            assert_eq!(heard(&friend), (b"data".to_vec(), at));
            assert_eq!(socket.send_messages(&[memory.all()], None, &[]).end().information, 4);
            assert_eq!(heard(&friend).0, b"data");
            stranger.send_to(b"strange", at).unwrap();
            friend.send_to(b"friendly", at).unwrap();
            assert_eq!(socket.hears().0, b"friendly");
            let memory_too = Memory::new(16);
            let pending = socket.receive(memory_too.all());
            stranger.send_to(b"strange", at).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            assert!(!pending.is_done());
            friend.send_to(b"again", at).unwrap();
            assert_eq!(pending.end().information, 5);
            // It may be overridden for one datagram, whose answer is not taken.
            let other = stranger.local_addr().unwrap();
            assert_eq!(socket.send_to(memory.all(), Some(other), &[]).end().information, 4);
            assert_eq!(heard(&stranger).0, b"data");
            assert_eq!(socket.fix(SIO_WSK_SET_REMOTE_ADDRESS, None).status, NtStatus::SUCCESS);
            assert_eq!(socket.send_to(memory.all(), None, &[]).end().status, NtStatus::INVALID_PARAMETER);
            stranger.send_to(b"welcome", at).unwrap();
            assert_eq!(socket.hears().0, b"welcome");
            let wrong = socket.fix(SIO_WSK_SET_REMOTE_ADDRESS, Some(any("[::1]:5")));
            assert_eq!(wrong.status, NtStatus::INVALID_ADDRESS);
            socket.close();
        });
    }
}

isolated! {
    fn a_destination_is_for_what_is_sent() {
        with_bench(|_| {
            let (socket, at) = quiet(AF_INET, "127.0.0.1:0");
            let (friend, stranger) = (peer("127.0.0.1:0"), peer("127.0.0.1:0"));
            let memory = Memory::with(b"data");
            let to = friend.local_addr().unwrap();
            assert_eq!(socket.fix(SIO_WSK_SET_SENDTO_ADDRESS, Some(to)).status, NtStatus::SUCCESS);
            assert_eq!(socket.send_to(memory.all(), None, &[]).end().information, 4);
            assert_eq!(heard(&friend), (b"data".to_vec(), at));
            assert_eq!(socket.send_to(memory.all(), stranger.local_addr().ok(), &[]).end().information, 4);
            assert_eq!(heard(&stranger).0, b"data");
            stranger.send_to(b"strange", at).unwrap();
            assert_eq!(socket.hears().0, b"strange");
            assert_eq!(socket.fix(SIO_WSK_SET_SENDTO_ADDRESS, None).status, NtStatus::SUCCESS);
            assert_eq!(socket.send_to(memory.all(), None, &[]).end().status, NtStatus::INVALID_PARAMETER);
            socket.close();
        });
    }
}

isolated! {
    fn options_reach_the_host() {
        with_bench(|bench| {
            let first = unbound(AF_INET, null_mut(), null());
            assert_eq!(first.set(SOL_SOCKET, SO_REUSEADDR, 1), NtStatus::SUCCESS);
            assert_eq!(first.bind("127.0.0.1:0"), NtStatus::SUCCESS);
            let at = first.local();
            let host = host_socket(at);
            let second = unbound(AF_INET, null_mut(), null());
            assert_eq!(second.bind(&at.to_string()), NtStatus::ADDRESS_ALREADY_EXISTS);
            assert_eq!(second.set(SOL_SOCKET, SO_REUSEADDR, 1), NtStatus::SUCCESS);
            assert_eq!(second.bind(&at.to_string()), NtStatus::SUCCESS);
            second.close();

            let everybody = peer("0.0.0.0:0");
            let to = any(&format!("127.255.255.255:{}", everybody.local_addr().unwrap().port()));
            let memory = Memory::with(b"all");
            assert_eq!(first.send_to(memory.all(), Some(to), &[]).end().status, NtStatus::ACCESS_DENIED);
            assert_eq!(first.set(SOL_SOCKET, SO_BROADCAST, 1), NtStatus::SUCCESS);
            assert_eq!(first.send_to(memory.all(), Some(to), &[]).end().status, NtStatus::SUCCESS);
            assert_eq!(heard(&everybody).0, b"all");

            // The host doubles what is asked for, for its own needs.
            assert_eq!(first.set(SOL_SOCKET, SO_RCVBUF, 50_000), NtStatus::SUCCESS);
            assert_eq!(sockopt::socket_recv_buffer_size(host).unwrap(), 100_000);
            assert_eq!(first.set(SOL_SOCKET, SO_SNDBUF, 60_000), NtStatus::SUCCESS);
            assert_eq!(sockopt::socket_send_buffer_size(host).unwrap(), 120_000);
            assert_eq!(first.set(IPPROTO_IP, IP_DONTFRAGMENT, 1), NtStatus::SUCCESS);
            assert_eq!(host_number(host, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_DO);
            assert_eq!(first.set(IPPROTO_IP, IP_DONTFRAGMENT, 0), NtStatus::SUCCESS);
            assert_eq!(host_number(host, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_DONT);
            assert_eq!(first.value(IPPROTO_IP, IP_TTL), Ok(128));
            assert_eq!(first.set(IPPROTO_IP, IP_TTL, 7), NtStatus::SUCCESS);
            assert_eq!(host_number(host, libc::IPPROTO_IP, libc::IP_TTL), 7);
            assert_eq!(first.set(IPPROTO_IP, IP_TTL, 256), NtStatus::INVALID_PARAMETER);
            assert_eq!(first.set(IPPROTO_IP, IP_UNICAST_IF, loopback().to_be()), NtStatus::SUCCESS);
            assert_eq!(host_number(host, libc::IPPROTO_IP, libc::IP_UNICAST_IF), loopback().to_be() as i32);
            assert_eq!(first.set(IPPROTO_IP, IP_UNICAST_IF, 0x7fff_u32.to_be()), NtStatus::INVALID_ADDRESS_COMPONENT);
            let values = [(SOL_SOCKET, SO_REUSEADDR, 1), (SOL_SOCKET, SO_BROADCAST, 1), (SOL_SOCKET, SO_RCVBUF, 50_000),
                (SOL_SOCKET, SO_SNDBUF, 60_000), (IPPROTO_IP, IP_DONTFRAGMENT, 0), (IPPROTO_IP, IP_TTL, 7), (IPPROTO_IP, IP_UNICAST_IF, loopback().to_be()),
                (SOL_SOCKET, SO_TYPE, u32::from(SOCK_DGRAM))];
            values.iter().for_each(|(level, option, value)| assert_eq!(first.value(*level, *option), Ok(*value)));
            // What is not there, and what a socket of IPv4 has not.
            assert_eq!(first.set(IPPROTO_IP, 77, 1), NtStatus::NOT_SUPPORTED);
            assert_eq!(first.value(IPPROTO_IP, 77), Err(NtStatus::NOT_SUPPORTED));
            assert_eq!(first.set(IPPROTO_IPV6, IPV6_PKTINFO, 1), NtStatus::NOT_SUPPORTED);
            let told = bench.trace().iter().filter(|event| format!("{event:?}").contains("is not there")).count();
            assert_eq!(told, 3);
            first.close();

            let (six, at) = quiet(AF_INET6, "[::1]:0");
            let host = host_socket(at);
            assert_eq!(six.set(IPPROTO_IPV6, IPV6_DONTFRAG, 1), NtStatus::SUCCESS);
            assert_eq!((host_number(host, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG), six.value(IPPROTO_IPV6, IPV6_DONTFRAG)), (1, Ok(1)));
            assert_eq!(six.set(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9), NtStatus::SUCCESS);
            assert_eq!((host_number(host, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS), six.value(IPPROTO_IPV6, IPV6_UNICAST_HOPS)), (9, Ok(9)));
            assert_eq!(six.set(IPPROTO_IPV6, IPV6_UNICAST_IF, loopback()), NtStatus::SUCCESS);
            assert_eq!(host_number(host, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF), loopback().to_be() as i32);
            six.close();
            bench.provider().set_faults(Faults { refuse_dual_stack: true, ..Faults::default() });
            let six = unbound(AF_INET6, null_mut(), null());
            assert_eq!(six.set(IPPROTO_IPV6, IPV6_V6ONLY, 0), NtStatus::NOT_SUPPORTED);
            six.close();
        });
    }
}
