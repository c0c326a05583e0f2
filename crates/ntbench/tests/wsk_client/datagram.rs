//! Datagram sockets of the client's, and control data in the form of Windows.

#![allow(unsafe_code)] // It does what drivers do.

use std::ffi::c_void;
use std::net::{SocketAddr, UdpSocket};
use std::ptr::{null, null_mut};
use std::time::Duration;

use nt_abi::wsk::*;
use nt_abi::{IRP, NtStatus};

use super::{Address, Ended, Memory, Pending, Socket, address, any, client, request, table};

/// A datagram socket of the client's. It must be closed.
#[derive(Clone, Copy)]
pub struct Datagrams(pub Socket);

/// One object of control data.
#[derive(Clone, PartialEq, Debug)]
pub struct Object {
    pub level: u32,
    pub kind: u32,
    pub data: Vec<u8>,
}

/// An object that holds a number.
pub fn number(level: u32, kind: u32, value: u32) -> Object {
    Object { level, kind, data: value.to_ne_bytes().to_vec() }
}

/// Control data of these objects.
pub fn control(objects: &[Object]) -> Vec<u8> {
    let mut all = Vec::new();
    for object in objects {
        all.resize(all.len().next_multiple_of(8), 0);
        all.extend_from_slice(&(16 + object.data.len()).to_ne_bytes());
        all.extend_from_slice(&object.level.to_ne_bytes());
        all.extend_from_slice(&object.kind.to_ne_bytes());
        all.extend_from_slice(&object.data);
    }
    all
}

/// The objects of control data.
pub fn objects(mut data: &[u8]) -> Vec<Object> {
    let mut all = Vec::new();
    while !data.is_empty() {
        let length = usize::from_ne_bytes(data[..8].try_into().unwrap());
        let number = |at: usize| u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
        all.push(Object { level: number(8), kind: number(12), data: data[16..length].to_vec() });
        data = data.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    all
}

pub fn make_datagrams(family: u16, context: *mut c_void, dispatch: *const WSK_CLIENT_DATAGRAM_DISPATCH) -> Pending {
    let (kind, protocol, flags, nobody) = (SOCK_DGRAM, IPPROTO_UDP, WSK_FLAG_DATAGRAM_SOCKET, null_mut());
    let make = table().WskSocket;
    // SAFETY: as the page has it.
    request(|irp| unsafe { make(client(), family, kind, protocol, flags, context, dispatch.cast(), nobody, nobody, nobody, irp) })
}

/// A datagram socket on loopback, and where.
pub fn datagrams(context: *mut c_void, dispatch: *const WSK_CLIENT_DATAGRAM_DISPATCH) -> (Datagrams, SocketAddr) {
    bound(AF_INET, "127.0.0.1:0", context, dispatch)
}

/// A datagram socket without events, bound.
pub fn quiet(family: u16, to: &str) -> (Datagrams, SocketAddr) {
    bound(family, to, null_mut(), null())
}

fn bound(family: u16, to: &str, context: *mut c_void, dispatch: *const WSK_CLIENT_DATAGRAM_DISPATCH) -> (Datagrams, SocketAddr) {
    let socket = unbound(family, context, dispatch);
    assert_eq!(socket.bind(to), NtStatus::SUCCESS);
    (socket, socket.local())
}

pub fn unbound(family: u16, context: *mut c_void, dispatch: *const WSK_CLIENT_DATAGRAM_DISPATCH) -> Datagrams {
    let ended = make_datagrams(family, context, dispatch).end();
    assert_eq!(ended.status, NtStatus::SUCCESS);
    Datagrams(Socket(ended.information as *mut WSK_SOCKET, false))
}

/// A socket of the host's, which gives up waiting after a while.
pub fn peer(at: &str) -> UdpSocket {
    let peer = UdpSocket::bind(at).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    peer
}

/// What the peer receives next.
pub fn heard(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 65_536];
    let (count, from) = peer.recv_from(&mut bytes).unwrap();
    bytes.truncate(count);
    (bytes, from)
}

/// The variables that a WskReceiveFrom writes to.
pub struct Report {
    pub remote: Address,
    pub length: u32,
    pub room: Vec<u64>,
    pub flags: u32,
}

impl Default for Report {
    fn default() -> Self {
        Self { remote: address(any("[::]:0")), length: 256, room: vec![0; 32], flags: !0 }
    }
}

impl Report {
    pub fn from(&self) -> SocketAddr {
        self.remote.read()
    }

    pub fn objects(&self) -> Vec<Object> {
        let bytes: Vec<u8> = self.room.iter().flat_map(|word| word.to_ne_bytes()).collect();
        objects(&bytes[..self.length as usize])
    }
}

impl Datagrams {
    pub fn table(self) -> &'static WSK_PROVIDER_DATAGRAM_DISPATCH {
        // SAFETY: a datagram socket's table, which is static.
        unsafe { &*(*self.0.0).Dispatch.cast() }
    }

    pub fn bind(self, to: &str) -> NtStatus {
        let mut to = address(any(to));
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskBind)(self.0.0, to.at(), 0, irp) }).end().status
    }

    pub fn local(self) -> SocketAddr {
        let mut at = address(any("[::]:0"));
        // SAFETY: as the page has it.
        let ended = request(|irp| unsafe { (self.table().WskGetLocalAddress)(self.0.0, at.at(), irp) }).end();
        assert_eq!(ended.status, NtStatus::SUCCESS);
        at.read()
    }

    /// WskSendTo.
    pub fn send_to(self, buf: WSK_BUF, to: Option<SocketAddr>, objects: &[Object]) -> Pending {
        self.send_raw(buf, to, &control(objects))
    }

    /// The same, with control data that may be wrong.
    pub fn send_raw(self, mut buf: WSK_BUF, to: Option<SocketAddr>, control: &[u8]) -> Pending {
        let mut to = to.map(address);
        let at = to.as_mut().map_or(null_mut(), Address::at);
        let (length, control) = (control.len() as u32, pointer(control));
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskSendTo)(self.0.0, &raw mut buf, 0, at, length, control, irp) })
    }

    /// WskSendMessages.
    pub fn send_messages(self, bufs: &[WSK_BUF], to: Option<SocketAddr>, objects: &[Object]) -> Pending {
        let mut to = to.map(address);
        let at = to.as_mut().map_or(null_mut(), Address::at);
        let mut lists: Vec<_> = bufs.iter().map(|buf| WSK_BUF_LIST { Next: null_mut(), Buffer: *buf }).collect();
        for index in (1..lists.len()).rev() {
            lists[index - 1].Next = &raw mut lists[index];
        }
        let list = if lists.is_empty() { null_mut() } else { lists.as_mut_ptr() };
        let control = control(objects);
        let (length, control) = (control.len() as u32, pointer(&control));
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskSendMessages)(self.0.0, list, 0, at, length, control, irp) })
    }

    /// WskReceiveFrom that tells nothing but the bytes.
    pub fn receive(self, mut buf: WSK_BUF) -> Pending {
        let (none, nothing, number) = (null_mut(), null_mut(), null_mut());
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskReceiveFrom)(self.0.0, &raw mut buf, 0, none, number, nothing, null_mut(), irp) })
    }

    /// WskReceiveFrom; the report stays until the request is completed.
    pub fn receive_from(self, mut buf: WSK_BUF, report: &mut Report) -> Pending {
        let (remote, control) = (report.remote.at(), report.room.as_mut_ptr().cast());
        let (length, flags) = (&raw mut report.length, &raw mut report.flags);
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskReceiveFrom)(self.0.0, &raw mut buf, 0, remote, length, control, flags, irp) })
    }

    /// What is received next: its bytes, and what there is to say of it.
    pub fn hears(self) -> (Vec<u8>, Report) {
        let memory = Memory::new(65_536);
        let mut report = Report::default();
        let ended = self.receive_from(memory.all(), &mut report).end();
        assert_eq!(ended.status, NtStatus::SUCCESS);
        (memory.bytes()[..ended.information].to_vec(), report)
    }

    pub fn release(self, list: *mut WSK_DATAGRAM_INDICATION) -> NtStatus {
        // SAFETY: as the page has it.
        unsafe { (self.table().WskRelease)(self.0.0, list) }
    }

    pub fn close(self) {
        self.0.close();
    }

    pub fn set(self, level: u32, option: u32, value: u32) -> NtStatus {
        self.0.set(level, option, value).status
    }

    /// WskControlSocket that gets a number.
    pub fn value(self, level: u32, option: u32) -> Result<u32, NtStatus> {
        let (mut value, mut size) = (!0u32, 0);
        let (output, none) = ((&raw mut value).cast(), null_mut());
        let function = self.table().Basic.WskControlSocket;
        // SAFETY: as the page has it.
        let ended =
            request(|irp| unsafe { function(self.0.0, WskGetOption, option, level, 0, none, 4, output, &raw mut size, irp) })
                .end();
        if ended.status != NtStatus::SUCCESS {
            return Err(ended.status);
        }
        assert_eq!((size, ended.information), (4, 4));
        Ok(value)
    }

    /// SIO_WSK_SET_REMOTE_ADDRESS or SIO_WSK_SET_SENDTO_ADDRESS.
    pub fn fix(self, code: u32, to: Option<SocketAddr>) -> Ended {
        let mut to = to.map(address);
        let (input, size) = to.as_mut().map_or((null_mut(), 0), |to| (to.at().cast(), size_of::<Address>()));
        let (function, none) = (self.table().Basic.WskControlSocket, null_mut());
        // SAFETY: as the page has it.
        request(|irp| unsafe { function(self.0.0, WskIoctl, code, 0, size, input, 0, none, null_mut(), irp) }).end()
    }

    /// SO_WSK_EVENT_CALLBACK.
    pub fn events(self, mask: u32, irp: *mut IRP) -> NtStatus {
        self.0.events(mask, irp)
    }
}

fn pointer(control: &[u8]) -> *mut CMSGHDR {
    if control.is_empty() { null_mut() } else { control.as_ptr().cast_mut().cast() }
}
