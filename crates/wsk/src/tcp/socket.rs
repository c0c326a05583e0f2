//! A socket on its way to a connection.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::net::SocketAddr;

use super::{ListenOptions, TcpListener, TcpStream, finish, local_address_of};
use crate::Binding;
use crate::error::{BindError, ConnectError, ConnectWithError, IoError, OpenError};
use crate::raw::address::{AF_INET, AF_INET6, RawAddress};
use crate::raw::calls::{Call, addressed, connection, open};
use crate::raw::socket::{Kind, SocketHandle};
use crate::raw::{Buffer, NtStatus};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    ///
    /// # IRQL
    /// Any.
    pub const fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::V4 => AF_INET,
            Self::V6 => AF_INET6,
        }
    }
}

/// A TCP socket that is not connected yet. Dropping it closes it.
pub struct TcpSocket {
    pub(super) socket: SocketHandle,
    pub(super) bound: bool,
}

impl TcpSocket {
    /// Makes a connection socket.
    /// [`WskSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_socket)
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn new(binding: &Binding, family: Family) -> Result<Self, OpenError> {
        Self::of_kind(binding, Kind::Connection, family).await
    }

    /// Makes a stream socket: one that can be connected, or listen (WSK_FLAG_STREAM_SOCKET).
    ///
    /// # Errors
    /// See [`OpenError`]; a provider before Windows 10, version 1703, has none.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn stream(binding: &Binding, family: Family) -> Result<Self, OpenError> {
        Self::of_kind(binding, Kind::Stream, family).await
    }

    pub(crate) fn socket(&self) -> &SocketHandle {
        &self.socket
    }

    async fn of_kind(binding: &Binding, kind: Kind, family: Family) -> Result<Self, OpenError> {
        opened(binding, kind, family).await.map(|socket| Self { socket, bound: false })
    }

    /// Binds it to a local address.
    /// [`WskBind`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_bind)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status: one that the address is taken, or not of this system.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn bind(&mut self, local: SocketAddr) -> Result<(), IoError> {
        self.bind_to(RawAddress::new(local)).await
    }

    async fn bind_to(&mut self, local: RawAddress) -> Result<(), IoError> {
        finish(&self.socket, addressed::bind(Call::begin(&self.socket)?, local)).await?;
        self.bound = true;
        Ok(())
    }

    /// The address that it is bound to.
    /// [`WskGetLocalAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_local_address)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn local_address(&self) -> Result<SocketAddr, IoError> {
        local_address_of(&self.socket, addressed::local_address(Call::begin(&self.socket)?)).await
    }

    /// Connects it; if it is not bound, from some local address. The socket goes if that fails, or the future is dropped.
    /// [`WskConnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_connect)
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn connect(mut self, remote: SocketAddr) -> Result<TcpStream, ConnectError> {
        self.bind_if_not_bound(remote).await?;
        let call = Call::begin(&self.socket).map_err(IoError::from)?;
        self.socket.account().connects_to(remote);
        finish(&self.socket, connection::connect(call, RawAddress::new(remote))).await?;
        self.socket.account().connected(None);
        Ok(TcpStream::new(self.socket))
    }

    /// As [`connect`](Self::connect), and sends what is filled of the buffer, at most 65,535 bytes: with the first packet
    /// where TCP fast open is on and both ends allow it, otherwise right after.
    /// [`WskConnectEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_connect_ex)
    ///
    /// # Errors
    /// See [`ConnectError`]; [`ConnectError::NotSupported`] from a provider without the function (before Windows 10,
    /// version 1703).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn connect_with(mut self, remote: SocketAddr, buffer: Buffer) -> Result<(TcpStream, Buffer), ConnectWithError> {
        let failed = |error: ConnectError, buffer| ConnectWithError { error, buffer };
        if let Err(error) = self.bind_if_not_bound(remote).await {
            return Err(failed(error, Some(buffer)));
        }
        let call = match Call::begin(&self.socket) {
            Ok(call) => call,
            Err(_) => return Err(failed(ConnectError::Detached, Some(buffer))),
        };
        self.socket.account().connects_to(remote);
        let pending = match connection::connect_with(call, RawAddress::new(remote), buffer) {
            Ok(pending) => pending,
            Err((status, buffer)) => return Err(failed(status.into(), Some(buffer))),
        };
        let done = pending.await.map_err(|status| failed(status.into(), None))?;
        match done.status.ok() {
            Ok(()) => {
                self.socket.account().connected(None);
                self.socket.count_sent(done.payload.buffer.filled().len());
                Ok((TcpStream::new(self.socket), done.payload.buffer))
            }
            Err(status) => Err(failed(self.ended(status), Some(done.payload.buffer))),
        }
    }

    /// Has a [stream socket](Self::stream) listen: at the address, or where it has been bound to. Of the options those
    /// that come before the binding have no effect on a socket that is bound.
    /// [`WskListen`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_listen)
    ///
    /// # Errors
    /// See [`BindError`]; STATUS_NOT_SUPPORTED if it is not a stream socket.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn listen(self, local: SocketAddr, options: &ListenOptions) -> Result<TcpListener, BindError> {
        if self.socket.kind() != Kind::Stream {
            return Err(BindError::Listen(IoError::Provider(NtStatus::NOT_SUPPORTED)));
        }
        TcpListener::listen(self.socket, (!self.bound).then_some(local), options).await
    }

    async fn bind_if_not_bound(&mut self, remote: SocketAddr) -> Result<(), ConnectError> {
        if !self.bound {
            self.bind_to(RawAddress::any(remote)).await?;
        }
        Ok(())
    }

    fn ended(&self, status: NtStatus) -> ConnectError {
        if self.socket.is_ending() { ConnectError::Detached } else { status.into() }
    }
}

/// A new socket.
pub(crate) async fn opened(binding: &Binding, kind: Kind, family: Family) -> Result<SocketHandle, OpenError> {
    let done = open::socket(&binding.0, binding.1, kind, family.number())?.await?;
    done.status.ok().map_err(|status| match status {
        NtStatus::CANCELLED if !binding.is_open() => OpenError::Detached,
        status => status.into(),
    })?;
    done.payload.socket.ok_or(OpenError::Detached)
}
