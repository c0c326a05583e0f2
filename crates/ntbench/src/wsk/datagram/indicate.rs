//! WskReceiveFromEvent and WskRelease: datagrams in lists of WSK_DATAGRAM_INDICATION.
//!
//! As a real network's, their bytes seldom begin where their MDL does, and may lie in two.

#![allow(unsafe_code)] // It calls drivers, and lends them memory by pointer.

use std::sync::atomic::Ordering;

use nt_abi::wsk::{
    PFN_WSK_RECEIVE_FROM_EVENT, WSK_BUF, WSK_CLIENT_DATAGRAM_DISPATCH, WSK_DATAGRAM_INDICATION, WSK_EVENT_RECEIVE_FROM,
};
use nt_abi::{MDL, NtStatus};

use super::{BATCH, Datagram, LEFT, flags};
use crate::wsk::address::Sockaddr;
use crate::wsk::ancillary::{Objects, Wanted};
use crate::wsk::events::Occurrence;
use crate::wsk::faults::Function;
use crate::wsk::indication::describe;
use crate::wsk::pump::Step;
use crate::wsk::socket::Socket;
use crate::wsk::state::{Inner, Phase};
use crate::wsk::transport::Family;

/// Lists that a client may keep of one socket; a network card has no more memory than that.
const RETAINED: usize = 1024;

/// One datagram in the form in which clients are told of it.
///
/// # Invariants
/// The pointers in `data` and `mdls` point into the node's own members.
#[repr(C)]
struct Node {
    data: WSK_DATAGRAM_INDICATION,
    mdls: [MDL; 2],
    from: Sockaddr,
    objects: Objects,
    datagram: Datagram,
}

// SAFETY: the pointers inside point into the node itself.
unsafe impl Send for Node {}

/// Datagrams that a client is told of together.
///
/// # Invariants
/// There is one at least, and each node's Next is the following one.
pub(super) struct List(Vec<Box<Node>>);

impl Node {
    fn new(datagram: Datagram, wanted: &Wanted, family: Family) -> Box<Self> {
        let nothing = WSK_BUF { Mdl: std::ptr::null_mut(), Offset: 0, Length: 0 };
        let none = std::ptr::null_mut();
        let data = WSK_DATAGRAM_INDICATION {
            Next: std::ptr::null_mut(),
            Buffer: nothing,
            ControlInfo: none,
            ControlInfoLength: 0,
            RemoteAddress: std::ptr::null_mut(),
        };
        let objects = Objects::of(&datagram.received, wanted, usize::MAX);
        let from = Sockaddr::of(datagram.received.from, family);
        let mut node = Box::new(Self { data, mdls: [describe(&[]), describe(&[])], from, objects, datagram });
        node.point();
        node
    }

    /// Makes the pointers.
    fn point(&mut self) {
        // INVARIANT: all of them, into this node, which stays in its box.
        let (objects, bytes) = self.objects.bytes();
        if bytes > 0 {
            (self.data.ControlInfo, self.data.ControlInfoLength) = (objects, bytes as u32);
        }
        self.data.RemoteAddress = self.from.as_mut_ptr();
        let Datagram { memory, start, .. } = &self.datagram;
        let length = memory.len() - start;
        if length == 0 {
            return;
        }
        self.mdls[0] = describe(memory);
        if length > 1 && crate::rng::chance(0.25) {
            let (head, tail) = memory.split_at(start + 1 + crate::rng::below(length as u64 - 1) as usize);
            self.mdls = [describe(head), describe(tail)];
            self.mdls[0].Next = &raw mut self.mdls[1];
        }
        self.data.Buffer = WSK_BUF { Mdl: &raw mut self.mdls[0], Offset: *start as u32, Length: length };
    }

    fn at(&self) -> *mut WSK_DATAGRAM_INDICATION {
        (&raw const self.data).cast_mut()
    }
}

impl List {
    fn of(datagrams: Vec<Datagram>, wanted: &Wanted, family: Family) -> Self {
        let mut nodes: Vec<_> = datagrams.into_iter().map(|one| Node::new(one, wanted, family)).collect();
        let mut next = std::ptr::null_mut();
        for node in nodes.iter_mut().rev() {
            // INVARIANT: the following one.
            node.data.Next = next;
            next = node.at();
        }
        Self(nodes)
    }

    /// What the client knows it by.
    fn at(&self) -> *mut WSK_DATAGRAM_INDICATION {
        self.0.first().map_or(std::ptr::null_mut(), |node| node.at())
    }

    /// Whether the client has left it as it was.
    fn is_whole(&self) -> bool {
        let following = self.0.iter().skip(1).map(|node| node.at()).chain([std::ptr::null_mut()]);
        self.0.iter().zip(following).all(|(node, next)| node.data.Next == next)
    }

    fn datagrams(self) -> impl DoubleEndedIterator<Item = Datagram> {
        self.0.into_iter().map(|node| node.datagram)
    }
}

/// A call of WskReceiveFromEvent.
pub(in crate::wsk) struct Told {
    call: PFN_WSK_RECEIVE_FROM_EVENT,
    /// None: the socket is gone.
    list: Option<List>,
    flags: u32,
}

impl Socket {
    /// The client's routine for datagrams.
    fn datagram_event(&self) -> Option<PFN_WSK_RECEIVE_FROM_EVENT> {
        // SAFETY: the client's table stays as long as the socket.
        unsafe { self.dispatch.load(Ordering::Acquire).cast::<WSK_CLIENT_DATAGRAM_DISPATCH>().as_ref() }?.WskReceiveFromEvent
    }

    /// The next event, when no request takes precedence.
    pub(super) fn receive_from_event_step(&self, inner: &mut Inner) -> Option<Step> {
        let call = self.datagram_event().filter(|_| inner.events.wants(WSK_EVENT_RECEIVE_FROM))?;
        let told = match inner.link.failure {
            Some(_) => inner.gone(call),
            None => inner.next_list(call, self.family),
        }?;
        inner.events.running = WSK_EVENT_RECEIVE_FROM;
        Some(Step::Tell(Occurrence::Datagrams(told)))
    }

    /// Calls the client, and takes account of its answer.
    pub(in crate::wsk) fn tell_datagrams(&self, told: Told) -> Function {
        let function = Function::ReceiveFromEvent;
        let Told { call, list, flags } = told;
        let at = list.as_ref().map_or(std::ptr::null_mut(), List::at);
        let bytes: Vec<_> = list.iter().flat_map(|list| &list.0).map(|node| node.datagram.received.bytes).collect();
        let told = list.is_some();
        if let Some(datagrams) = &mut self.lock().datagrams {
            datagrams.lent = list;
        }
        let status = self.call_event(function, call as usize, |context, level| {
            // SAFETY: the client enabled the event with this routine; the list is ours and stays during the call.
            unsafe { call(context, level | flags, at) }
        });
        if !told {
            return function;
        }
        let list = self.lock().datagrams.as_mut().and_then(|datagrams| datagrams.lent.take());
        match (status, list) {
            (NtStatus::DATA_NOT_ACCEPTED, Some(list)) => {
                self.lock().not_accepted_datagrams(list);
                return function;
            }
            (NtStatus::SUCCESS, Some(_)) => {}
            (NtStatus::PENDING, Some(list)) => self.retain(list),
            // Its keeper was faster than its routine.
            (NtStatus::PENDING, None) => {}
            (NtStatus::SUCCESS | NtStatus::DATA_NOT_ACCEPTED, None) => {
                self.complain("WSK-RELEASE", function, "the client has released a list that it says it did not keep");
            }
            (other, _) => self.complain("WSK-EVENT", function, &format!("the client answered {other}")),
        }
        bytes.into_iter().for_each(|bytes| self.shared.counters.datagram_received(bytes));
        function
    }

    /// The client keeps a list.
    fn retain(&self, list: List) {
        let mut inner = self.lock();
        let closed = inner.phase == Phase::Over;
        let Some(datagrams) = &mut inner.datagrams else { return };
        datagrams.retained.push(list);
        let many = datagrams.retained.len() == RETAINED + 1;
        drop(inner);
        if closed {
            self.complain("L21", Function::ReceiveFromEvent, "a list is retained after the socket's close has begun");
        }
        if many {
            self.complain("WSK-RETAIN", Function::ReceiveFromEvent, &format!("more than {RETAINED} lists are retained"));
        }
    }

    /// WskRelease of a datagram socket.
    pub(in crate::wsk) fn release_datagrams(&self, list: *mut WSK_DATAGRAM_INDICATION) -> NtStatus {
        let mut inner = self.lock();
        let found = inner.datagrams.as_mut().and_then(|datagrams| {
            let lent = datagrams.lent.take_if(|one| one.at() == list);
            lent.or_else(|| {
                let at = datagrams.retained.iter().position(|one| one.at() == list)?;
                Some(datagrams.retained.swap_remove(at))
            })
        });
        drop(inner);
        let Some(list) = found else {
            self.complain("WSK-RELEASE", Function::Release, "the list was not retained, or is released twice");
            return NtStatus::INVALID_PARAMETER;
        };
        if !list.is_whole() {
            self.complain("WSK-RELEASE", Function::Release, "the list is not as it was indicated");
        }
        NtStatus::SUCCESS
    }
}

impl Inner {
    /// The socket is no longer functional, which is told once.
    fn gone(&mut self, call: PFN_WSK_RECEIVE_FROM_EVENT) -> Option<Told> {
        let told = std::mem::replace(&mut self.datagrams.as_mut()?.told_gone, true);
        (!told).then_some(Told { call, list: None, flags: 0 })
    }

    /// The datagrams to be told of next.
    fn next_list(&mut self, call: PFN_WSK_RECEIVE_FROM_EVENT, family: Family) -> Option<Told> {
        // Requests have had theirs: had one been left, nothing would wait here and nothing would be readable.
        if !self.datagrams.as_ref()?.waits() {
            self.read_datagrams(BATCH);
        }
        let datagrams = self.datagrams.as_mut()?;
        let flags = flags(&datagrams.waiting.front()?.received);
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(one) = datagrams.waiting.pop_front_if(|one| self::flags(&one.received) == flags)
        {
            batch.push(one);
        }
        Some(Told { call, list: Some(List::of(batch, &datagrams.options.wanted, family)), flags })
    }

    /// The client left datagrams: they wait for a WskReceiveFrom. The event is switched off, and told of them when it is
    /// on again; a static one stays on for what comes next.
    fn not_accepted_datagrams(&mut self, list: List) {
        let is_static = self.events.fixed & WSK_EVENT_RECEIVE_FROM != 0;
        let over = self.phase == Phase::Over;
        let Some(datagrams) = self.datagrams.as_mut().filter(|_| !over) else { return };
        if is_static {
            datagrams.left.extend(list.datagrams());
            let more = datagrams.left.len().saturating_sub(LEFT);
            datagrams.left.drain(..more);
            return;
        }
        list.datagrams().rev().for_each(|one| datagrams.waiting.push_front(one));
        self.events.enabled &= !WSK_EVENT_RECEIVE_FROM;
    }
}
