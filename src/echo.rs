//! TCP echo (RFC 862): what a peer sends comes back, and its FIN is answered by ours when everything has.
//!
//! Per binding: one task per address that listens, one task per connection, and one that looks for idle connections. They
//! end by themselves when the binding ends, or when the service is stopped.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, but for [`Echo::start`] and [`Echo::stop`].

use core::future::Future;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use control_abi::Totals;
use wsk::{
    AcceptError, Addresses, BindError, Binding, Buffer, Either, IoError, Lane, NtStatus, Nudge, OpenError, Passive, Signal,
    Sleep, TcpListener, TcpStream, TimeoutError, TransferError, first, now, timeout,
};

use crate::limits::{Admission, Limits, SMALLEST_BUFFER};
use crate::log;
use crate::parameters::{AddressList, Parameters};

/// How often connections are looked at; one without traffic for that long gives its buffer back.
const IDLE_PERIOD: Duration = Duration::from_secs(1);
/// How long to wait before a bind that failed is tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(8);
/// How long to wait after an accept that failed for want of memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long our FIN may take.
const FINISH_MOST: Duration = Duration::from_secs(30);
/// How often a graceful stop looks whether all connections are gone.
const STOP_LOOK: Duration = Duration::from_millis(10);

/// The service.
pub(crate) struct Echo {
    addresses: AddressList,
    port: u16,
    buffer_size: u32,
    limits: Limits,
    counts: Counts,
    stopping: Signal,
    /// Never set: what a graceful stop waits with.
    pause: wsk::sync::Event,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Echo {
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, NtStatus> {
        Ok(Self {
            addresses: parameters.echo_addresses,
            port: parameters.echo_port,
            buffer_size: parameters.buffer_size,
            limits: Limits::new(parameters.max_connections, parameters.max_bytes),
            counts: Counts::default(),
            stopping: Signal::new(),
            pause: wsk::sync::Event::notification(false)?,
        })
    }

    /// Starts the service on a binding. What cannot be started is traced.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn start(&'static self, binding: &Binding) {
        for address in self.addresses.iter() {
            self.start_listening(binding, address, Addresses::OwnFamily);
        }
        if self.addresses.everywhere() {
            self.start_listening(binding, IpAddr::V6(Ipv6Addr::UNSPECIFIED), Addresses::Both);
        }
        let looking = look_for_idle(binding.clone());
        if let Err(error) = binding.executor().spawn(Lane::Passive, looking) {
            log!("echo: idle connections will keep their buffers: {error:?}");
        }
    }

    fn start_listening(&'static self, binding: &Binding, address: IpAddr, addresses: Addresses) {
        let address = SocketAddr::new(address, self.port);
        let listening = self.listen(binding.clone(), address, addresses);
        if let Err(error) = binding.executor().spawn(Lane::Dispatch, listening) {
            log!("echo: cannot listen at {address}: {error:?}");
        }
    }

    /// Stops it for good: no new connections; those that there are get a FIN and `grace` to answer it (L26).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub(crate) fn stop(&self, passive: Passive, binding: Option<Binding>, grace: Duration) {
        self.stopping.fire();
        let Some(binding) = binding.filter(|_| !grace.is_zero()) else { return };
        let mut left = grace;
        while self.limits.connections() > 0 && !left.is_zero() {
            // Again each time: a connection may have been accepted while the others were told.
            binding.nudge(Nudge::Stop);
            let pause = left.min(STOP_LOOK);
            self.pause.wait_for(passive, pause);
            left -= pause;
        }
    }

    /// What it did.
    pub(crate) fn totals(&self) -> Totals {
        let (held, most_held) = self.limits.held();
        Totals {
            connections: self.limits.connections().into(),
            accepted: self.counts.accepted.load(Ordering::Relaxed),
            refused: self.counts.refused.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
            received: self.counts.received.load(Ordering::Relaxed),
            sent: self.counts.sent.load(Ordering::Relaxed),
            held,
            most_held,
        }
    }

    /// Listens at one address until the binding or the service ends.
    async fn listen(&'static self, binding: Binding, address: SocketAddr, addresses: Addresses) {
        let mut retry = RETRY_FIRST;
        let mut end = pin!(first(binding.ended(), self.stopping.wait()));
        // Timer and wait take their memory now, and none later.
        let (Ok(mut pause), None) = (Sleep::new(Duration::ZERO), now(end.as_mut()).await) else {
            return log!("echo: not listening at {address}: at its end, or no memory");
        };
        loop {
            match TcpListener::bind(&binding, address, addresses).await {
                Ok(listener) => return self.accept_all(&binding, listener, address, pause, end).await,
                Err(
                    BindError::Open(OpenError::Detached)
                    | BindError::Option(IoError::Detached)
                    | BindError::Bind(IoError::Detached),
                ) => {
                    return;
                }
                Err(error) if addresses == Addresses::Both => {
                    log!("echo: no listener for both families ({error}): one for each");
                    self.start_listening(&binding, IpAddr::V4(Ipv4Addr::UNSPECIFIED), Addresses::OwnFamily);
                    self.start_listening(&binding, IpAddr::V6(Ipv6Addr::UNSPECIFIED), Addresses::OwnFamily);
                    return;
                }
                Err(error) => {
                    if retry == RETRY_FIRST {
                        log!("echo: cannot listen at {address} yet: {error}");
                    }
                    if pause_unless(end.as_mut(), &mut pause, retry).await.is_err() {
                        return;
                    }
                    retry = (retry * 2).min(RETRY_MOST);
                }
            }
        }
    }

    async fn accept_all<E: Future>(
        &'static self,
        binding: &Binding,
        mut listener: TcpListener,
        address: SocketAddr,
        mut pause: Sleep,
        mut end: Pin<&mut E>,
    ) {
        match listener.local_address().await {
            Ok(bound) => log!("echo: listening at {bound}"),
            Err(_) => log!("echo: listening at {address}"),
        }
        loop {
            match first(listener.accept(), end.as_mut()).await {
                Either::Second(_) | Either::First(Err(AcceptError::Detached)) => return,
                Either::First(Ok((stream, _))) => self.admit(binding, stream),
                Either::First(Err(error)) => {
                    log!("echo: accept at {address}: {error}");
                    if pause_unless(end.as_mut(), &mut pause, ACCEPT_PAUSE).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Serves a connection, or refuses it: then dropping the stream resets it.
    fn admit(&'static self, binding: &Binding, stream: TcpStream) {
        let served = match self.limits.admit() {
            Some(admission) => binding.executor().spawn(Lane::Dispatch, self.serve(stream, admission)).is_ok(),
            None => false,
        };
        let counter = if served { &self.counts.accepted } else { &self.counts.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    async fn serve(&'static self, mut stream: TcpStream, admission: Admission) {
        if self.echo(&mut stream, &admission).await.is_err() {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        // The place is free only when the socket is on its way out.
        drop(stream);
        drop(admission);
    }

    /// Echoes until the peer's FIN. Between bursts the connection holds no buffer if the provider tells when data comes, and
    /// the smallest otherwise. It begins with a receive in any case: what came before the events were switched on is
    /// not promised to be indicated.
    async fn echo(&self, stream: &mut TcpStream, admission: &Admission) -> Result<(), IoError> {
        let events = stream.enable_events()?;
        let mut wished = SMALLEST_BUFFER;
        loop {
            match self.echo_burst(stream, admission, wished).await? {
                Burst::Ended => return finish(stream).await,
                Burst::Stopped => return self.stop_stream(stream).await,
                Burst::Idle => wished = if events { self.buffer_size } else { SMALLEST_BUFFER },
                Burst::Grow => {
                    // There may be more already, of which nothing was said.
                    wished = self.buffer_size;
                    continue;
                }
            }
            match stream.readable().await {
                Ok(()) => {}
                Err(IoError::Cancelled) => return self.stop_stream(stream).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Echoes with one buffer until nothing comes for a while.
    async fn echo_burst(&self, stream: &mut TcpStream, admission: &Admission, wished: u32) -> Result<Burst, IoError> {
        let (size, _claim) = admission.claim(wished);
        let mut buffer = Buffer::new(size as usize).map_err(|_| IoError::OutOfMemory)?;
        loop {
            buffer = match stream.receive(buffer).await {
                Ok(received) if received.filled().is_empty() => return Ok(Burst::Ended),
                Ok(received) => received,
                Err(TransferError { error: IoError::Cancelled, .. }) if stream.is_stopping() => return Ok(Burst::Stopped),
                Err(TransferError { error: IoError::Cancelled, .. }) => return Ok(Burst::Idle),
                Err(failed) => return Err(failed.error),
            };
            let length = buffer.filled().len() as u64;
            self.counts.received.fetch_add(length, Ordering::Relaxed);
            buffer = stream.send(buffer).await.map_err(|failed| failed.error)?;
            self.counts.sent.fetch_add(length, Ordering::Relaxed);
            if wished == SMALLEST_BUFFER && size < self.buffer_size {
                return Ok(Burst::Grow);
            }
        }
    }

    /// Ends a connection from our side: our FIN, then what the peer still sends, to its FIN.
    async fn stop_stream(&self, stream: &mut TcpStream) -> Result<(), IoError> {
        finish(stream).await?;
        let mut buffer = Buffer::new(SMALLEST_BUFFER as usize).map_err(|_| IoError::OutOfMemory)?;
        loop {
            buffer = stream.receive_rest(buffer).await.map_err(|failed| failed.error)?;
            if buffer.filled().is_empty() {
                return Ok(());
            }
        }
    }
}

/// Sends our FIN. A peer that takes nothing may keep it from ever being done: then the connection is reset.
async fn finish(stream: &mut TcpStream) -> Result<(), IoError> {
    match timeout(FINISH_MOST, stream.finish()).await {
        Ok(finished) => finished,
        Err(TimeoutError::Elapsed) => Err(IoError::Cancelled),
        Err(TimeoutError::OutOfMemory) => Err(IoError::OutOfMemory),
    }
}

/// How a burst of traffic ended.
enum Burst {
    /// With the peer's FIN.
    Ended,
    /// The service is being stopped.
    Stopped,
    /// Nothing came for a while.
    Idle,
    /// Data flows: it is worth a larger buffer.
    Grow,
}

/// Waits, unless `end` comes first: that is an error. It takes no memory: often the wait is for some.
async fn pause_unless(end: Pin<&mut impl Future>, pause: &mut Sleep, time: Duration) -> Result<(), ()> {
    // It has rung by itself, or in the last wait.
    (&mut *pause).await;
    pause.again(time);
    match first(pause, end).await {
        Either::First(()) => Ok(()),
        Either::Second(_) => Err(()),
    }
}

/// Nudges connections without traffic, until the binding ends.
async fn look_for_idle(binding: Binding) {
    let mut end = pin!(binding.ended());
    let (Ok(mut sleep), None) = (Sleep::new(IDLE_PERIOD), now(end.as_mut()).await) else {
        return log!("echo: no look for idle connections: at the end, or no memory");
    };
    while let Either::First(()) = first(&mut sleep, end.as_mut()).await {
        binding.nudge(Nudge::Idle);
        sleep.again(IDLE_PERIOD);
    }
}
