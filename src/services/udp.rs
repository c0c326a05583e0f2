//! The UDP side of a listening place: one socket, one datagram at a time, answered or not.
//!
//! Anybody can send in another's name. So there is no answer to a source that cannot be an honest peer's, nor more answers
//! to one source than `RatePerSource` allows, nor an answer that is larger than the service's protocol says.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::{Future, pending};
use core::pin::Pin;
use core::time::Duration;

use service_limits::source::{self, Unanswered};
use wsk::{Binding, Buffer, Cast, Control, Either, Instant, IoError, Received, Sleep, TransferError, UdpSocket, first};

use super::place::{Served, Station, Waited, wait};
use super::service::count;
use super::{chargen, random};
use crate::limits::{Claim, SMALLEST_BUFFER, SOCKET_COST};
use crate::parameters::{Kind, MOST_DATAGRAM};

/// How long to wait for memory, or for a socket to recover.
const PAUSE: Duration = Duration::from_millis(50);
/// Failures one after the other that are taken for what peers can cause, such as a port that is unreachable.
const FAILURES: u32 = 16;

/// A socket that is being served.
pub(super) struct Serving<'a, E> {
    station: Station,
    binding: &'a Binding,
    socket: &'a UdpSocket,
    pause: &'a mut Sleep,
    end: Pin<&'a mut E>,
}

impl<'a, E: Future> Serving<'a, E> {
    pub(super) fn new(
        station: Station,
        binding: &'a Binding,
        socket: &'a UdpSocket,
        pause: &'a mut Sleep,
        end: Pin<&'a mut E>,
    ) -> Self {
        Self { station, binding, socket, pause, end }
    }

    /// Serves what comes, until the service ends or the provider takes the socket away.
    pub(super) async fn run(mut self) -> Served {
        let (mut claimed, mut failures) = (None, 0);
        loop {
            let Some((buffer, claim)) = claimed.take().or_else(|| claim_buffer(self.station)) else {
                match self.rest().await {
                    Ok(()) => continue,
                    Err(served) => return served,
                }
            };
            let outcome = match first(self.socket.receive_from(buffer), self.end.as_mut()).await {
                Either::First(Ok((buffer, received))) => {
                    failures = 0;
                    answer(self.station, self.socket, buffer, &received).await
                }
                Either::First(Err(failed)) => Err(failed),
                Either::Second(_) => return Served::Ended,
            };
            let buffer = match outcome {
                Ok(buffer) => Some(buffer),
                Err(TransferError { error: IoError::Detached, .. }) if self.binding.is_stopping() => return Served::Ended,
                Err(TransferError { error: IoError::Detached, .. }) => return Served::Gone,
                Err(failed) => {
                    count(&self.station.service.datagrams.failed);
                    failures += 1;
                    failed.buffer
                }
            };
            claimed = buffer.map(|buffer| (buffer, claim));
            if failures > FAILURES
                && let Err(served) = self.rest().await
            {
                return served;
            }
        }
    }

    /// Lets some time pass.
    async fn rest(&mut self) -> Result<(), Served> {
        match wait(self.end.as_mut(), self.pause, PAUSE, pending()).await {
            Waited::Ended => Err(Served::Ended),
            Waited::Changed | Waited::Time => Ok(()),
        }
    }
}

/// A buffer for datagrams, within what the service may hold.
fn claim_buffer(station: Station) -> Option<(Buffer, Claim)> {
    let service = station.service;
    let wished = match service.settings.kind {
        Kind::Chargen => SMALLEST_BUFFER,
        _ => service.settings.buffer_size.min(MOST_DATAGRAM),
    };
    let claim = |size: u32| service.limits.claim(SOCKET_COST + u64::from(size)).map(|claim| (size, claim));
    let (size, claim) = claim(wished).or_else(|| claim(SMALLEST_BUFFER))?;
    Buffer::new(size as usize).ok().map(|buffer| (buffer, claim))
}

/// Answers a datagram, if the service does that and the sender may have it.
async fn answer(station: Station, socket: &UdpSocket, mut buffer: Buffer, received: &Received) -> Result<Buffer, TransferError> {
    let service = station.service;
    count(&service.datagrams.received);
    service.counts.traffic.add_received(buffer.filled().len());
    match service.settings.kind {
        Kind::Echo if received.truncated => {
            count(&service.datagrams.cut);
            return Ok(buffer);
        }
        _ if !may_answer(station, received) => return Ok(buffer),
        Kind::Chargen => chargen::write_datagram(&mut buffer, random::next(&service.random)),
        _ => {}
    }
    let length = buffer.filled().len();
    // From the address that was asked, where the socket has several.
    let control = Control { packet_info: received.control.packet_info, ..Control::default() };
    let buffer = socket.send_to_with(buffer, received.from, &control).await?;
    count(&service.datagrams.answered);
    service.counts.traffic.add_sent(length);
    Ok(buffer)
}

/// Whether there is to be an answer; why not is counted.
fn may_answer(station: Station, received: &Received) -> bool {
    let (service, from) = (station.service, received.from);
    let Some(limiter) = &service.limiter else { return false };
    let ignored = match source::check(from, |port| station.services.has_datagram_port(port)) {
        Ok(()) if received.cast != Cast::Unicast => &service.datagrams.no_host,
        Ok(()) => {
            let now = Instant::now().since_start().as_nanos() as u64;
            match limiter.with(|limiter| limiter.admit(from.ip(), now)) {
                Ok(()) => return true,
                Err(_) => &service.datagrams.too_many,
            }
        }
        Err(Unanswered::WellKnownPort) => &service.datagrams.well_known_port,
        Err(Unanswered::OwnPort) => &service.datagrams.own_port,
        Err(Unanswered::NoHost) => &service.datagrams.no_host,
    };
    count(ignored);
    false
}
