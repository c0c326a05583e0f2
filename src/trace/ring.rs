//! The last events, in order, for those who ask. Who tells one waits for nobody; who asks late loses the oldest.
//!
//! Each event is written and read in one step under a spin lock that is held for one copy of it.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use allocator_api2::vec::Vec;
use control_abi::events::{Event, REMEMBERED};
use wsk::sync::{Event as Flag, OutOfMemory, Pool, SpinLock, tag, try_push};
use wsk::{Passive, system_time};

type Places = Vec<Event, Pool<{ tag(b"WskM") }>>;

/// The last events.
///
/// # Invariants
/// The event with number `n`, from 1 to `last`, is at place `(n - 1) % REMEMBERED` until that of number `n + REMEMBERED`
/// takes its place.
pub(crate) struct Ring {
    state: SpinLock<State>,
    /// How many wait for the next one.
    waiting: AtomicU32,
    /// Set when there is one, if somebody waits.
    told: Flag,
}

struct State {
    last: u64,
    places: Places,
}

/// What there is at a number.
pub(crate) enum Found {
    /// The event.
    This(Event),
    /// It is remembered no more; the oldest that is has this number.
    Lost(u64),
    /// It has not happened yet.
    NotYet,
}

impl Ring {
    /// A ring without events.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let mut places = Vec::new_in(Pool);
        places.try_reserve_exact(REMEMBERED as usize)?;
        for _ in 0..REMEMBERED {
            try_push(&mut places, Event::default())?;
        }
        let told = Flag::notification(false)?;
        Ok(Self { state: SpinLock::new(State { last: 0, places }), waiting: AtomicU32::new(0), told })
    }

    /// Adds an event; number and time are given to it here.
    pub(super) fn push(&self, event: &Event) {
        self.state.with(|state| {
            // Under the lock, so that times go up with the numbers.
            let (number, time) = (state.last + 1, system_time());
            if let Some(place) = state.places.get_mut(place_of(number)) {
                *place = Event { number, time, ..*event };
                state.last = number;
            }
        });
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.told.set();
        }
    }

    /// What there is at a number, which is not 0.
    pub(crate) fn find(&self, number: u64) -> Found {
        self.state.with(|state| {
            let oldest = (state.last + 1).saturating_sub(u64::from(REMEMBERED)).max(1);
            match state.places.get(place_of(number)) {
                _ if number > state.last => Found::NotYet,
                Some(event) if number >= oldest => Found::This(*event),
                _ => Found::Lost(oldest),
            }
        })
    }

    /// The number of the newest event; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.state.with(|state| state.last)
    }

    /// Waits until there is an event after that number, for no longer than `time`, and not at all once `given_up` says so.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub(crate) fn wait(&self, passive: Passive, number: u64, time: Duration, given_up: impl Fn() -> bool) {
        /// How many milliseconds a cancelled request may take to be seen, and a flag that another waiter cleared.
        const LOOK: u64 = 20;
        let mut left = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        loop {
            self.told.clear();
            if self.last() > number || left == 0 || given_up() {
                break;
            }
            let pause = left.min(LOOK);
            self.told.wait_for(passive, Duration::from_millis(pause));
            left -= pause;
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn place_of(number: u64) -> usize {
    (number.wrapping_sub(1) % u64::from(REMEMBERED)) as usize
}
