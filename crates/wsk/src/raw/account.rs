//! What is told of a socket to those who ask: nothing is decided by it.
//!
//! Bytes are counted by the task that receives, and by the one that sends; as each is one, neither needs a locked operation.
//! Sockets for datagrams may have several of both.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU8, Ordering};

use super::socket::{CLOSING, ENDED, GONE, Kind, RESET, Socket};
use crate::sockets::{CloseReason, SocketId, SocketInfo, SocketKind, SocketStage};
use crate::sync::{Instant, Shared, SpinLock};

const NOT_CONNECTED: u8 = 0;
const CONNECTING: u8 = 1;
const CONNECTED: u8 = 2;

/// See above.
pub(crate) struct Account {
    id: SocketId,
    owner: u64,
    born: Instant,
    connection: AtomicU8,
    /// A [`CloseReason`] and one more, once the close is asked for; 0 before.
    reason: AtomicU8,
    ends: SpinLock<Ends>,
}

/// The addresses, as far as they are known.
#[derive(Clone, Copy)]
struct Ends {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

impl Account {
    pub(super) fn new(id: SocketId, owner: u64) -> Self {
        Self {
            id,
            owner,
            born: Instant::now(),
            connection: AtomicU8::new(NOT_CONNECTED),
            reason: AtomicU8::new(0),
            ends: SpinLock::new(Ends { local: None, remote: None }),
        }
    }

    pub(crate) fn id(&self) -> SocketId {
        self.id
    }

    pub(crate) fn owner(&self) -> u64 {
        self.owner
    }

    /// Its own address.
    pub(crate) fn bound_to(&self, local: Option<SocketAddr>) {
        if local.is_some() {
            self.ends.with(|ends| ends.local = local);
        }
    }

    /// Its peer is being connected to.
    pub(crate) fn connects_to(&self, remote: SocketAddr) {
        self.ends.with(|ends| ends.remote = Some(remote));
        self.connection.store(CONNECTING, Ordering::Relaxed);
    }

    /// It is connected, to this peer if that is not known yet.
    pub(crate) fn connected(&self, remote: Option<SocketAddr>) {
        if remote.is_some() {
            self.ends.with(|ends| ends.remote = remote);
        }
        self.connection.store(CONNECTED, Ordering::Relaxed);
    }

    fn stage(&self, flags: u32, ends: &Ends) -> SocketStage {
        match self.connection.load(Ordering::Relaxed) {
            _ if flags & CLOSING != 0 => SocketStage::Closing,
            CONNECTED if flags & ENDED != 0 => SocketStage::PeerEnded,
            CONNECTED => SocketStage::Connected,
            CONNECTING => SocketStage::Connecting,
            _ if ends.local.is_some() => SocketStage::Bound,
            _ => SocketStage::Open,
        }
    }
}

impl Socket {
    /// Bytes have come. For the one task that receives.
    #[inline]
    pub(crate) fn count_received(&self, bytes: usize) {
        let before = self.hot.received.load(Ordering::Relaxed);
        self.hot.received.store(before.wrapping_add(bytes as u64), Ordering::Relaxed);
    }

    /// Bytes have been sent. For the one task that sends.
    #[inline]
    pub(crate) fn count_sent(&self, bytes: usize) {
        let before = self.hot.sent.load(Ordering::Relaxed);
        self.hot.sent.store(before.wrapping_add(bytes as u64), Ordering::Relaxed);
    }

    /// As [`count_received`](Self::count_received), where several may receive at once.
    pub(crate) fn count_received_by_many(&self, bytes: usize) {
        self.hot.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// As [`count_sent`](Self::count_sent), where several may send at once.
    pub(crate) fn count_sent_by_many(&self, bytes: usize) {
        self.hot.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What is known of it.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// What it is for.
    pub(super) fn public_kind(&self) -> SocketKind {
        match self.kind() {
            Kind::Listen => SocketKind::Listener,
            Kind::Connection => SocketKind::Connection,
            Kind::Datagram => SocketKind::Datagram,
            Kind::Stream => SocketKind::Stream,
        }
    }

    /// Why its close began.
    pub(super) fn reason(&self) -> CloseReason {
        match self.account.reason.load(Ordering::Relaxed).wrapping_sub(1) {
            reason if reason == CloseReason::Reset as u8 => CloseReason::Reset,
            reason if reason == CloseReason::Detached as u8 => CloseReason::Detached,
            reason if reason == CloseReason::Gone as u8 => CloseReason::Gone,
            _ => CloseReason::Done,
        }
    }
}

impl Shared<Socket> {
    /// Its close is asked for: why, unless it was before.
    pub(super) fn note_reason(&self) {
        let flags = self.flags();
        let reason = match () {
            () if flags & RESET != 0 => CloseReason::Reset,
            () if flags & GONE != 0 => CloseReason::Gone,
            () if !self.shell().is_open() => CloseReason::Detached,
            () => CloseReason::Done,
        };
        // Who comes second changes nothing.
        let _ = self.account.reason.compare_exchange(0, reason as u8 + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// As it is now.
    pub(crate) fn info(&self) -> SocketInfo {
        let account = &self.account;
        let ends = account.ends.with(|ends| *ends);
        let (entered, flying) = self.work();
        SocketInfo {
            id: account.id,
            owner: account.owner,
            kind: self.public_kind(),
            stage: account.stage(self.flags(), &ends),
            calls: entered + flying,
            age: account.born.elapsed(),
            received: self.hot.received.load(Ordering::Relaxed),
            sent: self.hot.sent.load(Ordering::Relaxed),
            local: ends.local,
            remote: ends.remote,
        }
    }
}
