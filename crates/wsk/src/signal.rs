//! Something that happens once, and that tasks can wait for.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use allocator_api2::vec::Vec;

use crate::sync::{OutOfMemory, Pool, SpinLock, tag, try_push};

type Waiters = Vec<Waiter, Pool<{ tag(b"WskG") }>>;

/// A one-time signal.
pub struct Signal(SpinLock<State>);

struct State {
    fired: bool,
    waiters: Waiters,
    /// The number of the last [`Waiter`].
    last: u64,
}

/// A [`Wait`] that has been polled, by its number.
struct Waiter {
    number: u64,
    waker: Waker,
}

impl Signal {
    /// A signal that has not been fired.
    pub const fn new() -> Self {
        Self(SpinLock::new(State { fired: false, waiters: Vec::new_in(Pool), last: 0 }))
    }

    /// Fires it, for good.
    pub fn fire(&self) {
        let waiters = {
            let mut state = self.0.lock();
            state.fired = true;
            core::mem::replace(&mut state.waiters, Vec::new_in(Pool))
        };
        waiters.into_iter().for_each(|waiter| waiter.waker.wake());
    }

    /// Whether it has been fired.
    pub fn is_fired(&self) -> bool {
        self.0.lock().fired
    }

    /// A future that is ready once it has been fired.
    pub fn wait(&self) -> Wait<'_> {
        Wait { signal: self, number: 0 }
    }

    /// Whether it has been fired; if not, `waker` is woken then. `number` is 0 before the first time.
    fn register(&self, number: &mut u64, waker: &Waker) -> Result<bool, OutOfMemory> {
        let before;
        {
            let mut state = self.0.lock();
            if state.fired {
                return Ok(true);
            }
            before = match state.waiters.iter_mut().find(|waiter| waiter.number == *number) {
                Some(waiter) if waiter.waker.will_wake(waker) => None,
                Some(waiter) => Some(core::mem::replace(&mut waiter.waker, waker.clone())),
                None => {
                    let next = state.last + 1;
                    try_push(&mut state.waiters, Waiter { number: next, waker: waker.clone() })?;
                    (state.last, *number) = (next, next);
                    None
                }
            };
        }
        // Dropping a waker may free its task, which is nothing to do under the lock.
        drop(before);
        Ok(false)
    }

    /// Forgets a waiter, so that a signal that outlives many of them holds none of their tasks.
    fn forget(&self, number: u64) {
        let waiter = {
            let mut state = self.0.lock();
            let place = state.waiters.iter().position(|waiter| waiter.number == number);
            place.map(|place| state.waiters.swap_remove(place))
        };
        drop(waiter);
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

/// See [`Signal::wait`]. Waiting takes memory for a waker: if there is none, it ends with an error.
pub struct Wait<'a> {
    signal: &'a Signal,
    number: u64,
}

impl Future for Wait<'_> {
    type Output = Result<(), OutOfMemory>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let signal = self.signal;
        match signal.register(&mut self.number, context.waker()) {
            Ok(false) => Poll::Pending,
            Ok(true) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.number != 0 {
            self.signal.forget(self.number);
        }
    }
}
