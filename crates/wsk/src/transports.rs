//! The transports that sockets can be made of, and their changes.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use wsk_sys::WSK_TRANSPORT;

use crate::raw::calls::client::{self, TransportList};
use crate::raw::watch::Watch;
use crate::{Binding, IoError};

/// What sockets can be made of: family, type and protocol by the numbers that WSK has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The version of the description.
    pub version: u16,
    /// AF_INET (2), AF_INET6 (23), or another one.
    pub family: u16,
    /// SOCK_STREAM (1), SOCK_DGRAM (2), or another one.
    pub socket_type: u16,
    /// IPPROTO_TCP (6), IPPROTO_UDP (17), or another one.
    pub protocol: u32,
}

/// The transports at one time.
pub struct Transports(TransportList);

impl Transports {
    /// One after the other.
    ///
    /// # IRQL
    /// Any.
    pub fn iter(&self) -> impl Iterator<Item = Transport> {
        self.0.iter().map(describe)
    }
}

fn describe(theirs: &WSK_TRANSPORT) -> Transport {
    Transport { version: theirs.Version, family: theirs.AddressFamily, socket_type: theirs.SocketType, protocol: theirs.Protocol }
}

impl Binding {
    /// The transports that there are now.
    /// [WSK_TRANSPORT_LIST_QUERY](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-transport-list-query)
    ///
    /// # Errors
    /// Detach has begun, no memory, or the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn transports(&self) -> Result<Transports, IoError> {
        client::transports(&self.0).map(Transports)
    }

    /// Waits until a transport has come or gone, from this call on: what is asked for with [`transports`](Self::transports)
    /// after it is not older than the wait.
    /// [WSK_TRANSPORT_LIST_CHANGE](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-transport-list-change)
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn transports_changed(&self) -> TransportsChanged {
        TransportsChanged(Watch::begin(&self.0))
    }
}

/// See [`Binding::transports_changed`]. It fails when the binding ends, for want of memory, or as the provider says.
pub struct TransportsChanged(Result<Watch, IoError>);

impl Future for TransportsChanged {
    type Output = Result<(), IoError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(watch) => Pin::new(watch).poll(context),
            Err(error) => Poll::Ready(Err(*error)),
        }
    }
}
