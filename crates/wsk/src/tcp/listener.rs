//! A listening socket.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;

use wsk_sys::IPPROTO::IPPROTO_IPV6;
use wsk_sys::{
    IPV6_V6ONLY, SO_CONDITIONAL_ACCEPT, SO_REUSEADDR, SOL_SOCKET, WSK_EVENT_ACCEPT, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE,
};

use super::socket::opened;
use super::{Addresses, Family, Inspection, Inspector, ListenOptions, Streak, TcpStream, events, finish, local_address_of};
use crate::Binding;
use crate::error::{AcceptError, BindError, IoError, OpenError};
use crate::raw::NtStatus;
use crate::raw::address::RawAddress;
use crate::raw::calls::listen::Accepting;
use crate::raw::calls::{Call, addressed, control, listen};
use crate::raw::listening::Accepted;
use crate::raw::op::Op;
use crate::raw::socket::{BEQUEATH, Kind, READABLE, SocketHandle};
use crate::security::{SecurityDescriptor, secure};
use crate::sync::Shared;

/// The backlog of a listener that did not ask for the accept event, but has it because all have.
const BACKLOG_OF_STATIC_EVENT: u16 = 16;

/// A listening socket. Dropping it closes it; connections that nobody has accepted go with it.
pub struct TcpListener {
    socket: SocketHandle,
    streak: Streak,
    accept: Option<Shared<Op<Accepting>>>,
    by_event: bool,
    inspector: Option<Inspector>,
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
        Self::bind_with(binding, address, &ListenOptions::new().addresses(addresses)).await
    }

    /// Listens at an address, in a certain way.
    /// [`WskBind`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_bind)
    ///
    /// # Errors
    /// See [`BindError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn bind_with(binding: &Binding, address: SocketAddr, options: &ListenOptions) -> Result<Self, BindError> {
        let socket = opened(binding, Kind::Listen, Family::of(address)).await.map_err(BindError::Open)?;
        Self::listen(socket, Some(address), options).await
    }

    /// As [`bind_with`](Self::bind_with), with a word on who may share the address (SO_WSK_SECURITY).
    ///
    /// # Errors
    /// See [`BindError`]; a descriptor of another binding is refused as [`IoError::Detached`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn bind_secured(
        binding: &Binding,
        address: SocketAddr,
        options: &ListenOptions,
        descriptor: &SecurityDescriptor,
    ) -> Result<Self, BindError> {
        let socket = opened(binding, Kind::Listen, Family::of(address)).await.map_err(BindError::Open)?;
        secure(&socket, descriptor).await.map_err(BindError::Option)?;
        Self::listen(socket, Some(address), options).await
    }

    /// Has a socket that is not bound yet, or to be bound to no address, listen.
    pub(super) async fn listen(
        socket: SocketHandle,
        address: Option<SocketAddr>,
        options: &ListenOptions,
    ) -> Result<Self, BindError> {
        let mut listener = Self { socket, streak: Streak::default(), accept: None, by_event: false, inspector: None };
        if let Some(address) = address {
            listener.set_options(address, options).await?;
        }
        let backlog = listener.backlog(options);
        listener.make_room(backlog, options.inspected).map_err(BindError::Open)?;
        if let Some(address) = address {
            listener.bind_to(address).await.map_err(BindError::Bind)?;
        }
        if listener.socket.kind() == Kind::Stream {
            let call = Call::begin(&listener.socket).map_err(|error| BindError::Listen(error.into()))?;
            finish(&listener.socket, listen::listen(call)).await.map_err(BindError::Listen)?;
        }
        if backlog > 0 {
            listener.enable_accept_event(options.events).map_err(BindError::Listen)?;
        }
        Ok(listener)
    }

    pub(crate) fn socket(&self) -> &SocketHandle {
        &self.socket
    }

    async fn set_options(&mut self, address: SocketAddr, options: &ListenOptions) -> Result<(), BindError> {
        if address.is_ipv6() {
            self.set_own_family_only(options.addresses == Addresses::OwnFamily).await?;
        }
        if options.reuse_address {
            self.set(SOL_SOCKET, SO_REUSEADDR, 1).await.map_err(BindError::Option)?;
        }
        if options.inspected > 0 {
            self.set(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, 1).await.map_err(BindError::Option)?;
            self.inspector = Some(Inspector::new(&self.socket));
        }
        Ok(())
    }

    async fn set(&self, level: u32, option: u32, value: u32) -> Result<(), IoError> {
        let call = Call::begin(&self.socket)?;
        finish(&self.socket, control::set_option(call, level, option, value)).await.map(|_| ())
    }

    /// A provider without the option has IPv6 alone, or nothing to choose: only the wish for both can fail.
    async fn set_own_family_only(&self, only: bool) -> Result<(), BindError> {
        match self.set(IPPROTO_IPV6 as _, IPV6_V6ONLY, only.into()).await {
            Err(IoError::Provider(_)) if only => Ok(()),
            other => other.map_err(BindError::Option),
        }
    }

    /// How many connections an event may bring before they are accepted; 0 for none.
    fn backlog(&self, options: &ListenOptions) -> u16 {
        let for_all = self.socket.shell().static_events() & WSK_EVENT_ACCEPT != 0;
        if for_all && options.backlog == 0 { BACKLOG_OF_STATIC_EVENT } else { options.backlog }
    }

    /// Takes memory for all that callbacks will need: they may come as soon as the socket is bound.
    fn make_room(&self, backlog: u16, inspected: u16) -> Result<(), OpenError> {
        let call = Call::begin(&self.socket)?;
        if let Some(listening) = self.socket.listening() {
            listening.make_room(backlog.into(), inspected.into())?;
        }
        listen::refill(&call)
    }

    async fn bind_to(&self, address: SocketAddr) -> Result<(), IoError> {
        let call = Call::begin(&self.socket)?;
        finish(&self.socket, addressed::bind(call, RawAddress::new(address))).await.map(|_| ())
    }

    fn enable_accept_event(&mut self, bequeath: bool) -> Result<(), IoError> {
        if bequeath {
            // First, for those that come at once.
            self.socket.mark(BEQUEATH);
        }
        let inherited = if bequeath { WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT } else { 0 };
        self.by_event = events::enable(&self.socket, WSK_EVENT_ACCEPT | inherited)?;
        if !self.by_event {
            let _inside = Call::begin(&self.socket)?;
            // Nobody will ever ask for the reserves.
            self.socket.listening().into_iter().for_each(|listening| listening.give_up());
        }
        Ok(())
    }

    /// The address that it is bound to.
    /// [`WskGetLocalAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_local_address)
    ///
    /// # Errors
    /// Detach has begun, no memory, or the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn local_address(&self) -> Result<SocketAddr, IoError> {
        local_address_of(&self.socket, addressed::local_address(Call::begin(&self.socket)?)).await
    }

    /// Takes the next connection, and the address that it comes from. Dropping the future gives the connection up, if one
    /// comes meanwhile; with the [accept event](ListenOptions::by_event) it waits for the next accept.
    /// [`WskAccept`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_accept)
    ///
    /// # Errors
    /// Detach has begun, no memory, or the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn accept(&mut self) -> Result<(TcpStream, Option<SocketAddr>), AcceptError> {
        self.streak.count().await;
        if self.by_event {
            return self.accept_indicated().await;
        }
        let pending = listen::accept(Call::begin(&self.socket)?, &mut self.accept)?;
        let done = pending.await.map_err(OpenError::from)?;
        self.accept = Some(done.op);
        done.status.ok().map_err(|status| self.ended(status))?;
        let socket = done.payload.socket.ok_or(OpenError::Detached)?;
        Ok((TcpStream::new(socket), done.payload.remote.to_address()))
    }

    /// Takes what the accept event has brought, and reserves for the next.
    async fn accept_indicated(&mut self) -> Result<(TcpStream, Option<SocketAddr>), AcceptError> {
        let refilled = listen::refill(&Call::begin(&self.socket)?);
        let listening = self.socket.listening().ok_or(OpenError::Detached)?;
        if listening.is_bare() {
            // Nothing can come: to wait would be to wait for ever.
            refilled?;
        }
        let socket = &*self.socket;
        let Accepted { socket: accepted, remote } = poll_fn(|context| {
            socket.reader.register(context.waker());
            socket.take_flags(READABLE);
            match listening.take() {
                Some(accepted) => Poll::Ready(Ok(accepted)),
                None if socket.is_ending() => Poll::Ready(Err(OpenError::Detached)),
                None => Poll::Pending,
            }
        })
        .await?;
        if let Ok(call) = Call::begin(&self.socket) {
            // What is lacking now is asked for again by the next accept.
            let _ = listen::refill(&call);
        }
        Ok((TcpStream::new(accepted), remote))
    }

    /// An accept that comes back cancelled because the socket is being closed says so.
    fn ended(&self, status: NtStatus) -> OpenError {
        if self.socket.is_ending() { OpenError::Detached } else { status.into() }
    }

    /// Whether connections are brought by an event.
    ///
    /// # IRQL
    /// Any.
    pub fn is_by_event(&self) -> bool {
        self.by_event
    }

    /// How many connections were refused because as many waited as the [backlog](ListenOptions::by_event) allows.
    ///
    /// # IRQL
    /// Any.
    pub fn refused(&self) -> u64 {
        self.socket.listening().map_or(0, |listening| listening.refused())
    }

    /// Waits for the next connection request that is to be inspected; see [`Inspector::inspect`].
    ///
    /// # Errors
    /// As there. STATUS_NOT_SUPPORTED if the listener is not [conditional](ListenOptions::conditional), or the
    /// [`Inspector`] has been taken.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn inspect(&mut self) -> Result<Inspection, AcceptError> {
        self.inspector.as_mut().ok_or(AcceptError::Provider(NtStatus::NOT_SUPPORTED))?.inspect().await
    }

    /// Takes the inspector of a [conditional](ListenOptions::conditional) listener, so that another task can inspect while
    /// this one accepts.
    ///
    /// # IRQL
    /// Any.
    pub fn take_inspector(&mut self) -> Option<Inspector> {
        self.inspector.take()
    }
}
