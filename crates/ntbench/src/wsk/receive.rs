//! WskReceive and WskRelease: bytes from the endpoint straight into the memory of the client's IRP.
//!
//! A pending WskReceive takes precedence over WskReceiveEvent. What the client has been told of and has not accepted
//! comes first, then what the endpoint has.

#![allow(unsafe_code)] // Retained indications come back by pointer.

use std::ptr::NonNull;
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::{WSK_DATA_INDICATION, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_FLAG_DRAIN, WSK_FLAG_WAITALL};

use super::buffer::Buffers;
use super::faults::Function;
use super::indication::Indication;
use super::pump::Step;
use super::request::{Outcome, Request, wait_in};
use super::socket::Socket;
use super::state::{Ended, Inner, Link, Transfer};

/// How long a client that took part of what there is may take to ask for more, before an event tells it.
const PATIENCE: Duration = Duration::from_millis(5);

impl Socket {
    /// WskReceive.
    pub(super) fn receive(&self, request: Request, buffers: Buffers, flags: u32) -> Outcome {
        if flags & !(WSK_FLAG_WAITALL | WSK_FLAG_DRAIN) != 0 {
            return Outcome::Done(request, NtStatus::NOT_SUPPORTED, 0);
        }
        if flags & WSK_FLAG_DRAIN != 0 && (flags & WSK_FLAG_WAITALL != 0 || buffers.len() != 0) {
            self.complain("WSK-ARG", Function::Receive, "WSK_FLAG_DRAIN with WSK_FLAG_WAITALL or with a buffer");
            return Outcome::Done(request, NtStatus::INVALID_PARAMETER, 0);
        }
        let mut transfer = Transfer::new(request, buffers, flags);
        let mut inner = self.lock();
        inner.receive_calls += 1;
        inner.events.suspended = false;
        if let Some(status) = inner.unconnected() {
            return Outcome::Done(transfer.request, status, 0);
        }
        if buffers.len() == 0 && flags & WSK_FLAG_DRAIN == 0 {
            self.remind(&mut inner, Duration::ZERO);
            return Outcome::Done(transfer.request, NtStatus::SUCCESS, 0);
        }
        let first = !inner.pumping && inner.receives.is_empty();
        if first && let Some((status, information)) = self.advance(&mut inner, &mut transfer) {
            self.remind(&mut inner, PATIENCE);
            return Outcome::Done(transfer.request, status, information);
        }
        inner.receives.push_back(transfer);
        match wait_in(&mut inner.receives, |one| &one.request) {
            None => Outcome::Pending,
            Some(one) => Outcome::Done(one.request, NtStatus::CANCELLED, 0),
        }
    }

    /// After a call of the client's own: events are for another thread, and for later, if the client may ask itself.
    fn remind(&self, inner: &mut Inner, after: Duration) {
        let enabled = inner.events.enabled;
        let data = enabled & WSK_EVENT_RECEIVE != 0 && (inner.held.is_some() || inner.link.ready.readable);
        let end = enabled & WSK_EVENT_DISCONNECT != 0
            && !inner.events.told_end
            && (inner.link.silent() || inner.link.ready.read_closed);
        if (data || end) && !inner.pumping {
            self.nudge(inner, after);
        }
    }

    pub(super) fn receive_step(&self, inner: &mut Inner) -> Option<Step> {
        loop {
            let at = inner.receives.iter().position(|one| one.lost.is_none())?;
            let mut one = inner.receives.remove(at)?;
            let ended = self.advance(inner, &mut one);
            match ended {
                Some((status, information)) if one.request.claim() => {
                    return Some(Step::Complete(one.request, status, information));
                }
                // The cancel routine was faster, but the bytes are in: it completes the request so.
                Some(_) => {
                    one.lost = ended;
                    inner.receives.insert(at, one);
                }
                None => {
                    inner.receives.insert(at, one);
                    return None;
                }
            }
        }
    }

    /// Moves what there is into a request's memory; how it ends, if it does.
    fn advance(&self, inner: &mut Inner, one: &mut Transfer) -> Option<Ended> {
        if one.flags & WSK_FLAG_DRAIN != 0 {
            return discard(inner);
        }
        let before = one.done;
        let whole = one.flags & WSK_FLAG_WAITALL != 0;
        if let Some(held) = &mut inner.held {
            let count = one.buffers.fill(held.rest());
            one.done += count;
            if held.consume(count) {
                inner.held = None;
            }
        }
        let link = &mut inner.link;
        while one.buffers.len() > 0 && link.ready.readable && !link.silent() {
            let Some(count) = link.receive(&one.buffers, self.shared.faults.read_limit()) else { break };
            one.buffers.advance(count);
            one.done += count;
            if !whole {
                break;
            }
        }
        self.shared.counters.received(one.done - before);
        how_it_ends(link, one, whole)
    }

    /// WskRelease.
    pub(super) fn release(&self, list: *mut WSK_DATA_INDICATION) -> NtStatus {
        let mut inner = self.lock();
        if let Some(offered) = inner.offered.as_mut().filter(|one| one.list.as_ptr().cast() == list && !one.released) {
            offered.released = true;
            return NtStatus::SUCCESS;
        }
        let found = inner.retained.iter().position(|one| one.as_ptr().cast() == list);
        let Some(at) = found else {
            drop(inner);
            self.complain("WSK-RELEASE", Function::Release, "the list was not retained, or is released twice");
            return NtStatus::INVALID_PARAMETER;
        };
        let given: NonNull<Indication> = inner.retained.swap_remove(at);
        self.shared.counters.released();
        drop(inner);
        // SAFETY: it was leaked when it was retained, and is no longer in the list.
        drop(unsafe { Indication::back(given) });
        NtStatus::SUCCESS
    }
}

fn how_it_ends(link: &Link, one: &Transfer, whole: bool) -> Option<Ended> {
    let enough = one.buffers.len() == 0 || (one.done > 0 && (!whole || link.silent()));
    if enough {
        return Some((NtStatus::SUCCESS, one.done));
    }
    match link.failure {
        Some(status) => Some((status, 0)),
        None if link.ended => Some((NtStatus::SUCCESS, 0)),
        None => None,
    }
}

/// WSK_FLAG_DRAIN: throws away what comes, until the end.
fn discard(inner: &mut Inner) -> Option<Ended> {
    inner.held = None;
    let link = &mut inner.link;
    let mut scrap = [0u8; 4096];
    while link.ready.readable && !link.silent() {
        let endpoint = link.endpoint.as_ref()?;
        let result = endpoint.receive(&mut [std::io::IoSliceMut::new(&mut scrap)]);
        link.received(scrap.len(), result);
    }
    match link.failure {
        Some(status) => Some((status, 0)),
        None => link.ended.then_some((NtStatus::SUCCESS, 0)),
    }
}
