//! What a bench changes while drivers run: the ideal send backlog, and sockets that function no more.

#![allow(unsafe_code)] // It calls drivers.
#![allow(non_upper_case_globals)] // The documented names, in patterns.

use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use nt_abi::NtStatus;
use nt_abi::wsk::{
    PFN_WSK_ACCEPT_EVENT, PFN_WSK_INSPECT_EVENT, PFN_WSK_RECEIVE_EVENT, PFN_WSK_SEND_BACKLOG_EVENT, WSK_EVENT_ACCEPT,
    WSK_EVENT_RECEIVE, WSK_EVENT_SEND_BACKLOG, WskInspectReject,
};

use super::events::Occurrence;
use super::faults::Function;
use super::pump::Step;
use super::socket::{Hold, Kind, Socket};
use super::state::Inner;
use super::transport::Readiness;
use super::{Provider, Shared};

/// The ideal send backlog of a fresh provider, in bytes.
pub(super) const IDEAL_BACKLOG: usize = 0x1_0000;

/// The event that tells of a socket's end by a NULL.
pub(super) enum Breakdown {
    Inspect(PFN_WSK_INSPECT_EVENT),
    Accept(PFN_WSK_ACCEPT_EVENT),
    Receive(PFN_WSK_RECEIVE_EVENT),
}

impl Shared {
    /// The sockets that are not closed.
    pub(super) fn living(&self) -> Vec<Hold> {
        let sockets = self.sockets.lock().unwrap();
        // SAFETY: the addresses are of the list, which is locked.
        sockets.iter().filter_map(|at| unsafe { Socket::living(*at) }).collect()
    }
}

impl Provider {
    /// Changes the ideal send backlog of all connections, in bytes. Those that have the event on are told.
    pub fn set_ideal_send_backlog(&self, bytes: usize) {
        if self.shared.ideal_backlog.swap(bytes, Ordering::AcqRel) == bytes {
            return;
        }
        for socket in self.shared.living() {
            let mut inner = socket.lock();
            inner.backlog_news = inner.events.wants(WSK_EVENT_SEND_BACKLOG).then_some(bytes);
            drop(inner);
            socket.pump(Readiness::default());
        }
    }

    /// Has every listening socket and every connection function no more: what waits ends with STATUS_FILE_FORCED_CLOSED, as does
    /// what is begun, and the events that say such a thing say it (no socket, no inspect identifier, no data). All that is left
    /// to their clients is to close them.
    pub fn break_sockets(&self) {
        for socket in self.shared.living() {
            if matches!(socket.kind, Kind::Basic | Kind::Datagram) {
                continue;
            }
            let mut inner = socket.lock();
            inner.breakdown.get_or_insert(false);
            inner.link.failure = Some(NtStatus::FILE_FORCED_CLOSED);
            inner.link.ready.failed = true;
            drop(inner);
            socket.pump(Readiness::default());
        }
    }
}

impl Socket {
    pub(super) fn tell_backlog(&self, call: PFN_WSK_SEND_BACKLOG_EVENT, size: usize) -> Function {
        let status = self.call_event(Function::SendBacklogEvent, call as usize, |context, _| {
            // SAFETY: the client enabled the event with this routine.
            unsafe { call(context, size) }
        });
        if status != NtStatus::SUCCESS {
            self.complain("WSK-EVENT", Function::SendBacklogEvent, &format!("the client answered {status}"));
        }
        Function::SendBacklogEvent
    }

    /// The event that tells of the breakdown, once.
    pub(super) fn breakdown_event(&self, inner: &mut Inner) -> Option<Step> {
        if inner.breakdown.replace(true) == Some(true) {
            return None;
        }
        let how = match self.role() {
            Kind::Listen if inner.inspections.on => self.inspect_events().map(|(call, _)| Breakdown::Inspect(call)),
            Kind::Listen => {
                inner.events.running = WSK_EVENT_ACCEPT;
                self.accept_event().filter(|_| inner.events.wants(WSK_EVENT_ACCEPT)).map(Breakdown::Accept)
            }
            Kind::Connection => {
                inner.events.running = WSK_EVENT_RECEIVE;
                let call = self.connection_events().and_then(|table| table.WskReceiveEvent);
                call.filter(|_| inner.events.wants(WSK_EVENT_RECEIVE)).map(Breakdown::Receive)
            }
            _ => None,
        };
        if how.is_none() {
            inner.events.running = 0;
        }
        how.map(|how| Step::Tell(Occurrence::Breakdown(how)))
    }

    pub(super) fn tell_breakdown(&self, how: Breakdown) -> Function {
        let (function, routine) = match how {
            Breakdown::Inspect(call) => (Function::InspectEvent, call as usize),
            Breakdown::Accept(call) => (Function::AcceptEvent, call as usize),
            Breakdown::Receive(call) => (Function::ReceiveEvent, call as usize),
        };
        let status = self.call_event(function, routine, |context, level| {
            let (mut size, mut accepted_context, mut accepted_dispatch) = (0, null_mut(), std::ptr::null());
            // SAFETY: the client's routine, with what it is to expect of a socket that functions no more.
            unsafe {
                match how {
                    Breakdown::Inspect(call) => match call(context, null_mut(), null_mut(), null_mut()) {
                        WskInspectReject => NtStatus::REQUEST_NOT_ACCEPTED,
                        _ => NtStatus::SUCCESS,
                    },
                    Breakdown::Accept(call) => {
                        let (to, table) = (&raw mut accepted_context, &raw mut accepted_dispatch);
                        call(context, level, null_mut(), null_mut(), null_mut(), to, table)
                    }
                    Breakdown::Receive(call) => call(context, level, null_mut(), 0, &raw mut size),
                }
            }
        });
        if crate::trace::io() {
            super::trace_io(function.name(), self.address(), format!("the socket functions no more: {status}"));
        }
        function
    }
}
