//! The services of the driver: each listens, is limited and fails on its own.
//!
//! From the outside in: [`Services`] are all of them, written down in the [`book`], kept going by the [`keeper`] and changed by tools
//! through [`steer`]; a [`service`] has [`place`]s where it
//! listens; [`tcp`] gives each connection a [`session`], in which [`echo`], [`discard`], [`chargen`] or [`forward`] serve it; [`udp`]
//! answers datagrams.
//! [`exchange`] is the receiving that they share, [`bell`] is what tasks wait for without taking memory.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

pub(crate) mod bell;
mod book;
mod chargen;
mod discard;
mod echo;
mod exchange;
mod forward;
mod keeper;
mod place;
mod ports;
pub(crate) mod random;
mod service;
mod session;
mod steer;
mod striped;
mod tcp;
mod udp;
mod watch;

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use control_abi::Totals;
use wsk::sync::{Event as Flag, SpinLock};
use wsk::{Binding, Executor, Lane, NtStatus, Nudge, Passive, Sleep};

use crate::parameters::SettingsList;
use crate::trace::{Event, tell};
use bell::Bell;
use book::{Book, Run};
use place::Station;
use ports::Ports;
use service::Service;
use watch::Watching;

/// How often a graceful stop looks whether all connections are gone.
const STOP_LOOK_MS: u64 = 10;

/// All services.
pub(crate) struct Services {
    book: SpinLock<Book>,
    /// Where the driver receives datagrams.
    ports: Ports,
    /// The addresses of the machine have changed: the places are to be told.
    addresses_changed: AtomicBool,
    /// The binding on which they are to run.
    binding: SpinLock<Option<Binding>>,
    /// Rung when there is something for the keeper to do.
    bell: Bell,
    ending: AtomicBool,
    watching: Watching,
    /// Never set: what a graceful stop waits with.
    pause: Flag,
}

impl Services {
    /// The services of these settings.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(settings: &SettingsList) -> Result<Self, NtStatus> {
        let mut book = Book::new()?;
        for settings in settings {
            book.add(Run::new(*settings)?);
        }
        let pause = Flag::notification(false)?;
        Ok(Self {
            book: SpinLock::new(book),
            ports: Ports::new(),
            addresses_changed: AtomicBool::new(false),
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

    /// Traces what each has done. Nothing is stopped or removed meanwhile.
    pub(crate) fn tell(&self) {
        let mut place = 0;
        while let Some(service) = self.book.with(|book| book.services().nth(place)) {
            service.tell();
            place += 1;
        }
    }

    /// What they did together.
    pub(crate) fn totals(&self) -> Totals {
        self.book.with(|book| book.totals())
    }

    /// Has every place that waits try again.
    fn addresses_changed(&self) {
        self.addresses_changed.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Whether one of the driver's sockets receives datagrams at this port.
    fn has_datagram_port(&self, port: u16) -> bool {
        self.ports.may_have(port) && self.book.with(|book| book.services().any(|service| service.has_datagram_port(port)))
    }

    fn connections(&self) -> u64 {
        self.book.with(|book| book.services().map(|service| u64::from(service.limits.connections())).sum())
    }

    /// Starts every place that is to listen on a binding; those that listen are told of a change of addresses. For the keeper.
    fn start_places(&'static self, binding: &Binding) {
        let changed = self.addresses_changed.swap(false, Ordering::AcqRel);
        let mut number = 0;
        // Nobody else takes runs out of the book: what is found there stays.
        while let Some((next, service)) = self.book.with(|book| book.to_listen_after(number)) {
            number = next;
            let Some(service) = service else { continue };
            if !service.told.swap(true, Ordering::Relaxed) {
                tell(Event::ServiceStarted(service.who()));
            }
            for place in &service.places {
                Station { services: self, service, place }.start(binding);
                if changed {
                    place.spots().for_each(|spot| spot.changed.ring());
                }
            }
        }
    }
}
