//! Several sends in flight at once on one connection, a bounded number of them.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::{Future, poll_fn};
use core::num::NonZeroU16;
use core::pin::Pin;
use core::task::Poll;

use super::WriteHalf;
use super::halves::sent;
use crate::error::{IoError, TransferError};
use crate::raw::Buffer;
use crate::raw::calls::connection::Transfer;
use crate::raw::calls::{Call, connection};
use crate::raw::op::{Op, Pending};
use crate::sync::{OutOfMemory, Ring, Shared};

/// Sends on their way, in the order in which they were begun. Dropping it asks for the cancellation of those that are not
/// complete: what of them has gone out is then unknown.
pub struct Pipeline<'a> {
    half: &'a mut WriteHalf,
    flying: Ring<Pending<Transfer>>,
    idle: Ring<Shared<Op<Transfer>>>,
}

/// A send that was not begun, or that failed.
#[derive(Debug)]
pub struct PipelineError {
    /// Why.
    pub error: IoError,
    /// The buffer that was to be sent now.
    pub unsent: Buffer,
    /// That of the oldest send, if it has come back.
    pub oldest: Option<Buffer>,
}

impl WriteHalf {
    /// Has up to `depth` sends in flight at once. [`ideal_send_backlog`](crate::TcpStream::ideal_send_backlog) says how many
    /// bytes are worth it.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn pipeline(&mut self, depth: NonZeroU16) -> Result<Pipeline<'_>, OutOfMemory> {
        let depth = depth.get().into();
        Ok(Pipeline { half: self, flying: Ring::with_capacity(depth)?, idle: Ring::with_capacity(depth)? })
    }
}

impl Pipeline<'_> {
    /// Begins to send what is filled of the buffer. If as many sends are in flight as there may be, it waits for the oldest,
    /// and gives its buffer back.
    ///
    /// # Errors
    /// See [`PipelineError`]; nothing was begun then.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn send(&mut self, buffer: Buffer) -> Result<Option<Buffer>, PipelineError> {
        self.half.streak.count().await;
        let mut back = None;
        if self.flying.len() == self.flying.capacity() {
            match self.oldest().await {
                Some(Err(failed)) => return Err(PipelineError { error: failed.error, unsent: buffer, oldest: failed.buffer }),
                Some(Ok(oldest)) => back = Some(oldest),
                None => {}
            }
        }
        match self.begin(buffer) {
            Ok(()) => Ok(back),
            Err((error, unsent)) => Err(PipelineError { error, unsent, oldest: back }),
        }
    }

    fn begin(&mut self, buffer: Buffer) -> Result<(), (IoError, Buffer)> {
        let call = match Call::begin(&self.half.socket) {
            Ok(call) => call,
            Err(error) => return Err((error.into(), buffer)),
        };
        let mut slot = self.idle.pop();
        let pending = connection::send(call, &mut slot, buffer, self.half.flags);
        let pending = pending.map_err(|(status, buffer)| (status.into(), buffer))?;
        // There is room: whoever is called made sure.
        let left_over = self.flying.push(pending).err();
        drop(left_over);
        Ok(())
    }

    /// Waits for the oldest send that is in flight, and gives its buffer back; `None` if there is none. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// Those of [`WriteHalf::send`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn oldest(&mut self) -> Option<Result<Buffer, TransferError>> {
        let flying = &mut self.flying;
        let done = poll_fn(|context| match flying.front_mut() {
            Some(pending) => Pin::new(pending).poll(context).map(Some),
            None => Poll::Ready(None),
        })
        .await?;
        self.flying.pop();
        let mut slot = None;
        let sent = sent(&self.half.socket, &mut slot, done);
        // One too many is freed.
        let left_over = slot.map(|op| self.idle.push(op));
        drop(left_over);
        Some(sent)
    }

    /// How many sends are in flight.
    ///
    /// # IRQL
    /// Any.
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }
}
