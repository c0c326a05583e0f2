//! The provider's sockets without faults: each function completes its IRP as the API pages say.

#[macro_use]
mod wsk_client;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ptr::{null, null_mut};
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use wsk_client::*;

const NONE: WSK_BUF = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };

/// A connection of the provider's and the peer's end of it.
fn pair() -> (Socket, Socket, TcpStream) {
    let (listener, at) = listener(null_mut(), null());
    let peer = TcpStream::connect(at).unwrap();
    let socket = accepted(done(|irp| accept_with(listener, irp)));
    (listener, socket, peer)
}

#[allow(unsafe_code)] // A call of the provider's.
fn accept_with(listener: Socket, irp: *mut nt_abi::IRP) -> NtStatus {
    // SAFETY: as the page has it.
    unsafe { (listener.listen_table().WskAccept)(listener.0, 0, null_mut(), null(), null_mut(), null_mut(), irp) }
}

#[allow(unsafe_code)] // Calls of the kernel's and the provider's.
fn cancelled_receive(socket: Socket, buf: &mut WSK_BUF, irp: *mut nt_abi::IRP) -> NtStatus {
    // SAFETY: as the pages have it.
    unsafe {
        nt_abi::kernel::IoCancelIrp(irp);
        (socket.table().WskReceive)(socket.0, buf, 0, irp)
    }
}

isolated! {
    fn bytes_go_both_ways() {
        with_bench(|bench| {
            let (listener, socket, mut peer) = pair();
            assert_eq!(socket.remote(), peer.local_addr().unwrap());
            assert_eq!(socket.local(), peer.peer_addr().unwrap());
            peer.write_all(b"to the driver").unwrap();
            let memory = Memory::new(64);
            let ended = socket.receive(memory.all(), 0).end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 13));
            assert_eq!(&memory.bytes()[..13], b"to the driver");
            let ended = socket.send(memory.buf(3, 10), WSK_FLAG_NODELAY).end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 10));
            let mut back = [0; 10];
            peer.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"the driver");
            let stats = bench.provider().stats();
            assert_eq!((stats.bytes_in, stats.bytes_out), (13, 10));
            assert_eq!((stats.connections, stats.listeners, stats.connections_total), (1, 1, 1));
            socket.close();
            listener.close();
            assert_eq!(bench.provider().stats().connections, 0);
        });
    }
}

isolated! {
    fn a_receive_that_waits_is_completed_by_what_comes() {
        with_bench(|_| {
            let (listener, socket, mut peer) = pair();
            let memory = Memory::new(64);
            let pending = socket.receive(memory.all(), 0);
            assert_eq!(pending.returned, NtStatus::PENDING);
            assert!(!pending.is_done());
            peer.write_all(b"late").unwrap();
            let ended = pending.end();
            assert_eq!((ended.status, ended.information, ended.pending), (NtStatus::SUCCESS, 4, true));
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn waitall_fills_the_buffer_over_chains_and_offsets() {
        with_bench(|_| {
            let (listener, socket, mut peer) = pair();
            let (first, second, third) = (Memory::new(5), Memory::new(3), Memory::new(100));
            first.chain(&second);
            second.chain(&third);
            let pending = socket.receive(first.buf(2, 10), WSK_FLAG_WAITALL);
            for byte in b"0123456789" {
                assert!(!pending.is_done());
                peer.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
            let ended = pending.end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 10));
            assert_eq!(&first.bytes()[2..], b"012");
            assert_eq!(second.bytes(), b"345");
            assert_eq!(&third.bytes()[..4], b"6789");
            assert_eq!(socket.send(first.buf(2, 10), 0).end().information, 10);
            let mut back = [0; 10];
            peer.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"0123456789");
            // The end of the stream ends it short.
            let pending = socket.receive(first.buf(0, 8), WSK_FLAG_WAITALL);
            peer.write_all(b"end").unwrap();
            drop(peer);
            let ended = pending.end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 3));
            assert_eq!(socket.receive(third.all(), 0).end().information, 0);
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn nothing_is_a_length_too() {
        with_bench(|_| {
            let (listener, socket, _peer) = pair();
            assert_eq!(socket.receive(NONE, 0).end().returned, NtStatus::SUCCESS);
            assert_eq!(socket.send(NONE, 0).end().returned, NtStatus::SUCCESS);
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn the_end_is_seen_behind_the_data() {
        with_bench(|_| {
            let (listener, socket, mut peer) = pair();
            peer.write_all(b"all").unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            let memory = Memory::new(64);
            assert_eq!(socket.receive(memory.all(), 0).end().information, 3);
            let at_once =
                Ended { returned: NtStatus::SUCCESS, status: NtStatus::SUCCESS, information: 0, pending: false };
            until("the end, which stays, and is told inline", || {
                let end = socket.receive(memory.all(), 0).end();
                assert_eq!((end.status, end.information), (NtStatus::SUCCESS, 0));
                end == at_once
            });
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn what_waits_can_be_cancelled() {
        with_bench(|_| {
            let (listener, socket, mut peer) = pair();
            let memory = Memory::new(64);
            // Before it waits, too.
            let mut buf = memory.all();
            let early = request(|irp| cancelled_receive(socket, &mut buf, irp));
            assert_eq!(early.end().status, NtStatus::CANCELLED);
            for _ in 0..200 {
                let pending = socket.receive(memory.all(), 0);
                assert!(pending.cancel());
                assert_eq!(pending.end().status, NtStatus::CANCELLED);
            }
            let pending = listener.accept(null_mut(), null());
            assert!(pending.cancel());
            assert_eq!(pending.end().status, NtStatus::CANCELLED);
            // Nothing was lost to the cancelled ones.
            peer.write_all(b"still").unwrap();
            assert_eq!(socket.receive(memory.buf(0, 5), WSK_FLAG_WAITALL).end().information, 5);
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn cancelling_and_arriving_race_without_losing_a_byte() {
        with_bench(|_| {
            let (listener, socket, mut peer) = pair();
            let writer = std::thread::spawn(move || {
                for number in 0..2_000u32 {
                    peer.write_all(&number.to_le_bytes()).unwrap();
                    if number % 7 == 0 {
                        std::thread::sleep(Duration::from_micros(30));
                    }
                }
                peer
            });
            let memory = Memory::new(4);
            let mut bytes = Vec::new();
            while bytes.len() < 8_000 {
                let pending = socket.receive(memory.all(), 0);
                pending.cancel();
                let ended = pending.end();
                match ended.status {
                    NtStatus::SUCCESS => bytes.extend_from_slice(&memory.bytes()[..ended.information]),
                    status => assert_eq!(status, NtStatus::CANCELLED),
                }
            }
            let expected: Vec<u8> = (0..2_000u32).flat_map(u32::to_le_bytes).collect();
            assert!(bytes == expected);
            drop(writer.join().unwrap());
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn a_close_brings_back_what_waits_before_itself() {
        with_bench(|_| {
            let (listener, socket, peer) = pair();
            let memory = Memory::new(64);
            let first = socket.receive(memory.buf(0, 8), 0);
            let second = socket.receive(memory.buf(8, 8), 0);
            let close = socket.begin_close();
            let ended = close.end();
            assert_eq!(ended.status, NtStatus::SUCCESS);
            assert!(first.is_done() && second.is_done());
            assert_eq!(first.end().status, NtStatus::CANCELLED);
            assert_eq!(second.end().status, NtStatus::CANCELLED);
            // Not disconnected in both directions: the peer sees a reset.
            let error = (&peer).read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let accepts: Vec<_> = (0..8).map(|_| listener.accept(null_mut(), null())).collect();
            assert!(accepts.iter().all(|accept| accept.returned == NtStatus::PENDING));
            listener.close();
            accepts.into_iter().for_each(|accept| assert_eq!(accept.end().status, NtStatus::CANCELLED));
        });
    }
}

isolated! {
    fn a_full_peer_makes_sends_wait_and_all_arrive_in_order() {
        with_bench(|_| {
            let (listener, socket, mut peer) = pair();
            let memory = Memory::new(1 << 20);
            memory.bytes().iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 7) as u8);
            let sends: Vec<_> = (0..16).map(|_| socket.send(memory.all(), 0)).collect();
            assert!(sends.iter().any(|send| send.returned == NtStatus::PENDING));
            let last = socket.disconnect(None, 0);
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            assert_eq!(all.len(), 16 << 20);
            assert!(all.chunks(1 << 20).all(|part| part == memory.bytes()));
            sends.into_iter().for_each(|send| assert_eq!(send.end().information, 1 << 20));
            assert_eq!(last.end().status, NtStatus::SUCCESS);
            drop(peer);
            assert_eq!(socket.receive(memory.all(), 0).end().information, 0);
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn disconnects_are_graceful_or_abortive() {
        with_bench(|_| {
            let (listener, socket, mut peer) = pair();
            let memory = Memory::with(b"goodbye");
            assert_eq!(socket.disconnect(Some(memory.all()), 0).end().status, NtStatus::SUCCESS);
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"goodbye");
            // Half open: the peer still sends.
            peer.write_all(b"answer").unwrap();
            assert_eq!(socket.receive(memory.buf(0, 6), WSK_FLAG_WAITALL).end().information, 6);
            assert!(socket.send(memory.all(), 0).end().status.is_failure());
            socket.close();

            let mut peer = TcpStream::connect(listener.local()).unwrap();
            let socket = accepted(done(|irp| accept_with(listener, irp)));
            let waiting = socket.receive(memory.all(), 0);
            assert_eq!(socket.disconnect(None, WSK_FLAG_ABORTIVE).end().status, NtStatus::SUCCESS);
            assert!(waiting.end().status.is_failure());
            assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert!(socket.send(memory.all(), 0).end().status.is_failure());
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn a_peer_that_resets_is_told() {
        with_bench(|_| {
            let (listener, socket, peer) = pair();
            let memory = Memory::new(64);
            let waiting = socket.receive(memory.all(), 0);
            rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
            drop(peer);
            assert_eq!(waiting.end().status, NtStatus::CONNECTION_RESET);
            assert!(socket.send(memory.all(), 0).end().status.is_failure());
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn connects_succeed_and_are_refused() {
        with_bench(|_| {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = server.local_addr().unwrap();
            let make = || socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
            let socket = make();
            assert_eq!(socket.connect(to).end().status, NtStatus::INVALID_DEVICE_STATE);
            assert_eq!(socket.bind("127.0.0.1:0").end().status, NtStatus::SUCCESS);
            assert_eq!(socket.connect(to).end().status, NtStatus::SUCCESS);
            let (mut peer, _) = server.accept().unwrap();
            let memory = Memory::with(b"hello");
            assert_eq!(socket.send(memory.all(), 0).end().information, 5);
            let mut bytes = [0; 5];
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"hello");
            socket.close();

            drop(server);
            let socket = make();
            assert_eq!(socket.bind("127.0.0.1:0").end().status, NtStatus::SUCCESS);
            assert_eq!(socket.connect(to).end().status, NtStatus::CONNECTION_REFUSED);
            socket.close();
        });
    }
}

#[allow(unsafe_code)] // A call of the provider's.
fn socket_connect(from: &str, to: std::net::SocketAddr) -> Pending {
    let (from, to) = (Box::leak(Box::new(address(any(from)))), Box::leak(Box::new(address(to))));
    let nobody = null_mut();
    // SAFETY: as the page has it.
    request(|irp| unsafe {
        (table().WskSocketConnect)(
            client(),
            SOCK_STREAM,
            IPPROTO_TCP,
            from.at(),
            to.at(),
            0,
            null_mut(),
            null(),
            nobody,
            nobody,
            nobody,
            irp,
        )
    })
}

isolated! {
    fn socket_connect_makes_a_socket_or_nothing() {
        with_bench(|bench| {
            let server = TcpListener::bind("[::1]:0").unwrap();
            let to = server.local_addr().unwrap();
            let socket = accepted(socket_connect("[::]:0", to).end().information);
            assert_eq!(socket.remote(), to);
            socket.close();
            drop(server);
            let ended = socket_connect("[::]:0", to).end();
            assert_eq!((ended.status, ended.information), (NtStatus::CONNECTION_REFUSED, 0));
            until("the end of the socket", || bench.provider().stats().connections == 0);
        });
    }
}

/// A server whose queue is full: who connects waits.
fn full_server() -> (std::os::fd::OwnedFd, std::net::SocketAddr, Vec<std::os::fd::OwnedFd>) {
    use rustix::net::*;
    let stream = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let server = stream();
    rustix::net::bind(&server, &wsk_client::any("127.0.0.1:0")).unwrap();
    listen(&server, 0).unwrap();
    let at = std::net::SocketAddr::try_from(getsockname(&server).unwrap()).unwrap();
    let queued: Vec<_> = (0..4).map(|_| stream()).collect();
    assert!(queued.iter().any(|peer| connect(peer, &at).is_err()));
    std::thread::sleep(Duration::from_millis(20));
    (server, at, queued)
}

isolated! {
    fn a_connect_that_waits_is_cancelled_or_closed() {
        with_bench(|bench| {
            let (_server, at, _queued) = full_server();
            let pending = socket_connect("127.0.0.1:0", at);
            assert_eq!(pending.returned, NtStatus::PENDING);
            assert!(pending.cancel());
            let ended = pending.end();
            assert_eq!((ended.status, ended.information), (NtStatus::CANCELLED, 0));
            until("the end of the socket", || bench.provider().stats().connections == 0);

            let socket = socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
            assert_eq!(socket.bind("127.0.0.1:0").end().status, NtStatus::SUCCESS);
            let pending = socket.connect(at);
            assert_eq!(pending.returned, NtStatus::PENDING);
            socket.close();
            assert_eq!(pending.end().status, NtStatus::CANCELLED);
        });
    }
}

isolated! {
    fn one_listener_takes_both_families_if_asked() {
        with_bench(|_| {
            let listener = socket(AF_INET6, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
            assert_eq!(listener.set(IPPROTO_IPV6, IPV6_V6ONLY, 0).status, NtStatus::SUCCESS);
            assert_eq!(listener.bind("[::]:0").end().status, NtStatus::SUCCESS);
            let port = listener.local().port();
            for host in ["127.0.0.1", "::1"] {
                let peer = TcpStream::connect((host, port)).unwrap();
                let socket = accepted(done(|irp| accept_with(listener, irp)));
                assert_eq!(socket.remote().port(), peer.local_addr().unwrap().port());
                assert!(socket.remote().is_ipv6());
                socket.close();
            }
            listener.close();
            // Not asked for: IPv6 alone.
            let listener = socket(AF_INET6, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
            assert_eq!(listener.bind("[::]:0").end().status, NtStatus::SUCCESS);
            assert!(TcpStream::connect(("127.0.0.1", listener.local().port())).is_err());
            listener.close();
        });
    }
}

isolated! {
    fn addresses_are_taken_free_or_not_there() {
        with_bench(|_| {
            let (first, at) = listener(null_mut(), null());
            let make = || socket(AF_INET, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
            let second = make();
            assert_eq!(second.bind(&at.to_string()).end().status, NtStatus::ADDRESS_ALREADY_EXISTS);
            assert_eq!(second.bind("192.0.2.1:0").end().status, NtStatus::INVALID_ADDRESS_COMPONENT);
            assert_eq!(second.bind("[::1]:0").end().status, NtStatus::INVALID_ADDRESS);
            // A connection that lingers (TIME_WAIT, on the side that ended first) does not keep the port.
            let peer = TcpStream::connect(at).unwrap();
            let socket = accepted(done(|irp| accept_with(first, irp)));
            assert_eq!(socket.disconnect(None, 0).end().status, NtStatus::SUCCESS);
            drop(peer);
            let memory = Memory::new(8);
            assert_eq!(socket.receive(memory.all(), 0).end().information, 0);
            socket.close();
            first.close();
            assert_eq!(second.bind(&at.to_string()).end().status, NtStatus::SUCCESS);
            second.close();
        });
    }
}

isolated! {
    fn many_accepts_take_many_connections() {
        with_bench(|bench| {
            let (listener, at) = listener(null_mut(), null());
            let accepts: Vec<_> = (0..64).map(|_| listener.accept(null_mut(), null())).collect();
            let peers: Vec<_> = (0..64).map(|_| TcpStream::connect(at).unwrap()).collect();
            let sockets: Vec<_> = accepts.into_iter().map(|accept| accepted(accept.end().information)).collect();
            assert_eq!(bench.provider().stats().connections, 64);
            let mut remotes: Vec<_> = sockets.iter().map(|socket| socket.remote()).collect();
            let mut locals: Vec<_> = peers.iter().map(|peer| peer.local_addr().unwrap()).collect();
            remotes.sort();
            locals.sort();
            assert_eq!(remotes, locals);
            sockets.into_iter().for_each(Socket::close);
            listener.close();
        });
    }
}

isolated! {
    fn what_is_lacking_says_so() {
        with_bench(|bench| {
            // A datagram socket over TCP, and an option that nobody has.
            let flags = WSK_FLAG_DATAGRAM_SOCKET;
            assert_eq!(make(AF_INET, flags, null_mut(), null()).end().status, NtStatus::NOT_SUPPORTED);
            let (listener, _) = listener(null_mut(), null());
            assert_eq!(listener.set(SOL_SOCKET, 0x7777, 1).status, NtStatus::NOT_SUPPORTED);
            listener.close();
            let said = bench.trace().iter().filter(|event| format!("{:?}", event.kind).contains("there")).count();
            assert_eq!(said, 1);
        });
    }
}
