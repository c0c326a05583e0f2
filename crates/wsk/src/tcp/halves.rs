//! The two directions of a connection, each with its own operation in flight.
//!
//! Each half owns the socket: the socket is closed when the last of them goes. They share nothing but the socket's
//! flags, so there is no lock between them.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::poll_fn;
use core::task::Poll;

use wsk_sys::{WSK_FLAG_DRAIN, WSK_FLAG_NODELAY, WSK_FLAG_WAITALL};

use super::{Streak, TcpStream, cancel_on, finish};
use crate::error::{IoError, TransferError};
use crate::raw::calls::chain::Carrying;
use crate::raw::calls::connection::Transfer;
use crate::raw::calls::{Call, connection};
use crate::raw::op::{Done, Op, Pending};
use crate::raw::socket::{ACTIVE, CLOSING, EVENTS, GONE, NUDGE_IDLE, NUDGE_STOP, READABLE, RECEIVING, RESET, Socket, SocketHandle};
use crate::raw::{Buffer, NtStatus};
use crate::sync::{Shared, Watching};

/// The receiving half of a [`TcpStream`].
pub struct ReadHalf {
    pub(super) socket: SocketHandle,
    streak: Streak,
    pub(super) transfer: Option<Shared<Op<Transfer>>>,
    pub(super) watching: Watching,
}

/// The sending half of a [`TcpStream`].
pub struct WriteHalf {
    pub(super) socket: SocketHandle,
    pub(super) streak: Streak,
    pub(super) transfer: Option<Shared<Op<Transfer>>>,
    pub(super) carrying: Option<Shared<Op<Carrying>>>,
    /// WSK_FLAG_NODELAY, or nothing.
    pub(super) flags: u32,
}

/// Both halves of a connected socket.
pub(super) fn halves(socket: SocketHandle) -> (ReadHalf, WriteHalf) {
    let reader = ReadHalf { socket: socket.another(), streak: Streak::default(), transfer: None, watching: Watching::default() };
    (reader, WriteHalf { socket, streak: Streak::default(), transfer: None, carrying: None, flags: WSK_FLAG_NODELAY })
}

type Started = Result<Pending<Transfer>, (NtStatus, Buffer)>;

fn started_or(started: Started) -> Result<Pending<Transfer>, TransferError> {
    started.map_err(|(status, buffer)| TransferError { error: status.into(), buffer: Some(buffer) })
}

/// What a transfer that is done came to; the operation goes into the slot for the next.
fn transferred(
    socket: &Shared<Socket>,
    slot: &mut Option<Shared<Op<Transfer>>>,
    done: Result<Done<Transfer>, NtStatus>,
) -> Result<Buffer, TransferError> {
    let done = done.map_err(|status| TransferError { error: ended(socket, status), buffer: None })?;
    *slot = Some(done.op);
    socket.mark(ACTIVE);
    match done.status.ok() {
        Ok(()) => Ok(done.payload.buffer),
        Err(status) => Err(TransferError { error: ended(socket, status), buffer: Some(done.payload.buffer) }),
    }
}

/// What a send that is done came to.
pub(super) fn sent(
    socket: &Shared<Socket>,
    slot: &mut Option<Shared<Op<Transfer>>>,
    done: Result<Done<Transfer>, NtStatus>,
) -> Result<Buffer, TransferError> {
    transferred(socket, slot, done).inspect(|buffer| socket.count_sent(buffer.filled().len()))
}

/// What an operation that failed because the socket is being closed says.
pub(super) fn ended(socket: &Shared<Socket>, status: NtStatus) -> IoError {
    if socket.flags() & (CLOSING | GONE) != 0 {
        return IoError::Detached;
    }
    if status == NtStatus::CONNECTION_RESET {
        socket.mark(RESET);
    }
    status.into()
}

fn refused(error: impl Into<IoError>, buffer: Buffer) -> TransferError {
    TransferError { error: error.into(), buffer: Some(buffer) }
}

impl ReadHalf {
    /// Waits until there is something to receive: data, or the end of the stream. Without
    /// [events](TcpStream::enable_events) it returns at once.
    /// [`WskReceiveEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_event)
    ///
    /// # Errors
    /// [`IoError::Detached`], or [`IoError::Cancelled`] after [`Nudge::Stop`](crate::Nudge::Stop).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn readable(&mut self) -> Result<(), IoError> {
        let (socket, watching) = (&*self.socket, &mut self.watching);
        poll_fn(|context| {
            socket.reader.watch(watching, context.waker());
            match socket.take_flags(READABLE | NUDGE_IDLE | RECEIVING) | socket.flags() {
                flags if flags & (CLOSING | GONE) != 0 => Poll::Ready(Err(IoError::Detached)),
                flags if flags & NUDGE_STOP != 0 => Poll::Ready(Err(IoError::Cancelled)),
                flags if flags & READABLE != 0 || flags & EVENTS == 0 => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Receives into the buffer; no bytes in it say that the peer will send no more.
    /// [`WskReceive`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive)
    ///
    /// # Errors
    /// With the buffer: [`IoError::Cancelled`] after a [`Nudge`](crate::Nudge) if nothing came; [`IoError::Detached`]; no
    /// memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.receive_until(buffer, 0, NUDGE_IDLE | NUDGE_STOP).await
    }

    /// As [`receive`](Self::receive), deaf to nudges: for what the peer still sends after
    /// [`Nudge::Stop`](crate::Nudge::Stop).
    ///
    /// # Errors
    /// As for [`receive`](Self::receive), without the nudges.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_rest(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.receive_until(buffer, 0, 0).await
    }

    /// Receives until the buffer is full; fewer bytes in it say that the peer will send no more (WSK_FLAG_WAITALL). Bytes
    /// that had come when it was given up, by a drop of the future or by [`Nudge::Stop`](crate::Nudge::Stop), are lost.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive), where [`Nudge::Idle`](crate::Nudge::Idle) does nothing. A provider or transport
    /// without the flag answers STATUS_NOT_SUPPORTED.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_exact(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.receive_until(buffer, WSK_FLAG_WAITALL, NUDGE_STOP).await
    }

    /// Throws away what the peer still sends, to its end of the stream (WSK_FLAG_DRAIN).
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status: STATUS_NOT_SUPPORTED from one without the flag.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn drain(&mut self) -> Result<(), IoError> {
        let started = connection::receive_nothing(Call::begin(&self.socket)?, &mut None, WSK_FLAG_DRAIN);
        finish(&self.socket, started).await.map(|_| ())
    }

    async fn receive_until(&mut self, buffer: Buffer, flags: u32, nudges: u32) -> Result<Buffer, TransferError> {
        self.streak.count().await;
        if self.socket.flags() & NUDGE_IDLE != 0 {
            // It was meant for a receive that is over.
            self.socket.take_flags(NUDGE_IDLE);
        }
        let call = match Call::begin(&self.socket) {
            Ok(call) => call,
            Err(error) => return Err(refused(error, buffer)),
        };
        self.socket.mark(RECEIVING);
        let pending = started_or(connection::receive(call, &mut self.transfer, buffer, flags))?;
        let done = cancel_on(&self.socket, &mut self.watching, pending, nudges).await;
        let received = transferred(&self.socket, &mut self.transfer, done)?;
        self.socket.count_received(received.filled().len());
        Ok(received)
    }

    /// Whether [`Nudge::Stop`](crate::Nudge::Stop) has come.
    ///
    /// # IRQL
    /// Any.
    pub fn is_stopping(&self) -> bool {
        self.socket.flags() & NUDGE_STOP != 0
    }

    /// Puts the two halves of one stream together again.
    ///
    /// # Errors
    /// Both come back if they are halves of two streams.
    ///
    /// # IRQL
    /// Any.
    pub fn reunite(self, writer: WriteHalf) -> Result<TcpStream, (Self, WriteHalf)> {
        if self.socket.is_same(&writer.socket) { Ok(TcpStream { reader: self, writer }) } else { Err((self, writer)) }
    }
}

impl WriteHalf {
    /// Sends what is filled of the buffer, all of it.
    /// [`WskSend`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send)
    ///
    /// # Errors
    /// With the buffer: [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn send(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.streak.count().await;
        let call = match Call::begin(&self.socket) {
            Ok(call) => call,
            Err(error) => return Err(refused(error, buffer)),
        };
        let pending = started_or(connection::send(call, &mut self.transfer, buffer, self.flags))?;
        sent(&self.socket, &mut self.transfer, pending.await)
    }

    pub(super) fn send_flags(&self) -> u32 {
        self.flags
    }

    /// Whether what is sent goes out at once (WSK_FLAG_NODELAY, as from the beginning), or may wait for more.
    ///
    /// # IRQL
    /// Any.
    pub fn set_no_delay(&mut self, no_delay: bool) {
        self.flags = if no_delay { WSK_FLAG_NODELAY } else { 0 };
    }

    /// Sends the FIN, after what was sent before. It is done when the peer has acknowledged it, which may be never: wait with
    /// a limit, then [`abort`](Self::abort) or drop.
    /// [`WskDisconnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn finish(&mut self) -> Result<(), IoError> {
        finish(&self.socket, connection::disconnect(Call::begin(&self.socket)?, false)).await.map(|_| ())
    }

    /// Sends what is filled of the buffer, and the FIN. See [`finish`](Self::finish).
    /// [`WskDisconnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect)
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn finish_with(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        let call = match Call::begin(&self.socket) {
            Ok(call) => call,
            Err(error) => return Err(refused(error, buffer)),
        };
        let pending = started_or(connection::disconnect_with(call, &mut self.transfer, buffer))?;
        sent(&self.socket, &mut self.transfer, pending.await)
    }

    /// Resets the connection, in both directions. What was not sent is lost; receives end with the provider's status.
    /// [`WskDisconnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn abort(&mut self) -> Result<(), IoError> {
        finish(&self.socket, connection::disconnect(Call::begin(&self.socket)?, true)).await.map(|_| ())
    }
}
