//! Turns: one IRP that goes out and comes back again and again, between its completion routine, who takes the turns, and the
//! future that waits for their end.
//!
//! ```text
//!              the IRP is back: Run                         the future asks for something: Ours
//!   (1) Waiting ------------------> (2) Turning    (1) Waiting ------------------> (3) Held ---- settle ----> (1), or (2) if the
//!    ^   the IRP is out              |  ^    one turn after the other                            IRP has come back meanwhile
//!    '------------- wait ------------'  '--- due at the beginning
//!                                    | tell: what came of it is the future's
//!                                    v
//!                                   (4) Told        (5) Parked: a call has failed, and its IRP is not back (L35)
//! ```
//!
//! The word counts the turns that are due: each return of the IRP is one more. Whoever makes the count something is, or names, its
//! one *runner*, until he takes from it all that he has answered in the step that finds nothing new. So an IRP that comes back
//! inside the call that sent it costs no more than that count.
//!
//! Who may touch what, when:
//! - What the turns work with is the runner's; in (3) the asker's, who may look at it and ask for cancellation, but sends nothing.
//!   Nobody uses or frees the IRP meanwhile (L37), for its return waits for the asker to settle.
//! - The outcome is the runner's until he [tells](TurnState::tell) it, then the future's.
//! - The memory goes with the last *holder*: the runs, the future, and the list of parked ones if it is parked.
//! - There is one asker at a time: the future, which is polled and dropped by one at a time.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use crate::primitives::{AtomicU32, Ordering};

/// One turn that is due.
const TURN: u32 = 1;
const TURNS: u32 = 0xfff;
const HOLDER: u32 = 1 << 12;
const HOLDERS: u32 = 0b11 << 12;
const STOP: u32 = 1 << 16;
const DROPPED: u32 = 1 << 17;
const TOLD: u32 = 1 << 18;
const PARKED: u32 = 1 << 19;

/// How many turns a runner may take before it [hands over](TurnState::hand_over): the count has room for more.
pub const MOST_TURNS: u32 = 64;
const _: () = assert!(MOST_TURNS + 2 < TURNS);

/// What the completion routine has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Came {
    /// Nothing, with nothing of it: there is a runner, or somebody who will see to one.
    Left,
    /// Have a runner begin.
    Run,
    /// Take it off the list of parked ones, and [leave](TurnState::leave) for that list.
    Unpark,
}

/// What the runner has to do after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Waited {
    /// Take the next turn: the IRP is back.
    Back,
    /// Ask for the IRP's cancellation, then wait deaf to that.
    Asked,
    /// Nothing, with nothing of it: the IRP is out, and its return begins the next run.
    Waiting,
}

/// Whom the future's wish concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Asked {
    /// The asker: it is his until he [settles](TurnState::settle).
    Ours,
    /// The runner, who hears of it before he waits.
    Runners,
    /// Nobody: the end has been told.
    Over,
}

/// What the future can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To look at it, if no turn is being taken.
    Look,
    /// That no receive is waited for any more. It stays.
    Stop,
    /// The end, whatever comes: nobody waits for it any more. It stays.
    End,
}

/// What the runner minds before he waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mind {
    /// [`Wish::End`] alone.
    End,
    /// That, and [`Wish::Stop`].
    Stop,
    /// Neither: he has done what was asked.
    Nothing,
}

/// Proof of being the runner: the turns that he has answered for.
#[derive(Debug)]
pub struct Runner(u32);

/// The state of the turns.
///
/// # Invariants
/// Bits 0-11 count the turns that are due, 12-13 the holders. From [`tell`](Self::tell) on the count is not 0.
pub struct TurnState(AtomicU32);

impl TurnState {
    /// The first turn is due; holders are the runs and the future.
    pub fn new() -> Self {
        Self(AtomicU32::new(TURN + 2 * HOLDER))
    }

    /// A run begins: called by whom [`Came::Run`], [`settle`](Self::settle), [`hand_over`](Self::hand_over) or `new` has it begun.
    ///
    /// # IRQL
    /// Any.
    #[inline]
    pub fn begin(&self) -> Runner {
        Runner(TURN)
    }

    /// The IRP is back.
    ///
    /// # IRQL
    /// Any.
    #[inline]
    pub fn came(&self) -> Came {
        let before = self.0.fetch_add(TURN, Ordering::AcqRel);
        match before & (TURNS | PARKED) {
            0 => Came::Run,
            before if before & PARKED != 0 => Came::Unpark,
            _ => Came::Left,
        }
    }

    /// Whether the IRP that was sent is back already; then the next turn is the runner's to take.
    ///
    /// # IRQL
    /// Any.
    #[inline]
    #[must_use]
    pub fn is_back(&self, runner: &mut Runner) -> bool {
        let back = self.0.load(Ordering::Acquire) & TURNS > runner.0;
        runner.0 += u32::from(back);
        back
    }

    /// The runner has nothing more to do until the IRP comes back.
    ///
    /// # IRQL
    /// Any.
    #[inline]
    pub fn wait(&self, runner: &mut Runner, mind: Mind) -> Waited {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            if now & TURNS > runner.0 {
                runner.0 += 1;
                return Waited::Back;
            }
            if now & mind.bits() != 0 {
                return Waited::Asked;
            }
            match self.0.compare_exchange_weak(now, now - runner.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Waited::Waiting,
                Err(seen) => now = seen,
            }
        }
    }

    /// The runner has another one go on with the turn that he has not taken: he has it begin.
    ///
    /// # IRQL
    /// Any.
    pub fn hand_over(&self, runner: Runner) {
        let before = self.0.fetch_sub(runner.0 - TURN, Ordering::AcqRel);
        debug_assert!(before & TURNS == runner.0, "an IRP came back that was not sent");
    }

    /// Whether [`Wish::End`] has been asked for.
    ///
    /// # IRQL
    /// Any.
    #[inline]
    pub fn is_unwanted(&self) -> bool {
        self.0.load(Ordering::Relaxed) & DROPPED != 0
    }

    /// The future asks for something.
    ///
    /// # IRQL
    /// Any.
    pub fn ask(&self, wish: Wish) -> Asked {
        let ours = |now: u32| now & TURNS == 0;
        let next = |now: u32| match now & TOLD {
            0 => Some((now | wish.bits()) + if ours(now) { TURN } else { 0 }),
            _ => None,
        };
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(before) if ours(before) => Asked::Ours,
            Ok(_) => Asked::Runners,
            Err(_) => Asked::Over,
        }
    }

    /// The asker is through. `true` if the IRP has come back meanwhile: have a runner begin.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn settle(&self) -> bool {
        self.0.fetch_sub(TURN, Ordering::AcqRel) & TURNS > TURN
    }

    /// The runner has left what came of it.
    ///
    /// # IRQL
    /// Any.
    pub fn tell(&self) {
        self.0.fetch_or(TOLD, Ordering::AcqRel);
    }

    /// Whether the outcome is there, for the future.
    ///
    /// # IRQL
    /// Any.
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire) & TOLD != 0
    }

    /// A holder goes. `true` if it was the last: free it all.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn leave(&self) -> bool {
        self.0.fetch_sub(HOLDER, Ordering::AcqRel) & HOLDERS == HOLDER
    }

    /// A call has failed. `true` if its IRP is not back, and is its list's, which holds it all from now on (L35): the runner still
    /// tells. `false` if it is back: the next turn is to be taken.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn park(&self, runner: &mut Runner) -> bool {
        let parked = |now: u32| (now & TURNS == runner.0).then(|| (now - runner.0 + TURN + HOLDER) | PARKED);
        if self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, parked).is_ok() {
            return true;
        }
        runner.0 += 1;
        false
    }

    /// Takes parked turns back although their IRP never came: the socket is gone (L35). `true` if the caller is now the one who
    /// leaves for the list.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn reclaim(&self) -> bool {
        let claimed = |now: u32| (now & (PARKED | TURNS) == PARKED | TURN).then_some(now + TURN);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, claimed).is_ok()
    }
}

impl Wish {
    const fn bits(self) -> u32 {
        match self {
            Wish::Look => 0,
            Wish::Stop => STOP,
            Wish::End => DROPPED,
        }
    }
}

impl Mind {
    const fn bits(self) -> u32 {
        match self {
            Mind::End => DROPPED,
            Mind::Stop => DROPPED | STOP,
            Mind::Nothing => 0,
        }
    }
}

impl Default for TurnState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_irp_that_comes_back_inside_the_call_gives_the_next_turn_to_the_same_runner() {
        let state = TurnState::new();
        let mut runner = state.begin();
        assert!(!state.is_back(&mut runner));
        assert_eq!(state.came(), Came::Left);
        assert!(state.is_back(&mut runner));
        assert_eq!(state.wait(&mut runner, Mind::End), Waited::Waiting);
        assert_eq!(state.came(), Came::Run);
    }

    #[test]
    fn what_is_handed_over_is_one_turn() {
        let state = TurnState::new();
        let mut runner = state.begin();
        for _ in 0..MOST_TURNS {
            assert_eq!(state.came(), Came::Left);
            assert!(state.is_back(&mut runner));
        }
        state.hand_over(runner);
        let mut runner = state.begin();
        assert_eq!(state.wait(&mut runner, Mind::End), Waited::Waiting);
    }

    #[test]
    fn l37_an_irp_that_comes_back_while_it_is_cancelled_waits_for_that() {
        let state = TurnState::new();
        let mut runner = state.begin();
        assert_eq!(state.ask(Wish::Look), Asked::Runners);
        assert_eq!(state.wait(&mut runner, Mind::Stop), Waited::Waiting);
        assert_eq!(state.ask(Wish::Look), Asked::Ours);
        assert_eq!(state.came(), Came::Left);
        assert!(state.settle());
        let mut runner = state.begin();
        assert!(!state.is_back(&mut runner));
        state.tell();
        assert_eq!(state.ask(Wish::End), Asked::Over);
    }

    #[test]
    fn a_stop_is_minded_where_it_matters() {
        let state = TurnState::new();
        let mut runner = state.begin();
        assert_eq!(state.ask(Wish::Stop), Asked::Runners);
        assert_eq!(state.wait(&mut runner, Mind::Stop), Waited::Asked);
        assert_eq!(state.wait(&mut runner, Mind::Nothing), Waited::Waiting);
        assert_eq!(state.came(), Came::Run);
        let mut runner = state.begin();
        assert_eq!(state.wait(&mut runner, Mind::End), Waited::Waiting);
        assert_eq!(state.ask(Wish::End), Asked::Ours);
        assert!(!state.settle());
        assert!(state.is_unwanted());
    }

    #[test]
    fn l35_what_is_parked_is_freed_by_the_last_of_runs_future_and_list() {
        let state = TurnState::new();
        let mut runner = state.begin();
        assert!(state.park(&mut runner));
        state.tell();
        assert!(!state.leave(), "the runs");
        assert_eq!(state.came(), Came::Unpark);
        assert!(!state.reclaim());
        assert!(!state.leave(), "the list");
        assert_eq!(state.ask(Wish::End), Asked::Over);
        assert!(state.leave(), "the future");

        let state = TurnState::new();
        let mut runner = state.begin();
        assert!(state.park(&mut runner));
        assert!(state.reclaim());
        assert!(!state.reclaim());

        let state = TurnState::new();
        let mut runner = state.begin();
        assert_eq!(state.came(), Came::Left);
        assert!(!state.park(&mut runner), "it is back");
        assert_eq!(state.wait(&mut runner, Mind::End), Waited::Waiting);
    }
}
