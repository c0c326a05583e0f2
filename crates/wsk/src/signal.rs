//! Something that happens once, and that tasks can wait for.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use allocator_api2::vec::Vec;

use crate::sync::{OutOfMemory, Pool, SpinLock, tag, try_push};

type Wakers = Vec<Waker, Pool<{ tag(b"WskG") }>>;

/// A one-time signal.
pub struct Signal(SpinLock<State>);

struct State {
    fired: bool,
    wakers: Wakers,
}

impl Signal {
    /// A signal that has not been fired.
    pub const fn new() -> Self {
        Self(SpinLock::new(State { fired: false, wakers: Vec::new_in(Pool) }))
    }

    /// Fires it, for good.
    pub fn fire(&self) {
        let wakers = {
            let mut state = self.0.lock();
            state.fired = true;
            core::mem::replace(&mut state.wakers, Vec::new_in(Pool))
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it has been fired.
    pub fn is_fired(&self) -> bool {
        self.0.lock().fired
    }

    /// A future that is ready once it has been fired.
    pub fn wait(&self) -> Wait<'_> {
        Wait(self)
    }

    fn register(&self, waker: &Waker) -> Result<bool, OutOfMemory> {
        let mut state = self.0.lock();
        if !state.fired && !state.wakers.iter().any(|known| known.will_wake(waker)) {
            try_push(&mut state.wakers, waker.clone())?;
        }
        Ok(state.fired)
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

/// See [`Signal::wait`]. Waiting takes memory for a waker: if there is none, it ends with an error.
pub struct Wait<'a>(&'a Signal);

impl Future for Wait<'_> {
    type Output = Result<(), OutOfMemory>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.register(context.waker()) {
            Ok(false) => Poll::Pending,
            Ok(true) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}
