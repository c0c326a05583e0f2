//! A job's socket for datagrams.
//!
//! A datagram that is to be echoed is waited for no longer than [`ANSWER_MOST`]: then it is lost, and the next is sent. So a peer that
//! loses some, or all, has nothing hang.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::pin::pin;
use core::time::Duration;

use wsk::{Addresses, BindError, Binding, Buffer, Either, Sleep, TransferError, UdpSocket, first};

use super::job::now;
use super::lot::Next;
use super::message::Datagram;
use super::part::Part;
use super::trouble::Trouble;

/// How long an answer may take.
const ANSWER_MOST: Duration = Duration::from_millis(250);
/// How often to look whether that has passed, or the job is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Failures one after the other with which a socket is given up.
const FAILURES: u32 = 16;
/// The shortest time that is slept: what falls into it is sent at once.
const SHORTEST: Duration = Duration::from_millis(1);

/// A socket that hears the target alone. For a target on loopback it can be reached from there alone.
async fn open(binding: &Binding, target: SocketAddr) -> Result<UdpSocket, BindError> {
    let host = match (target.ip().is_loopback(), target.is_ipv4()) {
        (true, true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (true, false) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        (false, true) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (false, false) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let is_mapped = target.ip().to_canonical().is_ipv4() && target.is_ipv6();
    let addresses = if is_mapped { Addresses::Both } else { Addresses::OwnFamily };
    let socket = UdpSocket::bind(binding, SocketAddr::new(host, 0), addresses).await?;
    socket.set_remote(Some(target)).await.map_err(BindError::Option)?;
    Ok(socket)
}

async fn opened(part: &mut Part) -> Result<UdpSocket, Trouble> {
    let (binding, target) = (part.job.binding.clone(), part.job.wanted.target);
    part.opened(open(&binding, target)).await
}

/// Serves one: datagrams go, and come back.
pub(super) async fn echo(mut part: Part) {
    let outcome = exchange_all(&mut part).await;
    part.ended(outcome);
}

async fn exchange_all(part: &mut Part) -> Result<(), Trouble> {
    let (socket, length) = (opened(part).await?, part.job.messages.length());
    let (mut buffer, mut failures) = (Buffer::new(length)?, Failures(0));
    let mut tick = Sleep::new(LOOK)?;
    // One more byte, to see what is too long.
    let mut receiving = pin!(socket.receive_from(Buffer::new(length + 1)?));
    while let Next::Message(number) = part.lot.next() {
        part.job.messages.write_datagram(number, &mut buffer);
        part.lot.ask();
        buffer = sent(part, &mut failures, socket.send(buffer).await)?;
        loop {
            let came = match first(receiving.as_mut(), &mut tick).await {
                Either::First(came) => came,
                Either::Second(()) if waited(part, &mut tick) => break,
                Either::Second(()) => continue,
            };
            let (received, next) = match came {
                Ok((received, _)) => (judge(part, number, &received), received),
                Err(failed) => (false, failures.count(part, failed, length + 1)?),
            };
            receiving.set(socket.receive_from(next));
            if received {
                failures = Failures(0);
                break;
            }
        }
    }
    Ok(())
}

/// What became of a send: the buffer, for the next.
fn sent(part: &Part, failures: &mut Failures, sent: Result<Buffer, TransferError>) -> Result<Buffer, Trouble> {
    let length = part.job.messages.length();
    match sent {
        Ok(buffer) => {
            part.job.went();
            Ok(buffer)
        }
        Err(failed) => failures.count(part, failed, length),
    }
}

/// Whether an answer is waited for no longer.
fn waited(part: &mut Part, tick: &mut Sleep) -> bool {
    tick.again(LOOK);
    if part.job.is_ending() {
        return true;
    }
    let is_lost = part.lot.waiting() >= ANSWER_MOST.as_nanos() as u64;
    if is_lost {
        part.lot.answered();
        part.job.tally.lost();
    }
    is_lost
}

/// Whether what has come is the answer to this message.
fn judge(part: &mut Part, number: u64, came: &Buffer) -> bool {
    let bytes = came.filled();
    if part.job.is_ending() {
        return false;
    }
    part.job.tally.bytes_received(bytes.len());
    match part.job.messages.read_datagram(bytes) {
        Datagram::Whole(of) if of == number => {
            let took = part.lot.answered();
            part.job.tally.received(took);
            return true;
        }
        Datagram::Whole(of) if (part.lot.first..number).contains(&of) => part.job.tally.late(),
        Datagram::Whole(_) | Datagram::Wrong => part.job.tally.mismatched(),
    }
    false
}

/// Serves one: datagrams go.
pub(super) async fn stream(mut part: Part) {
    let outcome = send_all(&mut part).await;
    part.ended(outcome);
}

async fn send_all(part: &mut Part) -> Result<(), Trouble> {
    let socket = opened(part).await?;
    let (mut buffer, mut failures) = (Buffer::new(part.job.messages.length())?, Failures(0));
    let mut pace = Pace::of(part)?;
    while let Next::Message(number) = part.lot.next() {
        if let Some(pace) = &mut pace {
            pace.wait(part).await;
        }
        part.job.messages.write(number, &mut buffer);
        let began = now();
        let outcome = socket.send(buffer).await;
        if outcome.is_ok() && !part.job.is_ending() {
            part.job.tally.took(now().saturating_sub(began));
            failures = Failures(0);
        }
        buffer = sent(part, &mut failures, outcome)?;
    }
    Ok(())
}

/// Failures one after the other.
struct Failures(u32);

impl Failures {
    /// One more: the buffer, for the next attempt, unless the socket is to be given up.
    fn count(&mut self, part: &Part, failed: TransferError, length: usize) -> Result<Buffer, Trouble> {
        let trouble = Trouble::from(failed.error);
        self.0 += 1;
        if trouble == Trouble::DETACHED || self.0 >= FAILURES {
            return Err(trouble);
        }
        part.trouble(trouble);
        match failed.buffer {
            Some(buffer) => Ok(buffer),
            None => Ok(Buffer::new(length)?),
        }
    }
}

/// When the next datagram may go.
struct Pace {
    sleep: Sleep,
    /// Between one and the next, in nanoseconds.
    interval: u64,
    next: u64,
}

impl Pace {
    /// That of this socket, if the job has one: its part of the rate, the sockets taking turns.
    fn of(part: &Part) -> Result<Option<Self>, Trouble> {
        let wanted = &part.job.wanted;
        let Some(rate) = wanted.rate else { return Ok(None) };
        let between = 1_000_000_000 / u64::from(rate.max(1));
        let interval = u64::from(wanted.connections) * 1_000_000_000 / u64::from(rate.max(1));
        Ok(Some(Self { sleep: Sleep::new(SHORTEST)?, interval, next: now() + part.lot.first * between }))
    }

    /// Waits until it may. What could not be sent in time, because nobody let it, is not made up for later than after a while.
    async fn wait(&mut self, part: &Part) {
        loop {
            let now = now();
            if self.next <= now || part.job.is_ending() {
                self.next = self.next.max(now.saturating_sub(LOOK.as_nanos() as u64)) + self.interval;
                return;
            }
            let left = Duration::from_nanos(self.next - now);
            self.sleep.restart(left.clamp(SHORTEST, LOOK));
            (&mut self.sleep).await;
        }
    }
}
