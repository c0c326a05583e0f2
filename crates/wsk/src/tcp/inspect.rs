//! Conditional accept: connection requests are shown before there is a connection.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;

use super::{Streak, TcpStream};
use crate::error::{AcceptError, InspectError, IoError};
use crate::raw::calls::inspect::{GiveError, Verdict};
use crate::raw::calls::{Call, control};
use crate::raw::inspections::{InspectionId, Request};
use crate::raw::socket::Socket;
use crate::sync::Shared;

/// Shows the connection requests of a listener. It does not keep the listener open.
pub struct Inspector {
    socket: Shared<Socket>,
    streak: Streak,
}

/// A connection request. Dropping it rejects it.
pub struct Inspection {
    request: Request,
    verdict: Verdict,
}

impl Inspector {
    pub(super) fn new(socket: &Shared<Socket>) -> Self {
        Self { socket: socket.clone(), streak: Streak::default() }
    }

    /// Waits for the next request. Those that are aborted before are not shown.
    /// [`WskInspectEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_inspect_event)
    ///
    /// # Errors
    /// Detach or the listener's close has begun, or there is no memory; the request waits then.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn inspect(&mut self) -> Result<Inspection, AcceptError> {
        self.streak.count().await;
        let mut verdict = Some(Verdict::new(&self.socket)?);
        let request = poll_fn(|context| {
            if let Some(listening) = self.socket.listening() {
                listening.inspector.register(context.waker());
            }
            if self.socket.is_ending() {
                return Poll::Ready(Err(AcceptError::Detached));
            }
            match verdict.as_mut().and_then(Verdict::take_request) {
                Some(request) => Poll::Ready(Ok(request)),
                None => Poll::Pending,
            }
        })
        .await?;
        verdict.map(|verdict| Inspection { request, verdict }).ok_or(AcceptError::Detached)
    }
}

impl Inspection {
    /// Names the request. The accepted connection [has it](TcpStream::inspection_id) as well.
    ///
    /// # IRQL
    /// Any.
    pub fn id(&self) -> InspectionId {
        self.request.id
    }

    /// The address that the peer wants to be connected to.
    ///
    /// # IRQL
    /// Any.
    pub fn local(&self) -> Option<SocketAddr> {
        self.request.local
    }

    /// The peer's address.
    ///
    /// # IRQL
    /// Any.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.request.remote
    }

    /// Whether the peer has given up meanwhile
    /// ([`WskAbortEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_abort_event)).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn is_aborted(&self) -> bool {
        self.verdict.is_aborted()
    }

    /// Has the connection established; [`TcpListener::accept`](crate::TcpListener::accept) brings it. Once it has been polled,
    /// dropping the future takes nothing back.
    /// [`WskInspectComplete`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_inspect_complete)
    ///
    /// # Errors
    /// See [`InspectError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn accept(self) -> Result<(), InspectError> {
        self.give(true).await
    }

    /// Refuses the connection. Dropping the inspection does the same, without a word about how it went.
    ///
    /// # Errors
    /// See [`InspectError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn reject(self) -> Result<(), InspectError> {
        self.give(false).await
    }

    async fn give(self, accept: bool) -> Result<(), InspectError> {
        let given = self.verdict.give(accept).map_err(|error| match error {
            GiveError::Detached => InspectError::Detached,
            GiveError::Provider(status) => status.into(),
        });
        let done = given?.ok_or(InspectError::Aborted)?.await?;
        Ok(done.status.ok()?)
    }
}

impl TcpStream {
    /// Names the request that the connection was, if its listener [inspects](crate::ListenOptions::conditional).
    /// [`SIO_WSK_QUERY_INSPECT_ID`](https://learn.microsoft.com/windows-hardware/drivers/network/sio-wsk-query-inspect-id)
    ///
    /// # Errors
    /// [`IoError::Detached`]; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn inspection_id(&self) -> Result<InspectionId, IoError> {
        Ok(control::inspect_id(&Call::begin(self.socket())?)?.into())
    }
}
