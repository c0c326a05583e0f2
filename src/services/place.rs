//! One place where a service listens: an address and a protocol, on each binding anew.
//!
//! ```text
//!   started by the keeper ----> bind ---- failed ----> wait: back-off, or a change of addresses ----> bind
//!        ^                        | bound
//!        |                     serve ---- the provider takes the socket away ----> wait ----> bind
//!        '-- no memory to begin   '---- the binding or the service ends: over
//! ```
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::Future;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicI32, AtomicU16, AtomicU64, Ordering};
use core::time::Duration;

use control_abi::sockets::Protocol;
use wsk::{Addresses, BindError, Binding, Either, IoError, Lane, NtStatus, OpenError, Sleep, TcpListener, UdpSocket, first, now};

use super::bell::Bell;
use super::{Service, Services, tcp, udp};
use crate::lacking::{self, Lacking, is_lacking};
use crate::log;
use crate::trace::{Event, status_of, tell};

/// How long to wait before a bind that failed is tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(8);

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Address(IpAddr),
    /// All addresses of both families.
    Everywhere,
}

/// A place of a service.
pub(super) struct Place {
    protocol: Protocol,
    at: At,
    /// The binding for which it was started last, by its generation; 0 if it has to be started again.
    started: AtomicU64,
    /// One for each socket: the second is for a provider that needs one for each family.
    spots: [Spot; 2],
    /// The status of the last bind, if it failed.
    failed: AtomicI32,
}

/// What a socket of a place is known by.
pub(super) struct Spot {
    /// The port that it is bound to.
    port: AtomicU16,
    /// Rung when the addresses of the machine have changed.
    pub(super) changed: Bell,
}

/// A place of a service of this driver.
#[derive(Clone, Copy)]
pub(super) struct Station {
    pub(super) services: &'static Services,
    pub(super) service: &'static Service,
    pub(super) place: &'static Place,
}

/// Why a place does not listen any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// The binding or the service has ended, or the provider has no such sockets.
    Ended,
    /// There was no memory for what waiting takes: it is to be started again.
    NoMemory,
    /// The provider has no socket of both families.
    EachFamily,
}

/// How the serving of a socket came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The service or the binding ends.
    Ended,
    /// The provider has taken the socket away.
    Gone,
}

impl Place {
    pub(super) const fn new(protocol: Protocol, at: At) -> Self {
        Self { protocol, at, started: AtomicU64::new(0), spots: [Spot::new(), Spot::new()], failed: AtomicI32::new(0) }
    }

    /// The sockets that it may have.
    pub(super) fn spots(&self) -> impl Iterator<Item = &Spot> {
        self.spots.iter()
    }

    /// The port at which it listens, if it does.
    pub(super) fn port(&self) -> Option<u16> {
        self.spots().map(|spot| spot.port.load(Ordering::Relaxed)).find(|port| *port != 0)
    }

    /// The status of its last bind.
    pub(super) fn status(&self) -> NtStatus {
        NtStatus(self.failed.load(Ordering::Relaxed))
    }

    /// Whether one of its sockets receives datagrams at this port.
    pub(super) fn has_datagram_port(&self, port: u16) -> bool {
        self.protocol == Protocol::Udp && self.spots().any(|spot| spot.port.load(Ordering::Relaxed) == port)
    }
}

impl Spot {
    const fn new() -> Self {
        Self { port: AtomicU16::new(0), changed: Bell::new() }
    }
}

impl Station {
    /// Starts the place on a binding, unless it has been. What cannot be started now is tried again by the keeper.
    pub(super) fn start(self, binding: &Binding) {
        let generation = binding.generation();
        if self.place.started.swap(generation, Ordering::AcqRel) == generation {
            return;
        }
        let executor = binding.executor().clone();
        let (running, binding) = (Running::new(self.service), binding.on_behalf_of(self.service.id));
        let run = async move {
            let _running = running;
            self.run(&binding).await;
        };
        if executor.spawn(Lane::Dispatch, run).is_err() {
            self.place.started.store(0, Ordering::Release);
        }
    }

    async fn run(self, binding: &Binding) {
        let [one, other] = &self.place.spots;
        let done = match self.place.at {
            At::Address(address) => self.listen(binding, one, address, Addresses::OwnFamily).await,
            At::Everywhere => match self.listen(binding, one, Ipv6Addr::UNSPECIFIED.into(), Addresses::Both).await {
                Done::EachFamily => {
                    let v4 = self.listen(binding, one, Ipv4Addr::UNSPECIFIED.into(), Addresses::OwnFamily);
                    let v6 = self.listen(binding, other, Ipv6Addr::UNSPECIFIED.into(), Addresses::OwnFamily);
                    both(v4, v6).await
                }
                done => done,
            },
        };
        if done == Done::NoMemory {
            self.place.started.store(0, Ordering::Release);
        }
    }

    /// Listens at one address until the binding or the service ends.
    async fn listen(self, binding: &Binding, spot: &'static Spot, address: IpAddr, addresses: Addresses) -> Done {
        let mut end = pin!(first(binding.stopping(), self.service.stopping.wait()));
        // Timer and wait take their memory now, and none later.
        let (Ok(mut pause), None) = (Sleep::new(Duration::ZERO), now(end.as_mut()).await) else {
            let ended = binding.is_stopping() || self.service.stopping.is_fired();
            return if ended { Done::Ended } else { Done::NoMemory };
        };
        let address = SocketAddr::new(address, self.service.settings.port);
        let (mut retry, mut waiting) = (RETRY_FIRST, None);
        loop {
            let heard = spot.changed.heard();
            match self.bind(binding, address, addresses).await {
                Ok(socket) => {
                    drop(waiting.take());
                    match self.serve(binding, spot, socket, address, &mut pause, end.as_mut()).await {
                        Served::Ended => return Done::Ended,
                        Served::Gone => log!(Warning, "{}: the listener at {address} is gone", self.service.name()),
                    }
                    retry = RETRY_FIRST;
                }
                Err(Stop::Ended) => return Done::Ended,
                Err(Stop::EachFamily) => return Done::EachFamily,
                Err(Stop::Failed(error)) if waiting.is_none() => {
                    self.place.failed.store(status_of(error).0, Ordering::Relaxed);
                    self.tell_failed(binding, address, error);
                    waiting = Some(self.services.watching.wait());
                    self.services.bell.ring();
                }
                Err(Stop::Failed(_)) => {}
            }
            match wait(end.as_mut(), &mut pause, retry, spot.changed.after(heard)).await {
                Waited::Ended => return Done::Ended,
                Waited::Changed => retry = RETRY_FIRST,
                Waited::Time => retry = retry.saturating_mul(2).min(RETRY_MOST),
            }
        }
    }

    /// Traces that there is no listener yet. That there is no IPv6 is no failure.
    fn tell_failed(self, binding: &Binding, address: SocketAddr, error: BindError) {
        if address.is_ipv6() && !lacking::has_v6(binding) {
            return Lacking::V6.tell(error);
        }
        tell(Event::ServiceFailed { service: self.service.who(), address, error });
    }

    /// Makes the socket of one address.
    async fn bind(self, binding: &Binding, address: SocketAddr, addresses: Addresses) -> Result<Socket, Stop> {
        let bound = match self.place.protocol {
            Protocol::Tcp => TcpListener::bind(binding, address, addresses).await.map(Socket::Tcp),
            Protocol::Udp => UdpSocket::bind(binding, address, addresses).await.map(Socket::Udp),
        };
        bound.map_err(|error| self.stop_of(error, addresses))
    }

    /// Serves a socket until the service ends or the provider takes it away.
    async fn serve<E: Future>(
        self,
        binding: &Binding,
        spot: &'static Spot,
        socket: Socket,
        address: SocketAddr,
        pause: &mut Sleep,
        end: Pin<&mut E>,
    ) -> Served {
        match socket {
            Socket::Tcp(mut listener) => {
                let bound = lacking::told(listener.local_address().await, address);
                tell(Event::ServiceListening { service: self.service.who(), address: bound, protocol: Protocol::Tcp });
                let _bound = Bound::at(self, spot, bound);
                tcp::accept_all(self, binding, &mut listener, address, pause, end).await
            }
            Socket::Udp(socket) => {
                if address.ip().is_unspecified()
                    && let Err(error) = socket.set_packet_info(true).await
                {
                    log!(Warning, "{}: answers may come from another address than was asked: {error}", self.service.name());
                }
                let bound = lacking::told(socket.local_address().await, address);
                tell(Event::ServiceListening { service: self.service.who(), address: bound, protocol: Protocol::Udp });
                let _bound = Bound::at(self, spot, bound);
                udp::Serving::new(self, binding, &socket, pause, end).run().await
            }
        }
    }

    /// What is to be done about a bind that failed.
    fn stop_of(self, error: BindError, addresses: Addresses) -> Stop {
        match error {
            BindError::Open(OpenError::Detached) | BindError::Option(IoError::Detached) | BindError::Bind(IoError::Detached) => {
                Stop::Ended
            }
            BindError::Open(OpenError::Provider(status)) if self.place.protocol == Protocol::Udp && is_lacking(status) => {
                Lacking::Datagrams.tell(status);
                Stop::Ended
            }
            error if addresses == Addresses::Both => {
                log!("{}: no listener for both families ({error}): one for each", self.service.name());
                Stop::EachFamily
            }
            error => Stop::Failed(error),
        }
    }
}

/// A socket that is bound.
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Why there is no socket.
enum Stop {
    /// There will be none on this binding.
    Ended,
    EachFamily,
    Failed(BindError),
}

/// A spot whose socket is bound: its port is the driver's own until this is dropped.
struct Bound {
    station: Station,
    spot: &'static Spot,
    port: u16,
}

impl Bound {
    fn at(station: Station, spot: &'static Spot, address: SocketAddr) -> Self {
        let port = address.port();
        spot.port.store(port, Ordering::Relaxed);
        station.place.failed.store(0, Ordering::Relaxed);
        if station.place.protocol == Protocol::Udp {
            station.services.ports.add(port);
        }
        Self { station, spot, port }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.station.place.protocol == Protocol::Udp {
            self.station.services.ports.remove(self.port);
        }
        self.spot.port.store(0, Ordering::Relaxed);
    }
}

/// A task of a place, as long as it lives.
struct Running(&'static Service);

impl Running {
    fn new(service: &'static Service) -> Self {
        service.running.fetch_add(1, Ordering::Relaxed);
        Self(service)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The last that the task does with the service.
        self.0.running.fetch_sub(1, Ordering::Release);
    }
}

/// Why a wait is over.
pub(super) enum Waited {
    Ended,
    Changed,
    Time,
}

/// Waits for a time or a change, unless `end` comes first. It takes no memory: often the wait is for some.
pub(super) async fn wait(
    end: Pin<&mut impl Future>,
    pause: &mut Sleep,
    time: Duration,
    change: impl Future<Output = ()>,
) -> Waited {
    pause.restart(time);
    match first(end, first(change, pause)).await {
        Either::First(_) => Waited::Ended,
        Either::Second(Either::First(())) => Waited::Changed,
        Either::Second(Either::Second(())) => Waited::Time,
    }
}

/// Waits for both, but no longer than until one has no memory.
async fn both(one: impl Future<Output = Done>, other: impl Future<Output = Done>) -> Done {
    let (mut one, mut other) = (pin!(one), pin!(other));
    match first(one.as_mut(), other.as_mut()).await {
        Either::First(Done::Ended) => other.await,
        Either::Second(Done::Ended) => one.await,
        Either::First(done) | Either::Second(done) => done,
    }
}
