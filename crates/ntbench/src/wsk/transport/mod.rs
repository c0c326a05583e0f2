//! The seam between the WSK provider and what carries the bytes.
//!
//! [`Transport`] makes [`Endpoint`]s; an endpoint never blocks, and tells its [`Ready`] sink, by edges, when it is
//! worth trying again. The provider holds an endpoint under the lock of its socket and calls it from any thread;
//! a sink is called with no lock held. Backends: [`host`], the sockets of this machine. An in-memory network with
//! virtual time fits behind the same traits: [`Transport::later`] is the only clock that the provider uses.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod datagram;
pub mod host;
pub mod names;
mod reactor;

pub use datagram::{Ancillary, Received, Slot};
use names::{Answer, Question, Unresolved};

/// Address family of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and IPv4 too where [`Setting::OnlyV6`] was switched off.
    V6,
}

/// What may have become possible. Edges: each says "try again", not "it will succeed".
#[derive(Clone, Copy, Default, Debug)]
pub struct Readiness {
    /// Data, a connection to accept, or the end of the stream.
    pub readable: bool,
    /// Room to send, or a connect that has ended.
    pub writable: bool,
    /// The peer sends no more.
    pub read_closed: bool,
    /// The connection is broken, or was never made.
    pub failed: bool,
}

/// Who is told of readiness.
pub trait Ready: Send + Sync {
    /// Called on a thread of the transport's, with no lock held.
    fn ready(&self, what: Readiness);
}

/// A switch of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // Each is the socket option of its name.
pub enum Setting {
    OnlyV6(bool),
    ReuseAddress(bool),
    /// Several listeners, all with this, may have one port.
    SharePort(bool),
    KeepAlive(bool),
    KeepIdle(u32),
    KeepInterval(u32),
    KeepCount(u32),
    NoDelay(bool),
    SendBuffer(u32),
    ReceiveBuffer(u32),
    Broadcast(bool),
    /// Received datagrams say how far they could have gone.
    HopLimitInfo(Family, bool),
    /// How many routers what is sent may pass.
    HopLimit(Family, u32),
    /// Received datagrams say their traffic class, which has the ECN bits.
    ClassInfo(Family, bool),
    DontFragment(Family, bool),
    /// The index of the interface that datagrams leave by; 0 is any.
    UnicastInterface(Family, u32),
    /// What is sent is cut into datagrams of so many bytes; 0 is not.
    SegmentSize(u32),
    /// Datagrams of a flow may be received as one.
    Coalescing(bool),
}

/// A way to start connecting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connecting {
    /// Connected already.
    Done,
    /// A later writable or failed edge tells the outcome, which [`Endpoint::outcome`] names.
    Begun,
}

/// One end of a stream, a listener, or what datagrams come to. No call blocks.
///
/// # Errors
/// Those of the host's sockets, for every method here; `WouldBlock` where there is nothing to be had, or no room, now.
pub trait Endpoint: Send + Sync {
    /// Gives it a local address.
    fn bind(&self, address: SocketAddr) -> io::Result<()>;
    /// Begins to listen.
    fn listen(&self) -> io::Result<()>;
    /// Takes a waiting connection; `WouldBlock` if there is none.
    fn accept(&self) -> io::Result<(Box<dyn Endpoint>, SocketAddr)>;
    /// Begins to connect.
    fn connect(&self, address: SocketAddr) -> io::Result<Connecting>;
    /// How a begun connect ended.
    fn outcome(&self) -> io::Result<()>;
    /// Receives into the slices in order. 0 is the end of the stream.
    fn receive(&self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
    /// Whether the stream is at its end, with nothing left to receive.
    fn at_end(&self) -> bool;
    /// Sends from the slices in order.
    fn send(&self, from: &[IoSlice<'_>]) -> io::Result<usize>;
    /// No more will be sent (FIN after what was sent).
    fn finish(&self) -> io::Result<()>;
    /// From now on, dropping the endpoint resets the connection.
    fn reset_on_drop(&self);
    /// The local address.
    fn local(&self) -> io::Result<SocketAddr>;
    /// The peer's address.
    fn peer(&self) -> io::Result<SocketAddr>;
    /// Sets a switch.
    fn set(&self, setting: Setting) -> io::Result<()>;
    /// Receives a datagram into the slices in order; `WouldBlock` if there is none. (Datagrams only.)
    fn receive_from(&self, into: &mut [IoSliceMut<'_>]) -> io::Result<Received>;
    /// Receives datagrams, one into each slot; how many. (Datagrams only.)
    fn receive_many(&self, into: &mut [Slot]) -> io::Result<usize>;
    /// Sends datagrams, each from its slices in order; how many. (Datagrams only.)
    fn send_many(&self, from: &[&[IoSlice<'_>]], to: SocketAddr, with: &Ancillary) -> io::Result<usize>;
    /// Bytes that wait to be received.
    fn waiting(&self) -> usize;
    /// Begins to tell `sink`; at once if there is something to tell.
    fn watch(&self, sink: Arc<dyn Ready>) -> io::Result<()>;
    /// Tells it no more and drops it. A call of the sink may still be in progress.
    fn unwatch(&self);
}

/// Work for a thread of the transport's.
pub type Job = Box<dyn FnOnce() + Send>;

/// What carries the bytes.
///
/// # Errors
/// Those of the host.
pub trait Transport: Send + Sync {
    /// Makes a TCP endpoint.
    fn stream(&self, family: Family) -> io::Result<Box<dyn Endpoint>>;
    /// Makes a UDP endpoint. Every datagram that it receives says where it was sent to.
    fn datagrams(&self, family: Family) -> io::Result<Box<dyn Endpoint>>;
    /// Runs a job on a thread of the transport's, after a time.
    fn later(&self, delay: Duration, job: Job);
    /// The addresses of this machine, loopback too, with port 0.
    fn addresses(&self, family: Family) -> io::Result<Vec<SocketAddr>>;
    /// The addresses of a name. Blocks.
    fn resolve(&self, question: &Question) -> Result<Answer, Unresolved>;
    /// The names of an address and of its port; `flags` are NI_*. Blocks.
    fn names(&self, address: &SocketAddr, flags: u32) -> Result<(String, String), Unresolved>;
    /// Runs a job that may block, on a thread that nobody waits for.
    fn aside(&self, job: Job);
    /// Ends its threads and waits for them; jobs that wait are run first.
    fn stop(&self);
}
