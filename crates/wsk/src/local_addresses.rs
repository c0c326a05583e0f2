//! The addresses of this system that a socket could have, and their changes.
//!
//! # IRQL
//! `PASSIVE_LEVEL` for everything here, but for reading a list.

use core::net::SocketAddr;

use crate::raw::address::RawAddress;
use crate::raw::calls::Call;
use crate::raw::calls::addresses::{self, ListBytes};
use crate::raw::socket::Socket;
use crate::sync::{Passive, Shared};
use crate::tcp::finish;
use crate::{IoError, TcpListener, TcpSocket, UdpSocket};

/// Where the entries of a SOCKET_ADDRESS_LIST begin, how long one is, and where its length is in it.
const HEAD: usize = 8;
const ENTRY: usize = 16;
const LENGTH: usize = 8;

/// The local addresses at one time, of the socket's family, without ports.
pub struct LocalAddresses(ListBytes);

impl LocalAddresses {
    /// One after the other.
    ///
    /// # IRQL
    /// Any.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let count = self.0.first_chunk().map_or(0, |count| i32::from_le_bytes(*count));
        let entries = self.0.get(HEAD..).unwrap_or_default().chunks_exact(ENTRY);
        entries.take(usize::try_from(count).unwrap_or(0)).filter_map(|entry| self.address(entry))
    }

    /// What an entry points to, if that lies in the list.
    fn address(&self, entry: &[u8]) -> Option<SocketAddr> {
        let pointer = usize::from_le_bytes(*entry.first_chunk()?);
        let length = i32::from_le_bytes(*entry.get(LENGTH..)?.first_chunk()?);
        let start = pointer.checked_sub(self.0.as_ptr().addr())?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        RawAddress::from_bytes(self.0.get(start..end)?)
    }
}

fn list(passive: Passive, socket: &Shared<Socket>) -> Result<LocalAddresses, IoError> {
    addresses::list(passive, &Call::begin(socket)?).map(LocalAddresses)
}

async fn changed(passive: Passive, socket: &Shared<Socket>) -> Result<(), IoError> {
    finish(socket, addresses::change(passive, Call::begin(socket)?)).await.map(|_| ())
}

/// The same for every kind of socket.
macro_rules! local_addresses {
    ($type:ty) => {
        impl $type {
            /// The addresses of this system, of the socket's family.
            /// [SIO_ADDRESS_LIST_QUERY](https://learn.microsoft.com/windows-hardware/drivers/network/sio-address-list-query)
            ///
            /// # Errors
            /// [`IoError::Detached`]; no memory; the provider's status.
            ///
            /// # IRQL
            /// `PASSIVE_LEVEL`.
            pub fn local_addresses(&self, passive: Passive) -> Result<LocalAddresses, IoError> {
                list(passive, self.socket())
            }

            /// Waits until an address of this system has come or gone, from the first poll on.
            /// [SIO_ADDRESS_LIST_CHANGE](https://learn.microsoft.com/windows-hardware/drivers/network/sio-address-list-change)
            ///
            /// # Errors
            /// As for [`local_addresses`](Self::local_addresses).
            ///
            /// # IRQL
            /// `PASSIVE_LEVEL`.
            pub async fn local_addresses_changed(&self, passive: Passive) -> Result<(), IoError> {
                changed(passive, self.socket()).await
            }
        }
    };
}

local_addresses!(TcpListener);
local_addresses!(TcpSocket);
local_addresses!(UdpSocket);
