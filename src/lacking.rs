//! What a provider may lack, and what the driver does without it. Each is traced once per load, when it is first missed.
//!
//! Providers answer STATUS_NOT_SUPPORTED or STATUS_NOT_IMPLEMENTED to what they do not have; see [`is_lacking`].
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU32, Ordering};

use wsk::{Binding, ConnectError, Family, IoError, NtStatus, TcpSocket, TcpStream};

use crate::log;

/// The number of IPv6's address family.
const AF_INET6: u16 = 23;

/// What was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// WskGetLocalAddress.
    LocalAddress,
    /// A graceful WskDisconnect.
    Disconnect,
    /// Receive and disconnect events of connections.
    Events,
    /// Datagram sockets.
    Datagrams,
    /// WskSocketConnect.
    SocketConnect,
    /// WSK_TRANSPORT_LIST_CHANGE.
    TransportChanges,
    /// SIO_ADDRESS_LIST_CHANGE, or the datagram socket that it takes.
    AddressChanges,
    /// IPv6.
    V6,
}

impl Lacking {
    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::LocalAddress => ("local addresses", "the configured ones are told"),
            Self::Disconnect => ("a graceful disconnect", "connections are closed instead"),
            Self::Events => ("receive events", "each connection keeps a small buffer"),
            Self::Datagrams => ("datagram sockets", "nothing is served over UDP"),
            Self::SocketConnect => ("WskSocketConnect", "sockets are bound and connected step by step"),
            Self::TransportChanges => ("changes of transports", "what cannot listen tries again by itself"),
            Self::AddressChanges => ("changes of addresses", "what cannot listen tries again by itself"),
            Self::V6 => ("IPv6", "IPv4 only"),
        }
    }

    /// Traces that it is missing, the first time.
    pub(crate) fn tell(self, why: impl fmt::Display) {
        static TOLD: AtomicU32 = AtomicU32::new(0);
        let bit = 1 << self as u32;
        if TOLD.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            let (what, instead) = self.texts();
            log!("WSK lacks {what} ({why}): {instead}");
        }
    }
}

/// Whether this is how a provider says that it does not have what was asked for.
pub(crate) fn is_lacking(status: NtStatus) -> bool {
    matches!(status, NtStatus::NOT_SUPPORTED | NtStatus::NOT_IMPLEMENTED)
}

/// As [`is_lacking`], of an operation's error.
pub(crate) fn is_lacked(error: IoError) -> bool {
    matches!(error, IoError::Provider(status) if is_lacking(status))
}

/// The address that a socket is bound to, or the one that it was bound with where the provider does not tell.
pub(crate) fn told(asked: Result<SocketAddr, IoError>, bound: SocketAddr) -> SocketAddr {
    asked.unwrap_or_else(|error| {
        if is_lacked(error) {
            Lacking::LocalAddress.tell(error);
        }
        bound
    })
}

/// Whether there may be IPv6, as far as the provider says: one that has no list of transports has told nothing, and the bind
/// that has failed is the answer.
pub(crate) fn has_v6(binding: &Binding) -> bool {
    match binding.transports() {
        Ok(transports) => transports.iter().any(|transport| transport.family == AF_INET6),
        Err(error) => !is_lacked(error),
    }
}

/// Connects, in one step or in three.
///
/// # Errors
/// See [`ConnectError`].
pub(crate) async fn connect(binding: &Binding, remote: SocketAddr) -> Result<TcpStream, ConnectError> {
    match TcpStream::connect(binding, remote).await {
        Err(error @ ConnectError::NotSupported) => {
            Lacking::SocketConnect.tell(error);
            TcpSocket::new(binding, Family::of(remote)).await?.connect(remote).await
        }
        other => other,
    }
}
