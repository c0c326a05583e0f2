//! Waiting for more than one thing, or not for ever.
//!
//! Every operation of this library is cancelled by dropping its future. So these need not know what they wait for: what was
//! not ready first, or in time, is dropped. An operation at the provider goes on until its IRP is back, with everything
//! that it needs; nobody waits for that.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;

use crate::sync::{OutOfMemory, Sleep};

/// Why there is no answer within a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutError {
    /// The time has passed.
    Elapsed,
    /// No memory for a timer.
    OutOfMemory,
}

impl From<OutOfMemory> for TimeoutError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elapsed => "the time has passed",
            Self::OutOfMemory => "no memory for a timer",
        })
    }
}

/// Waits for a future, but not longer than `limit`, from the first poll on; then the future is dropped, which cancels what it did. What is ready
/// at once takes no timer. The timer is a KTIMER: no thread waits.
///
/// # Errors
/// [`TimeoutError`]; the future is dropped.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, TimeoutError> {
    let mut future = pin!(future);
    if let Some(output) = now(future.as_mut()).await {
        return Ok(output);
    }
    let sleep = Sleep::new(limit)?;
    match first(future, sleep).await {
        Either::First(output) => Ok(output),
        Either::Second(()) => Err(TimeoutError::Elapsed),
    }
}

/// Which of two futures was ready first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The one that was named first.
    First(A),
    /// The other one.
    Second(B),
}

/// Waits for the first of two, and looks at `a` first; the other is dropped.
///
/// # IRQL
/// That of the futures.
pub async fn first<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(output) = a.as_mut().poll(context) {
            return Poll::Ready(Either::First(output));
        }
        b.as_mut().poll(context).map(Either::Second)
    })
    .await
}

/// What a future has come to by now. A wait that has been polled has taken the memory that it needs.
///
/// # IRQL
/// That of the future.
pub async fn now<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Lets other tasks run.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
