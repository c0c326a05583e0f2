//! Rundown protection that says who is last, for bindings and for sockets.
//!
//! NT's own rundown references make somebody wait. Here nobody waits: the one whose step takes the last right away
//! after the end has begun is told so, and does what was to be done then ([`Released::Last`]).
//!
//! ```text
//!            open            begin_end, no rights                   (1) New      no right is granted yet
//!   (1) New ------> (2) Open ----------------------> (4) Done       (2) Open     rights are granted
//!    |                 |                              ^             (3) Draining rights come back, none are granted
//!    |                 | begin_end, rights out        | release     (4) Done     for ever
//!    |                 +---------> (3) Draining ------+ of the last
//!    +--------- begin_end -----------------------------> (4)
//! ```
//!
//! The phase and the counts share one word, so that every decision is one atomic step (L18). Beside the rights it can count
//! *flights*: calls that have returned and whose results are still to come. They decide nothing here: what a socket's
//! calls work with is protected by its close, which comes back after all of them.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use crate::primitives::{AtomicU64, Ordering};

/// What a right is for; see the terms of `docs/lifecycle.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// New work: a call that is in flight.
    Enter,
    /// The call that gives one socket or resource back to the provider.
    Drain,
}

/// Where a [`Rundown`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No right has been granted yet, and none is.
    New,
    /// Rights are granted.
    Open,
    /// The end has begun; rights are still out.
    Draining,
    /// The end has begun, and every right is back.
    Done,
}

/// The answer to [`Rundown::acquire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Acquired {
    /// The right is the caller's, who has to give it back.
    Granted,
    /// Not open, or more is out than is counted (a million calls in flight). There is nothing to give back.
    Refused,
    /// Not open, and the attempt itself turned out to be the last to leave: as [`Released::Last`].
    RefusedLast,
}

/// The answer to [`Rundown::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Released {
    /// Other rights are out, or the end has not begun.
    Held,
    /// The end has begun, and this was the last right. Said exactly once.
    Last,
}

/// The answer to [`Rundown::begin_end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum BeginEnd {
    /// Nothing was out: it is over, and [`Released::Last`] will not be said.
    Idle,
    /// Rights are out. One more [`Right::Enter`] was granted with this step, to the caller, who walks what is
    /// to be drained under its protection; [`Released::Last`] will be said exactly once.
    Busy,
    /// The end had begun before.
    Already,
}

/// Phase and counts as read in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where it stands.
    pub phase: Phase,
    /// Rights of kind [`Right::Enter`] that are out.
    pub enters: u32,
    /// Rights of kind [`Right::Drain`] that are out.
    pub drains: u32,
    /// Calls whose results have not been taken.
    pub flights: u32,
}

const PHASE: u64 = 0b11;
const NEW: u64 = 0;
const OPEN: u64 = 1;
const DRAINING: u64 = 2;
const DONE: u64 = 3;
const ENTER: u64 = 1 << 2;
const FLIGHT: u64 = 1 << 23;
const DRAIN: u64 = 1 << 44;
/// The bits that count flights.
const FLIGHTS: u64 = DRAIN - FLIGHT;
/// The highest bit of each count. What has come so far is refused more: no count runs over into the next one, for those that are
/// refused at the same time are fewer than the other half.
const FULL: u64 = (FLIGHT >> 1) | (DRAIN >> 1) | (1 << 63);

/// A count of rights with an end that is noticed exactly once.
///
/// # Invariants
/// Bits 0-1 are the phase, 2-22 the [`Right::Enter`]s, 23-43 the flights, 44-63 the [`Right::Drain`]s. In [`Phase::Done`] no
/// right that was granted is out; an `acquire` that will be refused may show for a moment.
pub struct Rundown(AtomicU64);

impl Rundown {
    /// Shut, until [`open`](Self::open).
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(NEW))
    }

    /// Shut, until [`open`](Self::open). (loom's atomics are not made at compile time.)
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU64::new(NEW))
    }

    /// Open from the start.
    pub fn new_open() -> Self {
        Self(AtomicU64::new(OPEN))
    }

    /// Grants rights from now on. `false` if the end has begun: then it stays shut (L09).
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn open(&self) -> bool {
        let opened = |word: u64| (word & PHASE == NEW).then_some(word - NEW + OPEN);
        self.0.fetch_update(Ordering::Release, Ordering::Relaxed, opened).is_ok()
    }

    /// Asks for a [`Right::Enter`].
    ///
    /// # IRQL
    /// Any; lock-free (L15).
    #[inline]
    pub fn acquire(&self) -> Acquired {
        self.acquire_as(Right::Enter)
    }

    /// Asks for a right of either kind.
    ///
    /// # IRQL
    /// Any; lock-free (L15).
    #[inline]
    pub fn acquire_as(&self, right: Right) -> Acquired {
        if self.0.fetch_add(right.unit(), Ordering::Acquire) & (PHASE | FULL) == OPEN {
            return Acquired::Granted;
        }
        match self.release(right) {
            Released::Held => Acquired::Refused,
            Released::Last => Acquired::RefusedLast,
        }
    }

    /// Asks for a [`Right::Enter`] and counts a flight, which [`land`](Self::land) ends, or
    /// [`release_landed`](Self::release_landed) together with the right.
    ///
    /// # IRQL
    /// Any; lock-free (L15).
    #[inline]
    pub fn acquire_flying(&self) -> Acquired {
        if self.0.fetch_add(ENTER + FLIGHT, Ordering::Acquire) & (PHASE | FULL) == OPEN {
            return Acquired::Granted;
        }
        match self.release_landed() {
            Released::Held => Acquired::Refused,
            Released::Last => Acquired::RefusedLast,
        }
    }

    /// Counts a flight for somebody who holds a [`Right::Enter`].
    ///
    /// # IRQL
    /// Any; lock-free.
    pub fn take_off(&self) {
        self.0.fetch_add(FLIGHT, Ordering::Relaxed);
    }

    /// A flight that outlived its right is over.
    ///
    /// # IRQL
    /// Any; lock-free.
    #[inline]
    pub fn land(&self) {
        self.0.fetch_sub(FLIGHT, Ordering::Relaxed);
    }

    /// Grants one more right to somebody who holds one; possible also while draining.
    ///
    /// # IRQL
    /// Any.
    pub fn acquire_more(&self, right: Right) {
        let before = self.0.fetch_add(right.unit(), Ordering::Relaxed);
        debug_assert!(before & PHASE != DONE && before > PHASE, "a right out of nothing");
    }

    /// Grants one more right to somebody who may hold none: the completion of an operation that was parked (L35). `false` if it
    /// is over; until that is decided, whoever decides finds this right.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn try_acquire_more(&self, right: Right) -> bool {
        let more = |word: u64| matches!(word & PHASE, OPEN | DRAINING).then(|| word + right.unit());
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok()
    }

    /// Gives a right back.
    ///
    /// # IRQL
    /// Any; lock-free (L15).
    #[inline]
    pub fn release(&self, right: Right) -> Released {
        self.give_back(right.unit())
    }

    /// Gives a [`Right::Enter`] back, and ends its flight.
    ///
    /// # IRQL
    /// Any; lock-free (L15).
    #[inline]
    pub fn release_landed(&self) -> Released {
        self.give_back(ENTER + FLIGHT)
    }

    #[inline]
    fn give_back(&self, units: u64) -> Released {
        let before = self.0.fetch_sub(units, Ordering::Release);
        if (before - units) & !FLIGHTS != DRAINING {
            return Released::Held;
        }
        self.claim_last()
    }

    /// The step that decides. Somebody who came and was refused may stand in between; he then tries it when he leaves.
    #[cold]
    fn claim_last(&self) -> Released {
        let last = |word: u64| (word & !FLIGHTS == DRAINING).then_some(word - DRAINING + DONE);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, last) {
            Ok(_) => Released::Last,
            Err(_) => Released::Held,
        }
    }

    /// Grants no new rights from this instant on.
    ///
    /// # IRQL
    /// Any.
    pub fn begin_end(&self) -> BeginEnd {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let (next, answer) = match now & PHASE {
                DRAINING | DONE => return BeginEnd::Already,
                _ if now & !FLIGHTS <= PHASE => (now & FLIGHTS | DONE, BeginEnd::Idle),
                phase => (now - phase + DRAINING + ENTER, BeginEnd::Busy),
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return answer,
                Err(seen) => now = seen,
            }
        }
    }

    /// Whether a right asked for now would be granted.
    ///
    /// # IRQL
    /// Any.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) & PHASE == OPEN
    }

    /// Phase and counts, read in one step.
    ///
    /// # IRQL
    /// Any.
    pub fn snapshot(&self) -> Snapshot {
        let word = self.0.load(Ordering::Acquire);
        Snapshot {
            phase: match word & PHASE {
                NEW => Phase::New,
                OPEN => Phase::Open,
                DRAINING => Phase::Draining,
                _ => Phase::Done,
            },
            enters: ((word & (FLIGHT - 1)) / ENTER) as u32,
            drains: (word / DRAIN) as u32,
            flights: ((word & FLIGHTS) / FLIGHT) as u32,
        }
    }
}

impl Default for Rundown {
    fn default() -> Self {
        Self::new()
    }
}

impl Right {
    const fn unit(self) -> u64 {
        match self {
            Right::Enter => ENTER,
            Right::Drain => DRAIN,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_refuses_and_an_ended_one_never_opens() {
        let rundown = Rundown::new();
        assert_eq!(rundown.acquire(), Acquired::Refused);
        assert_eq!(rundown.begin_end(), BeginEnd::Idle);
        assert!(!rundown.open());
        assert_eq!(rundown.acquire(), Acquired::Refused);
    }

    #[test]
    fn no_count_runs_over_into_another() {
        let full = Rundown(AtomicU64::new(OPEN + (1 << 20) * ENTER));
        let before = full.snapshot();
        assert_eq!(
            (full.acquire(), full.acquire_flying(), full.acquire_as(Right::Drain)),
            (Acquired::Refused, Acquired::Refused, Acquired::Refused)
        );
        assert_eq!(full.snapshot(), before);
        assert_eq!(full.release(Right::Enter), Released::Held);
        assert_eq!(full.acquire_flying(), Acquired::Granted);
        let flying = Rundown(AtomicU64::new(OPEN + (1 << 20) * FLIGHT));
        assert_eq!(flying.acquire_flying(), Acquired::Refused);
        flying.land();
        assert_eq!(flying.acquire_flying(), Acquired::Granted);
        assert_eq!(flying.snapshot(), Snapshot { phase: Phase::Open, enters: 1, drains: 0, flights: 1 << 20 });
    }

    #[test]
    fn idle_end_is_told_to_the_one_who_began_it() {
        let rundown = Rundown::new_open();
        assert_eq!(rundown.acquire(), Acquired::Granted);
        assert_eq!(rundown.release(Right::Enter), Released::Held);
        assert_eq!(rundown.begin_end(), BeginEnd::Idle);
        assert_eq!(rundown.begin_end(), BeginEnd::Already);
    }

    #[test]
    fn busy_end_is_told_to_the_last_one_out() {
        let rundown = Rundown::new_open();
        assert_eq!(rundown.acquire(), Acquired::Granted);
        rundown.acquire_more(Right::Drain);
        assert_eq!(rundown.begin_end(), BeginEnd::Busy);
        assert_eq!(rundown.snapshot(), Snapshot { phase: Phase::Draining, enters: 2, drains: 1, flights: 0 });
        assert_eq!(rundown.release(Right::Enter), Released::Held);
        assert_eq!(rundown.release(Right::Enter), Released::Held);
        assert_eq!(rundown.acquire(), Acquired::Refused);
        assert_eq!(rundown.release(Right::Drain), Released::Last);
        assert_eq!(rundown.snapshot(), Snapshot { phase: Phase::Done, enters: 0, drains: 0, flights: 0 });
        assert_eq!(rundown.acquire(), Acquired::Refused);
    }

    #[test]
    fn flights_are_told_and_decide_nothing() {
        let rundown = Rundown::new_open();
        assert_eq!(rundown.acquire_flying(), Acquired::Granted);
        assert_eq!(rundown.acquire_flying(), Acquired::Granted);
        assert_eq!(rundown.release_landed(), Released::Held);
        assert_eq!(rundown.snapshot(), Snapshot { phase: Phase::Open, enters: 1, drains: 0, flights: 1 });
        assert_eq!(rundown.release(Right::Enter), Released::Held);
        assert_eq!(rundown.begin_end(), BeginEnd::Idle, "the result that is to come keeps nobody");
        assert_eq!(rundown.acquire_flying(), Acquired::Refused);
        rundown.land();
        assert_eq!(rundown.snapshot(), Snapshot { phase: Phase::Done, enters: 0, drains: 0, flights: 0 });
    }
}
