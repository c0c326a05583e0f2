//! Receiving without copying, and sending what is in several places.
//!
//! A stream is read in one way: [`ReadHalf::into_indications`] takes the half away, so that no receive into a buffer can stand
//! between two indications and bytes have one order.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};

use wsk_sys::{WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE};

use super::halves::ended;
use super::{ReadHalf, Streak, TcpStream, WriteHalf, events};
use crate::error::{ChainError, IoError};
use crate::raw::calls::connection::Bare;
use crate::raw::calls::{Call, chain, connection};
use crate::raw::op::{Op, Pending};
use crate::raw::retained::Kept;
use crate::raw::socket::{ACTIVE, CLOSING, ENDED, EVENTS, GONE, NUDGE_STOP, RESET, SocketHandle};
use crate::raw::{Chain, Indication, NtStatus};
use crate::sync::Shared;

/// How much a socket may keep of the network's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Lists, at least one: what the provider tells of at once.
    pub lists: u16,
    /// Bytes. A list that is larger is kept when it is the only one.
    pub bytes: usize,
}

impl Default for Bound {
    /// 32 lists, 256 KiB.
    fn default() -> Self {
        Self { lists: 32, bytes: 256 << 10 }
    }
}

/// The receiving half of a stream, in the provider's own memory. Dropping it gives back what is queued; what was taken from it
/// stays as long as its owner wants.
pub struct Indications {
    socket: SocketHandle,
    streak: Streak,
    resuming: Option<Pending<Bare>>,
    resume: Option<Shared<Op<Bare>>>,
    failed: Option<NtStatus>,
    /// What could not be mapped yet.
    unmapped: Option<Kept>,
}

impl TcpStream {
    /// As [`ReadHalf::into_indications`], with the other half.
    ///
    /// # Errors
    /// With the stream: as there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn into_indications(self, bound: Bound) -> Result<(Indications, WriteHalf), (IoError, Self)> {
        let (reader, writer) = self.into_split();
        match reader.into_indications(bound) {
            Ok(indications) => Ok((indications, writer)),
            Err((error, reader)) => Err((error, Self { reader, writer })),
        }
    }

    /// See [`WriteHalf::send_chain`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn send_chain(&mut self, chain: Chain) -> Result<Chain, ChainError> {
        self.writer.send_chain(chain).await
    }
}

impl ReadHalf {
    /// Reads the stream in the provider's own memory from now on. What a receive brings whose future was dropped is lost,
    /// as always.
    ///
    /// # Errors
    /// With the half, which can be used as before: STATUS_NOT_SUPPORTED from a provider without receive events;
    /// [`IoError::Detached`]; no memory.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn into_indications(self, bound: Bound) -> Result<Indications, (IoError, Self)> {
        if let Err(error) = self.prepare(bound) {
            return Err((error, self));
        }
        let (resuming, resume) = (None, None);
        Ok(Indications { socket: self.socket, streak: Streak::default(), resuming, resume, failed: None, unmapped: None })
    }

    fn prepare(&self, bound: Bound) -> Result<(), IoError> {
        // The events first: without them, the half stays what it was. What they refuse meanwhile is asked for again.
        if !events::enable(&self.socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT)? {
            return Err(NtStatus::NOT_SUPPORTED.into());
        }
        self.socket.mark(EVENTS);
        Ok(chain::retain(&self.socket, bound.lists, bound.bytes)?)
    }
}

impl Indications {
    /// The next bytes, in the memory in which they came; `None` says that the peer will send no more.
    /// [`WskReceiveEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_event)
    ///
    /// What the caller holds counts to the [`Bound`]. When it is reached nothing more comes, and the peer is slowed down, until
    /// something is dropped.
    ///
    /// # Errors
    /// [`IoError::Cancelled`] after [`Nudge::Stop`](crate::Nudge::Stop) if nothing is there; [`IoError::Detached`]; no memory, when it
    /// can be tried again; the provider's status, such as STATUS_CONNECTION_RESET.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_indication(&mut self) -> Result<Option<Indication>, IoError> {
        self.receive_until(NUDGE_STOP).await
    }

    /// As [`receive_indication`](Self::receive_indication), deaf to nudges: for what the peer still sends after
    /// [`Nudge::Stop`](crate::Nudge::Stop).
    ///
    /// # Errors
    /// As there, without the nudge.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_rest(&mut self) -> Result<Option<Indication>, IoError> {
        self.receive_until(0).await
    }

    /// Whether [`Nudge::Stop`](crate::Nudge::Stop) has come.
    ///
    /// # IRQL
    /// Any.
    pub fn is_stopping(&self) -> bool {
        self.socket.flags() & NUDGE_STOP != 0
    }

    async fn receive_until(&mut self, nudges: u32) -> Result<Option<Indication>, IoError> {
        self.streak.count().await;
        let received = poll_fn(|context| self.poll_indication(context, nudges)).await;
        if let Ok(indication) = &received {
            self.socket.count_received(indication.as_ref().map_or(0, Indication::len));
            self.socket.mark(ACTIVE);
        }
        received
    }

    fn poll_indication(&mut self, context: &mut Context<'_>, nudges: u32) -> Poll<Result<Option<Indication>, IoError>> {
        self.socket.reader.register(context.waker());
        // Before the queue: an end that is seen here has everything that came before it in there.
        let flags = self.socket.flags();
        self.poll_resuming(context);
        if let Some(kept) = self.unmapped.take().or_else(|| self.socket.next_kept()) {
            return Poll::Ready(self.mapped(kept).map(Some));
        }
        if let Some(error) = self.over(flags, nudges) {
            return Poll::Ready(error);
        }
        if self.resuming.is_none() && self.socket.resumes() {
            return self.resume(context, nudges);
        }
        Poll::Pending
    }

    fn mapped(&mut self, kept: Kept) -> Result<Indication, IoError> {
        Indication::of_stream(kept).map_err(|kept| {
            self.unmapped = Some(kept);
            IoError::OutOfMemory
        })
    }

    /// How it ends, with an empty queue.
    fn over(&self, flags: u32, nudges: u32) -> Option<Result<Option<Indication>, IoError>> {
        if flags & (CLOSING | GONE) != 0 {
            return Some(Err(IoError::Detached));
        }
        if flags & nudges & NUDGE_STOP != 0 {
            return Some(Err(IoError::Cancelled));
        }
        if let Some(status) = self.failed {
            return Some(Err(ended(&self.socket, status)));
        }
        if flags & RESET != 0 {
            return Some(Err(NtStatus::CONNECTION_RESET.into()));
        }
        // What was refused before the end comes before it, even if its announcement did not.
        (flags & ENDED != 0 && !self.socket.is_owed()).then_some(Ok(None))
    }

    /// A receive without room has the provider go on telling.
    fn resume(&mut self, context: &mut Context<'_>, nudges: u32) -> Poll<Result<Option<Indication>, IoError>> {
        let started = match Call::begin(&self.socket) {
            Ok(call) => connection::receive_nothing(call, &mut self.resume, 0).map_err(IoError::from),
            Err(error) => Err(error.into()),
        };
        match started {
            Ok(pending) => self.resuming = Some(pending),
            Err(error) => {
                self.socket.not_resumed();
                return Poll::Ready(Err(error));
            }
        }
        self.poll_indication(context, nudges)
    }

    fn poll_resuming(&mut self, context: &mut Context<'_>) {
        let Some(pending) = &mut self.resuming else { return };
        let Poll::Ready(done) = Pin::new(pending).poll(context) else { return };
        self.resuming = None;
        let status = match done {
            Ok(done) => {
                self.resume = Some(done.op);
                done.status
            }
            Err(status) => status,
        };
        self.failed = status.ok().err().or(self.failed);
    }
}

impl Drop for Indications {
    fn drop(&mut self) {
        self.socket.stop_keeping();
        while let Some(kept) = self.socket.next_kept() {
            drop(kept);
        }
    }
}

impl WriteHalf {
    /// Sends a chain, all of it, without copying. An [`Indication`] of this or another stream goes out in the memory in which it
    /// came.
    /// [`WskSend`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send)
    ///
    /// If the future is dropped, the chain stays with the send until the provider is done with it.
    ///
    /// # Errors
    /// With the chain, of which a part may have been sent: [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn send_chain(&mut self, mut chain: Chain) -> Result<Chain, ChainError> {
        let length = chain.len();
        for number in 0..chain.pieces() {
            self.streak.count().await;
            let call = match Call::begin(&self.socket) {
                Ok(call) => call,
                Err(error) => return Err(failed(error, chain)),
            };
            let started = chain::send(call, &mut self.carrying, chain, number, self.flags);
            let pending = started.map_err(|(status, chain)| failed(status, chain))?;
            let sent = pending.await.map_err(|status| ChainError { error: status.into(), chain: None })?;
            self.carrying = Some(sent.op);
            self.socket.mark(ACTIVE);
            chain = sent.payload.chain;
            chain.unlink();
            if let Err(status) = sent.status.ok() {
                return Err(failed(ended(&self.socket, status), chain));
            }
        }
        self.socket.count_sent(length);
        Ok(chain)
    }
}

fn failed(error: impl Into<IoError>, mut chain: Chain) -> ChainError {
    chain.unlink();
    ChainError { error: error.into(), chain: Some(chain) }
}
