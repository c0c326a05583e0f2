//! TCP: listeners and streams.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::pin;
use core::task::Poll;

use wsk_sys::IPPROTO::IPPROTO_IPV6;
use wsk_sys::IPV6_V6ONLY;

use crate::Binding;
use crate::error::{AcceptError, BindError, IoError, OpenError, TransferError};
use crate::raw::address::{AF_INET, AF_INET6, RawAddress};
use crate::raw::calls::{self, Accepting, Call, Transfer};
use crate::raw::op::{Op, Payload, Pending};
use crate::raw::socket::{ACTIVE, CLOSING, GONE, NUDGE_IDLE, NUDGE_STOP, READABLE, RECEIVING, Socket, SocketHandle};
use crate::raw::{Buffer, NtStatus};
use crate::sync::Shared;

/// Which addresses a listener on an IPv6 wildcard serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Those of its own family.
    OwnFamily,
    /// Those of both families, if the provider has it.
    Both,
}

/// A word from the owner of a service to the task that reads a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// Give the buffer back if nothing has come or gone since the last nudge of this kind.
    Idle,
    /// End gracefully: [`TcpStream::receive`] answers [`IoError::Cancelled`] from now on, once the receive in flight is back.
    Stop,
}

impl Nudge {
    pub(crate) fn apply(self, socket: &Shared<Socket>) {
        match self {
            Self::Idle if socket.take_flags(ACTIVE) != 0 || socket.flags() & RECEIVING == 0 => {}
            Self::Idle => socket.raise(NUDGE_IDLE),
            Self::Stop => socket.raise(NUDGE_STOP),
        }
    }
}

/// How many operations may complete at once, one after the other, before the task lets others run: a peer that is fast
/// enough must not keep a task going at DISPATCH_LEVEL for ever.
const STREAK: u8 = 32;

/// Operations of one socket since its task last let others run.
#[derive(Default)]
struct Streak(u8);

impl Streak {
    /// Counts one more, and lets others run when it is time.
    async fn count(&mut self) {
        self.0 += 1;
        if self.0 < STREAK {
            return;
        }
        self.0 = 0;
        let mut yielded = false;
        poll_fn(|context| {
            if core::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// A listening socket.
pub struct TcpListener {
    socket: SocketHandle,
    streak: Streak,
    accept: Option<Shared<Op<Accepting>>>,
}

/// A connection. Dropping it closes it; a stream that was not disconnected in both directions is reset by that.
pub struct TcpStream {
    socket: SocketHandle,
    streak: Streak,
    transfer: Option<Shared<Op<Transfer>>>,
    events: bool,
}

/// Waits for an operation and takes its status for the result.
async fn finish<P: Payload>(pending: Result<Pending<P>, NtStatus>) -> Result<P, IoError> {
    let done = pending?.await?;
    done.status.ok()?;
    Ok(done.payload)
}

impl TcpListener {
    /// Listens at an address.
    ///
    /// # Errors
    /// See [`BindError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn bind(binding: &Binding, address: SocketAddr, addresses: Addresses) -> Result<Self, BindError> {
        let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
        let opening = calls::open_listener(&binding.0, family).map_err(BindError::Open)?;
        let opened = opening.await.map_err(|status| BindError::Open(status.into()))?;
        opened.status.ok().map_err(|status| BindError::Open(status.into()))?;
        let socket = opened.payload.socket.ok_or(BindError::Open(OpenError::Detached))?;
        let listener = Self { socket, streak: Streak::default(), accept: None };
        if address.is_ipv6() {
            listener.set_own_family_only(addresses == Addresses::OwnFamily).await?;
        }
        listener.bind_to(address).await.map_err(BindError::Bind)?;
        Ok(listener)
    }

    /// A provider without the option has IPv6 alone, or nothing to choose: only the wish for both can fail.
    async fn set_own_family_only(&self, only: bool) -> Result<(), BindError> {
        let call = Call::begin(&self.socket).map_err(|error| BindError::Option(error.into()))?;
        match finish(calls::set_option(call, IPPROTO_IPV6 as _, IPV6_V6ONLY, only.into())).await {
            Err(IoError::Provider(_)) if only => Ok(()),
            other => other.map(|_| ()).map_err(BindError::Option),
        }
    }

    async fn bind_to(&self, address: SocketAddr) -> Result<(), IoError> {
        let call = Call::begin(&self.socket)?;
        finish(calls::bind(call, RawAddress::new(address))).await.map(|_| ())
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// Detach has begun, no memory, or the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn local_address(&self) -> Result<SocketAddr, IoError> {
        let call = Call::begin(&self.socket)?;
        let address = finish(calls::local_address(call)).await?;
        address.0.to_address().ok_or(IoError::Provider(NtStatus::INVALID_PARAMETER))
    }

    /// Takes the next connection, and the address that it comes from. Dropping the future gives the connection up, if one
    /// comes meanwhile.
    ///
    /// # Errors
    /// Detach has begun, no memory, or the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn accept(&mut self) -> Result<(TcpStream, Option<SocketAddr>), AcceptError> {
        self.streak.count().await;
        let pending = calls::accept(Call::begin(&self.socket)?, &mut self.accept)?;
        let done = pending.await.map_err(OpenError::from)?;
        self.accept = Some(done.op);
        done.status.ok().map_err(|status| self.ended(status))?;
        let socket = done.payload.socket.ok_or(OpenError::Detached)?;
        Ok((TcpStream { socket, streak: Streak::default(), transfer: None, events: false }, done.payload.remote.to_address()))
    }

    /// An accept that comes back cancelled because the socket is being closed says so.
    fn ended(&self, status: NtStatus) -> OpenError {
        if self.socket.flags() & (CLOSING | GONE) == 0 && self.socket.shell().is_open() {
            status.into()
        } else {
            OpenError::Detached
        }
    }
}

impl TcpStream {
    /// Has the provider tell when there is something to receive, so that waiting takes no buffer. `false` if the provider
    /// has no such events.
    ///
    /// # Errors
    /// [`IoError::Detached`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn enable_events(&mut self) -> Result<bool, IoError> {
        self.events = calls::enable_events(&Call::begin(&self.socket)?).is_ok();
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

    async fn receive_until(&mut self, buffer: Buffer, nudges: u8) -> Result<Buffer, TransferError> {
        self.streak.count().await;
        if self.socket.flags() & NUDGE_IDLE != 0 {
            // It was meant for a receive that is over.
            self.socket.take_flags(NUDGE_IDLE);
        }
        let call = match Call::begin(&self.socket) {
            Ok(call) => call,
            Err(error) => return Err(TransferError { error: error.into(), buffer: Some(buffer) }),
        };
        let started = calls::receive(call, &mut self.transfer, buffer);
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
        let started = calls::send(call, &mut self.transfer, buffer);
        self.transferred(started, 0).await
    }

    async fn transferred(
        &mut self,
        started: Result<Pending<Transfer>, (NtStatus, Buffer)>,
        nudges: u8,
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
        finish(calls::disconnect(Call::begin(&self.socket)?, false)).await.map(|_| ())
    }

    fn ended(&self, status: NtStatus) -> IoError {
        if self.socket.flags() & (CLOSING | GONE) == 0 { status.into() } else { IoError::Detached }
    }
}

/// Awaits an operation, and asks for its cancellation when one of the nudges comes.
async fn cancel_on<P: Payload>(socket: &Shared<Socket>, pending: Pending<P>, nudges: u8) -> <Pending<P> as Future>::Output {
    let mut pending = pin!(pending);
    poll_fn(|context| {
        if let Poll::Ready(done) = pending.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if nudges != 0 {
            socket.reader.register(context.waker());
            // A stop stays: it holds for all that follows.
            let nudged = socket.take_flags(nudges & NUDGE_IDLE) | socket.flags() & nudges & NUDGE_STOP;
            if nudged != 0 {
                pending.cancel();
            }
        }
        // It may have come back inside the cancellation, with no wake to follow.
        pending.as_mut().poll(context)
    })
    .await
}
