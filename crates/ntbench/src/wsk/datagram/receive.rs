//! WskReceiveFrom: a datagram straight into the memory of the client's IRP, and what there is to say of it.

#![allow(unsafe_code)] // Results are written by the client's pointers.

use std::io::{self, IoSliceMut};

use nt_abi::NtStatus;
use nt_abi::wsk::{CMSGHDR, MSG_CTRUNC, MSG_TRUNC, SOCKADDR};

use crate::wsk::address;
use crate::wsk::ancillary::{Objects, Wanted};
use crate::wsk::buffer::Buffers;
use crate::wsk::pump::Step;
use crate::wsk::request::{Outcome, Request, wait_in};
use crate::wsk::socket::Socket;
use crate::wsk::state::{Ended, Inner, Link};
use crate::wsk::transport::{Family, Received};

/// Where a client wants to be told what there is to say of a datagram.
pub(in crate::wsk) struct Results {
    pub(in crate::wsk) remote: *mut SOCKADDR,
    pub(in crate::wsk) control_length: *mut u32,
    pub(in crate::wsk) control: *mut CMSGHDR,
    pub(in crate::wsk) flags: *mut u32,
}

// SAFETY: the pointers are the client's, valid until the request is completed, and used by whoever has it.
unsafe impl Send for Results {}

impl Results {
    /// Writes them; `more` are flags that are known already.
    fn write(&self, received: &Received, wanted: &Wanted, family: Family, more: u32) {
        let mut flags = super::flags(received) | more;
        // SAFETY: the client keeps it, with room for its family, until the request is completed.
        unsafe { address::write(self.remote, received.from, family) };
        // SAFETY: the client's variable, in the same way.
        if let Some(length) = unsafe { self.control_length.as_mut() } {
            let mut objects = Objects::of(received, wanted, if self.control.is_null() { 0 } else { *length as usize });
            flags |= if objects.cut { MSG_CTRUNC } else { 0 };
            let (from, bytes) = objects.bytes();
            if bytes > 0 {
                // SAFETY: the client has room for as much as its variable said.
                unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), self.control.cast::<u8>(), bytes) };
            }
            *length = bytes as u32;
        }
        if !self.flags.is_null() {
            // SAFETY: the client's variable.
            unsafe { self.flags.write(flags) };
        }
    }
}

/// A WskReceiveFrom that waits.
pub(super) struct ReceiveFrom {
    pub(super) request: Request,
    buffers: Buffers,
    results: Results,
    /// Ended, but its cancel routine was faster: it completes it so.
    lost: Option<Ended>,
}

impl ReceiveFrom {
    pub(super) fn end(self) -> (Request, Ended) {
        (self.request, self.lost.unwrap_or((NtStatus::CANCELLED, 0)))
    }
}

impl Socket {
    /// WskReceiveFrom.
    pub(in crate::wsk) fn receive_from(&self, request: Request, buffers: Buffers, results: Results) -> Outcome {
        let mut inner = self.lock();
        if let Some(status) = self.unusable(&inner) {
            return Outcome::Done(request, status, 0);
        }
        let mut one = ReceiveFrom { request, buffers, results, lost: None };
        let first = !inner.pumping && inner.datagrams.as_ref().is_some_and(|all| all.receives.is_empty());
        if first && let Some((status, information)) = self.deliver(&mut inner, &mut one) {
            return Outcome::Done(one.request, status, information);
        }
        let Some(datagrams) = &mut inner.datagrams else {
            return Outcome::Done(one.request, NtStatus::INVALID_DEVICE_REQUEST, 0);
        };
        datagrams.receives.push_back(one);
        match wait_in(&mut datagrams.receives, |one| &one.request) {
            None => Outcome::Pending,
            Some(one) => Outcome::Done(one.request, NtStatus::CANCELLED, 0),
        }
    }

    pub(super) fn receive_from_step(&self, inner: &mut Inner) -> Option<Step> {
        loop {
            let datagrams = inner.datagrams.as_mut()?;
            let at = datagrams.receives.iter().position(|one| one.lost.is_none())?;
            let mut one = datagrams.receives.remove(at)?;
            let ended = self.deliver(inner, &mut one);
            match ended {
                Some((status, information)) if one.request.claim() => {
                    return Some(Step::Complete(one.request, status, information));
                }
                // The cancel routine was faster, but the datagram is in: it completes the request so.
                Some(_) => one.lost = ended,
                None => {}
            }
            inner.datagrams.as_mut()?.receives.insert(at, one);
            if ended.is_none() {
                return None;
            }
        }
    }

    /// Moves a datagram, if there is one, into a request's memory; how the request ends, if it does.
    fn deliver(&self, inner: &mut Inner, one: &mut ReceiveFrom) -> Option<Ended> {
        if let Some(status) = inner.link.failure {
            return Some((status, 0));
        }
        loop {
            let datagrams = inner.datagrams.as_mut()?;
            if let Some(waits) = datagrams.left.pop_front().or_else(|| datagrams.waiting.pop_front()) {
                let (bytes, room) = (waits.bytes(), one.buffers.len());
                let mut received = waits.received;
                received.cut = bytes.len() > room;
                received.bytes = one.buffers.fill(bytes);
                return Some(self.delivered(&received, one, &datagrams.options.wanted));
            }
            if datagrams.options.max_coalesced > 0 {
                if !inner.read_datagrams(1) {
                    return None;
                }
                continue;
            }
            if !inner.link.ready.readable {
                return None;
            }
            match inner.link.receive_from(&one.buffers) {
                Ok(received) if datagrams.takes(&received) => {
                    return Some(self.delivered(&received, one, &datagrams.options.wanted));
                }
                Ok(received) => self.discard(&received),
                Err(error) => {
                    inner.link.ready.readable = false;
                    let waits = error.kind() == io::ErrorKind::WouldBlock;
                    return (!waits).then(|| (address::status(&error), 0));
                }
            }
        }
    }

    fn delivered(&self, received: &Received, one: &ReceiveFrom, wanted: &Wanted) -> Ended {
        let more = if received.cut { MSG_TRUNC } else { 0 };
        one.results.write(received, wanted, self.family, more);
        self.shared.counters.datagram_received(received.bytes);
        let quiet = || self.shared.faults.current().is_some_and(|faults| faults.quiet_truncation);
        match received.cut && !quiet() {
            true => (NtStatus::BUFFER_OVERFLOW, received.bytes),
            false => (NtStatus::SUCCESS, received.bytes),
        }
    }

    /// A datagram is not from the remote address that was set.
    pub(super) fn discard(&self, received: &Received) {
        if crate::trace::io() {
            let detail = format!("{} bytes from {} are discarded: not the remote address", received.bytes, received.from);
            crate::wsk::trace_io("WskReceiveFrom", self.address(), detail);
        }
    }
}

impl Link {
    /// Receives one datagram into all of the memory.
    fn receive_from(&self, into: &Buffers) -> io::Result<Received> {
        let endpoint = self.endpoint.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
        let once = |pieces: &mut [IoSliceMut<'_>], total| (total == into.len()).then(|| endpoint.receive_from(pieces));
        into.write(usize::MAX, once).unwrap_or_else(|| endpoint.receive_from(&mut into.slices_mut()))
    }
}
