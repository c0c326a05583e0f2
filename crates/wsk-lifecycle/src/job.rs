//! A job that several parts do, from their beginning together to the end of the last.
//!
//! ```text
//!   parts:  (1) arriving --arrive--> (2) at work --leave--> (3) gone
//!   job:    begins with the last arrival; its reason to end is the first that anybody names; it is over with the last leaving
//! ```
//!
//! A part that leaves names a reason too, which is the job's if it is the last one and nobody has named one before: so a job whose
//! parts have all done what they had to do cannot be cancelled any more, and one that was cancelled did not end by itself.
//!
//! # IRQL
//! Any.

use core::num::NonZeroU8;

use crate::primitives::{AtomicU64, Ordering};

const ARRIVING: u64 = 1;
const LIVE: u64 = 1 << 24;
const REASON: u32 = 48;
const COUNT: u64 = LIVE - 1;

/// How many parts a job can have.
pub const MOST_PARTS: u32 = COUNT as u32;

/// What a part's leaving meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Left {
    /// Others are there still.
    Others,
    /// It was the last: the job is over.
    Last,
}

/// The state of one job.
#[derive(Debug)]
pub struct JobState(AtomicU64);

impl JobState {
    /// A job of so many parts, none of which has arrived; more than [`MOST_PARTS`] are that many.
    pub fn new(parts: u32) -> Self {
        let parts = u64::from(parts.min(MOST_PARTS));
        Self(AtomicU64::new(parts * ARRIVING + parts * LIVE))
    }

    /// A part has arrived, which each does once; `true` if it was the last, so that all may begin.
    #[must_use]
    pub fn arrive(&self) -> bool {
        self.0.fetch_sub(ARRIVING, Ordering::AcqRel) & COUNT == 1
    }

    /// A part that has arrived is gone, which each is once.
    pub fn leave(&self, reason: NonZeroU8) -> Left {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let mut next = now.wrapping_sub(LIVE);
            let last = live(next) == 0;
            if last && reason_of(next).is_none() {
                next |= u64::from(reason.get()) << REASON;
            }
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if last => return Left::Last,
                Ok(_) => return Left::Others,
                Err(other) => now = other,
            }
        }
    }

    /// Names a reason for the end; `true` if it is the job's now.
    pub fn end(&self, reason: NonZeroU8) -> bool {
        let named = u64::from(reason.get()) << REASON;
        let unless_named = |now| reason_of(now).is_none().then_some(now | named);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_named).is_ok()
    }

    /// Why it ends, once that is decided: then it stays so.
    pub fn reason(&self) -> Option<NonZeroU8> {
        reason_of(self.0.load(Ordering::Acquire))
    }

    /// How many parts have not arrived.
    pub fn arriving(&self) -> u32 {
        (self.0.load(Ordering::Acquire) & COUNT) as u32
    }

    /// How many parts are not gone.
    pub fn live(&self) -> u32 {
        live(self.0.load(Ordering::Acquire))
    }
}

fn live(state: u64) -> u32 {
    (state / LIVE & COUNT) as u32
}

fn reason_of(state: u64) -> Option<NonZeroU8> {
    NonZeroU8::new((state >> REASON) as u8)
}
