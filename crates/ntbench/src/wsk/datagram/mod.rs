//! Datagram sockets: what they have beside a socket's own state, and which of it comes next.
//!
//! Requests are in `receive` and `send`, WskReceiveFromEvent and WskRelease in `indicate`, options and I/O controls in
//! `options`.

#![allow(unsafe_code)] // Requests carry pointers of their clients'.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use nt_abi::wsk::{MSG_BCAST, MSG_MCAST};
use nt_abi::{IRP, NtStatus};

mod indicate;
mod options;
mod receive;
mod send;

pub(super) use indicate::Told;
pub(super) use receive::Results;

use super::pump::Step;
use super::request::Request;
use super::socket::Socket;
use super::state::{Ended, Inner};
use super::transport::{Received, Slot};
use indicate::List;
use options::Options;
use receive::ReceiveFrom;
use send::SendTo;

/// Datagrams that are read at a time, and indicated in one list.
const BATCH: usize = 16;
/// Datagrams that a client with static events did not accept, and that are kept for it.
const LEFT: usize = 64;

thread_local! {
    /// Where datagrams are read to.
    static SLOTS: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

/// A datagram that was received for no request.
pub(super) struct Datagram {
    received: Received,
    /// Its bytes, after some that are none of it.
    memory: Box<[u8]>,
    start: usize,
}

impl Datagram {
    fn new(received: Received, bytes: &[u8]) -> Self {
        let start = crate::rng::below(48) as usize;
        let mut memory = vec![0; start + bytes.len()].into_boxed_slice();
        memory[start..].copy_from_slice(bytes);
        Self { received, memory, start }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

/// MSG_BCAST, MSG_MCAST.
fn flags(received: &Received) -> u32 {
    match received.about.local {
        Some((local, _)) if local.is_multicast() => MSG_MCAST,
        _ if received.broadcast => MSG_BCAST,
        _ => 0,
    }
}

/// Whether an address is where a datagram came from.
fn is_from(received: &Received, address: SocketAddr) -> bool {
    (received.from.ip(), received.from.port()) == (address.ip(), address.port())
}

/// What a datagram socket has. All of it is guarded by the socket's lock.
#[derive(Default)]
pub(super) struct Datagrams {
    receives: VecDeque<ReceiveFrom>,
    sends: VecDeque<SendTo>,
    /// Received, and taken by no request yet.
    waiting: VecDeque<Datagram>,
    /// Not accepted by a static event, which will not be told of them again.
    left: VecDeque<Datagram>,
    /// Lists that the client keeps.
    retained: Vec<List>,
    /// The list that the client is being told of. It may be released before the client's routine has returned.
    lent: Option<List>,
    /// The client has been told that the socket is gone.
    told_gone: bool,
    /// SIO_WSK_SET_REMOTE_ADDRESS.
    remote: Option<SocketAddr>,
    /// SIO_WSK_SET_SENDTO_ADDRESS.
    destination: Option<SocketAddr>,
    options: Options,
}

impl Datagrams {
    /// Takes a request, and how it ends, out of the list where it waits.
    pub(super) fn take_request(&mut self, irp: *mut IRP) -> Option<(Request, Ended)> {
        if let Some(at) = self.receives.iter().position(|one| one.request.irp() == irp) {
            return self.receives.remove(at).map(ReceiveFrom::end);
        }
        let at = self.sends.iter().position(|one| one.request.irp() == irp)?;
        self.sends.remove(at).map(SendTo::end)
    }

    /// The IRPs of all that waits.
    pub(super) fn irps(&self) -> impl Iterator<Item = *mut IRP> {
        let sends = self.sends.iter().map(|one| one.request.irp());
        sends.chain(self.receives.iter().map(|one| one.request.irp()))
    }

    /// Lists that the client keeps.
    pub(super) fn retained(&self) -> usize {
        self.retained.len()
    }

    /// Whether datagrams wait that have been received already.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The socket is closed: nobody will ask for what waits.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.left.clear();
    }

    /// Whether a datagram is for this socket.
    fn takes(&self, received: &Received) -> bool {
        self.remote.is_none_or(|remote| is_from(received, remote))
    }

    /// Takes a datagram in, which may be several.
    fn admit(&mut self, received: Received, bytes: &[u8]) {
        let limit = self.options.max_coalesced as usize;
        let whole = match received.about.segment.map(|size| size as usize) {
            Some(size) if size > 0 && received.bytes > limit => (limit / size).max(1) * size,
            _ => bytes.len().max(1),
        };
        if bytes.is_empty() {
            self.waiting.push_back(Datagram::new(received, bytes));
        }
        for part in bytes.chunks(whole) {
            let mut one = Received { bytes: part.len(), ..received };
            one.about.segment = received.about.segment.filter(|size| part.len() > *size as usize);
            self.waiting.push_back(Datagram::new(one, part));
        }
    }
}

impl Inner {
    /// Reads datagrams that no request takes straight from the network; whether there are any. On a failure of the
    /// network's there are none.
    fn read_datagrams(&mut self, count: usize) -> bool {
        if !self.link.ready.readable {
            return false;
        }
        let (Some(endpoint), Some(datagrams)) = (&self.link.endpoint, &mut self.datagrams) else { return false };
        SLOTS.with_borrow_mut(|slots| {
            if slots.len() < count {
                slots.resize_with(count, Slot::default);
            }
            let read = endpoint.receive_many(&mut slots[..count]).unwrap_or(0);
            // Fewer than there was room for: that was all, and an edge will tell of more.
            self.link.ready.readable = read == count;
            let before = datagrams.waiting.len();
            for slot in &mut slots[..read] {
                if let Some(received) = slot.received.take().filter(|one| datagrams.takes(one)) {
                    datagrams.admit(received, &slot.room[..received.bytes]);
                }
            }
            datagrams.waiting.len() > before
        })
    }
}

impl Socket {
    /// The next thing to do for a datagram socket.
    pub(super) fn datagram_step(&self, inner: &mut Inner) -> Option<Step> {
        if inner.link.ready.readable && self.shared.faults.current().is_some_and(|faults| faults.break_datagrams) {
            inner.link.failure = Some(NtStatus::FILE_FORCED_CLOSED);
        }
        let step = self.send_to_step(inner).or_else(|| self.receive_from_step(inner));
        step.or_else(|| self.receive_from_event_step(inner))
    }

    /// The status of a function that needs a working, bound socket, if it is none.
    fn unusable(&self, inner: &Inner) -> Option<NtStatus> {
        use super::state::Phase;
        match inner.phase {
            Phase::Bound => inner.link.failure,
            Phase::Over => Some(NtStatus::FILE_FORCED_CLOSED),
            _ => Some(NtStatus::INVALID_DEVICE_STATE),
        }
    }
}
