//! What a service may hold in all: how many connections, and how many bytes of nonpaged pool.
//!
//! A connection is admitted together with what it needs at least, so that every admitted connection can go on
//! whatever the others hold. More is taken from the first three quarters of the bytes only, so that those who have it do not
//! keep others out.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a socket with its task takes beside buffers: context, operation, IRPs. Measured by the bench, rounded up.
pub(crate) const SOCKET_COST: u64 = 2048;

/// The smallest buffer of a connection.
pub(crate) const SMALLEST_BUFFER: u32 = 4096;

/// The counts.
pub(crate) struct Limits {
    most_connections: u32,
    most_bytes: u64,
    /// What a connection takes at least.
    least: u64,
    connections: AtomicU32,
    bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

/// One connection's place, with what it needs at least.
pub(crate) struct Admission(&'static Limits);

/// A claim to more bytes than that.
pub(crate) struct Claim {
    limits: &'static Limits,
    bytes: u64,
}

impl Limits {
    /// Limits for connections that take `least` bytes each.
    pub(crate) const fn new(most_connections: u32, most_bytes: u64, least: u64) -> Self {
        Self {
            most_connections,
            most_bytes,
            least,
            connections: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
        }
    }

    /// A place for one more connection, unless a limit is reached.
    pub(crate) fn admit(&'static self) -> Option<Admission> {
        let one_more = |now: u32| (now < self.most_connections).then_some(now + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        if self.take(self.least, self.most_bytes) {
            return Some(Admission(self));
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// How many connections there are. Once it says none, those that were have done everything that they did.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Acquire)
    }

    /// Bytes held now, and at most so far.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.peak_bytes.load(Ordering::Relaxed))
    }

    /// `bytes` for something that is no connection, unless the limit is reached.
    pub(crate) fn claim(&'static self, bytes: u64) -> Option<Claim> {
        self.take(bytes, self.most_bytes).then(|| Claim { limits: self, bytes })
    }

    fn take(&self, bytes: u64, most: u64) -> bool {
        let more = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= most);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.inspect(|before| _ = self.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed)).is_ok()
    }
}

impl Admission {
    /// So many bytes beyond those that the connection has at least, if they may be had.
    pub(crate) fn claim(&self, more: u32) -> Option<Claim> {
        let (limits, bytes) = (self.0, u64::from(more));
        limits.take(bytes, limits.most_bytes / 4 * 3).then(|| Claim { limits, bytes })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.0.least, Ordering::Relaxed);
        // The last that a connection does with its service.
        self.0.connections.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.limits.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
