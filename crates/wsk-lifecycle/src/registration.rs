//! One registration in the NMR, which can be taken away and brought back any number of times until unload (L33).
//!
//! ```text
//!   (1) Out --begin_register--> (2) Registering --registered(ok)--> (3) In
//!    ^ ^--------- registered(failed) ---'                            | begin_deregister
//!    '------------------ deregistered ---------- (4) Leaving <-------'
//! ```
//!
//! Beside the state stands the mark *terminal*, set by unload: no registering begins any more. In (2) and (4) one owner acts,
//! and everybody else waits for its event. The owner sets the event before it leaves (2) or (4), and clears it after it
//! has entered: who finds the event set too early just looks again.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use crate::primitives::{AtomicU8, Ordering};

const STATE: u8 = 0b11;
const OUT: u8 = 0;
const REGISTERING: u8 = 1;
const IN: u8 = 2;
const LEAVING: u8 = 3;
const TERMINAL: u8 = 0b100;

/// What a caller who wants to change the registration has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// It is the owner: act, then report it.
    Own,
    /// Somebody else acts: wait for the event, then ask again.
    Wait,
    /// It is as wished.
    Done,
    /// Unload has begun: never again.
    Terminal,
}

/// The state as reported to tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not registered.
    Out,
    /// Being registered.
    Registering,
    /// Registered.
    In,
    /// Being deregistered.
    Leaving,
}

/// The state of one registration.
pub struct RegistrationState(AtomicU8);

impl RegistrationState {
    /// Not registered.
    pub fn new() -> Self {
        Self(AtomicU8::new(OUT))
    }

    /// Asks to register.
    pub fn begin_register(&self) -> Turn {
        self.step(|now| match now & STATE {
            _ if now & TERMINAL != 0 => Err(Turn::Terminal),
            OUT => Ok(REGISTERING),
            IN => Err(Turn::Done),
            _ => Err(Turn::Wait),
        })
    }

    /// Reports the outcome of registering.
    pub fn registered(&self, succeeded: bool) {
        self.leave(REGISTERING, if succeeded { IN } else { OUT });
    }

    /// Asks to deregister; `terminal` for good.
    pub fn begin_deregister(&self, terminal: bool) -> Turn {
        let mark = if terminal { TERMINAL } else { 0 };
        self.0.fetch_or(mark, Ordering::AcqRel);
        self.step(|now| match now & STATE {
            IN => Ok(LEAVING | now & TERMINAL),
            OUT => Err(Turn::Done),
            _ => Err(Turn::Wait),
        })
    }

    /// Reports the outcome of deregistering.
    pub fn deregistered(&self, succeeded: bool) {
        self.leave(LEAVING, if succeeded { OUT } else { IN });
    }

    /// The state now.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) & STATE {
            OUT => State::Out,
            REGISTERING => State::Registering,
            IN => State::In,
            _ => State::Leaving,
        }
    }

    fn step(&self, decide: impl Fn(u8) -> Result<u8, Turn>) -> Turn {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let next = match decide(now) {
                Ok(next) => next,
                Err(turn) => return turn,
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Turn::Own,
                Err(seen) => now = seen,
            }
        }
    }

    /// The owner's way out; the mark may have been set meanwhile and stays.
    fn leave(&self, from: u8, to: u8) {
        let before = self.0.fetch_xor(from ^ to, Ordering::AcqRel);
        debug_assert!(before & STATE == from, "reported by somebody who is not the owner");
    }
}

impl Default for RegistrationState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn l33_one_owner_others_wait_and_unload_is_terminal() {
        let registration = RegistrationState::new();
        assert_eq!(registration.begin_register(), Turn::Own);
        assert_eq!(registration.begin_deregister(false), Turn::Wait);
        registration.registered(true);
        assert_eq!(registration.begin_register(), Turn::Done);
        assert_eq!(registration.begin_deregister(false), Turn::Own);
        assert_eq!(registration.begin_register(), Turn::Wait);
        assert_eq!(registration.begin_deregister(true), Turn::Wait);
        registration.deregistered(true);
        assert_eq!(registration.state(), State::Out);
        assert_eq!(registration.begin_deregister(true), Turn::Done);
        assert_eq!(registration.begin_register(), Turn::Terminal);
    }

    #[test]
    fn a_registration_that_failed_can_be_asked_for_again() {
        let registration = RegistrationState::new();
        assert_eq!(registration.begin_register(), Turn::Own);
        registration.registered(false);
        assert_eq!(registration.begin_register(), Turn::Own);
        assert_eq!(registration.begin_deregister(true), Turn::Wait);
        registration.registered(true);
        assert_eq!(registration.begin_deregister(true), Turn::Own);
    }
}
