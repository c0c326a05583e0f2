//! The handle of a task: waits for what comes of it, or ends it.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};

use wsk_lifecycle::task::Output;

use super::task::{self, Header, Joined};

/// Why a task has no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// It was [aborted](JoinHandle::abort).
    Aborted,
    /// It waited for something that nobody could bring any more: its last waker was dropped, and so it was dropped itself.
    /// Also the answer to a handle that has given its output away already.
    Lost,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aborted => "the task was aborted",
            Self::Lost => "nobody could wake the task any more",
        })
    }
}

/// A future of what a task comes to. Dropping the handle detaches the task, which goes on.
///
/// An output that nobody takes is dropped with the handle or at the end of the task, whichever comes later.
///
/// # Invariants
/// `task` is live: the handle has not left it.
pub struct JoinHandle<T> {
    task: NonNull<Joined<T>>,
    output: PhantomData<T>,
}

// SAFETY: the output is handed from the task's runner to the handle by the task's state.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: a shared handle gives no access to the output.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    /// The task is new, and this its one handle.
    pub(super) unsafe fn new(task: NonNull<Joined<T>>) -> Self {
        // INVARIANT: as the caller promises.
        Self { task, output: PhantomData }
    }

    /// Asks for the task's end: at its next turn its future is dropped instead of polled, on its lane. A task that is done by
    /// then keeps its output.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn abort(&self) {
        let state = &self.joined().header.state;
        if !state.try_hold() {
            return;
        }
        if state.abort() {
            // SAFETY: held just now; the state says that it is to be queued.
            unsafe { task::queue(self.header()) };
        } else {
            // SAFETY: the hold taken above ends here.
            unsafe { task::release(self.header()) };
        }
    }

    /// Whether the task has ended, so that the handle is ready.
    ///
    /// # IRQL
    /// Any.
    pub fn is_finished(&self) -> bool {
        self.joined().header.state.is_done()
    }

    fn joined(&self) -> &Joined<T> {
        // SAFETY: live by the invariant.
        unsafe { self.task.as_ref() }
    }

    fn header(&self) -> NonNull<Header> {
        self.task.cast()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = self.joined();
        if !self.is_finished() {
            joined.header.joiner.register(context.waker());
        }
        if !self.is_finished() {
            return Poll::Pending;
        }
        // SAFETY: the task is done and the handle there, so the output is the handle's.
        Poll::Ready(unsafe { joined.take() }.unwrap_or(Err(JoinError::Lost)))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let joined = self.joined();
        if joined.header.state.detach() == Output::Discard {
            // SAFETY: the task is done, so the output is the handle's.
            drop(unsafe { joined.take() });
        }
        // Not to keep the task that waited here.
        drop(joined.header.joiner.take());
        // SAFETY: the handle's side, left here only.
        unsafe { task::leave(self.header()) };
    }
}
