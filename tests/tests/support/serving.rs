//! Services below `Parameters\Services`, and their peers over both protocols.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use ntbench::Value;
use wskclient_tests::rig::Listening;

use super::{Loaded, Rig, Story, config, image, peer, wait_for};

/// A bench with the driver's file and no service yet.
pub fn bare_rig() -> Rig {
    Rig::new(&image(), config()).expect("a bench")
}

/// Text as a value.
pub fn text(text: &str) -> Value {
    Value::Sz(text.to_owned())
}

/// Adds a service at a free port of both loopbacks, with more values.
pub fn add(rig: &Rig, name: &str, kind: &str, protocol: &str, more: &[(&str, Value)]) {
    rig.add_service(name, &[("Kind", text(kind)), ("Protocol", text(protocol)), ("Port", Value::Dword(0))]);
    rig.add_service(name, more);
}

/// What the services have said since the load about where they listen.
pub fn listening(loaded: &Loaded) -> Vec<Listening> {
    loaded.events().iter().filter_map(Listening::of).collect()
}

/// Where a service listens, over IPv4 and over IPv6; it may take its time to do so.
#[track_caller]
pub fn both_of(loaded: &Loaded, service: &str, datagrams: bool) -> [SocketAddr; 2] {
    let found = |v4: bool| {
        let of = |place: &Listening| place.service == service && place.datagrams == datagrams && place.at.is_ipv4() == v4;
        wait_for(|| listening(loaded).into_iter().find(of).map(|place| place.at))
    };
    match (found(true), found(false)) {
        (Some(v4), Some(v6)) => [v4, v6],
        other => panic!("{service} listens at {other:?} only\n{}", Story::of(loaded)),
    }
}

/// Where a service listens over IPv4.
#[track_caller]
pub fn place_of(loaded: &Loaded, service: &str, datagrams: bool) -> SocketAddr {
    let of = |place: &Listening| place.service == service && place.datagrams == datagrams && place.at.is_ipv4();
    let place = wait_for(|| listening(loaded).into_iter().find(of));
    place.unwrap_or_else(|| panic!("{service} does not listen\n{}", Story::of(loaded))).at
}

/// A datagram socket of a peer, at a free port, connected to the address.
#[track_caller]
pub fn datagram_peer(to: SocketAddr) -> UdpSocket {
    let socket = match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)),
    };
    connected(socket.expect("a socket"), to)
}

/// The socket, connected and with a time limit.
#[track_caller]
pub fn connected(socket: UdpSocket, to: SocketAddr) -> UdpSocket {
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    socket.connect(to).expect("connected");
    socket
}

/// The next datagram, if one comes within the time.
#[track_caller]
pub fn next_datagram(socket: &UdpSocket, within: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(within)).expect("a time limit");
    let mut bytes = vec![0; 1 << 16];
    match socket.recv(&mut bytes) {
        Ok(length) => {
            bytes.truncate(length);
            Some(bytes)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(error) => panic!("receiving: {error}"),
    }
}

/// How many datagrams come until none has come for a while.
#[track_caller]
pub fn count_datagrams(socket: &UdpSocket, quiet: Duration) -> usize {
    std::iter::from_fn(|| next_datagram(socket, quiet)).count()
}

/// The line about datagrams that a service prints at its end, once it has.
#[track_caller]
pub fn datagram_line(loaded: &Loaded, service: &str) -> String {
    let story = Story::of(loaded);
    let line = story.printed(&format!("{service}: ")).into_iter().rfind(|line| line.contains("datagrams,"));
    line.unwrap_or_else(|| panic!("no counts of {service} in\n{story}")).to_owned()
}

/// The pattern of RFC 864, written without the driver's help: 72 characters of a ring of 95, and the next line one further.
pub fn chargen_pattern(lines: usize) -> Vec<u8> {
    let ring: Vec<u8> = (b' '..=b'~').collect();
    (0..lines)
        .flat_map(|line| ring.iter().cycle().skip(line % 95).take(72).copied().chain(*b"\r\n").collect::<Vec<_>>())
        .collect()
}

/// Connects, and reads so many bytes.
#[track_caller]
pub fn read_some(to: SocketAddr, bytes: usize) -> (TcpStream, Vec<u8>) {
    let mut stream = peer::connect(to).expect("a connection");
    let mut read = vec![0; bytes];
    stream.read_exact(&mut read).expect("so many bytes");
    (stream, read)
}
