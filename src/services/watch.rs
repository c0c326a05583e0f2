//! Watches for changes of the machine's transports and addresses, for as long as a place waits for one.
//!
//! The watch takes a socket of each family, for it is sockets that are told of changes of addresses. Where it cannot be had, and
//! between two changes that follow one another closely, the places' own back-off does.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::fmt;
use core::future::{Future, pending};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::pin::pin;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use wsk::{Addresses, BindError, Binding, Either, OpenError, Passive, Sleep, UdpSocket, first};

use super::Services;
use super::bell::Bell;
use crate::lacking::{Lacking, is_lacked, is_lacking};

/// How long to leave places alone after a change: changes come in bursts.
const PAUSE: Duration = Duration::from_millis(50);

/// Who waits for a change, and whether somebody watches for it.
pub(super) struct Watching {
    waiting: AtomicUsize,
    /// Rung when nobody waits any more.
    settled: Bell,
    /// The binding that is being watched, by its generation; 0 for none.
    watched: AtomicU64,
}

/// A place that waits for a change, until this is dropped.
pub(super) struct Waiting(&'static Watching);

impl Watching {
    pub(super) const fn new() -> Self {
        Self { waiting: AtomicUsize::new(0), settled: Bell::new(), watched: AtomicU64::new(0) }
    }

    /// One more place waits.
    pub(super) fn wait(&'static self) -> Waiting {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// Starts the watch on a binding if there is need for one and there is none. What fails is tried again by the keeper.
    pub(super) fn start(&'static self, services: &'static Services, binding: &Binding) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let generation = binding.generation();
        if self.watched.swap(generation, Ordering::AcqRel) == generation {
            return;
        }
        let binding = binding.clone();
        let spawned = binding.executor().clone().spawn_passive(move |passive| self.watch(passive, services, binding));
        if spawned.is_err() {
            self.watched.store(0, Ordering::Release);
        }
    }

    async fn watch(&'static self, passive: Passive, services: &'static Services, binding: Binding) {
        let heard = self.settled.heard();
        if self.waiting.load(Ordering::Acquire) > 0 {
            let [v4, v6] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let addresses = both(
                watch_addresses(passive, services, &binding, SocketAddr::new(v4, 0)),
                watch_addresses(passive, services, &binding, SocketAddr::new(v6, 0)),
            );
            let changes = both(watch_transports(services, &binding), addresses);
            first(self.settled.after(heard), first(binding.stopping(), changes)).await;
        }
        // Another binding may have a watch of its own by now.
        let generation = binding.generation();
        let _ = self.watched.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.settled.ring();
        }
    }
}

async fn watch_transports(services: &'static Services, binding: &Binding) {
    loop {
        match binding.transports_changed().await {
            Err(error) if is_lacked(error) => return never(Lacking::TransportChanges, error).await,
            Err(_) => return,
            Ok(()) => {}
        }
        if tell(services).await.is_err() {
            return;
        }
    }
}

async fn watch_addresses(passive: Passive, services: &'static Services, binding: &Binding, at: SocketAddr) {
    let socket = match UdpSocket::bind(binding, at, Addresses::OwnFamily).await {
        Err(BindError::Open(OpenError::Provider(status))) if is_lacking(status) => {
            return never(Lacking::AddressChanges, status).await;
        }
        Err(_) => return,
        Ok(socket) => socket,
    };
    loop {
        match socket.local_addresses_changed(passive).await {
            Err(error) if is_lacked(error) => return never(Lacking::AddressChanges, error).await,
            Err(_) => return,
            Ok(()) => {}
        }
        if tell(services).await.is_err() {
            return;
        }
    }
}

/// The provider does not tell: there is nothing to be asked for again while this watch lasts.
async fn never(lacking: Lacking, why: impl fmt::Display) {
    lacking.tell(why);
    pending().await
}

/// Has every place that waits try again, and lets some time pass.
async fn tell(services: &'static Services) -> Result<(), wsk::OutOfMemory> {
    services.addresses_changed();
    Sleep::new(PAUSE)?.await;
    Ok(())
}

/// Waits for both.
async fn both(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    match first(one.as_mut(), other.as_mut()).await {
        Either::First(()) => other.await,
        Either::Second(()) => one.await,
    }
}
