//! One service: its settings, what it holds, what it has done, and the places where it listens.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use allocator_api2::vec::Vec;
use control_abi::Totals;
use control_abi::sockets::Protocol;
use service_limits::rate::{self, Limiter};
use wsk::{NtStatus, OutOfMemory, Signal};
use wsk::sync::{Pool, SpinLock, tag, try_push};

use super::place::{At, Place};
use super::random;
use super::striped::Traffic;
use crate::limits::{Limits, SMALLEST_BUFFER, SOCKET_COST};
use crate::parameters::{Kind, Settings};
use crate::trace::Who;
use crate::{ids, log};

/// One service.
pub(crate) struct Service {
    /// Its number, which no other service or traffic job has.
    pub(crate) id: u64,
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(super) counts: Counts,
    pub(super) datagrams: Datagrams,
    pub(super) places: Vec<Place, ServicePool>,
    /// Fired when it is to end.
    pub(super) stopping: Signal,
    /// Tasks of its places.
    pub(super) running: AtomicUsize,
    /// What counts traffic of its connections.
    pub(super) meters: AtomicUsize,
    /// Whether its start has been told.
    pub(super) told: AtomicBool,
    /// How often it answers one source, if it answers datagrams.
    pub(super) limiter: Option<SpinLock<SourceLimiter>>,
    pub(super) random: AtomicU64,
    /// Whether the target of a forwarder could not be reached last time.
    pub(super) target_away: AtomicBool,
}

/// Answers per source, in memory that is there from the beginning.
pub(super) type SourceLimiter = Limiter<Vec<rate::Place, ServicePool>>;
type ServicePool = Pool<{ tag(b"WskV") }>;

/// Sources that can be told from one another at a time.
const SOURCES: usize = 1024;

/// What has become of datagrams.
#[derive(Default)]
pub(super) struct Datagrams {
    pub(super) received: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) well_known_port: AtomicU64,
    pub(super) own_port: AtomicU64,
    pub(super) no_host: AtomicU64,
    pub(super) too_many: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Datagrams {
    /// Those that were not to be answered.
    pub(super) fn ignored(&self) -> u64 {
        [&self.well_known_port, &self.own_port, &self.no_host, &self.too_many, &self.cut].into_iter().map(read).sum()
    }
}

/// What a service has done since load.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) idle: AtomicU64,
    pub(super) traffic: Traffic,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// As it is now.
pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Service {
    /// A service that listens nowhere yet.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(settings: Settings) -> Result<Self, OutOfMemory> {
        let limits = Limits::new(settings.max_connections, settings.max_bytes, least_bytes(settings.kind));
        let answers = settings.protocols.udp && matches!(settings.kind, Kind::Echo | Kind::Chargen);
        let limiter = if answers { Some(SpinLock::new(limiter(settings.rate_per_source)?)) } else { None };
        let mut service = Self {
            id: ids::next(),
            settings,
            limits,
            counts: Counts::default(),
            datagrams: Datagrams::default(),
            places: Vec::new_in(Pool),
            stopping: Signal::new(),
            running: AtomicUsize::new(0),
            meters: AtomicUsize::new(0),
            told: AtomicBool::new(false),
            limiter,
            random: AtomicU64::new(random::seed(0)),
            target_away: AtomicBool::new(false),
        };
        if settings.protocols.tcp {
            service.add_places(Protocol::Tcp)?;
        }
        if settings.protocols.udp {
            service.add_places(Protocol::Udp)?;
        }
        Ok(service)
    }

    fn add_places(&mut self, protocol: Protocol) -> Result<(), OutOfMemory> {
        for address in self.settings.addresses.iter() {
            try_push(&mut self.places, Place::new(protocol, At::Address(address)))?;
        }
        if self.settings.addresses.everywhere() {
            try_push(&mut self.places, Place::new(protocol, At::Everywhere))?;
        }
        Ok(())
    }

    /// Whether none of its tasks is left, and none of its connections: none will come either, once it is started no more.
    pub(super) fn is_idle(&self) -> bool {
        // In this order: a connection comes from a place's task, and has a meter from before that ends to its own end, or longer.
        !self.has_places() && self.meters.load(Ordering::Acquire) == 0 && self.limits.connections() == 0
    }

    /// Whether a task of a place is left.
    pub(super) fn has_places(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }

    /// At how many places it listens.
    pub(super) fn listening(&self) -> usize {
        self.places.iter().filter(|place| place.port().is_some()).count()
    }

    /// Whether one of its sockets receives datagrams at this port.
    pub(super) fn has_datagram_port(&self, port: u16) -> bool {
        self.places.iter().any(|place| place.has_datagram_port(port))
    }

    /// A port at which it listens.
    pub(super) fn bound_port(&self) -> Option<u16> {
        self.places.iter().find_map(Place::port)
    }

    /// Why one of its places does not listen; success if no bind has failed.
    pub(super) fn bind_status(&self) -> NtStatus {
        self.places.iter().map(Place::status).find(|status| *status != NtStatus::SUCCESS).unwrap_or(NtStatus::SUCCESS)
    }

    /// What it has done.
    pub(super) fn totals(&self) -> Totals {
        let (held, most_held) = self.limits.held();
        let (counts, datagrams) = (&self.counts, &self.datagrams);
        Totals {
            connections: self.limits.connections().into(),
            accepted: read(&counts.accepted),
            refused: read(&counts.refused),
            failed: read(&counts.failed),
            received: counts.traffic.received(),
            sent: counts.traffic.sent(),
            held,
            most_held,
            idle: read(&counts.idle),
            datagrams: read(&datagrams.received),
            answered: read(&datagrams.answered),
            ignored: datagrams.ignored(),
        }
    }

    /// Its name, for the trace.
    pub(crate) fn name(&self) -> impl fmt::Display + '_ {
        self.settings.name
    }

    /// Number and name, for events.
    pub(crate) fn who(&self) -> Who {
        Who { id: self.id, name: control_abi::Text::cut(self.settings.name.as_str()) }
    }

    /// Traces what it has done.
    pub(super) fn tell(&self) {
        let (name, counts) = (self.name(), &self.counts);
        log!("{name}: {} bytes received, {} sent", counts.traffic.received(), counts.traffic.sent());
        if self.settings.protocols.tcp {
            let [accepted, refused, failed, idle] = [&counts.accepted, &counts.refused, &counts.failed, &counts.idle].map(read);
            log!("{name}: {accepted} connections, {refused} refused, {failed} failed, {idle} of them idle for too long");
        }
        if self.settings.protocols.udp {
            let counts = &self.datagrams;
            log!(
                "{name}: {} datagrams, {} answered; ignored: {} from well-known ports, {} from ports of this driver, {} from or \
                 to no single host, {} above the rate, {} cut off; {} failures",
                read(&counts.received),
                read(&counts.answered),
                read(&counts.well_known_port),
                read(&counts.own_port),
                read(&counts.no_host),
                read(&counts.too_many),
                read(&counts.cut),
                read(&counts.failed),
            );
        }
    }
}

fn limiter(rate: u32) -> Result<SourceLimiter, OutOfMemory> {
    let mut places = Vec::new_in(Pool);
    places.try_reserve_exact(SOURCES)?;
    for _ in 0..SOURCES {
        try_push(&mut places, rate::Place::default())?;
    }
    let start = AtomicU64::new(random::seed(places.as_ptr().addr()));
    let key = [random::next(&start), random::next(&start)];
    Ok(Limiter::new(places, rate, key))
}

/// What a connection takes at least.
const fn least_bytes(kind: Kind) -> u64 {
    let smallest = SMALLEST_BUFFER as u64;
    match kind {
        Kind::Echo | Kind::Discard => SOCKET_COST + smallest,
        // The pattern, and what the peer sends.
        Kind::Chargen => SOCKET_COST + 3 * smallest,
        // Two sockets, and something of each direction.
        Kind::Forward => 2 * (SOCKET_COST + smallest),
    }
}
