//! Stream sockets, which become a listening socket or a connection; WskConnectEx; the last bytes of WskDisconnect; the flags of
//! WskReceive.

#![allow(unsafe_code)] // Calls of the provider's.

#[macro_use]
mod wsk_client;

use std::ffi::c_void;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use ntbench::verifier::OnViolation;
use ntbench::wsk::{Action, Faults, Function, When};
use ntbench::{Bench, Config};
use wsk_client::*;

struct Pinned<T>(T);
// SAFETY: never written.
unsafe impl<T> Sync for Pinned<T> {}

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
static TAKEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static LISTEN: WSK_CLIENT_LISTEN_DISPATCH =
    WSK_CLIENT_LISTEN_DISPATCH { WskAcceptEvent: Some(on_accept), WskInspectEvent: None, WskAbortEvent: None };
static CONNECT: WSK_CLIENT_CONNECTION_DISPATCH =
    WSK_CLIENT_CONNECTION_DISPATCH { WskReceiveEvent: Some(on_receive), WskDisconnectEvent: None, WskSendBacklogEvent: None };
static BOTH: Pinned<WSK_CLIENT_STREAM_DISPATCH> =
    Pinned(WSK_CLIENT_STREAM_DISPATCH { Listen: &raw const LISTEN, Connect: &raw const CONNECT });

unsafe extern "win64" fn on_accept(
    context: *mut c_void,
    _flags: u32,
    _local: *mut SOCKADDR,
    _remote: *mut SOCKADDR,
    socket: *mut WSK_SOCKET,
    _context: *mut *mut c_void,
    _dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NtStatus {
    SEEN.lock().unwrap().push(format!("accept {}", context as usize));
    TAKEN.lock().unwrap().push(socket as usize);
    NtStatus::SUCCESS
}

unsafe extern "win64" fn on_receive(
    context: *mut c_void,
    _flags: u32,
    _list: *mut WSK_DATA_INDICATION,
    size: usize,
    _accepted: *mut usize,
) -> NtStatus {
    SEEN.lock().unwrap().push(format!("data {} {size}", context as usize));
    NtStatus::SUCCESS
}

fn stream(context: usize) -> Socket {
    let socket = socket(AF_INET, WSK_FLAG_STREAM_SOCKET, context as *mut c_void, (&raw const BOTH.0).cast());
    assert_eq!(bind(socket, "127.0.0.1:0").end().status, NtStatus::SUCCESS);
    socket
}

fn table_of(socket: Socket) -> &'static WSK_PROVIDER_STREAM_DISPATCH {
    // SAFETY: a stream socket's table, which is static.
    unsafe { &*(*socket.0).Dispatch.cast() }
}

fn bind(socket: Socket, to: &str) -> Pending {
    let mut to = address(any(to));
    // SAFETY: as the page has it.
    request(|irp| unsafe { (table_of(socket).WskBind)(socket.0, to.at(), 0, irp) })
}

fn listen(socket: Socket) -> NtStatus {
    // SAFETY: as the page has it.
    request(|irp| unsafe { (table_of(socket).WskListen)(socket.0, irp) }).end().status
}

fn accept(socket: Socket) -> Pending {
    let (none, nothing) = (null_mut(), null());
    let call = table_of(socket).WskAccept;
    // SAFETY: as the page has it.
    request(|irp| unsafe { call(socket.0, 0, null_mut(), nothing, none, none, irp) })
}

fn connect(socket: Socket, to: SocketAddr) -> Pending {
    let to = Box::leak(Box::new(address(to)));
    // SAFETY: as the page has it.
    request(|irp| unsafe { (table_of(socket).WskConnect)(socket.0, to.at(), 0, irp) })
}

fn local(socket: Socket) -> SocketAddr {
    let mut at = address(any("[::]:0"));
    // SAFETY: as the page has it.
    done(|irp| unsafe { (table_of(socket).WskGetLocalAddress)(socket.0, at.at(), irp) });
    at.read()
}

isolated! {
    fn a_stream_socket_listens() {
        with_bench(|_| {
            let socket = stream(7);
            let at = local(socket);
            // Before it listens it is neither.
            assert!(TcpStream::connect(at).is_err());
            assert_eq!(accept(socket).end().status, NtStatus::INVALID_PARAMETER);
            assert_eq!(socket.events(WSK_EVENT_ACCEPT, null_mut()), NtStatus::INVALID_PARAMETER);
            assert_eq!(listen(socket), NtStatus::SUCCESS);
            assert_eq!(listen(socket), NtStatus::INVALID_DEVICE_STATE);
            let waiting = accept(socket);
            assert_eq!(waiting.returned, NtStatus::PENDING);
            let mut peer = TcpStream::connect(at).unwrap();
            let connection = accepted(waiting.end().information);
            peer.write_all(b"x").unwrap();
            let memory = Memory::new(4);
            assert_eq!(connection.receive(memory.all(), 0).end().information, 1);
            connection.close();
            // Its own table of listening events is in force.
            assert_eq!(socket.events(WSK_EVENT_ACCEPT, null_mut()), NtStatus::SUCCESS);
            let _peer = TcpStream::connect(at).unwrap();
            until("the event", || *SEEN.lock().unwrap() == ["accept 7"]);
            until("the socket", || TAKEN.lock().unwrap().len() == 1);
            accepted(TAKEN.lock().unwrap()[0]).close();
            // It is no connection any more.
            assert_eq!(connect(socket, at).end().status, NtStatus::INVALID_DEVICE_REQUEST);
            let mut buf = memory.all();
            // SAFETY: as the page has it.
            let sent = request(|irp| unsafe { (table_of(socket).WskSend)(socket.0, &raw mut buf, 0, irp) });
            assert_eq!(sent.end().status, NtStatus::INVALID_DEVICE_REQUEST);
            let pending = accept(socket);
            socket.close();
            assert_eq!(pending.end().status, NtStatus::CANCELLED);
        });
    }
}

isolated! {
    fn a_stream_socket_connects() {
        with_bench(|bench| {
            let host = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = stream(8);
            assert_eq!(connect(socket, host.local_addr().unwrap()).end().status, NtStatus::SUCCESS);
            let (mut peer, from) = host.accept().unwrap();
            assert_eq!(from, local(socket));
            assert_eq!(socket.events(WSK_EVENT_RECEIVE, null_mut()), NtStatus::SUCCESS);
            peer.write_all(b"hello").unwrap();
            until("the event", || *SEEN.lock().unwrap() == ["data 8 5"]);
            assert_eq!(listen(socket), NtStatus::INVALID_DEVICE_STATE);
            assert_eq!(accept(socket).end().status, NtStatus::INVALID_PARAMETER);
            let memory = Memory::with(b"back");
            let mut buf = memory.all();
            // SAFETY: as the page has it.
            let sent = request(|irp| unsafe { (table_of(socket).WskSend)(socket.0, &raw mut buf, 0, irp) });
            assert_eq!(sent.end().information, 4);
            let mut got = [0; 4];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"back");
            assert_eq!(bench.provider().stats().others, 1);
            socket.close();
            assert_eq!(bench.provider().stats().others, 0);
        });
    }
}

fn connect_ex(socket: Socket, to: SocketAddr, buf: Option<WSK_BUF>, flags: u32) -> Pending {
    let to = Box::leak(Box::new(address(to)));
    let at = buf.map_or(null_mut(), |buf| &raw mut *Box::leak(Box::new(buf)));
    // SAFETY: as the page has it.
    request(|irp| unsafe { (socket.table().WskConnectEx)(socket.0, to.at(), at, flags, irp) })
}

fn bound() -> Socket {
    let connection = socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
    assert_eq!(connection.bind("127.0.0.1:0").end().status, NtStatus::SUCCESS);
    connection
}

isolated! {
    fn a_connect_may_bring_data() {
        with_bench(|bench| {
            let host = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = host.local_addr().unwrap();
            let (first, second) = (Memory::with(&[1; 30_000]), Memory::with(&[2; 30_000]));
            first.chain(&second);
            let socket = bound();
            assert_eq!(connect_ex(socket, at, None, 1).end().status, NtStatus::INVALID_PARAMETER);
            let large = Memory::new(70_000);
            assert_eq!(connect_ex(socket, at, Some(large.buf(0, 65_536)), 0).end().status, NtStatus::BUFFER_OVERFLOW);
            let ended = connect_ex(socket, at, Some(first.buf(0, 60_000)), 0).end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 60_000));
            let (mut peer, _) = host.accept().unwrap();
            let mut got = vec![0; 60_000];
            peer.read_exact(&mut got).unwrap();
            assert!(got[..30_000].iter().all(|byte| *byte == 1) && got[30_000..].iter().all(|byte| *byte == 2));
            assert_eq!(bench.provider().stats().bytes_out, 60_000);
            // Without data it is a connect.
            let plain = bound();
            assert_eq!(connect_ex(plain, at, None, 0).end().status, NtStatus::SUCCESS);
            // Nobody is there.
            drop(host);
            let refused = bound();
            let ended = connect_ex(refused, at, Some(first.buf(0, 8)), 0).end();
            assert_eq!((ended.status, ended.information), (NtStatus::CONNECTION_REFUSED, 0));
            [socket, plain, refused].into_iter().for_each(Socket::close);
        });
    }
}

isolated! {
    fn a_connect_with_data_is_cancelled_closed_and_made_to_fail() {
        with_bench(|bench| {
            let memory = Memory::with(b"data");
            let never = Faults::rule(Function::ConnectEx, When::Always, Action::Never);
            bench.provider().set_faults(never);
            let host = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = host.local_addr().unwrap();
            let socket = bound();
            let pending = connect_ex(socket, at, Some(memory.all()), 0);
            assert!(pending.cancel());
            assert_eq!(pending.end().status, NtStatus::CANCELLED);
            let pending = connect_ex(socket, at, Some(memory.all()), 0);
            socket.close();
            assert_eq!(pending.end().status, NtStatus::CANCELLED);
            bench.provider().set_faults(Faults::default());
            // Cancelled at any moment: it is made, or it is not.
            for round in 0..100 {
                let socket = bound();
                let pending = connect_ex(socket, at, Some(memory.all()), 0);
                std::thread::sleep(Duration::from_micros(round));
                pending.cancel();
                let ended = pending.end();
                assert!(matches!(ended.status, NtStatus::SUCCESS | NtStatus::CANCELLED), "{ended:?}");
                socket.close();
                host.set_nonblocking(true).unwrap();
                while host.accept().is_ok() {}
            }
        });
    }
}

isolated! {
    fn the_last_bytes_go_before_the_end_and_an_abort_takes_none() {
        let config = Config { on_violation: OnViolation::Record, ..Config::default() };
        let bench = Bench::new(config).unwrap();
        let registration = attached();
        let (listener, at) = listener(null_mut(), null());
        let mut peer = TcpStream::connect(at).unwrap();
        let socket = accepted(listener.accept(null_mut(), null()).end().information);
        let memory = Memory::with(b"farewell");
        assert_eq!(socket.disconnect(Some(memory.all()), 0).end().status, NtStatus::SUCCESS);
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"farewell");
        assert_eq!(socket.send(memory.all(), 0).end().status, NtStatus::LOCAL_DISCONNECT);
        assert!(bench.verdict().is_clean());
        assert_eq!(socket.disconnect(Some(memory.all()), WSK_FLAG_ABORTIVE).end().status, NtStatus::INVALID_PARAMETER);
        assert_eq!(bench.verdict().violations[0].rule, "WSK-ARG");
        // The peer has not ended its side.
        assert_eq!(socket.disconnect(None, WSK_FLAG_ABORTIVE).end().status, NtStatus::SUCCESS);
        peer.write_all(b"?").ok();
        let read = peer.read(&mut [0; 1]);
        assert!(matches!(read, Ok(0)) || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        socket.close();
        listener.close();
        registration.end();
    }
}

isolated! {
    fn a_receive_may_wait_for_all_or_for_the_end() {
        with_bench(|bench| {
            let (listener, at) = listener(null_mut(), null());
            let mut peer = TcpStream::connect(at).unwrap();
            let socket = accepted(listener.accept(null_mut(), null()).end().information);
            let memory = Memory::new(8);
            let whole = socket.receive(memory.all(), WSK_FLAG_WAITALL);
            for part in [b"abc".as_slice(), b"defgh", b"ij"] {
                peer.write_all(part).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(whole.end().information, 8);
            assert_eq!(memory.bytes(), b"abcdefgh");
            // Whoever cancels it keeps what has come.
            let whole = socket.receive(memory.all(), WSK_FLAG_WAITALL);
            until("what came last", || bench.provider().stats().bytes_in == 10);
            assert!(!whole.is_done());
            whole.cancel();
            let ended = whole.end();
            assert_eq!((ended.status, ended.information), (NtStatus::SUCCESS, 2));
            let none = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };
            let drain = socket.receive(none, WSK_FLAG_DRAIN);
            peer.write_all(&[0; 100_000]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            assert!(!drain.is_done());
            drop(peer);
            assert_eq!(drain.end().status, NtStatus::SUCCESS);
            socket.close();
            listener.close();
        });
    }
}
