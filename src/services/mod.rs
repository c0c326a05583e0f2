//! The services of the driver: each listens, is limited and fails on its own.
//!
//! From the outside in: [`Services`] are all of them, kept going by the [`keeper`]; a [`service`] has [`place`]s where it
//! listens; [`tcp`] gives each connection a [`session`], in which [`echo`], [`discard`], [`chargen`] or [`forward`] serve it; [`udp`]
//! answers datagrams.
//! [`exchange`] is the receiving that they share, [`bell`] is what tasks wait for without taking memory.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

mod bell;
mod chargen;
mod discard;
mod echo;
mod exchange;
mod forward;
mod keeper;
mod place;
mod random;
mod service;
mod session;
mod striped;
mod tcp;
mod udp;
mod watch;

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use control_abi::Totals;
use wsk::sync::{Event, Pool, SpinLock, tag, try_push};
use wsk::{Binding, Executor, Lane, NtStatus, Nudge, Passive, Sleep};

use crate::parameters::SettingsList;
use bell::Bell;
use place::Station;
use service::{Service, read};
use watch::Watching;

/// How often a graceful stop looks whether all connections are gone.
const STOP_LOOK_MS: u64 = 10;

type ServicePool = Pool<{ tag(b"WskV") }>;

/// All services.
pub(crate) struct Services {
    list: Vec<Box<Service, ServicePool>, ServicePool>,
    /// The binding on which they are to run.
    binding: SpinLock<Option<Binding>>,
    /// Rung when there is something for the keeper to do.
    bell: Bell,
    ending: AtomicBool,
    watching: Watching,
    /// Never set: what a graceful stop waits with.
    pause: Event,
}

impl Services {
    /// The services of these settings.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(settings: &SettingsList) -> Result<Self, NtStatus> {
        let mut list = Vec::new_in(Pool);
        for settings in settings {
            let service = Box::try_new_in(Service::new(*settings)?, Pool).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
            try_push(&mut list, service)?;
        }
        let pause = Event::notification(false)?;
        Ok(Self {
            list,
            binding: SpinLock::new(None),
            bell: Bell::new(),
            ending: AtomicBool::new(false),
            watching: Watching::new(),
            pause,
        })
    }

    /// Starts the keeper, which starts the services when there is a binding.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn keep(&'static self, executor: &Executor) -> Result<(), NtStatus> {
        let tick = Sleep::new(keeper::PERIOD)?;
        executor.spawn(Lane::Passive, keeper::keep(self, tick)).map(drop).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)
    }

    /// There is a binding: the services are to run on it. This cannot fail.
    pub(crate) fn attached(&self, binding: Binding) {
        let before = self.binding.with(|place| place.replace(binding));
        drop(before);
        self.bell.ring();
    }

    /// Stops all services on a binding for good: no new connections; those that there are get a FIN and `grace` to answer
    /// it (L26).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub(crate) fn stop(&self, passive: Passive, binding: Option<Binding>, grace: Duration) {
        let Some(binding) = binding else { return };
        binding.stop();
        let mut left_ms = grace.as_millis() as u64;
        while self.connections() > 0 && left_ms > 0 {
            // Again each time: a connection may have been accepted while the others were told.
            binding.nudge(Nudge::Stop);
            let pause_ms = left_ms.min(STOP_LOOK_MS);
            self.pause.wait_for(passive, Duration::from_millis(pause_ms));
            left_ms -= pause_ms;
        }
    }

    /// Ends the keeper; nothing is started any more.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.bell.ring();
        let binding = self.binding.with(Option::take);
        drop(binding);
    }

    /// Traces what each has done.
    pub(crate) fn tell(&self) {
        self.list.iter().for_each(|service| service.tell());
    }

    /// What they did together.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for service in &self.list {
            let (held, most_held) = service.limits.held();
            let counts = &service.counts;
            totals.connections += u64::from(service.limits.connections());
            totals.accepted += read(&counts.accepted);
            totals.refused += read(&counts.refused);
            totals.failed += read(&counts.failed);
            totals.received += counts.traffic.received();
            totals.sent += counts.traffic.sent();
            totals.held += held;
            totals.most_held += most_held;
        }
        totals
    }

    /// Has every place that waits try again.
    fn addresses_changed(&self) {
        let places = self.list.iter().flat_map(|service| service.places.iter());
        places.flat_map(|place| place.spots()).for_each(|spot| spot.changed.ring());
    }

    /// Whether one of the driver's sockets receives datagrams at this port.
    fn has_datagram_port(&self, port: u16) -> bool {
        self.list.iter().flat_map(|service| service.places.iter()).any(|place| place.has_datagram_port(port))
    }

    fn connections(&self) -> u64 {
        self.list.iter().map(|service| u64::from(service.limits.connections())).sum()
    }

    /// Every place of every service.
    fn stations(&'static self) -> impl Iterator<Item = Station> {
        let services = self;
        self.list.iter().flat_map(move |service| service.places.iter().map(move |place| Station { services, service, place }))
    }
}
