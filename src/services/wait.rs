//! Waiting for one of several things.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;

use wsk::Sleep;

/// Which of two futures was ready first.
pub(super) enum Either<A, B> {
    First(A),
    Second(B),
}

/// Waits for the first of two; the other is dropped.
pub(super) async fn first<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
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
pub(super) async fn now<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Waits for a time, unless `end` comes first: that is an error. It takes no memory: often the wait is for some.
pub(super) async fn pause_unless(end: Pin<&mut impl Future>, pause: &mut Sleep, time: Duration) -> Result<(), ()> {
    // It has rung by itself, or in the last wait.
    (&mut *pause).await;
    pause.again(time);
    match first(pause, end).await {
        Either::First(()) => Ok(()),
        Either::Second(_) => Err(()),
    }
}
