//! WskAccept, and connections that arrive at a listening socket.

use std::io;
use std::time::Duration;

use nt_abi::NtStatus;

use super::address;
use super::events::Occurrence;
use super::pump::Step;
use super::request::{Outcome, wait_in};
use super::socket::{Birth, Hold, Kind, Socket};
use super::state::{Accept, Arrived, Inner, Phase};

/// How long to wait before trying again when the host has no more files for connections.
const RETRY: Duration = Duration::from_millis(10);

impl Socket {
    /// WskAccept.
    pub(super) fn accept(&self, accept: Accept) -> Outcome {
        let mut inner = self.lock();
        if let Some(status) = inner.broken() {
            return Outcome::Done(accept.request, status, 0);
        }
        if inner.phase != Phase::Bound {
            return Outcome::Done(accept.request, NtStatus::INVALID_DEVICE_STATE, 0);
        }
        let first = !inner.pumping && inner.accepts.is_empty();
        if first && self.has_arrived(&mut inner) {
            let socket = self.admit(&mut inner, &accept);
            // There is room to inspect one more.
            if inner.inspections.on && inner.link.ready.readable {
                self.nudge(&mut inner, Duration::ZERO);
            }
            drop(inner);
            return match socket {
                Some(socket) => Outcome::Done(accept.request, NtStatus::SUCCESS, socket.address()),
                None => Outcome::Done(accept.request, NtStatus::CONNECTION_ABORTED, 0),
            };
        }
        inner.accepts.push_back(accept);
        match wait_in(&mut inner.accepts, |one| &one.request) {
            None => Outcome::Pending,
            Some(one) => Outcome::Done(one.request, NtStatus::CANCELLED, 0),
        }
    }

    /// Whether a connection is in `arrived`. Where the host cannot give one now, it is asked again later.
    fn has_arrived(&self, inner: &mut Inner) -> bool {
        match self.arrived(inner) {
            Ok(()) => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                inner.link.ready.readable = true;
                self.nudge(inner, RETRY);
            }
        }
        false
    }

    /// Sees to it that a connection is in `arrived`, if there is one.
    fn arrived(&self, inner: &mut Inner) -> io::Result<()> {
        if inner.inspections.on && inner.arrived.is_none() {
            inner.arrived = inner.inspections.cleared();
        }
        while inner.arrived.is_none() {
            if inner.inspections.on {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let endpoint = inner.link.endpoint.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
            match endpoint.accept() {
                Ok((endpoint, remote)) => inner.arrived = Some(Arrived { endpoint, remote, inspected: None }),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    inner.link.ready.readable = false;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A connection to be inspected, if the host has one. Where it cannot give it now, it is asked again later.
    pub(super) fn next_arrival(&self, inner: &mut Inner) -> Option<Arrived> {
        loop {
            let error = match inner.link.endpoint.as_ref()?.accept() {
                Ok((endpoint, remote)) => return Some(Arrived { endpoint, remote, inspected: None }),
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::ConnectionAborted {
                continue;
            }
            inner.link.ready.readable = error.kind() != io::ErrorKind::WouldBlock;
            if inner.link.ready.readable {
                self.nudge(inner, RETRY);
            }
            return None;
        }
    }

    pub(super) fn accept_step(&self, inner: &mut Inner) -> Option<Step> {
        if inner.breakdown.is_some() {
            return self.breakdown_step(inner);
        }
        if let Some(step) = self.inspect_step(inner) {
            return Some(step);
        }
        let wanted = inner.accepts.iter().any(|one| !one.lost);
        if !wanted && (self.accept_event().is_none() || inner.events.enabled == 0) {
            return None;
        }
        if !inner.link.ready.readable && inner.arrived.is_none() && !inner.inspections.has_cleared() {
            return None;
        }
        if !self.has_arrived(inner) {
            return None;
        }
        self.hand_to_accept(inner).or_else(|| self.hand_to_event(inner))
    }

    fn hand_to_accept(&self, inner: &mut Inner) -> Option<Step> {
        loop {
            let at = inner.accepts.iter().position(|one| !one.lost)?;
            if !inner.accepts[at].request.claim() {
                inner.accepts[at].lost = true;
                continue;
            }
            let accept = inner.accepts.remove(at)?;
            return Some(match self.admit(inner, &accept) {
                Some(socket) => Step::Complete(accept.request, NtStatus::SUCCESS, socket.address()),
                None => Step::Complete(accept.request, NtStatus::CONNECTION_ABORTED, 0),
            });
        }
    }

    fn hand_to_event(&self, inner: &mut Inner) -> Option<Step> {
        let call = self.arrival(inner)?;
        let Arrived { endpoint, remote, inspected } = inner.arrived.take()?;
        let local = endpoint.local().unwrap_or(remote);
        let client = self.client.hold()?;
        let fixed = self.client.fixed_events(Kind::Connection);
        let birth = Birth {
            kind: Kind::Connection,
            family: self.family,
            phase: Phase::Connected,
            endpoint: Some(endpoint),
            context: std::ptr::null_mut(),
            dispatch: std::ptr::null(),
            events: fixed,
            inspected,
            options: inner.options,
            descriptor: inner.descriptor.clone(),
        };
        let socket = Socket::create(client, birth);
        socket.lock().events.enabled |= inner.events.inherit;
        Some(Step::Tell(Occurrence::Arrival { call, socket, local, remote }))
    }

    /// A socket that functions no more: those who wait are told so, then its events are, once.
    fn breakdown_step(&self, inner: &mut Inner) -> Option<Step> {
        while let Some(at) = inner.accepts.iter().position(|one| !one.lost) {
            if inner.accepts[at].request.claim() {
                let accept = inner.accepts.remove(at)?;
                return Some(Step::Complete(accept.request, NtStatus::FILE_FORCED_CLOSED, 0));
            }
            inner.accepts[at].lost = true;
        }
        self.breakdown_event(inner)
    }

    /// Makes the socket of the connection that has arrived, for a WskAccept.
    fn admit(&self, inner: &mut Inner, accept: &Accept) -> Option<Hold> {
        let Arrived { endpoint, remote, inspected } = inner.arrived.take()?;
        if let Ok(local) = endpoint.local() {
            accept.write(local, remote, self.family);
        }
        let birth = Birth {
            kind: Kind::Connection,
            family: self.family,
            phase: Phase::Connected,
            endpoint: Some(endpoint),
            context: accept.context,
            dispatch: accept.dispatch.cast(),
            events: self.client.fixed_events(Kind::Connection),
            inspected,
            options: inner.options,
            descriptor: inner.descriptor.clone(),
        };
        let socket = Socket::create(self.client.hold()?, birth);
        let watched = socket.watch(&socket.lock());
        if watched.is_err() {
            Socket::abandon(socket);
            return None;
        }
        Some(socket)
    }
}

impl Accept {
    #[allow(unsafe_code)] // The client's pointers.
    fn write(&self, local: std::net::SocketAddr, remote: std::net::SocketAddr, family: super::transport::Family) {
        // SAFETY: the client keeps both, with room for its listener's family, until the request is completed.
        unsafe {
            address::write(self.local, local, family);
            address::write(self.remote, remote, family);
        }
    }
}
