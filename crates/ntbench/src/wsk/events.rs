//! Event callbacks of sockets: which are on, what is indicated, and what the client answers.

#![allow(unsafe_code)] // It calls drivers, and lends them memory by pointer.

use std::net::SocketAddr;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nt_abi::wsk::{
    PFN_WSK_ABORT_EVENT, PFN_WSK_ACCEPT_EVENT, PFN_WSK_DISCONNECT_EVENT, PFN_WSK_INSPECT_EVENT, PFN_WSK_RECEIVE_EVENT,
    PFN_WSK_SEND_BACKLOG_EVENT, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_LISTEN_DISPATCH, WSK_EVENT_ACCEPT,
    WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_EVENT_SEND_BACKLOG, WSK_FLAG_ABORTIVE, WSK_FLAG_AT_DISPATCH_LEVEL,
    WSK_INSPECT_ID,
};
use nt_abi::{DISPATCH_LEVEL, NtStatus};

use super::address::Sockaddr;
use super::faults::{Function, Moment};
use super::indication::{Indication, LARGE, SMALL};
use super::knobs::Breakdown;
use super::pump::Step;
use super::request::Request;
use super::socket::{Hold, Socket};
use super::state::{Inner, Phase};
use crate::callout;
use crate::ke::irql;

/// Which events are on, and what is going on with them.
pub(super) struct Events {
    /// WSK_EVENT_* of this socket.
    pub(super) enabled: u32,
    /// WSK_EVENT_* of the connections that a listening socket hands to its accept event.
    pub(super) inherit: u32,
    /// On for ever (WSK_SET_STATIC_EVENT_CALLBACKS).
    pub(super) fixed: u32,
    /// The event whose callback is being called.
    pub(super) running: u32,
    /// The client did not accept data: nothing is indicated until it asks.
    pub(super) suspended: bool,
    /// The client accepted what it was last told of.
    accepting: bool,
    /// The end of the connection has been told.
    pub(super) told_end: bool,
    /// Wait for the callback of a disabled event to return.
    pub(super) disabling: Vec<Request>,
}

impl Events {
    pub(super) fn new(fixed: u32) -> Self {
        Self {
            enabled: fixed,
            inherit: 0,
            fixed,
            running: 0,
            suspended: false,
            accepting: true,
            told_end: false,
            disabling: Vec::new(),
        }
    }

    pub(super) fn wants(&self, event: u32) -> bool {
        self.enabled & event != 0
    }

    /// The request that waited for a callback which has now returned.
    pub(super) fn disabled(&mut self) -> Option<Request> {
        if self.running != 0 {
            return None;
        }
        self.disabling.pop()
    }
}

/// A list that a client is being told of.
pub(super) struct Offered {
    pub(super) list: NonNull<Indication>,
    /// The client has released it already.
    pub(super) released: bool,
}

/// What a client is to be told.
pub(super) enum Occurrence {
    Data {
        call: PFN_WSK_RECEIVE_EVENT,
        indication: Indication,
        calls: u64,
    },
    End {
        call: PFN_WSK_DISCONNECT_EVENT,
        flags: u32,
    },
    Arrival {
        call: PFN_WSK_ACCEPT_EVENT,
        socket: Hold,
        local: SocketAddr,
        remote: SocketAddr,
    },
    Datagrams(super::datagram::Told),
    Inspect {
        call: PFN_WSK_INSPECT_EVENT,
        id: WSK_INSPECT_ID,
        local: SocketAddr,
        remote: SocketAddr,
    },
    Abort {
        call: PFN_WSK_ABORT_EVENT,
        id: WSK_INSPECT_ID,
    },
    Backlog {
        call: PFN_WSK_SEND_BACKLOG_EVENT,
        size: usize,
    },
    /// The socket functions no more: an event that says it with NULL.
    Breakdown(Breakdown),
}

impl Socket {
    /// The client's table of connection events.
    pub(super) fn connection_events(&self) -> Option<&WSK_CLIENT_CONNECTION_DISPATCH> {
        // SAFETY: the client's table stays as long as the socket.
        unsafe { self.dispatch.load(Ordering::Acquire).cast::<WSK_CLIENT_CONNECTION_DISPATCH>().as_ref() }
    }

    /// The client's routine for accepted connections.
    pub(super) fn accept_event(&self) -> Option<PFN_WSK_ACCEPT_EVENT> {
        // SAFETY: as above; a listening socket's table is of this kind.
        unsafe { self.dispatch.load(Ordering::Acquire).cast::<WSK_CLIENT_LISTEN_DISPATCH>().as_ref() }?.WskAcceptEvent
    }

    /// The next event of a connection, when no request takes precedence.
    pub(super) fn event_step(&self, inner: &mut Inner) -> Option<Step> {
        if inner.breakdown == Some(false) {
            return self.breakdown_event(inner);
        }
        if let Some(size) = inner.backlog_news.take()
            && let Some(call) = self.connection_events().and_then(|table| table.WskSendBacklogEvent)
        {
            inner.events.running = WSK_EVENT_SEND_BACKLOG;
            return Some(Step::Tell(Occurrence::Backlog { call, size }));
        }
        let wanted = inner.events.wants(WSK_EVENT_RECEIVE) && !inner.events.suspended && inner.receives.is_empty();
        if wanted && let Some(call) = self.connection_events().and_then(|table| table.WskReceiveEvent) {
            inner.read_ahead(self.shared.faults.read_limit());
            if let Some(indication) = inner.held.take() {
                inner.events.running = WSK_EVENT_RECEIVE;
                let calls = inner.receive_calls;
                return Some(Step::Tell(Occurrence::Data { call, indication, calls }));
            }
        }
        if !inner.events.wants(WSK_EVENT_DISCONNECT) || inner.events.told_end {
            return None;
        }
        let flags = inner.end_to_tell()?;
        let call = self.connection_events().and_then(|table| table.WskDisconnectEvent)?;
        inner.events.told_end = true;
        inner.events.running = WSK_EVENT_DISCONNECT;
        Some(Step::Tell(Occurrence::End { call, flags }))
    }

    /// Calls the client, and takes account of its answer.
    pub(super) fn tell(&self, occurrence: Occurrence) {
        let event = match occurrence {
            Occurrence::Data { call, indication, calls } => self.tell_data(call, indication, calls),
            Occurrence::End { call, flags } => self.tell_end(call, flags),
            Occurrence::Datagrams(told) => self.tell_datagrams(told),
            Occurrence::Arrival { call, socket, local, remote } => self.tell_arrival(call, socket, (local, remote)),
            Occurrence::Inspect { call, id, local, remote } => self.tell_inspect(call, id, (local, remote)),
            Occurrence::Abort { call, id } => self.tell_abort(call, id),
            Occurrence::Backlog { call, size } => self.tell_backlog(call, size),
            Occurrence::Breakdown(how) => self.tell_breakdown(how),
        };
        self.lock().events.running = 0;
        self.shared.faults.step(event, Moment::Return);
    }

    /// The client may keep the list and release it before its callback has returned.
    fn tell_data(&self, call: PFN_WSK_RECEIVE_EVENT, mut indication: Indication, calls: u64) -> Function {
        let indicated = indication.rest().len();
        let mut accepted = indicated;
        let odd = self.shared.faults.current().is_some_and(|faults| faults.odd_lists);
        let list = indication.list(odd);
        let left = indication.leave();
        self.lock().offered = Some(Offered { list: left, released: false });
        let status = self.call_event(Function::ReceiveEvent, call as usize, |context, level| {
            // SAFETY: the client enabled the event with this routine; the list is ours and stays during the call.
            unsafe { call(context, level, list, indicated, &raw mut accepted) }
        });
        let mut inner = self.lock();
        let released = inner.offered.take().is_some_and(|offered| offered.released);
        inner.events.accepting = status != NtStatus::DATA_NOT_ACCEPTED;
        if status == NtStatus::PENDING && !released {
            // The close waits for this callback, but not for what it keeps.
            if inner.close.is_some() {
                self.complain("L21", Function::ReceiveEvent, "a list is kept of a socket whose close has begun");
            }
            inner.retained.push(left);
            self.shared.counters.keeps();
            self.shared.counters.received(indicated);
            return Function::ReceiveEvent;
        }
        // SAFETY: it was left above, and nobody else has it any more.
        let mut indication = unsafe { Indication::back(left) };
        if released && status != NtStatus::PENDING {
            self.complain("WSK-RELEASE", Function::ReceiveEvent, "a list was released, but not kept");
        }
        match status {
            NtStatus::PENDING => {}
            NtStatus::SUCCESS if indication.consume(accepted.min(indicated)) => {}
            _ => inner.not_accepted(indication, calls),
        }
        drop(inner);
        match status {
            NtStatus::SUCCESS => self.shared.counters.received(accepted.min(indicated)),
            NtStatus::PENDING => self.shared.counters.received(indicated),
            NtStatus::DATA_NOT_ACCEPTED => {}
            other => self.complain("WSK-EVENT", Function::ReceiveEvent, &format!("the client answered {other}")),
        }
        Function::ReceiveEvent
    }

    fn tell_end(&self, call: PFN_WSK_DISCONNECT_EVENT, flags: u32) -> Function {
        let status = self.call_event(Function::DisconnectEvent, call as usize, |context, level| {
            // SAFETY: the client enabled the event with this routine.
            unsafe { call(context, level | flags) }
        });
        if status != NtStatus::SUCCESS {
            self.complain("WSK-EVENT", Function::DisconnectEvent, &format!("the client answered {status}"));
        }
        Function::DisconnectEvent
    }

    fn tell_arrival(&self, call: PFN_WSK_ACCEPT_EVENT, socket: Hold, ends: (SocketAddr, SocketAddr)) -> Function {
        let (mut local, mut remote) = (Sockaddr::of(ends.0, self.family), Sockaddr::of(ends.1, self.family));
        let mut context = std::ptr::null_mut();
        let mut table: *const WSK_CLIENT_CONNECTION_DISPATCH = std::ptr::null();
        let status = self.call_event(Function::AcceptEvent, call as usize, |listener, level| {
            let (local, remote) = (local.as_mut_ptr(), remote.as_mut_ptr());
            let accepted = socket.address() as *mut _;
            // SAFETY: the client enabled the event with this routine; what is pointed to stays during the call.
            unsafe { call(listener, level, local, remote, accepted, &raw mut context, &raw mut table) }
        });
        if status != NtStatus::SUCCESS {
            if status != NtStatus::REQUEST_NOT_ACCEPTED {
                self.complain("WSK-EVENT", Function::AcceptEvent, &format!("the client answered {status}"));
            }
            Socket::abandon(socket);
            return Function::AcceptEvent;
        }
        if table.is_null() && socket.lock().events.enabled != 0 {
            let what = "the client gave no dispatch table, and its listening socket enables events of connections";
            self.complain("WSK-EVENT", Function::AcceptEvent, what);
        }
        socket.context.store(context, Ordering::Release);
        socket.dispatch.store(table.cast_mut().cast(), Ordering::Release);
        let _ = socket.watch(&socket.lock());
        Function::AcceptEvent
    }

    /// Calls a routine of the client's with the socket's context and the flag for the IRQL.
    pub(super) fn call_event(
        &self,
        function: Function,
        routine: usize,
        call: impl FnOnce(*mut std::ffi::c_void, u32) -> NtStatus,
    ) -> NtStatus {
        self.shared.faults.step(function, Moment::Enter);
        let context = self.context.load(Ordering::Acquire);
        let status = irql::at_random(|| {
            let level = if irql::current() == DISPATCH_LEVEL { WSK_FLAG_AT_DISPATCH_LEVEL } else { 0 };
            callout::call(callout::Kind::Event, function.name(), routine, || call(context, level))
        });
        if crate::trace::io() {
            super::trace_io(function.name(), self.address(), format!("{status}"));
        }
        status
    }

    /// The accept event's step, for a connection that no WskAccept waits for.
    pub(super) fn arrival(&self, inner: &mut Inner) -> Option<PFN_WSK_ACCEPT_EVENT> {
        let call = self.accept_event().filter(|_| inner.events.wants(WSK_EVENT_ACCEPT))?;
        inner.events.running = WSK_EVENT_ACCEPT;
        Some(call)
    }
}

impl Inner {
    /// Reads what the client is to be told of next.
    fn read_ahead(&mut self, limit: usize) {
        if self.held.is_some() || !self.link.ready.readable || self.link.silent() {
            return;
        }
        let Some(endpoint) = &self.link.endpoint else { return };
        let mut indication = Indication::with_room(if self.events.accepting { LARGE } else { SMALL });
        let size = indication.room().len().min(limit);
        let result = endpoint.receive(&mut [std::io::IoSliceMut::new(&mut indication.room()[..size])]);
        if let Some(count) = self.link.received(size, result) {
            self.held = Some(indication.filled(count));
        }
    }

    /// The client left data: it waits for a WskReceive, unless one came while the client was being told.
    fn not_accepted(&mut self, indication: Indication, calls: u64) {
        self.events.suspended = self.receive_calls == calls;
        if self.phase != Phase::Over {
            self.held = Some(indication);
        }
    }

    /// How the connection has ended, if it has and nothing is left to receive.
    fn end_to_tell(&mut self) -> Option<u32> {
        if self.link.failure.is_some() {
            return Some(WSK_FLAG_ABORTIVE);
        }
        if !self.link.ended && self.link.ready.read_closed && self.held.is_none() {
            self.link.ended = self.link.endpoint.as_ref().is_some_and(|endpoint| endpoint.at_end());
        }
        (self.link.ended && self.held.is_none()).then_some(0)
    }
}
