//! A connection.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::net::SocketAddr;

use super::halves::halves;
use super::{ReadHalf, WriteHalf, address_of, local_address_of};
use crate::Binding;
use crate::error::{ConnectError, IoError, TransferError};
use crate::raw::address::RawAddress;
use crate::raw::calls::{Call, addressed, connection, open};
use crate::raw::socket::SocketHandle;
use crate::raw::{Buffer, NtStatus};

/// A connection. Dropping it closes it; a stream that was not disconnected in both directions is reset by that.
pub struct TcpStream {
    pub(super) reader: ReadHalf,
    pub(super) writer: WriteHalf,
}

impl TcpStream {
    /// The stream of a connected socket.
    pub(super) fn new(socket: SocketHandle) -> Self {
        let (reader, writer) = halves(socket);
        Self { reader, writer }
    }

    pub(super) fn socket(&self) -> &SocketHandle {
        &self.reader.socket
    }

    /// Makes a socket, binds it to some local address and connects it, in one call. Dropping the future gives the connection
    /// up. [`TcpSocket`](crate::TcpSocket) is for more wishes.
    /// [`WskSocketConnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_socket_connect)
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn connect(binding: &Binding, remote: SocketAddr) -> Result<Self, ConnectError> {
        let connecting = open::connect(&binding.0, binding.1, RawAddress::any(remote), RawAddress::new(remote))?;
        let done = connecting.await?;
        done.status.ok().map_err(|status| match status {
            NtStatus::CANCELLED if !binding.is_open() => ConnectError::Detached,
            status => status.into(),
        })?;
        done.payload.opening.socket.map(Self::new).ok_or(ConnectError::Detached)
    }

    /// The two directions, to be used at the same time. It takes no memory.
    ///
    /// # IRQL
    /// Any.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.reader, self.writer)
    }

    /// The address of this end.
    /// [`WskGetLocalAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_local_address)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn local_address(&self) -> Result<SocketAddr, IoError> {
        local_address_of(self.socket(), addressed::local_address(Call::begin(self.socket())?)).await
    }

    /// The address of the peer.
    /// [`WskGetRemoteAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_remote_address)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn peer_address(&self) -> Result<SocketAddr, IoError> {
        address_of(self.socket(), connection::remote_address(Call::begin(self.socket())?)).await
    }

    /// See [`ReadHalf::readable`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn readable(&mut self) -> Result<(), IoError> {
        self.reader.readable().await
    }

    /// See [`ReadHalf::receive`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.lend_to_reader();
        self.reader.receive(buffer).await
    }

    /// See [`ReadHalf::receive_rest`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_rest(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.lend_to_reader();
        self.reader.receive_rest(buffer).await
    }

    /// See [`ReadHalf::receive_exact`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_exact(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.lend_to_reader();
        self.reader.receive_exact(buffer).await
    }

    /// See [`ReadHalf::drain`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn drain(&mut self) -> Result<(), IoError> {
        self.reader.drain().await
    }

    /// Whether [`Nudge::Stop`](crate::Nudge::Stop) has come.
    ///
    /// # IRQL
    /// Any.
    pub fn is_stopping(&self) -> bool {
        self.reader.is_stopping()
    }

    /// See [`WriteHalf::send`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn send(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.lend_to_writer();
        self.writer.send(buffer).await
    }

    /// See [`WriteHalf::set_no_delay`].
    ///
    /// # IRQL
    /// Any.
    pub fn set_no_delay(&mut self, no_delay: bool) {
        self.writer.set_no_delay(no_delay);
    }

    /// See [`WriteHalf::finish`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn finish(&mut self) -> Result<(), IoError> {
        self.writer.finish().await
    }

    /// See [`WriteHalf::finish_with`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn finish_with(&mut self, buffer: Buffer) -> Result<Buffer, TransferError> {
        self.lend_to_writer();
        self.writer.finish_with(buffer).await
    }

    /// See [`WriteHalf::abort`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn abort(&mut self) -> Result<(), IoError> {
        self.writer.abort().await
    }

    /// Who does one thing after the other needs one operation, not two.
    fn lend_to_reader(&mut self) {
        if self.reader.transfer.is_none() {
            self.reader.transfer = self.writer.transfer.take();
        }
    }

    fn lend_to_writer(&mut self) {
        if self.writer.transfer.is_none() {
            self.writer.transfer = self.reader.transfer.take();
        }
    }
}
