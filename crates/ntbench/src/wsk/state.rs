//! [`Inner`]: what the lock of a socket guards, and the lists of requests that wait there.

#![allow(unsafe_code)] // Requests carry pointers of their clients'.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::io;
use std::net::SocketAddr;
use std::ptr::NonNull;

use nt_abi::wsk::{SOCKADDR, WSK_CLIENT_CONNECTION_DISPATCH, WSK_INSPECT_ID};
use nt_abi::{IRP, NtStatus};

use super::address;
use super::buffer::Buffers;
use super::client::ClientHold;
use super::datagram::Datagrams;
use super::descriptors::Descriptor;
use super::events::{Events, Offered};
use super::indication::Indication;
use super::inspect::Inspections;
use super::options::Options;
use super::request::Request;
use super::socket::{Birth, Kind};
use super::transport::{Endpoint, Readiness, Setting};

/// How far a socket has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Fresh,
    Bound,
    Connecting,
    Connected,
    /// Closed, aborted by its client, or never connected and done for.
    Over,
}

/// How a request ends: status and information.
pub(super) type Ended = (NtStatus, usize);

/// A WskAccept that waits.
pub(super) struct Accept {
    pub(super) request: Request,
    pub(super) context: *mut c_void,
    pub(super) dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    pub(super) local: *mut SOCKADDR,
    pub(super) remote: *mut SOCKADDR,
    /// Given to its cancel routine.
    pub(super) lost: bool,
}

// SAFETY: the pointers are the client's, valid until the request is completed, and used by whoever has it.
unsafe impl Send for Accept {}

/// A connection that the host has given, and that no client has yet.
pub(super) struct Arrived {
    pub(super) endpoint: Box<dyn Endpoint>,
    pub(super) remote: SocketAddr,
    pub(super) inspected: Option<WSK_INSPECT_ID>,
}

/// A WskReceive or WskSend that waits.
pub(super) struct Transfer {
    pub(super) request: Request,
    /// What is left.
    pub(super) buffers: Buffers,
    /// What is done.
    pub(super) done: usize,
    pub(super) flags: u32,
    /// Ended, but its cancel routine was faster: it completes it so.
    pub(super) lost: Option<Ended>,
}

impl Transfer {
    pub(super) fn new(request: Request, buffers: Buffers, flags: u32) -> Self {
        Self { request, buffers, done: 0, flags, lost: None }
    }
}

/// The connection itself.
pub(super) struct Link {
    pub(super) endpoint: Option<Box<dyn Endpoint>>,
    pub(super) ready: Readiness,
    /// The peer's end of the stream has been reached.
    pub(super) ended: bool,
    /// Our end of it has been sent.
    pub(super) finished: bool,
    /// Why the connection is broken.
    pub(super) failure: Option<NtStatus>,
    pub(super) no_delay: bool,
}

impl Link {
    /// Receives once. None: nothing is there.
    pub(super) fn receive(&mut self, into: &Buffers, limit: usize) -> Option<usize> {
        let endpoint = self.endpoint.as_ref()?;
        let (asked, result) = into.write(limit, |pieces, total| (total, endpoint.receive(pieces)));
        self.received(asked, result)
    }

    /// Takes account of what a receive brought.
    pub(super) fn received(&mut self, asked: usize, result: io::Result<usize>) -> Option<usize> {
        match result {
            Ok(0) => {
                self.ended = true;
                self.ready.readable = false;
                None
            }
            Ok(count) => {
                // A short read emptied the socket, and an edge will tell of more; the end of the stream has had its edge.
                if count < asked && !self.ready.read_closed {
                    self.ready.readable = false;
                }
                Some(count)
            }
            Err(error) => {
                self.ready.readable = false;
                self.broke(&error);
                None
            }
        }
    }

    /// Sends once. None: there is no room.
    pub(super) fn send(&mut self, from: &Buffers) -> Option<usize> {
        let endpoint = self.endpoint.as_ref()?;
        match from.read(|pieces, _| endpoint.send(pieces)) {
            Ok(count) => Some(count),
            Err(error) => {
                self.ready.writable = false;
                self.broke(&error);
                None
            }
        }
    }

    /// From the first send that asks for it, nothing is held back.
    pub(super) fn set_no_delay(&mut self, wanted: bool) {
        if wanted
            && !std::mem::replace(&mut self.no_delay, true)
            && let Some(endpoint) = &self.endpoint
        {
            let _ = endpoint.set(Setting::NoDelay(true));
        }
    }

    fn broke(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock && self.failure.is_none() {
            self.failure = Some(address::status(error));
        }
    }

    /// Nothing more will come.
    pub(super) fn silent(&self) -> bool {
        self.ended || self.failure.is_some()
    }
}

/// See the module.
pub(super) struct Inner {
    pub(super) phase: Phase,
    pub(super) link: Link,
    /// Keeps the client until the close is done.
    pub(super) client: Option<ClientHold>,
    /// Somebody is in `pump`.
    pub(super) pumping: bool,
    /// A job that will pump is on its way.
    pub(super) nudged: bool,
    pub(super) accepts: VecDeque<Accept>,
    /// A connection that was accepted from the host, and by no client yet.
    pub(super) arrived: Option<Arrived>,
    pub(super) options: Options,
    pub(super) descriptor: Option<Descriptor>,
    /// SIO_WSK_SET_TCP_SILENT_MODE.
    pub(super) silent: bool,
    /// Requests that wait for a change of the addresses.
    pub(super) address_changes: Vec<Request>,
    /// What WskConnectEx is to send.
    pub(super) connect_data: Option<Buffers>,
    pub(super) inspections: Inspections,
    /// What the socket was inspected by before it was accepted.
    pub(super) inspected: Option<WSK_INSPECT_ID>,
    /// It functions no more; whether its client has been told.
    pub(super) breakdown: Option<bool>,
    /// A new ideal send backlog that its client has not been told of.
    pub(super) backlog_news: Option<usize>,
    pub(super) receives: VecDeque<Transfer>,
    pub(super) receive_calls: u64,
    pub(super) sends: VecDeque<Transfer>,
    pub(super) connect: Option<Request>,
    /// The connect is WskSocketConnect's: its outcome decides on the socket.
    pub(super) connect_creates: bool,
    pub(super) disconnect: Option<Transfer>,
    /// What only a datagram socket has.
    pub(super) datagrams: Option<Box<Datagrams>>,
    /// Requests that a fault keeps.
    pub(super) parked: Vec<Request>,
    /// Data that the client has been told of and has not accepted.
    pub(super) held: Option<Indication>,
    /// Data that the client keeps.
    pub(super) retained: Vec<NonNull<Indication>>,
    /// Data that the client is being told of.
    pub(super) offered: Option<Offered>,
    pub(super) events: Events,
    pub(super) close: Option<Request>,
}

// SAFETY: retained indications belong to the client until it gives them back, under this lock.
unsafe impl Send for Inner {}

impl Inner {
    pub(super) fn new(birth: Birth, client: ClientHold) -> Self {
        let (ready, ended, finished, failure) = Default::default();
        Self {
            phase: birth.phase,
            link: Link { endpoint: birth.endpoint, ready, ended, finished, failure, no_delay: false },
            client: Some(client),
            pumping: false,
            nudged: false,
            accepts: VecDeque::new(),
            arrived: None,
            options: birth.options,
            descriptor: birth.descriptor,
            silent: false,
            address_changes: Vec::new(),
            connect_data: None,
            inspections: Inspections::default(),
            inspected: birth.inspected,
            breakdown: None,
            backlog_news: None,
            receives: VecDeque::new(),
            receive_calls: 0,
            sends: VecDeque::new(),
            connect: None,
            connect_creates: false,
            disconnect: None,
            datagrams: (birth.kind == Kind::Datagram).then(Box::default),
            parked: Vec::new(),
            held: None,
            retained: Vec::new(),
            offered: None,
            events: Events::new(birth.events),
            close: None,
        }
    }

    /// Takes a request, and how it ends, out of the list where it waits.
    pub(super) fn take_request(&mut self, irp: *mut IRP) -> Option<(Request, Ended)> {
        const CANCELLED: Ended = (NtStatus::CANCELLED, 0);
        // What a receive has must not be lost to the stream; of a send it is told how far it came.
        let receive = |of: Transfer| {
            let ended = of.lost.unwrap_or(if of.done > 0 { (NtStatus::SUCCESS, of.done) } else { CANCELLED });
            (of.request, ended)
        };
        let send = |of: Transfer| (of.request, of.lost.unwrap_or((NtStatus::CANCELLED, of.done)));
        if let Some(at) = self.receives.iter().position(|one| one.request.irp() == irp) {
            return self.receives.remove(at).map(receive);
        }
        if let Some(at) = self.sends.iter().position(|one| one.request.irp() == irp) {
            return self.sends.remove(at).map(send);
        }
        if let Some(at) = self.accepts.iter().position(|one| one.request.irp() == irp) {
            return self.accepts.remove(at).map(|one| (one.request, CANCELLED));
        }
        if let Some(at) = self.parked.iter().position(|one| one.irp() == irp) {
            return Some((self.parked.swap_remove(at), CANCELLED));
        }
        if let Some(at) = self.address_changes.iter().position(|one| one.irp() == irp) {
            return Some((self.address_changes.swap_remove(at), CANCELLED));
        }
        if self.connect.as_ref().is_some_and(|one| one.irp() == irp) {
            return self.connect.take().map(|one| (one, CANCELLED));
        }
        if self.disconnect.as_ref().is_some_and(|one| one.request.irp() == irp) {
            return self.disconnect.take().map(|one| (one.request, CANCELLED));
        }
        self.datagrams.as_mut()?.take_request(irp)
    }

    /// Takes all requests that wait, but for those that their cancel routines are about to take.
    pub(super) fn drain(&mut self) -> Vec<(Request, Ended)> {
        let mut irps: Vec<*mut IRP> = Vec::new();
        irps.extend(self.sends.iter().map(|one| one.request.irp()));
        irps.extend(self.receives.iter().map(|one| one.request.irp()));
        irps.extend(self.accepts.iter().map(|one| one.request.irp()));
        irps.extend(self.parked.iter().map(Request::irp));
        irps.extend(self.address_changes.iter().map(Request::irp));
        irps.extend(self.connect.iter().map(Request::irp));
        irps.extend(self.disconnect.iter().map(|one| one.request.irp()));
        irps.extend(self.datagrams.iter().flat_map(|one| one.irps()));
        let mut taken = Vec::with_capacity(irps.len());
        for irp in irps {
            if Request::claim_irp(irp) {
                taken.extend(self.take_request(irp));
            }
        }
        taken
    }

    /// Gives up the connection: reset, unless both sides have ended it.
    pub(super) fn let_go(&mut self) -> Option<Box<dyn Endpoint>> {
        self.phase = Phase::Over;
        self.held = None;
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.forget();
        }
        self.inspections.let_go();
        if let Some(arrived) = self.arrived.take() {
            arrived.endpoint.reset_on_drop();
        }
        let endpoint = self.link.endpoint.take()?;
        if !(self.link.ended && self.link.finished) {
            endpoint.reset_on_drop();
        }
        Some(endpoint)
    }

    /// The status of every function of a socket that functions no more.
    pub(super) fn broken(&self) -> Option<NtStatus> {
        self.breakdown.map(|_| NtStatus::FILE_FORCED_CLOSED)
    }

    /// The status of every function of a connection in silent mode.
    pub(super) fn mute(&self) -> Option<NtStatus> {
        self.silent.then_some(NtStatus::INVALID_DEVICE_STATE)
    }

    /// The status of a function that needs a connection, if there is none.
    pub(super) fn unconnected(&self) -> Option<NtStatus> {
        match self.phase {
            _ if self.silent => self.mute(),
            _ if self.breakdown.is_some() => self.broken(),
            Phase::Connected => self.link.failure,
            Phase::Over => Some(self.link.failure.unwrap_or(NtStatus::CONNECTION_ABORTED)),
            _ => Some(NtStatus::INVALID_DEVICE_STATE),
        }
    }
}
