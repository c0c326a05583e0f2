//! One buffer that goes round: received into, looked at, sent or not, received into again.
//!
//! It is what a loop of [`receive`](super::TcpStream::receive) and [`send`](super::TcpStream::send) does, but the task sleeps from
//! the first turn to the last: the turns are taken in a DPC of their own, with everything that one needs in one place. For services
//! that are measured.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::TcpStream;
use super::halves::ended;
use crate::error::{IoError, TransferError};
use crate::raw::Buffer;
use crate::raw::socket::{NUDGE_IDLE, NUDGE_STOP, RECEIVING};
use crate::raw::turning::{self, Looking, Outcome, Over, Refused};
pub use crate::raw::turning::{Turn, Went};

/// How the turns ended.
#[derive(Debug)]
pub enum Turned {
    /// The peer will send no more.
    Finished,
    /// By [`Turn::Stop`].
    Stopped,
}

/// See [`TcpStream::turns`]. Dropping it ends the turns, and gives up the transfer that is in flight.
pub struct Turns<'a, F: FnMut(Went, &mut Buffer) -> Turn + Send + 'static> {
    stream: &'a mut TcpStream,
    stage: Stage<F>,
}

enum Stage<F: Looking> {
    Before(Buffer, F),
    Turning(turning::Turns<F>),
    Over,
}

impl TcpStream {
    /// Receives into the buffer, and does after each transfer what `turn` says, until it says [`Turn::Stop`] or the peer has sent
    /// everything.
    ///
    /// # Errors
    /// Those of [`receive`](Self::receive) and [`send`](Self::send).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`, at which `turn` is called too, wherever the task runs: at DISPATCH_LEVEL as a rule.
    pub fn turns<F: FnMut(Went, &mut Buffer) -> Turn + Send + 'static>(&mut self, buffer: Buffer, turn: F) -> Turns<'_, F> {
        Turns { stream: self, stage: Stage::Before(buffer, turn) }
    }
}

type Output = Result<(Buffer, Turned), TransferError>;

impl<F: FnMut(Went, &mut Buffer) -> Turn + Send + 'static> Turns<'_, F> {
    fn begin(&mut self, buffer: Buffer, turn: F) -> Result<turning::Turns<F>, TransferError> {
        let socket = &self.stream.reader.socket;
        // One that is there was meant for a receive that is over.
        socket.take_flags(NUDGE_IDLE);
        socket.mark(RECEIVING);
        let begun = turning::Turns::begin(socket, buffer, self.stream.writer.send_flags(), turn);
        begun.map_err(|(refused, buffer)| {
            let error = match refused {
                Refused::Detached => IoError::Detached,
                Refused::OutOfMemory => IoError::OutOfMemory,
            };
            TransferError { error, buffer: Some(buffer) }
        })
    }

    /// Looks for the end, and passes on what the owner of the service wants.
    fn wait(&mut self, turns: &mut turning::Turns<F>, context: &Context<'_>) -> Option<Output> {
        let reader = &mut self.stream.reader;
        reader.socket.reader.watch(&mut reader.watching, context.waker());
        // What has ended is not to be nudged: the nudge is for what comes after it.
        if let Some(outcome) = turns.outcome() {
            return Some(self.over(outcome));
        }
        let flags = reader.socket.flags();
        if flags & NUDGE_STOP != 0 {
            turns.stop();
        } else if flags & NUDGE_IDLE != 0 {
            reader.socket.take_flags(NUDGE_IDLE);
            turns.nudge();
        }
        turns.outcome().map(|outcome| self.over(outcome))
    }

    fn over(&self, outcome: Outcome) -> Output {
        let socket = &self.stream.reader.socket;
        let failed = |error, buffer| Err(TransferError { error, buffer });
        match (outcome.over, outcome.buffer) {
            (Over::Finished, Some(buffer)) => Ok((buffer, Turned::Finished)),
            (Over::Stopped, Some(buffer)) => Ok((buffer, Turned::Stopped)),
            (Over::Failed(status), buffer) => failed(ended(socket, status), buffer),
            (_, buffer) => failed(IoError::Detached, buffer),
        }
    }
}

impl<F: FnMut(Went, &mut Buffer) -> Turn + Send + 'static> Unpin for Turns<'_, F> {}

impl<F: FnMut(Went, &mut Buffer) -> Turn + Send + 'static> Future for Turns<'_, F> {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Output> {
        let this = self.get_mut();
        let mut turns = match core::mem::replace(&mut this.stage, Stage::Over) {
            Stage::Before(buffer, turn) => match this.begin(buffer, turn) {
                Ok(turns) => turns,
                Err(failed) => return Poll::Ready(Err(failed)),
            },
            Stage::Turning(turns) => turns,
            Stage::Over => return Poll::Ready(Err(TransferError { error: IoError::Detached, buffer: None })),
        };
        match this.wait(&mut turns, context) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                this.stage = Stage::Turning(turns);
                Poll::Pending
            }
        }
    }
}
