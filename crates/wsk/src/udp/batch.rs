//! Several datagrams by one request.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;

use wsk_cmsg::Control;

use super::UdpSocket;
use crate::error::IoError;
use crate::raw::calls::Call;
use crate::raw::calls::messages::{self, SendMessages};
use crate::raw::op::Ready;
use crate::raw::{Batch, Buffer, NtStatus};

/// How the datagrams of a batch went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// By one request.
    Together,
    /// One by one, for the provider has no request for several.
    Singly,
}

/// A batch that was not sent, or not all of it.
#[derive(Debug)]
pub struct BatchError {
    /// Why.
    pub error: IoError,
    /// The buffers, for another use, unless the provider kept them (L35).
    pub batch: Option<Batch>,
    /// How many datagrams went out before, as far as that is known: it is where they are sent one by one.
    pub sent: usize,
}

impl BatchError {
    const fn new(error: IoError, batch: Option<Batch>) -> Self {
        Self { error, batch, sent: 0 }
    }
}

/// What a provider answers that does not have a request.
fn is_lacking(status: NtStatus) -> bool {
    matches!(status, NtStatus::NOT_SUPPORTED | NtStatus::NOT_IMPLEMENTED | NtStatus::INVALID_DEVICE_REQUEST)
}

impl UdpSocket {
    /// Sends what is filled of each buffer as a datagram, to one address, or to the fixed destination; the control data goes
    /// with each. An empty batch is sent at once.
    ///
    /// A provider that has no request for several gets one for each; [`Sent`] says which way it went.
    ///
    /// API: [`WskSendMessages`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send_messages).
    ///
    /// # Errors
    /// With the batch, as for [`send_to_with`](Self::send_to_with). Some of the datagrams may have gone out.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn send_messages(
        &self,
        batch: Batch,
        to: Option<SocketAddr>,
        control: &Control,
    ) -> Result<(Batch, Sent), BatchError> {
        if batch.is_empty() {
            return Ok((batch, Sent::Together));
        }
        self.pace().await;
        if self.0.single_only.load(Ordering::Relaxed) {
            return self.send_singly(batch, to, control).await;
        }
        match self.send_together(batch, to, control).await {
            Err((status, Some(batch))) if is_lacking(status) => {
                self.0.single_only.store(true, Ordering::Relaxed);
                self.send_singly(batch, to, control).await
            }
            Err((status, batch)) => Err(BatchError::new(self.ended(status), batch)),
            Ok(batch) => Ok((batch, Sent::Together)),
        }
    }

    async fn send_together(
        &self,
        batch: Batch,
        to: Option<SocketAddr>,
        control: &Control,
    ) -> Result<Batch, (NtStatus, Option<Batch>)> {
        let pending = match self.start_batch(to, control) {
            Ok((call, ready, to)) => messages::send(call, ready, batch, to)?,
            Err(status) => return Err((status, Some(batch))),
        };
        let mut back = pending.await.map_err(|status| (status, None))?;
        let (status, batch) = (back.status, back.payload().take_batch());
        self.0.batches.put(back);
        match (status.ok(), batch) {
            (Ok(()), Some(batch)) => {
                let bytes = batch.buffers().iter().map(|buffer| buffer.filled().len()).sum();
                self.0.socket.count_sent_by_many(bytes);
                Ok(batch)
            }
            (_, batch) => Err((status, batch)),
        }
    }

    fn start_batch(&self, to: Option<SocketAddr>, control: &Control) -> Result<Starting<'_>, NtStatus> {
        let to = self.0.reachable(to).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        let call = self.call().map_err(|_| NtStatus::CANCELLED)?;
        if !messages::can_send(&call) {
            return Err(NtStatus::NOT_IMPLEMENTED);
        }
        let mut ready = match self.0.batches.take() {
            Some(ready) => ready,
            None => SendMessages::ready(&self.0.socket)?,
        };
        match ready.payload().control().set(control, self.0.family_of(to)) {
            true => Ok((call, ready, to)),
            false => Err(NtStatus::INVALID_PARAMETER),
        }
    }

    async fn send_singly(
        &self,
        mut batch: Batch,
        to: Option<SocketAddr>,
        control: &Control,
    ) -> Result<(Batch, Sent), BatchError> {
        let failed = |error, batch, sent| Err(BatchError { error, batch: Some(batch), sent });
        // It keeps the place of the buffer that is away.
        let mut spare = match Buffer::new(1) {
            Ok(spare) => Some(spare),
            Err(error) => return failed(NtStatus::from(error).into(), batch, 0),
        };
        for place in 0..batch.len() {
            let Some(buffer) = spare.take().and_then(|spare| batch.replace(place, spare)) else { break };
            let (buffer, error) = match self.send_any(buffer, to, control).await {
                Ok(buffer) => (Some(buffer), None),
                Err(error) => (error.buffer, Some(error.error)),
            };
            spare = buffer.and_then(|buffer| batch.replace(place, buffer));
            if let Some(error) = error {
                return failed(error, batch, place);
            }
        }
        Ok((batch, Sent::Singly))
    }
}

/// What a request for several is started with.
type Starting<'a> = (Call<'a>, Ready<SendMessages>, Option<SocketAddr>);
