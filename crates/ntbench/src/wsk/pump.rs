//! What moves a socket on when its endpoint may have become ready: one thread at a time, one step at a time.
//!
//! A step is chosen under the socket's lock and taken without it, so the steps of a socket reach its client in
//! order, and a client that calls back from a step finds the socket unlocked.

use std::time::Duration;

use nt_abi::NtStatus;

use super::events::Occurrence;
use super::faults::Function;
use super::request::Request;
use super::socket::{Hold, Kind, Socket};
use super::state::{Inner, Phase, Transfer};
use super::transport::Readiness;

/// One thing to do without the lock.
pub(super) enum Step {
    Complete(Request, NtStatus, usize),
    /// WskSocketConnect failed: the socket goes with it.
    CompleteAndAbandon(Request, NtStatus, Hold),
    Tell(Occurrence),
}

impl Socket {
    /// Takes account of what may be possible now and does it.
    pub(super) fn pump(&self, what: Readiness) {
        let mut inner = self.lock();
        inner.ready(what);
        if inner.pumping {
            return;
        }
        inner.pumping = true;
        while let Some(step) = self.next_step(&mut inner) {
            drop(inner);
            self.take_step(step);
            inner = self.lock();
        }
        inner.pumping = false;
    }

    fn next_step(&self, inner: &mut Inner) -> Option<Step> {
        if let Some(request) = inner.events.disabled() {
            return Some(Step::Complete(request, NtStatus::SUCCESS, 0));
        }
        if inner.silent {
            return None;
        }
        match (self.role(), inner.phase) {
            (Kind::Listen, Phase::Bound) => self.accept_step(inner),
            (Kind::Datagram, Phase::Bound) => self.datagram_step(inner),
            (Kind::Connection, Phase::Connecting) => self.connect_step(inner),
            (Kind::Connection, Phase::Connected) => {
                self.send_step(inner).or_else(|| self.receive_step(inner)).or_else(|| self.event_step(inner))
            }
            _ => None,
        }
    }

    fn take_step(&self, step: Step) {
        match step {
            Step::Complete(request, status, information) => request.complete(status, information),
            Step::CompleteAndAbandon(request, status, hold) => {
                Socket::abandon(hold);
                request.complete(status, 0);
            }
            Step::Tell(occurrence) => self.tell(occurrence),
        }
    }

    /// Has the socket pumped by a thread of the transport's.
    pub(super) fn nudge(&self, inner: &mut Inner, delay: Duration) {
        if std::mem::replace(&mut inner.nudged, true) {
            return;
        }
        let socket = self.arc();
        let job = move || {
            if let Some(hold) = socket.hold() {
                hold.lock().nudged = false;
                hold.pump(Readiness::default());
            }
        };
        self.shared.transport.later(delay, Box::new(job));
    }

    fn connect_step(&self, inner: &mut Inner) -> Option<Step> {
        if !(inner.link.ready.writable || inner.link.ready.failed) {
            return None;
        }
        let outcome = match &inner.link.endpoint {
            _ if inner.breakdown.is_some() => Err(NtStatus::FILE_FORCED_CLOSED),
            Some(endpoint) => endpoint.outcome().map_err(|error| super::address::status(&error)),
            None => Err(NtStatus::CONNECTION_ABORTED),
        };
        let creates = inner.connect_creates;
        match outcome {
            Ok(()) => inner.phase = Phase::Connected,
            Err(_) if creates => inner.phase = Phase::Over,
            Err(_) => inner.phase = Phase::Bound,
        }
        inner.link.ready.failed = false;
        if outcome.is_ok()
            && let Some(buffers) = inner.connect_data.take()
        {
            // WskConnectEx goes on as a send; whoever cancels it finds it there.
            inner.sends.extend(inner.connect.take().map(|request| Transfer::new(request, buffers, 0)));
            return self.next_step(inner);
        }
        // Claimed, or its cancel routine waits for the lock and takes it.
        let request = inner.connect.take_if(|request| request.claim())?;
        Some(match outcome {
            Ok(()) if creates => Step::Complete(request, NtStatus::SUCCESS, self.address()),
            Ok(()) => Step::Complete(request, NtStatus::SUCCESS, 0),
            Err(status) => match self.hold().filter(|_| creates) {
                Some(hold) => Step::CompleteAndAbandon(request, status, hold),
                None => Step::Complete(request, status, 0),
            },
        })
    }

    /// Reports a state that the pages do not allow.
    pub(super) fn complain(&self, rule: &'static str, function: Function, what: &str) {
        let text = format!("{} on socket {:#x}: {what}", function.name(), self.address());
        crate::verifier::violation(rule, text);
    }
}

impl Inner {
    fn ready(&mut self, what: Readiness) {
        let ready = &mut self.link.ready;
        ready.readable |= what.readable;
        ready.writable |= what.writable;
        ready.read_closed |= what.read_closed;
        ready.failed |= what.failed;
        if ready.failed && self.phase == Phase::Connected && self.link.failure.is_none() {
            let outcome = self.link.endpoint.as_ref().map(|endpoint| endpoint.outcome());
            self.link.failure = Some(match outcome {
                Some(Err(error)) => super::address::status(&error),
                _ => NtStatus::CONNECTION_RESET,
            });
        }
    }
}
