//! A connection's share of a job: which messages it sends, and the one that is under way.
//!
//! It is shared by the connection's task and by the turns that are taken for it in a DPC, one after the other, never at the same time: so
//! its atomics are for going from one to the other, and order nothing.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use wsk::sync::{Shared, Tagged};
use wsk::{Buffer, OutOfMemory, Turn, Went};

use super::TrafficPool;
use super::job::{Job, now};

/// A connection's share.
pub(super) struct Lot {
    pub(super) job: Shared<Job>,
    /// The number of its first message, by which those of connections differ.
    pub(super) first: u64,
    /// How many messages are still to be sent.
    left: AtomicU64,
    /// The number of the message that is sent next.
    next: AtomicU64,
    /// Since when a message has not been answered, in nanoseconds since the system's start; 0 if none is under way.
    waiting_since: AtomicU64,
    /// How much of the message under way is back.
    back: AtomicUsize,
    /// Whether something else came instead.
    is_wrong: AtomicBool,
}

impl Tagged for Lot {
    type Pool = TrafficPool;
}

/// What there is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send the message of this number.
    Message(u64),
    /// All have been sent.
    Done,
    /// The job is to end.
    Ending,
}

impl Lot {
    /// That of the connection of this number.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn try_new(job: Shared<Job>, number: u32) -> Result<Shared<Self>, OutOfMemory> {
        let left = AtomicU64::new(job.share(number).unwrap_or(u64::MAX));
        let (first, zero) = (u64::from(number), || AtomicU64::new(0));
        let (next, waiting_since) = (AtomicU64::new(first), zero());
        Shared::try_new(Self {
            job,
            first,
            left,
            next,
            waiting_since,
            back: AtomicUsize::new(0),
            is_wrong: AtomicBool::new(false),
        })
    }

    /// The next message, which is then under way.
    pub(super) fn next(&self) -> Next {
        if self.job.is_ending() {
            return Next::Ending;
        }
        let Some(fewer) = self.left.load(Relaxed).checked_sub(1) else { return Next::Done };
        // Unlimited ones are as many as nobody ever sends.
        self.left.store(fewer, Relaxed);
        let number = self.next.load(Relaxed);
        self.next.store(number.wrapping_add(1), Relaxed);
        Next::Message(number)
    }

    /// A message that is to be answered is about to be sent.
    pub(super) fn ask(&self) {
        self.waiting_since.store(now(), Relaxed);
    }

    /// Its answer has come, or is not waited for any more: how long it took.
    pub(super) fn answered(&self) -> u64 {
        let since = self.waiting_since.load(Relaxed);
        self.waiting_since.store(0, Relaxed);
        now().saturating_sub(since)
    }

    /// For how long the answer has been waited for.
    pub(super) fn waiting(&self) -> u64 {
        now().saturating_sub(self.waiting_since.load(Relaxed))
    }

    /// Whether a message has not been answered.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting_since.load(Relaxed) != 0
    }

    /// Writes the next message of a stream that is echoed.
    pub(super) fn begin(&self, buffer: &mut Buffer) -> Turn {
        let Next::Message(number) = self.next() else { return Turn::Stop };
        self.back.store(0, Relaxed);
        self.is_wrong.store(false, Relaxed);
        self.job.messages.write(number, buffer);
        self.ask();
        Turn::Send
    }

    /// What is done after a transfer, where each message is sent before its answer is received.
    pub(super) fn turn(&self, went: Went, buffer: &mut Buffer) -> Turn {
        match went {
            Went::Out => {
                self.job.went();
                Turn::Receive
            }
            Went::In if self.came(buffer.filled()) => self.begin(buffer),
            Went::In => Turn::Receive,
        }
    }

    /// Something has come: the message, a part of it, or something else. Whether the message is back, or is not waited for any more.
    pub(super) fn came(&self, bytes: &[u8]) -> bool {
        let (job, back) = (&self.job, self.back.load(Relaxed));
        if job.is_ending() {
            self.answered();
            return true;
        }
        job.tally.bytes_received(bytes.len());
        // The message under way is the one before the next.
        let number = self.next.load(Relaxed).wrapping_sub(1);
        if !job.messages.is_part(number, back, bytes) {
            self.is_wrong.store(true, Relaxed);
        }
        self.back.store(back + bytes.len(), Relaxed);
        if !self.is_back() {
            return false;
        }
        let took = self.answered();
        if self.is_wrong.load(Relaxed) {
            job.tally.mismatched()
        } else {
            job.tally.received(took)
        }
        true
    }

    /// Whether all of the message is back.
    pub(super) fn is_back(&self) -> bool {
        self.back.load(Relaxed) >= self.job.messages.length()
    }
}
