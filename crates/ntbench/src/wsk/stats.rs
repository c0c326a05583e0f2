//! What went through the provider, for the display of a run.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Figures of a moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Connections open now.
    pub connections: u64,
    /// Listening sockets open now.
    pub listeners: u64,
    /// Datagram sockets open now.
    pub datagram_sockets: u64,
    /// Other sockets open now.
    pub others: u64,
    /// Connections there have been.
    pub connections_total: u64,
    /// Names and addresses looked up.
    pub look_ups: u64,
    /// Lists of received data that clients keep now.
    pub kept: u64,
    /// As many as they ever kept at a time.
    pub kept_most: u64,
    /// Bytes that clients received.
    pub bytes_in: u64,
    /// Bytes that clients sent.
    pub bytes_out: u64,
    /// Datagrams that clients received.
    pub datagrams_in: u64,
    /// Datagrams that clients sent.
    pub datagrams_out: u64,
}

/// Counters that threads share without meeting.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    datagrams_in: AtomicU64,
    datagrams_out: AtomicU64,
}

const SHARDS: usize = 8;

#[derive(Default)]
pub(super) struct Counters {
    shards: [Shard; SHARDS],
    pub(super) connections: AtomicI64,
    pub(super) listeners: AtomicI64,
    pub(super) datagram_sockets: AtomicI64,
    pub(super) others: AtomicI64,
    pub(super) connections_total: AtomicU64,
    pub(super) look_ups: AtomicU64,
    kept: AtomicI64,
    kept_most: AtomicI64,
}

impl Counters {
    fn shard(&self) -> &Shard {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        thread_local!(static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) as usize % SHARDS);
        &self.shards[MINE.with(|mine| *mine)]
    }

    pub(super) fn received(&self, bytes: usize) {
        self.shard().bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.shard().bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn datagram_received(&self, bytes: usize) {
        self.received(bytes);
        self.shard().datagrams_in.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn datagram_sent(&self, bytes: usize) {
        self.sent(bytes);
        self.shard().datagrams_out.fetch_add(1, Ordering::Relaxed);
    }

    /// A client keeps one list more.
    pub(super) fn keeps(&self) {
        let now = self.kept.fetch_add(1, Ordering::Relaxed) + 1;
        self.kept_most.fetch_max(now, Ordering::Relaxed);
    }

    /// It has released one.
    pub(super) fn released(&self) {
        self.kept.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Stats {
        let positive = |counter: &AtomicI64| counter.load(Ordering::Relaxed).max(0) as u64;
        let sum = |of: fn(&Shard) -> &AtomicU64| self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum();
        Stats {
            connections: positive(&self.connections),
            listeners: positive(&self.listeners),
            datagram_sockets: positive(&self.datagram_sockets),
            others: positive(&self.others),
            connections_total: self.connections_total.load(Ordering::Relaxed),
            look_ups: self.look_ups.load(Ordering::Relaxed),
            kept: positive(&self.kept),
            kept_most: positive(&self.kept_most),
            bytes_in: sum(|shard| &shard.bytes_in),
            bytes_out: sum(|shard| &shard.bytes_out),
            datagrams_in: sum(|shard| &shard.datagrams_in),
            datagrams_out: sum(|shard| &shard.datagrams_out),
        }
    }
}
