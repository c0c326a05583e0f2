//! Conditional accept: WskInspectEvent, WskInspectComplete, WskAbortEvent, and SIO_WSK_QUERY_INSPECT_ID.
//!
//! On NT a connection that is being inspected does not exist for its peer before it has been accepted. The host completes
//! the handshake by itself, so here the peer is connected from the beginning: a rejected one sees a reset instead of a refusal,
//! and one that ends or resets its side while it is inspected, or before it has been handed to its client, counts as dropped.
//! What such a peer has sent waits in the host.
//!
//! # Invariants
//! - A connection that is inspected is watched by a [`Watcher`], from before its client is asked until it is handed over
//!   or dropped.
//! - Each is told of as aborted at most once, and never after it has been handed over or rejected.

#![allow(unsafe_code)] // It calls drivers, and reads what they give by pointer.
#![allow(non_upper_case_globals)] // The documented names, in patterns.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::{
    PFN_WSK_ABORT_EVENT, PFN_WSK_INSPECT_EVENT, WSK_CLIENT_LISTEN_DISPATCH, WSK_CLIENT_STREAM_DISPATCH, WSK_INSPECT_ACTION,
    WSK_INSPECT_ID, WskInspectAccept, WskInspectPend, WskInspectReject,
};

use super::address::Sockaddr;
use super::events::Occurrence;
use super::faults::Function;
use super::pump::Step;
use super::socket::{Kind, Socket};
use super::state::{Arrived, Inner, Phase};
use super::transport::{Readiness, Ready};

/// Connections that are inspected at a time; more wait in the host.
const OPEN: usize = 256;
/// Aborted connections that a client may still name.
const REMEMBERED: usize = 1024;

/// How far an inspection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The client is being asked; a WskInspectComplete may be faster than the return of its callback.
    Asking(Option<WSK_INSPECT_ACTION>),
    /// The client will call WskInspectComplete.
    Pended,
    /// Accepted, and not handed over yet.
    Cleared,
}

struct Inspection {
    id: WSK_INSPECT_ID,
    arrived: Arrived,
    stage: Stage,
    /// The peer is gone.
    dropped: bool,
}

/// The inspections of a listening socket.
#[derive(Default)]
pub(super) struct Inspections {
    /// SO_CONDITIONAL_ACCEPT.
    pub(super) on: bool,
    open: VecDeque<Inspection>,
    aborted: VecDeque<u32>,
    serial: u32,
}

impl Inspections {
    fn at(&mut self, serial: u32) -> Option<usize> {
        self.open.iter().position(|one| one.id.SerialNumber == serial)
    }

    /// The oldest connection that may be handed over.
    pub(super) fn cleared(&mut self) -> Option<Arrived> {
        let at = self.open.iter().position(|one| one.stage == Stage::Cleared && !one.dropped)?;
        let one = self.open.remove(at)?;
        one.arrived.endpoint.unwatch();
        Some(one.arrived)
    }

    /// Whether a connection may be handed over.
    pub(super) fn has_cleared(&self) -> bool {
        self.open.iter().any(|one| one.stage == Stage::Cleared && !one.dropped)
    }

    /// The listening socket is closed: the peers see resets.
    pub(super) fn let_go(&mut self) {
        self.open.drain(..).for_each(|one| reset(one.arrived));
    }
}

fn reset(arrived: Arrived) {
    arrived.endpoint.unwatch();
    arrived.endpoint.reset_on_drop();
}

/// Sees whether the peer of an inspected connection goes.
struct Watcher {
    listener: Arc<Socket>,
    serial: u32,
}

impl Ready for Watcher {
    fn ready(&self, what: Readiness) {
        let Some(listener) = self.listener.hold() else { return };
        let mut inner = listener.lock();
        let Some(at) = inner.inspections.at(self.serial) else { return };
        let one = &mut inner.inspections.open[at];
        one.dropped |= what.failed || (what.read_closed && one.arrived.endpoint.at_end());
        let dropped = one.dropped;
        drop(inner);
        if dropped {
            listener.pump(Readiness::default());
        }
    }
}

impl Socket {
    fn listen_events(&self) -> Option<&WSK_CLIENT_LISTEN_DISPATCH> {
        let table = self.dispatch.load(Ordering::Acquire);
        if self.role() == Kind::Stream {
            // SAFETY: the client's table stays as long as the socket; a stream socket's is of this kind.
            let both = unsafe { table.cast::<WSK_CLIENT_STREAM_DISPATCH>().as_ref() }?;
            // SAFETY: as above.
            return unsafe { both.Listen.as_ref() };
        }
        // SAFETY: as above; a listening socket's is of this kind.
        unsafe { table.cast::<WSK_CLIENT_LISTEN_DISPATCH>().as_ref() }
    }

    /// The client's routines for conditional accept.
    pub(super) fn inspect_events(&self) -> Option<(PFN_WSK_INSPECT_EVENT, PFN_WSK_ABORT_EVENT)> {
        let table = self.listen_events()?;
        table.WskInspectEvent.zip(table.WskAbortEvent)
    }

    /// SO_CONDITIONAL_ACCEPT.
    pub(super) fn set_conditional(&self, on: bool) -> Result<(), NtStatus> {
        if !matches!(self.kind, Kind::Listen | Kind::Stream) {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        if on && self.inspect_events().is_none() {
            let what = "conditional accept is switched on, and the client has no WskInspectEvent or no WskAbortEvent";
            self.complain("WSK-EVENT", Function::ControlSocket, what);
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let mut inner = self.lock();
        if inner.phase != Phase::Fresh {
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        inner.inspections.on = on;
        Ok(())
    }

    /// The next thing to tell of inspections.
    pub(super) fn inspect_step(&self, inner: &mut Inner) -> Option<Step> {
        let (inspect, abort) = self.inspect_events().filter(|_| inner.inspections.on)?;
        let gone = |one: &Inspection| one.dropped && !matches!(one.stage, Stage::Asking(_));
        if let Some(at) = inner.inspections.open.iter().position(gone) {
            let one = inner.inspections.open.remove(at)?;
            inner.inspections.aborted.push_back(one.id.SerialNumber);
            if inner.inspections.aborted.len() > REMEMBERED {
                inner.inspections.aborted.pop_front();
            }
            reset(one.arrived);
            return Some(Step::Tell(Occurrence::Abort { call: abort, id: one.id }));
        }
        if inner.inspections.open.len() >= OPEN || !inner.link.ready.readable {
            return None;
        }
        let arrived = self.next_arrival(inner)?;
        self.begin_inspection(inner, inspect, arrived)
    }

    fn begin_inspection(&self, inner: &mut Inner, call: PFN_WSK_INSPECT_EVENT, mut arrived: Arrived) -> Option<Step> {
        inner.inspections.serial += 1;
        let id = WSK_INSPECT_ID { Key: self.address(), SerialNumber: inner.inspections.serial };
        let remote = arrived.remote;
        let local = arrived.endpoint.local().unwrap_or(remote);
        // INVARIANT: watched from here on; what the watcher sees at once waits for the lock.
        let watcher = Watcher { listener: self.arc(), serial: id.SerialNumber };
        if arrived.endpoint.watch(Arc::new(watcher)).is_err() {
            arrived.endpoint.reset_on_drop();
            return None;
        }
        arrived.inspected = Some(id);
        inner.inspections.open.push_back(Inspection { id, arrived, stage: Stage::Asking(None), dropped: false });
        Some(Step::Tell(Occurrence::Inspect { call, id, local, remote }))
    }

    /// Asks the client, and takes account of its answer.
    pub(super) fn tell_inspect(
        &self,
        call: PFN_WSK_INSPECT_EVENT,
        mut id: WSK_INSPECT_ID,
        ends: (SocketAddr, SocketAddr),
    ) -> Function {
        let (mut local, mut remote) = (Sockaddr::of(ends.0, self.family), Sockaddr::of(ends.1, self.family));
        let mut action = WskInspectReject;
        let serial = id.SerialNumber;
        let _ = self.call_event(Function::InspectEvent, call as usize, |context, _| {
            // SAFETY: the client's routine; what is pointed to stays during the call.
            action = unsafe { call(context, local.as_mut_ptr(), remote.as_mut_ptr(), &raw mut id) };
            NtStatus::SUCCESS
        });
        if !matches!(action, WskInspectAccept | WskInspectReject | WskInspectPend) {
            self.complain("WSK-EVENT", Function::InspectEvent, &format!("the client answered {action}"));
        }
        let mut inner = self.lock();
        let Some(at) = inner.inspections.at(serial) else { return Function::InspectEvent };
        let Stage::Asking(early) = inner.inspections.open[at].stage else { return Function::InspectEvent };
        let decision = if action == WskInspectPend { early } else { Some(action) };
        let stray = early.is_some() && action != WskInspectPend;
        inner.decide(at, decision);
        drop(inner);
        if stray {
            self.complain("WSK-ARG", Function::InspectComplete, "the inspection was not pended");
        }
        Function::InspectEvent
    }

    /// Tells the client that an inspected connection is gone.
    pub(super) fn tell_abort(&self, call: PFN_WSK_ABORT_EVENT, mut id: WSK_INSPECT_ID) -> Function {
        let status = self.call_event(Function::AbortEvent, call as usize, |context, _| {
            // SAFETY: the client's routine; what is pointed to stays during the call.
            unsafe { call(context, &raw mut id) }
        });
        if status != NtStatus::SUCCESS {
            self.complain("WSK-EVENT", Function::AbortEvent, &format!("the client answered {status}"));
        }
        Function::AbortEvent
    }

    /// WskInspectComplete. One that has been aborted meanwhile answers STATUS_CONNECTION_ABORTED.
    pub(super) fn inspect_complete(&self, id: WSK_INSPECT_ID, action: WSK_INSPECT_ACTION) -> Result<usize, NtStatus> {
        let mut inner = self.lock();
        if let Some(status) = inner.broken() {
            return Err(status);
        }
        if !inner.inspections.on {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        let decided = matches!(action, WskInspectAccept | WskInspectReject);
        let ours = decided && id.Key == self.address();
        let found = if ours { inner.inspections.at(id.SerialNumber) } else { None };
        let Some(at) = found else {
            let aborted = inner.inspections.aborted.iter().position(|serial| ours && *serial == id.SerialNumber);
            // Each of them may be named once.
            let known = aborted.and_then(|at| inner.inspections.aborted.remove(at)).is_some();
            drop(inner);
            return Err(if known { NtStatus::CONNECTION_ABORTED } else { self.stray() });
        };
        match inner.inspections.open[at].stage {
            Stage::Asking(None) => inner.inspections.open[at].stage = Stage::Asking(Some(action)),
            Stage::Pended => {
                let dropped = inner.inspections.open[at].dropped;
                if dropped {
                    return Err(NtStatus::CONNECTION_ABORTED);
                }
                inner.decide(at, Some(action));
                self.nudge(&mut inner, Duration::ZERO);
            }
            Stage::Asking(Some(_)) | Stage::Cleared => {
                drop(inner);
                return Err(self.stray());
            }
        }
        Ok(0)
    }

    fn stray(&self) -> NtStatus {
        let what = "no inspection of this socket's is pended by that identifier, or the action is neither accept nor reject";
        self.complain("WSK-ARG", Function::InspectComplete, what);
        NtStatus::INVALID_PARAMETER
    }
}

impl Inner {
    /// The client's decision; None: it pends.
    fn decide(&mut self, at: usize, action: Option<WSK_INSPECT_ACTION>) {
        match action {
            None => self.inspections.open[at].stage = Stage::Pended,
            Some(WskInspectAccept) => self.inspections.open[at].stage = Stage::Cleared,
            Some(_) => self.inspections.open.remove(at).into_iter().for_each(|one| reset(one.arrived)),
        }
    }
}
