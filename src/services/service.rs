//! One service: its settings, what it holds, what it has done, and the places where it listens.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use allocator_api2::vec::Vec;
use wsk::OutOfMemory;
use wsk::sync::{Pool, tag, try_push};

use super::place::{At, Place, Protocol};
use crate::limits::{Limits, SMALLEST_BUFFER, SOCKET_COST};
use crate::log;
use crate::parameters::{Kind, Settings};

/// One service.
pub(crate) struct Service {
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(super) counts: Counts,
    pub(super) places: Vec<Place, Pool<{ tag(b"WskV") }>>,
}

/// What a service has done since load.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) idle: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
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
        let mut service = Self { settings, limits, counts: Counts::default(), places: Vec::new_in(Pool) };
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

    /// Its name, for the trace.
    pub(crate) fn name(&self) -> impl fmt::Display + '_ {
        self.settings.name
    }

    /// Traces what it has done.
    pub(super) fn tell(&self) {
        let (name, counts) = (self.name(), &self.counts);
        let [accepted, refused, failed, idle] =
            [&counts.accepted, &counts.refused, &counts.failed, &counts.idle].map(|counter| read(counter));
        let (received, sent) = (read(&counts.received), read(&counts.sent));
        log!("{name}: {accepted} connections, {refused} refused, {failed} failed, {idle} of them idle for too long");
        log!("{name}: {received} bytes received, {sent} sent");
    }
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
