//! Peers for datagrams: sockets of the host's, some that mark what they send and see how what they receive is marked.

#![allow(unsafe_code)] // what recvmsg fills counts as uninitialised

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{MaybeUninitSlice, MsgHdr, MsgHdrMut, SockRef};

/// How long a peer waits for a datagram.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket at a free port of this address.
pub fn host(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    socket
}

/// A peer whose datagrams have a type of service (or traffic class) and a hop limit, and that sees those of what comes.
pub struct Marked(UdpSocket);

impl Marked {
    pub fn new(address: &str) -> Self {
        let socket = host(address);
        let sees = match socket.local_addr().expect("an address").is_ipv4() {
            true => SockRef::from(&socket).set_recv_tos_v4(true),
            false => SockRef::from(&socket).set_recv_tclass_v6(true),
        };
        sees.expect("to see the class");
        Self(socket)
    }

    /// A peer of IPv6 that sees the hop limits of what comes, in place of the class.
    pub fn counting_hops() -> Self {
        let socket = host("[::1]:0");
        SockRef::from(&socket).set_recv_hoplimit_v6(true).expect("to see the hop limit");
        Self(socket)
    }

    pub fn local_address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    pub fn mark_v4(&self, class: u32, limit: u32) {
        let socket = SockRef::from(&self.0);
        socket.set_tos_v4(class).and_then(|()| socket.set_ttl_v4(limit)).expect("to mark");
    }

    pub fn mark_v6(&self, class: u32, limit: u32) {
        let socket = SockRef::from(&self.0);
        socket.set_tclass_v6(class).and_then(|()| socket.set_unicast_hops_v6(limit)).expect("to mark");
    }

    #[track_caller]
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) {
        self.0.send_to(bytes, to).expect("sent");
    }

    /// A datagram and its class, or hop limit.
    #[track_caller]
    pub fn receive(&self) -> (Vec<u8>, u8) {
        let (mut bytes, mut control) = ([MaybeUninit::new(0); 2048], [MaybeUninit::new(0); 64]);
        let mut into = [MaybeUninitSlice::new(&mut bytes)];
        let mut message = MsgHdrMut::new().with_buffers(&mut into).with_control(&mut control);
        let length = SockRef::from(&self.0).recvmsg(&mut message, 0).expect("a datagram");
        let room = message.control_len();
        let (bytes, control) = (read(&bytes[..length]), read(&control[..room]));
        // One message: its header is 16 bytes, and its data an int or a byte.
        (bytes, *control.get(16).expect("a class"))
    }
}

/// Bytes that were initialised before they were received into.
fn read(bytes: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: `Marked::receive` makes them of zeros.
    bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

/// Sends bytes that the host's stack cuts into datagrams of `size` (UDP_SEGMENT).
#[track_caller]
pub fn send_cut(socket: &UdpSocket, to: SocketAddr, bytes: &[u8], size: u16) {
    let (udp, segment) = (17_i32, 103_i32);
    let mut control = Vec::from(18_usize.to_ne_bytes());
    control.extend(udp.to_ne_bytes().into_iter().chain(segment.to_ne_bytes()).chain(size.to_ne_bytes()));
    control.resize(24, 0);
    let (to, bytes) = (to.into(), [IoSlice::new(bytes)]);
    let message = MsgHdr::new().with_addr(&to).with_buffers(&bytes).with_control(&control);
    SockRef::from(socket).sendmsg(&message, 0).expect("sent");
}
