//! WskSendTo and WskSendMessages: each datagram goes whole, at once or when there is room.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use nt_abi::NtStatus;

use super::BATCH;
use crate::wsk::address;
use crate::wsk::buffer::Buffers;
use crate::wsk::pump::Step;
use crate::wsk::request::{Outcome, Request, wait_in};
use crate::wsk::socket::Socket;
use crate::wsk::state::{Ended, Inner, Link};
use crate::wsk::transport::Ancillary;

/// How long to wait before trying again when a fault takes all the room.
const RETRY: Duration = Duration::from_millis(1);

/// What a datagram of IP can hold, but for its headers.
const LARGEST: usize = 0xffff - 8;

/// A WskSendTo or WskSendMessages that waits.
pub(super) struct SendTo {
    pub(super) request: Request,
    messages: Vec<Buffers>,
    /// How many of them are sent, and of how many bytes.
    sent: usize,
    done: usize,
    to: SocketAddr,
    with: Ancillary,
    /// Ended, but its cancel routine was faster: it completes it so.
    lost: Option<Ended>,
}

impl SendTo {
    pub(super) fn end(self) -> (Request, Ended) {
        (self.request, self.lost.unwrap_or((NtStatus::CANCELLED, self.done)))
    }
}

impl Socket {
    /// WskSendTo and WskSendMessages. Without an address it is the one that was set; `control` reads the control data for
    /// a datagram that goes by IPv6 or not.
    pub(in crate::wsk) fn send_to(
        &self,
        request: Request,
        messages: Vec<Buffers>,
        to: Option<SocketAddr>,
        control: impl FnOnce(bool) -> Result<Ancillary, NtStatus>,
    ) -> Outcome {
        let mut inner = self.lock();
        if let Some(status) = self.unusable(&inner) {
            return Outcome::Done(request, status, 0);
        }
        let Some(datagrams) = &inner.datagrams else {
            return Outcome::Done(request, NtStatus::INVALID_DEVICE_REQUEST, 0);
        };
        let Some(to) = to.or(datagrams.remote).or(datagrams.destination) else {
            return Outcome::Done(request, NtStatus::INVALID_PARAMETER, 0);
        };
        let option = datagrams.options.segment();
        let read = control(to.ip().to_canonical().is_ipv6());
        let (with, messages) = match read.and_then(|with| Ok((with, cut(messages, with.segment.unwrap_or(option))?))) {
            Ok(both) => both,
            Err(status) => return Outcome::Done(request, status, 0),
        };
        let first = datagrams.sends.is_empty();
        let mut one = SendTo { request, messages, sent: 0, done: 0, to, with, lost: None };
        if first && let Some((status, information)) = self.advance_send_to(&mut inner, &mut one) {
            return Outcome::Done(one.request, status, information);
        }
        let Some(datagrams) = &mut inner.datagrams else { return Outcome::Done(one.request, NtStatus::CANCELLED, 0) };
        datagrams.sends.push_back(one);
        match wait_in(&mut datagrams.sends, |one| &one.request) {
            None => Outcome::Pending,
            Some(one) => Outcome::Done(one.request, NtStatus::CANCELLED, one.done),
        }
    }

    /// Sends what there is room for; how the request ends, if it does.
    fn advance_send_to(&self, inner: &mut Inner, one: &mut SendTo) -> Option<Ended> {
        if let Some(status) = inner.link.failure {
            return Some((status, one.done));
        }
        while one.sent < one.messages.len() {
            let rest = &one.messages[one.sent..];
            let rest = &rest[..self.shared.faults.datagram_room(rest.len().min(BATCH))];
            if rest.is_empty() {
                self.nudge(inner, RETRY);
                return None;
            }
            match inner.link.send_datagrams(rest, one.to, &one.with) {
                Ok(count) => {
                    for sent in &rest[..count] {
                        one.done += sent.len();
                        self.shared.counters.datagram_sent(sent.len());
                    }
                    one.sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    inner.link.ready.writable = false;
                    return None;
                }
                Err(error) => return Some((address::status(&error), one.done)),
            }
        }
        Some((NtStatus::SUCCESS, one.done))
    }

    pub(super) fn send_to_step(&self, inner: &mut Inner) -> Option<Step> {
        loop {
            if !inner.link.ready.writable && inner.link.failure.is_none() {
                return None;
            }
            let sends = &mut inner.datagrams.as_mut()?.sends;
            let at = sends.iter().position(|one| one.lost.is_none())?;
            let mut one = sends.remove(at)?;
            let ended = self.advance_send_to(inner, &mut one);
            match ended {
                Some((status, information)) if one.request.claim() => {
                    return Some(Step::Complete(one.request, status, information));
                }
                Some(_) => one.lost = ended,
                None => {}
            }
            inner.datagrams.as_mut()?.sends.insert(at, one);
            if ended.is_none() {
                return None;
            }
        }
    }
}

/// Datagrams that are to be sent in segments of `size`, each of no more segments than the network takes.
fn cut(messages: Vec<Buffers>, size: u32) -> Result<Vec<Buffers>, NtStatus> {
    let most = size as usize * Ancillary::SEGMENTS;
    if messages.iter().any(|one| one.len() > LARGEST) {
        return Err(NtStatus::INVALID_BUFFER_SIZE);
    }
    if size == 0 || messages.iter().all(|one| one.len() <= most) {
        return Ok(messages);
    }
    Ok(messages.into_iter().flat_map(|one| one.parts(most)).collect())
}

impl Link {
    /// Sends some of the messages, of which there is one at least; how many.
    fn send_datagrams(&self, messages: &[Buffers], to: SocketAddr, with: &Ancillary) -> io::Result<usize> {
        let endpoint = self.endpoint.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        if let [single] = messages {
            let once = |pieces: &[IoSlice<'_>], total| (total == single.len()).then(|| endpoint.send_many(&[pieces], to, with));
            return single.read(once).unwrap_or_else(|| endpoint.send_many(&[&single.slices()], to, with));
        }
        let slices: Vec<_> = messages.iter().map(Buffers::slices).collect();
        let pieces: Vec<&[IoSlice<'_>]> = slices.iter().map(Vec::as_slice).collect();
        endpoint.send_many(&pieces, to, with)
    }
}
