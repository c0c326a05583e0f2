//! Receiving datagrams without copying them, and sending them on.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};

use wsk_cmsg::Control;
use wsk_sys::WSK_EVENT_RECEIVE_FROM;

use super::UdpSocket;
use crate::error::{ChainError, IoError};
use crate::raw::calls::{Call, datagram, events};
use crate::raw::op::{Back, InPlace, Payload};
use crate::raw::retained::Kept;
use crate::raw::socket::{CLOSING, GONE};
use crate::raw::{Chain, Datagrams, NtStatus};
use crate::tcp::{Bound, finish};

/// The datagrams of a socket, in the provider's own memory. Dropping it switches the event off and gives back what is queued;
/// what was taken from it stays as long as its owner wants.
pub struct DatagramIndications {
    socket: UdpSocket,
    /// What could not be mapped yet.
    unmapped: Option<Kept>,
    off: bool,
}

/// A datagram that was not sent on. The list comes back unless the provider kept it (L35).
#[derive(Debug)]
pub struct ForwardError {
    /// Why.
    pub error: IoError,
    /// The list that it is in.
    pub datagrams: Option<Datagrams>,
}

impl UdpSocket {
    /// Has the provider bring datagrams in its own memory from now on, once per socket. As many lists and bytes are kept as the
    /// bound says, those included that the caller holds; what comes while there is no room is dropped, and counted by
    /// [`missed`](DatagramIndications::missed). A receive in flight takes a datagram before the event does.
    ///
    /// API: [`WskReceiveFromEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_from_event).
    ///
    /// # Errors
    /// STATUS_INVALID_DEVICE_STATE if it was done before; the status of a provider without the event;
    /// [`IoError::Detached`]; no memory.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn enable_indications(&self, bound: Bound) -> Result<DatagramIndications, IoError> {
        let socket = &self.0.socket;
        let call = self.call()?;
        if self.0.indicated.swap(true, Ordering::Relaxed) {
            return Err(NtStatus::INVALID_DEVICE_STATE.into());
        }
        // Before the event is on: it may come at once. From here on the drop undoes it.
        let indications = DatagramIndications { socket: self.clone(), unmapped: None, off: false };
        datagram::retain(socket, bound.lists, bound.bytes)?;
        if WSK_EVENT_RECEIVE_FROM & !socket.shell().static_events() != 0 {
            events::enable(&call, WSK_EVENT_RECEIVE_FROM)?;
        }
        Ok(indications)
    }

    /// Sends a chain as one datagram, without copying it together.
    ///
    /// If the future is dropped, the chain stays with the send until the provider is done with it.
    ///
    /// # Errors
    /// With the chain, as for [`send_to_with`](Self::send_to_with); also an indication of a stream that has several parts
    /// (STATUS_INVALID_PARAMETER).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn send_chain_to(
        &self,
        chain: Chain,
        to: SocketAddr,
        control: &Control,
    ) -> impl Future<Output = Result<Chain, ChainError>> + Send {
        self.send_any(chain, Some(to), control)
    }

    /// Sends one datagram of a list on (they count from 0), in the memory in which it came.
    ///
    /// If the future is dropped, the list stays with the send until the provider is done with it.
    ///
    /// # Errors
    /// With the list, as for [`send_to_with`](Self::send_to_with); also if there is no such datagram
    /// (STATUS_INVALID_PARAMETER).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn forward(
        &self,
        datagrams: Datagrams,
        number: usize,
        to: SocketAddr,
        control: &Control,
    ) -> Result<Datagrams, ForwardError> {
        self.send_any((datagrams, number), Some(to), control).await.map(|(datagrams, _)| datagrams)
    }

    /// Waits for a send, and cancels it when the binding ends: two sockets that hold each other's datagrams in sends that do
    /// not complete would wait for each other with their close.
    pub(super) async fn unless_ended<P: Payload>(&self, pending: InPlace<P>) -> Result<Back<P>, NtStatus> {
        let mut pending = pin!(pending);
        if let Some(back) = crate::now(pending.as_mut()).await {
            return back;
        }
        let mut ended = pin!(self.0.socket.shell().ended.wait());
        let mut asked = false;
        poll_fn(|context| {
            // Without memory for the waiting it is not waited.
            if !asked && ended.as_mut().poll(context).is_ready() {
                asked = true;
                pending.cancel();
            }
            pending.as_mut().poll(context)
        })
        .await
    }
}

impl DatagramIndications {
    /// The next datagrams, in the memory in which they came.
    /// [`WskReceiveFromEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_from_event)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory, when it can be tried again.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive(&mut self) -> Result<Datagrams, IoError> {
        self.socket.pace().await;
        poll_fn(|context| self.poll_receive(context)).await
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Datagrams, IoError>> {
        let socket = &self.socket.0.socket;
        socket.reader.register(context.waker());
        // Before the queue: an end that is seen here has everything that came before it in there.
        let flags = socket.flags();
        if let Some(kept) = self.unmapped.take().or_else(|| socket.next_kept()) {
            return Poll::Ready(Datagrams::new(kept).map_err(|kept| {
                self.unmapped = Some(kept);
                IoError::OutOfMemory
            }));
        }
        if flags & (CLOSING | GONE) != 0 { Poll::Ready(Err(IoError::Detached)) } else { Poll::Pending }
    }

    /// How many datagrams were dropped because the bound was reached.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn missed(&self) -> u32 {
        self.socket.0.socket.missed()
    }

    /// Switches the event off, and waits until no callback of it is under way. What comes from now on is for
    /// [`UdpSocket::receive_from`]. An event that is on for all sockets stays on.
    /// [`SO_WSK_EVENT_CALLBACK`](https://learn.microsoft.com/windows-hardware/drivers/network/so-wsk-event-callback)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status. It is off all the same, or goes off soon.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn disable(mut self) -> Result<(), IoError> {
        let socket = &self.socket.0.socket;
        socket.stop_keeping();
        if WSK_EVENT_RECEIVE_FROM & socket.shell().static_events() == 0 {
            finish(socket, events::disable(self.socket.call()?, WSK_EVENT_RECEIVE_FROM)).await?;
            self.off = true;
        }
        Ok(())
    }
}

impl Drop for DatagramIndications {
    fn drop(&mut self) {
        let socket = &self.socket.0.socket;
        socket.stop_keeping();
        let by_itself = WSK_EVENT_RECEIVE_FROM & socket.shell().static_events() == 0;
        if by_itself
            && !self.off
            && let Ok(call) = Call::begin(socket)
        {
            // If it cannot be switched off, it goes off with the first datagram that nobody takes.
            let _ = events::begin_disable(&call, WSK_EVENT_RECEIVE_FROM);
        }
        while let Some(kept) = socket.next_kept() {
            drop(kept);
        }
    }
}
