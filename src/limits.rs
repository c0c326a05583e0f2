//! What connections may hold in all: how many, and how many bytes of nonpaged pool.
//!
//! A connection is admitted together with its fixed cost and its smallest buffer, so that every admitted connection can
//! go on whatever the others hold. A larger buffer is taken from the first three quarters of the bytes only, so that those
//! who have one do not keep others out.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a connection takes beside its buffer: socket, task, operation, IRPs. Measured by the bench, rounded up.
const CONNECTION_COST: u64 = 2048;

/// The smallest buffer, which every connection has a claim to.
pub(crate) const SMALLEST_BUFFER: u32 = 4096;

/// The counts.
pub(crate) struct Limits {
    most_connections: u32,
    most_bytes: u64,
    connections: AtomicU32,
    bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

/// One connection's place, with its fixed cost and its smallest buffer.
pub(crate) struct Admission(&'static Limits);

/// A claim to more bytes than the smallest buffer's.
pub(crate) struct Claim {
    limits: &'static Limits,
    bytes: u64,
}

impl Limits {
    pub(crate) const fn new(most_connections: u32, most_bytes: u64) -> Self {
        Self {
            most_connections,
            most_bytes,
            connections: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
        }
    }

    /// A place for one more connection, unless a limit is reached.
    pub(crate) fn admit(&'static self) -> Option<Admission> {
        let one_more = |now: u32| (now < self.most_connections).then_some(now + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        if self.take(CONNECTION_COST + u64::from(SMALLEST_BUFFER), self.most_bytes) {
            return Some(Admission(self));
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        None
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes held now, and at most so far.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.peak_bytes.load(Ordering::Relaxed))
    }

    fn take(&self, bytes: u64, most: u64) -> bool {
        let more = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= most);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.inspect(|before| _ = self.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed)).is_ok()
    }
}

impl Admission {
    /// The largest buffer up to `wished` that may be had: all of it, or the smallest.
    pub(crate) fn claim(&self, wished: u32) -> (u32, Option<Claim>) {
        let bytes = u64::from(wished.saturating_sub(SMALLEST_BUFFER));
        if bytes > 0 && self.0.take(bytes, self.0.most_bytes / 4 * 3) {
            return (wished, Some(Claim { limits: self.0, bytes }));
        }
        (wished.min(SMALLEST_BUFFER), None)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(CONNECTION_COST + u64::from(SMALLEST_BUFFER), Ordering::Relaxed);
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.limits.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
