//! Datagram sockets: sending and receiving, with a socket of the host's as the peer.

#![allow(unsafe_code)] // Calls of the provider's.

#[macro_use]
mod wsk_client;

use std::net::{SocketAddr, UdpSocket};
use std::ptr::null_mut;
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use ntbench::wsk::Faults;
use wsk_client::*;

/// A socket of the client's and one of the host's.
struct Scene {
    socket: Datagrams,
    at: SocketAddr,
    peer: UdpSocket,
    to: SocketAddr,
}

impl Scene {
    fn new() -> Self {
        let (socket, at) = quiet(AF_INET, "127.0.0.1:0");
        let peer = peer("127.0.0.1:0");
        let to = peer.local_addr().unwrap();
        Self { socket, at, peer, to }
    }

    fn say(&self, bytes: &[u8]) {
        assert_eq!(self.peer.send_to(bytes, self.at).unwrap(), bytes.len());
    }
}

/// A function that must fail, and complete its IRP so.
fn fails(pending: Pending, status: NtStatus) {
    let ended = pending.end();
    assert_eq!((ended.returned, ended.status), (status, status));
}

isolated! {
    fn a_datagram_goes_there_and_back() {
        with_bench(|bench| {
            let Scene { socket, at, peer, to } = Scene::new();
            let memory = Memory::with(b"there");
            let ended = socket.send_to(memory.all(), Some(to), &[]).end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 5));
            assert_eq!(heard(&peer), (b"there".to_vec(), at));
            // A receive that waits, and one that finds what is there.
            let memory = Memory::new(64);
            let mut report = Box::new(Report::default());
            let pending = socket.receive_from(memory.all(), &mut report);
            assert_eq!(pending.returned, NtStatus::PENDING);
            peer.send_to(b"and back", at).unwrap();
            let ended = pending.end();
            assert_eq!((ended.status, ended.information, ended.pending), (NtStatus::SUCCESS, 8, true));
            assert_eq!(&memory.bytes()[..8], b"and back");
            assert_eq!((report.from(), report.length, report.flags), (to, 0, 0));
            peer.send_to(b"again", at).unwrap();
            let (bytes, report) = socket.hears();
            assert_eq!((bytes, report.from()), (b"again".to_vec(), to));
            let stats = bench.provider().stats();
            assert_eq!((stats.datagram_sockets, stats.datagrams_in, stats.datagrams_out), (1, 2, 1));
            assert_eq!((stats.bytes_in, stats.bytes_out), (13, 5));
            socket.close();
            assert_eq!(bench.provider().stats().datagram_sockets, 0);
        });
    }
}

isolated! {
    fn datagrams_lie_in_chains_of_mdls() {
        with_bench(|_| {
            let scene = Scene::new();
            // More pieces than the provider hands over at a time, and an offset in the first.
            let text: Vec<u8> = (0..200).collect();
            let parts: Vec<_> = text.chunks(5).map(Memory::with).collect();
            parts.windows(2).for_each(|pair| pair[0].chain(&pair[1]));
            let buf = WSK_BUF { Mdl: parts[0].mdl, Offset: 3, Length: 195 };
            assert_eq!(scene.socket.send_to(buf, Some(scene.to), &[]).end().information, 195);
            assert_eq!(heard(&scene.peer).0, text[3..198]);

            let rooms: Vec<_> = (0..40).map(|_| Memory::new(5)).collect();
            rooms.windows(2).for_each(|pair| pair[0].chain(&pair[1]));
            let buf = WSK_BUF { Mdl: rooms[0].mdl, Offset: 2, Length: 190 };
            scene.say(&text[..180]);
            let ended = scene.socket.receive(buf).end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 180));
            let got: Vec<u8> = rooms.iter().flat_map(|room| room.bytes().to_vec()).collect();
            assert_eq!(got[2..182], text[..180]);
            assert!(got[..2].iter().chain(&got[182..]).all(|byte| *byte == 0));

            // Few pieces, with an offset, both ways.
            let (first, second) = (Memory::with(b"..ab"), Memory::with(b"cdef"));
            first.chain(&second);
            let buf = WSK_BUF { Mdl: first.mdl, Offset: 2, Length: 5 };
            assert_eq!(scene.socket.send_to(buf, Some(scene.to), &[]).end().information, 5);
            assert_eq!(heard(&scene.peer).0, b"abcde");
            scene.say(b"12345");
            assert_eq!(scene.socket.receive(buf).end().information, 5);
            assert_eq!((&first.bytes()[..], &second.bytes()[..]), (&b"..12"[..], &b"345f"[..]));
            scene.socket.close();
        });
    }
}

isolated! {
    fn what_is_too_large_is_cut_and_said_so() {
        with_bench(|bench| {
            let scene = Scene::new();
            let memory = Memory::new(16);
            let mut report = Report::default();
            scene.say(b"0123456789");
            let ended = scene.socket.receive_from(memory.buf(0, 4), &mut report).end();
            assert_eq!((ended.status, ended.information), (NtStatus::BUFFER_OVERFLOW, 4));
            assert_eq!((report.flags, report.from()), (MSG_TRUNC, scene.to));
            assert_eq!(memory.bytes()[..5], *b"0123\0");
            // The rest of it is gone.
            scene.say(b"next");
            assert_eq!(scene.socket.hears().0, b"next");
            bench.provider().set_faults(Faults { quiet_truncation: true, ..Faults::default() });
            scene.say(b"0123456789");
            let ended = scene.socket.receive_from(memory.buf(0, 4), &mut report).end();
            assert_eq!((ended.status, ended.information, report.flags), (NtStatus::SUCCESS, 4, MSG_TRUNC));
            bench.provider().set_faults(Faults::default());
            // As large as can be, and larger.
            let large = Memory::new(65_508);
            large.bytes().fill(7);
            let buf = large.buf(0, 65_507);
            assert_eq!(scene.socket.send_to(buf, Some(scene.to), &[]).end().information, 65_507);
            assert_eq!(heard(&scene.peer).0.len(), 65_507);
            fails(scene.socket.send_to(large.all(), Some(scene.to), &[]), NtStatus::INVALID_BUFFER_SIZE);
            scene.say(&large.bytes()[..65_507]);
            assert_eq!(scene.socket.hears().0, large.bytes()[..65_507]);
            scene.socket.close();
        });
    }
}

isolated! {
    fn a_datagram_may_be_empty() {
        with_bench(|bench| {
            let scene = Scene::new();
            let nothing = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };
            let ended = scene.socket.send_to(nothing, Some(scene.to), &[]).end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 0));
            assert_eq!(heard(&scene.peer), (vec![], scene.at));
            let pending = scene.socket.receive(nothing);
            assert_eq!(pending.returned, NtStatus::PENDING);
            scene.say(b"");
            let ended = pending.end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 0));
            // A receive of nothing has something to leave out.
            scene.say(b"some");
            let mut report = Report::default();
            let ended = scene.socket.receive_from(nothing, &mut report).end();
            assert_eq!((ended.status, ended.information, report.flags), (NtStatus::BUFFER_OVERFLOW, 0, MSG_TRUNC));
            scene.say(b"");
            assert_eq!(scene.socket.hears().0, b"");
            assert_eq!(bench.provider().stats().datagrams_in, 3);
            scene.socket.close();
        });
    }
}

isolated! {
    fn many_messages_go_in_one_call() {
        with_bench(|bench| {
            let scene = Scene::new();
            // More than the host takes at a time, of different sizes, one in two MDLs and one empty.
            let parts: Vec<_> = (1..=40u8).map(|size| Memory::with(&vec![size; usize::from(size)])).collect();
            let mut bufs: Vec<_> = parts.iter().map(Memory::all).collect();
            let (first, second) = (Memory::with(b".a"), Memory::with(b"bc"));
            first.chain(&second);
            bufs.push(WSK_BUF { Mdl: first.mdl, Offset: 1, Length: 3 });
            bufs.push(WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 });
            let ended = scene.socket.send_messages(&bufs, Some(scene.to), &[]).end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 40 * 41 / 2 + 3));
            for part in &parts {
                assert_eq!(heard(&scene.peer).0, *part.bytes());
            }
            assert_eq!((heard(&scene.peer).0, heard(&scene.peer).0), (b"abc".to_vec(), vec![]));
            assert_eq!(bench.provider().stats().datagrams_out, 42);
            fails(scene.socket.send_messages(&[], Some(scene.to), &[]), NtStatus::INVALID_PARAMETER);
            // One that cannot go ends it; what went is told.
            let large = Memory::new(65_508);
            let bufs = [parts[0].all(), large.all(), parts[1].all()];
            let ended = scene.socket.send_messages(&bufs, Some(scene.to), &[]).end();
            assert_eq!((ended.status, ended.information), (NtStatus::INVALID_BUFFER_SIZE, 1));
            assert_eq!(heard(&scene.peer).0, [1]);
            scene.socket.close();
        });
    }
}

isolated! {
    fn ipv6_alone_and_with_ipv4() {
        with_bench(|_| {
            let (socket, at) = quiet(AF_INET6, "[::1]:0");
            let other = peer("[::1]:0");
            let memory = Memory::with(b"six");
            let to = other.local_addr().unwrap();
            assert_eq!(socket.send_to(memory.all(), Some(to), &[]).end().status, NtStatus::SUCCESS);
            assert_eq!(heard(&other), (b"six".to_vec(), at));
            other.send_to(b"six too", at).unwrap();
            let (bytes, report) = socket.hears();
            assert_eq!((bytes, report.from()), (b"six too".to_vec(), to));
            // An address of the other family is none for this socket.
            let v4 = peer("127.0.0.1:0");
            fails(socket.send_to(memory.all(), Some(v4.local_addr().unwrap()), &[]), NtStatus::INVALID_ADDRESS);
            socket.close();

            // Without the option an IPv6 socket is for IPv6 alone.
            let (narrow, at) = quiet(AF_INET6, "[::]:0");
            assert_eq!(narrow.value(IPPROTO_IPV6, IPV6_V6ONLY), Ok(1));
            v4.connect(("127.0.0.1", at.port())).unwrap();
            v4.send(b"lost").unwrap();
            v4.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert!(v4.recv(&mut [0; 8]).is_err());
            narrow.close();

            let wide = unbound(AF_INET6, null_mut(), std::ptr::null());
            assert_eq!(wide.set(IPPROTO_IPV6, IPV6_V6ONLY, 0), NtStatus::SUCCESS);
            assert_eq!(wide.value(IPPROTO_IPV6, IPV6_V6ONLY), Ok(0));
            assert_eq!(wide.bind("[::]:0"), NtStatus::SUCCESS);
            let port = wide.local().port();
            let v4 = peer("127.0.0.1:0");
            v4.send_to(b"four", ("127.0.0.1", port)).unwrap();
            let (bytes, report) = wide.hears();
            let mapped = any(&format!("[::ffff:127.0.0.1]:{}", v4.local_addr().unwrap().port()));
            assert_eq!((bytes, report.from()), (b"four".to_vec(), mapped));
            assert_eq!(wide.send_to(memory.all(), Some(mapped), &[]).end().status, NtStatus::SUCCESS);
            assert_eq!(heard(&v4), (b"six".to_vec(), any(&format!("127.0.0.1:{port}"))));
            wide.close();
        });
    }
}

isolated! {
    fn a_socket_is_bound_first_and_flags_are_zero() {
        with_bench(|_| {
            let socket = unbound(AF_INET, null_mut(), std::ptr::null());
            let memory = Memory::new(8);
            let peer = peer("127.0.0.1:0");
            let to = peer.local_addr().unwrap();
            fails(socket.send_to(memory.all(), Some(to), &[]), NtStatus::INVALID_DEVICE_STATE);
            fails(socket.send_messages(&[memory.all()], Some(to), &[]), NtStatus::INVALID_DEVICE_STATE);
            fails(socket.receive(memory.all()), NtStatus::INVALID_DEVICE_STATE);
            for code in [SIO_WSK_SET_REMOTE_ADDRESS, SIO_WSK_SET_SENDTO_ADDRESS] {
                assert_eq!(socket.fix(code, Some(to)).status, NtStatus::INVALID_DEVICE_STATE);
            }
            assert_eq!(socket.bind("127.0.0.1:0"), NtStatus::SUCCESS);
            assert_eq!(socket.bind("127.0.0.1:0"), NtStatus::INVALID_DEVICE_STATE);
            // Nowhere to send to, and no buffer.
            fails(socket.send_to(memory.all(), None, &[]), NtStatus::INVALID_PARAMETER);
            let (send, receive) = (socket.table().WskSendTo, socket.table().WskReceiveFrom);
            let mut buf = memory.all();
            let (mut at, none, nothing, number) = (address(to), null_mut(), null_mut(), null_mut());
            // SAFETY: as the page has it, but for the flags.
            fails(request(|irp| unsafe { send(socket.0.0, &raw mut buf, 1, at.at(), 0, none, irp) }), NtStatus::INVALID_PARAMETER);
            // SAFETY: as the page has it, but for the buffer.
            fails(request(|irp| unsafe { send(socket.0.0, null_mut(), 0, at.at(), 0, none, irp) }), NtStatus::INVALID_PARAMETER);
            // SAFETY: as the page has it, but for the flags.
            let pending = request(|irp| unsafe {
                receive(socket.0.0, &raw mut buf, 1, nothing, number, null_mut(), null_mut(), irp)
            });
            fails(pending, NtStatus::INVALID_PARAMETER);
            // SAFETY: as the page has it, but for the kind of the socket's table.
            let pending = request(|irp| unsafe {
                let (listener, _) = listener(null_mut(), std::ptr::null());
                let status = send(listener.0, &raw mut buf, 0, at.at(), 0, none, irp);
                listener.close();
                status
            });
            fails(pending, NtStatus::INVALID_DEVICE_REQUEST);
            socket.close();
        });
    }
}

isolated! {
    fn requests_are_cancelled_one_by_one() {
        with_bench(|bench| {
            let scene = Scene::new();
            let memories: Vec<_> = (0..3).map(|_| Memory::new(8)).collect();
            let pending: Vec<_> = memories.iter().map(|memory| scene.socket.receive(memory.all())).collect();
            assert!(pending.iter().all(|one| one.returned == NtStatus::PENDING));
            assert!(pending[1].cancel());
            scene.say(b"first");
            scene.say(b"third");
            let ended: Vec<_> = pending.into_iter().map(Pending::end).collect();
            let statuses: Vec<_> = ended.iter().map(|one| (one.status, one.information)).collect();
            let (good, gone) = ((NtStatus::SUCCESS, 5), (NtStatus::CANCELLED, 0));
            assert_eq!(statuses, [good, gone, good]);
            assert_eq!((&memories[0].bytes()[..5], &memories[2].bytes()[..5]), (&b"first"[..], &b"third"[..]));
            // A cancelled IRP is not even begun with.
            let memory = Memory::new(8);
            let mut buf = memory.all();
            let (none, nothing, number) = (null_mut(), null_mut(), null_mut());
            let receive = scene.socket.table().WskReceiveFrom;
            // SAFETY: as the page has it.
            let pending = request(|irp| unsafe {
                nt_abi::kernel::IoCancelIrp(irp);
                receive(scene.socket.0.0, &raw mut buf, 0, none, number, nothing, null_mut(), irp)
            });
            assert_eq!(pending.end().status, NtStatus::CANCELLED);

            // Sends that wait for room.
            bench.provider().set_faults(Faults { datagram_room: Some(2), ..Faults::default() });
            let message = Memory::with(b"four");
            let five = [message.all(); 5];
            let many = scene.socket.send_messages(&five, Some(scene.to), &[]);
            let behind = scene.socket.send_to(message.buf(0, 1), Some(scene.to), &[]);
            assert_eq!((many.returned, behind.returned), (NtStatus::PENDING, NtStatus::PENDING));
            assert_eq!((heard(&scene.peer).0, heard(&scene.peer).0), (b"four".to_vec(), b"four".to_vec()));
            assert!(many.cancel());
            let ended = many.end();
            assert_eq!((ended.status, ended.information), (NtStatus::CANCELLED, 8));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!behind.is_done());
            bench.provider().set_faults(Faults::default());
            let ended = behind.end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 1));
            assert_eq!(heard(&scene.peer).0, b"f");
            // What waits goes before what comes.
            bench.provider().set_faults(Faults { datagram_room: Some(0), ..Faults::default() });
            let many = scene.socket.send_messages(&five, Some(scene.to), &[]);
            bench.provider().set_faults(Faults::default());
            let behind = scene.socket.send_to(message.buf(0, 1), Some(scene.to), &[]);
            (0..5).for_each(|_| assert_eq!(heard(&scene.peer).0, b"four"));
            assert_eq!(heard(&scene.peer).0, b"f");
            assert_eq!((many.end().information, behind.end().information), (20, 1));
            scene.socket.close();
        });
    }
}

isolated! {
    fn a_close_ends_all_that_waits() {
        with_bench(|bench| {
            let scene = Scene::new();
            bench.provider().set_faults(Faults { datagram_room: Some(0), ..Faults::default() });
            let memory = Memory::new(8);
            let mut pending: Vec<_> = (0..4).map(|_| scene.socket.receive(memory.all())).collect();
            pending.push(scene.socket.send_to(memory.all(), Some(scene.to), &[]));
            pending.push(scene.socket.send_messages(&[memory.all()], Some(scene.to), &[]));
            assert!(pending.iter().all(|one| one.returned == NtStatus::PENDING));
            let ended = scene.socket.0.begin_close().end();
            assert_eq!(ended.status, NtStatus::SUCCESS);
            assert!(pending.iter().all(Pending::is_done), "the close came back before what waited");
            for one in pending {
                let ended = one.end();
                assert_eq!((ended.status, ended.pending), (NtStatus::CANCELLED, true));
            }
        });
    }
}

isolated! {
    fn a_cancel_races_with_a_datagram() {
        with_bench(|_| {
            let scene = Scene::new();
            let memory = Memory::new(8);
            let spins: Vec<u32> = (0..97).map(|at| at * 53).collect();
            let mut lost = 0;
            for round in 0..10_000u32 {
                let sent = round % 3 != 0;
                let pending = scene.socket.receive(memory.all());
                if sent {
                    scene.say(&round.to_ne_bytes());
                }
                // As long as the way of a datagram, or shorter.
                (0..spins[round as usize % spins.len()]).for_each(|_| std::hint::spin_loop());
                pending.cancel();
                let ended = pending.end();
                let bytes = match ended.status {
                    NtStatus::SUCCESS => memory.bytes()[..ended.information].to_vec(),
                    status => {
                        assert_eq!((status, ended.information), (NtStatus::CANCELLED, 0));
                        lost += 1;
                        // What a cancelled receive has not got is still there.
                        if sent { scene.socket.hears().0 } else { continue }
                    }
                };
                assert_eq!(bytes, round.to_ne_bytes());
            }
            assert!((3_333..10_000).contains(&lost), "{lost}");
            assert_eq!(scene.socket.receive(memory.all()).returned, NtStatus::PENDING);
            scene.socket.close();
        });
    }
}
