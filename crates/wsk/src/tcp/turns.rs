//! One buffer that goes round: received into, looked at, sent or not, received into again.
//!
//! It is what a loop of [`receive`](super::TcpStream::receive) and [`send`](super::TcpStream::send) does, with buffer and IRP in
//! their place from the first turn to the last, and no more state than one turn needs. For services that are measured.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::halves::ended;
use super::TcpStream;
use crate::Detached;
use crate::error::{IoError, TransferError};
use crate::raw::calls::Call;
use crate::raw::calls::connection::{Transfer, receive_again, send_again};
use crate::raw::op::{Back, InPlace, Ready};
use crate::raw::socket::{ACTIVE, NUDGE_IDLE, NUDGE_STOP, RECEIVING};
use crate::raw::{Buffer, NtStatus};

/// What has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// Bytes have come: they are in the buffer.
    In,
    /// What was filled of the buffer has been sent.
    Out,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Send what is filled of the buffer.
    Send,
    /// Receive.
    Receive,
    /// End.
    Stop,
}

/// How the turns ended.
#[derive(Debug)]
pub enum Turned {
    /// The peer will send no more.
    Finished,
    /// By [`Turn::Stop`].
    Stopped,
}

enum Phase {
    Receive(Ready<Transfer>),
    Receiving(InPlace<Transfer>),
    Send(Ready<Transfer>),
    Sending(InPlace<Transfer>),
    Over,
}

/// See [`TcpStream::turns`].
pub struct Turns<'a, F> {
    stream: &'a mut TcpStream,
    phase: Phase,
    failed: Option<(IoError, Option<Buffer>)>,
    turn: F,
}

/// How many steps one poll takes before the task lets others run: a peer that is fast enough, or sends that are done at once,
/// must not keep it going at DISPATCH_LEVEL for ever. A receive or send takes two, its beginning and its end.
const STEPS: u8 = 128;

impl TcpStream {
    /// Receives into the buffer, and does after each transfer what `turn` says, until it says [`Turn::Stop`] or the peer has sent
    /// everything.
    ///
    /// # Errors
    /// Those of [`receive`](Self::receive) and [`send`](Self::send).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`; `turn` is called at the IRQL of the task.
    pub fn turns<F: FnMut(Went, &mut Buffer) -> Turn + Unpin>(&mut self, buffer: Buffer, turn: F) -> Turns<'_, F> {
        let ready = Ready::with_buffer(&self.reader.socket, &mut self.reader.transfer, buffer);
        let (phase, failed) = match ready {
            Ok(ready) => (Phase::Receive(ready), None),
            Err(buffer) => (Phase::Over, Some((IoError::OutOfMemory, Some(buffer)))),
        };
        Turns { stream: self, phase, failed, turn }
    }
}

/// What a step came to.
enum Step {
    On(Phase),
    Wait(Phase),
    End(Result<(Buffer, Turned), TransferError>),
}

impl<F: FnMut(Went, &mut Buffer) -> Turn + Unpin> Turns<'_, F> {
    fn step(&mut self, phase: Phase, context: &mut Context<'_>) -> Step {
        match phase {
            Phase::Receive(ready) => self.receive(ready),
            Phase::Receiving(pending) => self.receiving(pending, context),
            Phase::Send(ready) => self.send(ready),
            Phase::Sending(pending) => self.sending(pending, context),
            Phase::Over => {
                let (error, buffer) = self.failed.take().unwrap_or((IoError::Detached, None));
                Step::End(Err(TransferError { error, buffer }))
            }
        }
    }

    fn receive(&mut self, ready: Ready<Transfer>) -> Step {
        let socket = &self.stream.reader.socket;
        if socket.flags() & NUDGE_IDLE != 0 {
            // It was meant for a receive that is over.
            socket.take_flags(NUDGE_IDLE);
        }
        socket.mark(RECEIVING);
        let call = match Call::begin(socket) {
            Ok(call) => call,
            Err(Detached) => return given_up(IoError::Detached, ready),
        };
        match receive_again(call, ready) {
            Ok(pending) => Step::On(Phase::Receiving(pending)),
            Err((status, ready)) => given_up(status.into(), ready),
        }
    }

    fn receiving(&mut self, mut pending: InPlace<Transfer>, context: &mut Context<'_>) -> Step {
        if let Poll::Ready(back) = Pin::new(&mut pending).poll(context) {
            return self.received(back);
        }
        let reader = &mut self.stream.reader;
        reader.socket.reader.watch(&mut reader.watching, context.waker());
        if reader.socket.flags() & (NUDGE_IDLE | NUDGE_STOP) != 0 {
            // A stop stays: it holds for all that follows.
            reader.socket.take_flags(NUDGE_IDLE);
            pending.cancel();
            // It may have come back inside the cancellation, with no wake to follow.
            if let Poll::Ready(back) = Pin::new(&mut pending).poll(context) {
                return self.received(back);
            }
        }
        Step::Wait(Phase::Receiving(pending))
    }

    fn received(&mut self, back: Result<Back<Transfer>, NtStatus>) -> Step {
        let mut back = match self.succeeded(back) {
            Ok(back) => back,
            Err(error) => return Step::End(Err(error)),
        };
        if back.payload().buffer.filled().is_empty() {
            return self.end(back, Turned::Finished);
        }
        self.next(Went::In, back)
    }

    fn next(&mut self, went: Went, mut back: Back<Transfer>) -> Step {
        match (self.turn)(went, &mut back.payload().buffer) {
            Turn::Send => Step::On(Phase::Send(back.again())),
            Turn::Receive => Step::On(Phase::Receive(back.again())),
            Turn::Stop => self.end(back, Turned::Stopped),
        }
    }

    fn send(&mut self, ready: Ready<Transfer>) -> Step {
        let call = match Call::begin(&self.stream.writer.socket) {
            Ok(call) => call,
            Err(Detached) => return given_up(IoError::Detached, ready),
        };
        match send_again(call, ready, self.stream.writer.send_flags()) {
            Ok(pending) => Step::On(Phase::Sending(pending)),
            Err((status, ready)) => given_up(status.into(), ready),
        }
    }

    fn sending(&mut self, mut pending: InPlace<Transfer>, context: &mut Context<'_>) -> Step {
        let Poll::Ready(back) = Pin::new(&mut pending).poll(context) else {
            return Step::Wait(Phase::Sending(pending));
        };
        match self.succeeded(back) {
            Ok(back) => self.next(Went::Out, back),
            Err(error) => Step::End(Err(error)),
        }
    }

    fn succeeded(&mut self, back: Result<Back<Transfer>, NtStatus>) -> Result<Back<Transfer>, TransferError> {
        let socket = &self.stream.reader.socket;
        let back = back.map_err(|status| TransferError { error: ended(socket, status), buffer: None })?;
        socket.mark(ACTIVE);
        match back.status.ok() {
            Ok(()) => Ok(back),
            Err(status) => {
                let (op, payload) = back.into_parts();
                self.stream.reader.transfer = Some(op);
                Err(TransferError { error: ended(socket, status), buffer: payload.map(|payload| payload.buffer) })
            }
        }
    }

    /// The operation is kept for what the stream does next.
    fn end(&mut self, back: Back<Transfer>, turned: Turned) -> Step {
        let (op, payload) = back.into_parts();
        self.stream.reader.transfer = Some(op);
        let detached = TransferError { error: IoError::Detached, buffer: None };
        Step::End(payload.map(|payload| (payload.buffer, turned)).ok_or(detached))
    }
}

fn given_up(error: IoError, ready: Ready<Transfer>) -> Step {
    Step::End(Err(TransferError { error, buffer: Some(ready.into_payload().buffer) }))
}

impl<F: FnMut(Went, &mut Buffer) -> Turn + Unpin> Future for Turns<'_, F> {
    type Output = Result<(Buffer, Turned), TransferError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        for _ in 0..STEPS {
            let phase = core::mem::replace(&mut this.phase, Phase::Over);
            match this.step(phase, context) {
                Step::On(phase) => this.phase = phase,
                Step::Wait(phase) => {
                    this.phase = phase;
                    return Poll::Pending;
                }
                Step::End(outcome) => return Poll::Ready(outcome),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
