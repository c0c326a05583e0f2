//! A listening socket.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::net::SocketAddr;

use wsk_sys::IPPROTO::IPPROTO_IPV6;
use wsk_sys::IPV6_V6ONLY;

use super::socket::opened;
use super::{Family, Streak, TcpStream, address_of, finish};
use crate::Binding;
use crate::error::{AcceptError, BindError, IoError, OpenError};
use crate::raw::NtStatus;
use crate::raw::address::RawAddress;
use crate::raw::calls::listen::Accepting;
use crate::raw::calls::{Call, addressed, control, listen};
use crate::raw::op::Op;
use crate::raw::socket::{Kind, SocketHandle};
use crate::sync::Shared;

/// Which addresses a listener on an IPv6 wildcard serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Those of its own family.
    OwnFamily,
    /// Those of both families, if the provider has it.
    Both,
}

/// A listening socket.
pub struct TcpListener {
    socket: SocketHandle,
    streak: Streak,
    accept: Option<Shared<Op<Accepting>>>,
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
        let socket = opened(binding, Kind::Listen, Family::of(address)).await.map_err(BindError::Open)?;
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
        match finish(&self.socket, control::set_option(call, IPPROTO_IPV6 as _, IPV6_V6ONLY, only.into())).await {
            Err(IoError::Provider(_)) if only => Ok(()),
            other => other.map(|_| ()).map_err(BindError::Option),
        }
    }

    async fn bind_to(&self, address: SocketAddr) -> Result<(), IoError> {
        let call = Call::begin(&self.socket)?;
        finish(&self.socket, addressed::bind(call, RawAddress::new(address))).await.map(|_| ())
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// Detach has begun, no memory, or the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn local_address(&self) -> Result<SocketAddr, IoError> {
        address_of(&self.socket, addressed::local_address(Call::begin(&self.socket)?)).await
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
        let pending = listen::accept(Call::begin(&self.socket)?, &mut self.accept)?;
        let done = pending.await.map_err(OpenError::from)?;
        self.accept = Some(done.op);
        done.status.ok().map_err(|status| self.ended(status))?;
        let socket = done.payload.socket.ok_or(OpenError::Detached)?;
        Ok((TcpStream::new(socket), done.payload.remote.to_address()))
    }

    /// An accept that comes back cancelled because the socket is being closed says so.
    fn ended(&self, status: NtStatus) -> OpenError {
        if self.socket.is_ending() { OpenError::Detached } else { status.into() }
    }
}
