//! What can be known of a binding's sockets from outside: for tools that look at a driver while it runs.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use crate::{Binding, Nudge};
use crate::raw::walk::next_socket_while_there;

/// The number of a socket, which no other socket of its client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// It accepts connections.
    Listener,
    /// It is a connection, or becomes one.
    Connection,
    /// It sends and receives datagrams.
    Datagram,
    /// It becomes a connection, or accepts some.
    Stream,
}

/// Where a socket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketStage {
    /// Made, neither bound nor connected.
    Open,
    /// Bound, and for a listener or datagrams that is all.
    Bound,
    /// Being connected.
    Connecting,
    /// Connected.
    Connected,
    /// Connected, and the peer has ended its direction.
    PeerEnded,
    /// Its close has begun.
    Closing,
}

/// Why a socket was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its owner was done with it.
    Done,
    /// The peer had reset the connection.
    Reset,
    /// The binding was being taken away.
    Detached,
    /// The provider had taken it away.
    Gone,
}

/// A socket, as it was at one moment.
#[derive(Clone, Copy, Debug)]
pub struct SocketInfo {
    /// Its number.
    pub id: SocketId,
    /// What [`Binding::on_behalf_of`] said; 0 if nothing.
    pub owner: u64,
    /// What it is for.
    pub kind: SocketKind,
    /// Where it stands.
    pub stage: SocketStage,
    /// Calls to the provider in progress.
    pub calls: u32,
    /// Since it was made.
    pub age: Duration,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Its own address, as far as it was ever told: an accepted connection's is, and any other's once it was asked for.
    pub local: Option<SocketAddr>,
    /// Its peer's.
    pub remote: Option<SocketAddr>,
}

impl Binding {
    /// The same binding, on behalf of somebody: sockets that are made through it, and connections that its listeners accept, have
    /// this number as their [`owner`](SocketInfo::owner).
    ///
    /// # IRQL
    /// Any.
    pub fn on_behalf_of(&self, owner: u64) -> Self {
        Self(self.0.clone(), owner)
    }

    /// The next open socket at a place of the binding's table, or after it. `cursor` moves behind it; from 0 to the end, each socket
    /// that is there all the time is met exactly once, others at most once. Those of a binding that is being taken away
    /// are met until they are gone.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn next_socket(&self, cursor: &mut u32) -> Option<SocketInfo> {
        next_socket_while_there(&self.0, cursor).map(|socket| socket.info())
    }

    /// Nudges the streams of one owner; see [`Nudge`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn nudge_owned(&self, owner: u64, nudge: Nudge) {
        self.0.each_socket(|socket| {
            if socket.account().owner() == owner {
                nudge.apply(socket);
            }
        });
    }

    /// Closes the sockets of one owner, whoever holds them: what is done with one from now on ends with
    /// [`Detached`](crate::Detached), and connections that were not ended are reset.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn close_owned(&self, owner: u64) {
        self.0.each_socket(|socket| {
            if socket.account().owner() == owner {
                socket.begin_close();
            }
        });
    }

    /// How many sockets are open.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn socket_count(&self) -> u32 {
        self.0.open_sockets()
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
