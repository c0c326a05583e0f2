//! Jobs of traffic, asked for as a tool asks for them; and the hosts at their other end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use control_abi::page::Page;
use control_abi::sockets::Protocol;
use control_abi::traffic::{AskRequest, CancelRequest, End, Kind, ListRequest, Phase, Report, StartRequest, Started, Wanted};
use control_abi::{Ask, Request};
use ntbench::NtStatus;
use socket2::SockRef;
use zerocopy::{Immutable, IntoBytes};

use super::hosts::listener;
use super::{Loaded, Story, wait_for};

/// Each kind over each protocol.
pub const EACH: [(Kind, Protocol); 4] =
    [(Kind::Echo, Protocol::Tcp), (Kind::Stream, Protocol::Tcp), (Kind::Echo, Protocol::Udp), (Kind::Stream, Protocol::Udp)];

/// A job of two connections and small messages, which ends after an hour.
pub fn job(target: SocketAddr, kind: Kind, protocol: Protocol) -> Wanted {
    Wanted {
        target,
        kind,
        protocol,
        detached: false,
        beyond_loopback: false,
        connections: 2,
        message: 100,
        rate: None,
        duration: Some(Duration::from_secs(3600)),
        count: None,
    }
}

/// The same, which ends after so many messages.
pub fn counted(target: SocketAddr, kind: Kind, protocol: Protocol, count: u64) -> Wanted {
    Wanted { duration: None, count: Some(count), ..job(target, kind, protocol) }
}

/// A request that opens the device, asks, and closes it.
pub fn request<A: Ask + IntoBytes + Immutable>(loaded: &Loaded, asked: &A, room: usize) -> Result<Vec<u8>, NtStatus> {
    bytes(loaded, A::REQUEST, asked.as_bytes(), room)
}

/// A request of these bytes.
pub fn bytes(loaded: &Loaded, request: Request, input: &[u8], room: usize) -> Result<Vec<u8>, NtStatus> {
    let device = loaded.bench().open(r"\\.\WskClient").expect("the device");
    device.ioctl(request.code(), input, room).map_err(|error| error.status)
}

/// Starts a job.
pub fn start(loaded: &Loaded, wanted: &Wanted) -> Result<u64, NtStatus> {
    let answer = request(loaded, &StartRequest::of(wanted), size_of::<Started>())?;
    Ok(Started::read(&answer).expect("a number").id)
}

/// Starts a job that can be started.
#[track_caller]
pub fn started(loaded: &Loaded, wanted: &Wanted) -> u64 {
    start(loaded, wanted).unwrap_or_else(|status| panic!("{wanted:?} was refused: {status}\n{}", Story::of(loaded)))
}

/// How a job is, without renewing its lease.
pub fn look(loaded: &Loaded, id: u64) -> Result<Report, NtStatus> {
    let answer = request(loaded, &AskRequest::looking(id), size_of::<Report>())?;
    Ok(Report::read(&answer).expect("a report"))
}

/// How a job is, asked by whoever started it.
pub fn ask(loaded: &Loaded, id: u64) -> Result<Report, NtStatus> {
    let answer = request(loaded, &AskRequest::renewing(id), size_of::<Report>())?;
    Ok(Report::read(&answer).expect("a report"))
}

/// Has a job end.
pub fn cancel(loaded: &Loaded, id: u64) -> Result<(), NtStatus> {
    request(loaded, &CancelRequest::of(id), 0).map(drop)
}

/// The jobs on the page at a cursor, with the cursor of the next, when there is room for so many.
pub fn page(loaded: &Loaded, cursor: u64, entries: usize) -> (Vec<Report>, u64) {
    let room = control_abi::page::room::<Report>(entries);
    let answer = request(loaded, &ListRequest::at(cursor), room).expect("a page");
    let page = Page::<Report>::read(&answer).expect("a page of reports");
    (page.entries().collect(), page.header.next)
}

/// The job's report once it is as wanted.
#[track_caller]
pub fn when(loaded: &Loaded, id: u64, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
    let found = wait_for(|| ask(loaded, id).ok().filter(&wanted));
    found.unwrap_or_else(|| panic!("job {id} is not {what}: {:?}\n{}", ask(loaded, id), Story::of(loaded)))
}

/// Some messages have been sent.
#[track_caller]
pub fn busy(loaded: &Loaded, id: u64) -> Report {
    when(loaded, id, "busy", |report| report.phase == Phase::Running.to_wire() && report.sent > 20)
}

/// What came of it.
#[track_caller]
pub fn over(loaded: &Loaded, id: u64) -> Report {
    when(loaded, id, "over", Report::is_over)
}

/// Why a job has ended.
pub fn end_of(report: &Report) -> Option<End> {
    End::from_wire(report.end)
}

/// A listener, each of whose connections `serve` gets on a thread of its own.
pub fn tcp(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let (listener, address) = listener();
    accept_all(listener, serve);
    address
}

/// The same with a listener that there is.
pub fn accept_all(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// Sends back what comes, to the end.
pub fn echo(mut stream: TcpStream) {
    let (mut buffer, _) = (vec![0; 64 << 10], stream.set_nodelay(true));
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Counts what comes, to the end.
pub fn count(stream: &mut TcpStream, bytes: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        bytes.fetch_add(length as u64, Ordering::AcqRel);
    }
}

/// Ends a connection by a reset.
pub fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("no lingering");
}

/// A socket for datagrams; `answer` says for the n-th of them what goes back.
pub fn udp(mut answer: impl FnMut(u64, &[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        for number in 0.. {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            if let Some(answer) = answer(number, &buffer[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    address
}

/// A host that does what a job of this kind needs.
pub fn host_for(kind: Kind, protocol: Protocol) -> SocketAddr {
    match (protocol, kind) {
        (Protocol::Tcp, Kind::Echo) => tcp(echo),
        (Protocol::Tcp, Kind::Stream) => tcp(|mut stream| count(&mut stream, &AtomicU64::new(0))),
        (Protocol::Udp, Kind::Echo) => udp(|_, bytes| Some(bytes.to_vec())),
        (Protocol::Udp, Kind::Stream) => udp(|_, _| None),
    }
}
