//! A connection.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::poll_fn;
use core::task::Poll;

use super::{Streak, cancel_on, finish};
use crate::error::{IoError, TransferError};
use crate::raw::calls::connection::Transfer;
use crate::raw::calls::{Call, connection, control};
use crate::raw::op::{Op, Pending};
use crate::raw::socket::{ACTIVE, CLOSING, GONE, NUDGE_IDLE, NUDGE_STOP, READABLE, RECEIVING, SocketHandle};
use crate::raw::{Buffer, NtStatus};
use crate::sync::Shared;

/// A connection. Dropping it closes it; a stream that was not disconnected in both directions is reset by that.
pub struct TcpStream {
    socket: SocketHandle,
    streak: Streak,
    transfer: Option<Shared<Op<Transfer>>>,
    events: bool,
}

impl TcpStream {
    /// The stream of a connected socket.
    pub(super) fn new(socket: SocketHandle) -> Self {
        Self { socket, streak: Streak::default(), transfer: None, events: false }
    }

    /// Has the provider tell when there is something to receive, so that waiting takes no buffer. `false` if the provider
    /// has no such events.
    ///
    /// # Errors
    /// [`IoError::Detached`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn enable_events(&mut self) -> Result<bool, IoError> {
        self.events = control::enable_events(&Call::begin(&self.socket)?).is_ok();
        Ok(self.events)
    }

    /// Waits until there is something to receive: data, or the end of the stream. Without events it returns at once.
    ///
    /// # Errors
    /// [`IoError::Detached`], or [`IoError::Cancelled`] after [`Nudge::Stop`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn readable(&mut self) -> Result<(), IoError> {
        let (socket, events) = (&*self.socket, self.events);
        poll_fn(|context| {
            socket.reader.register(context.waker());
            match socket.take_flags(READABLE | NUDGE_IDLE) | socket.flags() {
                flags if flags & (CLOSING | GONE) != 0 => Poll::Ready(Err(IoError::Detached)),
                flags if flags & NUDGE_STOP != 0 => Poll::Ready(Err(IoError::Cancelled)),
                flags if flags & READABLE != 0 || !events => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Receives into the buffer; no bytes in it say that the peer will send no more.
    ///
    /// # Errors
    /// With the buffer: [`IoError::Cancelled`] after a [`Nudge`] if nothing came; [`IoError::Detached`]; no memory; the
    /// provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.receive_until(buffer, NUDGE_IDLE | NUDGE_STOP).await
    }

    async fn receive_until(&mut self, buffer: Buffer, nudges: u32) -> Result<Buffer, TransferError> {
        self.streak.count().await;
        if self.socket.flags() & NUDGE_IDLE != 0 {
            // It was meant for a receive that is over.
            self.socket.take_flags(NUDGE_IDLE);
        }
        let call = match Call::begin(&self.socket) {
            Ok(call) => call,
            Err(error) => return Err(TransferError { error: error.into(), buffer: Some(buffer) }),
        };
        let started = connection::receive(call, &mut self.transfer, buffer);
        self.socket.mark(RECEIVING);
        let received = self.transferred(started, nudges).await;
        self.socket.take_flags(RECEIVING);
        received
    }

    /// As [`receive`](Self::receive), deaf to nudges: for what the peer still sends after [`Nudge::Stop`].
    ///
    /// # Errors
    /// As for [`receive`](Self::receive), without the nudges.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_rest(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.receive_until(buffer, 0).await
    }

    /// Whether [`Nudge::Stop`] has come.
    ///
    /// # IRQL
    /// Any.
    pub fn is_stopping(&self) -> bool {
        self.socket.flags() & NUDGE_STOP != 0
    }

    /// Sends what is filled of the buffer, all of it.
    ///
    /// # Errors
    /// With the buffer: [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn send(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        let call = match Call::begin(&self.socket) {
            Ok(call) => call,
            Err(error) => return Err(TransferError { error: error.into(), buffer: Some(buffer) }),
        };
        let started = connection::send(call, &mut self.transfer, buffer);
        self.transferred(started, 0).await
    }

    async fn transferred(
        &mut self,
        started: Result<Pending<Transfer>, (NtStatus, Buffer)>,
        nudges: u32,
    ) -> Result<Buffer, TransferError> {
        let pending = started.map_err(|(status, buffer)| TransferError { error: status.into(), buffer: Some(buffer) })?;
        let done = match cancel_on(&self.socket, pending, nudges).await {
            Ok(done) => done,
            Err(status) => return Err(TransferError { error: status.into(), buffer: None }),
        };
        self.transfer = Some(done.op);
        self.socket.mark(ACTIVE);
        match done.status.ok() {
            Ok(()) => Ok(done.payload.buffer),
            Err(status) => Err(TransferError { error: self.ended(status), buffer: Some(done.payload.buffer) }),
        }
    }

    /// Sends the FIN, after what was sent before.
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn finish(&mut self) -> Result<(), IoError> {
        finish(connection::disconnect(Call::begin(&self.socket)?, false)).await.map(|_| ())
    }

    fn ended(&self, status: NtStatus) -> IoError {
        if self.socket.flags() & (CLOSING | GONE) == 0 { status.into() } else { IoError::Detached }
    }
}
