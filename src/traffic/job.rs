//! One job: what is wanted, where it stands, and what has come of it so far.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::num::{NonZeroU8, NonZeroU16};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use control_abi::VERSION;
use control_abi::sockets::Protocol;
use control_abi::traffic::{End, Kind, LEASE, Phase, Report, Wanted};
use wsk::job::{JobState, Left};
use wsk::sync::{Shared, Tagged};
use wsk::{Binding, Instant, OutOfMemory, Signal};

use super::lot::Lot;
use super::message::Messages;
use super::table::Admitted;
use super::tally::{self, Tally};
use super::trouble::Troubles;
use super::{Traffic, TrafficPool};
use crate::limits::SOCKET_COST;
use crate::services::bell::Bell;

/// Sends of a stream that are in flight at once on one connection.
pub(super) const STREAM_DEPTH: NonZeroU16 = NonZeroU16::new(4).unwrap();

/// One job.
pub(super) struct Job {
    traffic: &'static Traffic,
    admitted: Admitted,
    pub(super) binding: Binding,
    pub(super) wanted: Wanted,
    state: JobState,
    /// Fired when every connection is there or has failed, and when there is no more need for it.
    pub(super) begun: Signal,
    /// Rung when its supervisor is to look.
    pub(super) bell: Bell,
    pub(super) messages: Messages,
    pub(super) tally: Tally,
    pub(super) troubles: Troubles,
    pub(super) connections: Connections,
    asked_at: AtomicU64,
    began_at: AtomicU64,
    ended_at: AtomicU64,
}

/// What became of connections.
#[derive(Default)]
pub(super) struct Connections {
    pub(super) open: AtomicU32,
    pub(super) connected: AtomicU32,
    pub(super) failed: AtomicU32,
    /// They have done what they had to do.
    pub(super) done: AtomicU32,
}

impl Tagged for Job {
    type Pool = TrafficPool;
}

/// How many bytes such a job holds at most.
pub(super) fn cost(wanted: &Wanted) -> u64 {
    let buffers = match (wanted.protocol, wanted.kind) {
        (Protocol::Udp, Kind::Stream) => 1,
        // One goes while one comes.
        (_, Kind::Echo) => 2,
        (Protocol::Tcp, Kind::Stream) => u64::from(STREAM_DEPTH.get()),
    };
    let each = SOCKET_COST + size_of::<Lot>() as u64 + buffers * u64::from(wanted.message);
    tally::COST + Messages::cost(wanted.message) + u64::from(wanted.connections) * each
}

impl Job {
    /// A job that has not begun.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn try_new(
        traffic: &'static Traffic,
        binding: Binding,
        wanted: Wanted,
        admitted: Admitted,
    ) -> Result<Shared<Self>, OutOfMemory> {
        Shared::try_new(Self {
            traffic,
            binding,
            wanted,
            state: JobState::new(wanted.connections),
            begun: Signal::new(),
            bell: Bell::new(),
            messages: Messages::new(wanted.message, admitted.id())?,
            tally: Tally::new()?,
            troubles: Troubles::default(),
            connections: Connections::default(),
            asked_at: AtomicU64::new(now()),
            began_at: AtomicU64::new(0),
            ended_at: AtomicU64::new(0),
            admitted,
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.admitted.id()
    }

    /// Whether it is to end. What is done after that is not counted.
    pub(super) fn is_ending(&self) -> bool {
        self.state.reason().is_some()
    }

    /// How many connections have not left.
    pub(super) fn live(&self) -> u32 {
        self.state.live()
    }

    /// Whoever started it has asked about it.
    pub(super) fn renew(&self) {
        self.asked_at.store(now(), Ordering::Relaxed);
    }

    /// Has it end for that reason, unless there is one already.
    pub(super) fn end(&self, end: End) {
        if self.state.end(reason(end)) {
            self.mark_end();
            self.bell.ring();
        }
    }

    /// Has it end because its binding goes.
    pub(super) fn taken_away(&self) {
        self.end(self.traffic.gone());
    }

    /// Why it ends.
    pub(super) fn end_reason(&self) -> Option<End> {
        self.state.reason().and_then(|reason| End::from_wire(reason.get().into()))
    }

    /// A connection is there, or has failed: the last one has all of them begin.
    pub(super) fn arrive(&self) {
        if self.state.arrive() {
            self.began_at.store(now(), Ordering::Release);
            self.begun.fire();
        }
    }

    /// A message has been sent.
    pub(super) fn went(&self) {
        if !self.is_ending() {
            self.tally.sent(self.messages.length());
        }
    }

    /// A connection has left.
    pub(super) fn leave(&self) {
        let done = self.connections.done.load(Ordering::Acquire) > 0;
        if self.state.leave(reason(if done { End::Count } else { End::Failed })) == Left::Last {
            self.mark_end();
            self.bell.ring();
        }
    }

    fn mark_end(&self) {
        // Whoever comes first: it does not end twice.
        let _ = self.ended_at.compare_exchange(0, now(), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Has it end if its time is over, or nobody asks about it any more; else for how long neither will be so.
    pub(super) fn look(&self) -> Option<Duration> {
        let (now, began) = (now(), self.began_at.load(Ordering::Acquire));
        let lease = left(LEASE, self.asked_at.load(Ordering::Relaxed), now);
        if !self.wanted.detached && lease.is_none() {
            self.end(End::Abandoned);
            return None;
        }
        match self.wanted.duration {
            Some(duration) if began != 0 => {
                let left = left(duration, began, now);
                if left.is_none() {
                    self.end(End::Duration);
                }
                left
            }
            _ => Some(LEASE),
        }
    }

    fn elapsed(&self) -> u64 {
        let (began, ended) = (self.began_at.load(Ordering::Acquire), self.ended_at.load(Ordering::Acquire));
        match began {
            0 => 0,
            began => if ended == 0 { now() } else { ended }.saturating_sub(began),
        }
    }

    fn phase(&self) -> Phase {
        match (self.end_reason(), self.state.arriving()) {
            (Some(_), _) => Phase::Ending,
            (None, 0) => Phase::Running,
            (None, _) => Phase::Connecting,
        }
    }

    /// How it is, or what came of it if it is over.
    pub(super) fn report(&self, is_over: bool) -> Report {
        let [open, connected, failed] = [&self.connections.open, &self.connections.connected, &self.connections.failed]
            .map(|count| count.load(Ordering::Relaxed));
        let mut report = Report {
            version: VERSION,
            phase: if is_over { Phase::Over } else { self.phase() }.to_wire(),
            id: self.id(),
            asked: self.wanted.to_wire(),
            end: self.end_reason().map_or(0, End::to_wire),
            open,
            connected,
            failed,
            elapsed_ns: self.elapsed(),
            ..Report::default()
        };
        self.tally.write(&mut report);
        self.troubles.write(&mut report);
        report
    }

    /// It is over.
    pub(super) fn over(&self) {
        self.traffic.over(self);
    }

    /// How many messages the connection of this number sends, if that is limited.
    pub(super) fn share(&self, number: u32) -> Option<u64> {
        let connections = u64::from(self.wanted.connections.max(1));
        self.wanted.count.map(|count| count / connections + u64::from(u64::from(number) < count % connections))
    }
}

/// What is left of that time since then.
fn left(time: Duration, since: u64, now: u64) -> Option<Duration> {
    let left = (time.as_nanos() as u64).saturating_sub(now.saturating_sub(since));
    (left > 0).then_some(Duration::from_nanos(left))
}

fn reason(end: End) -> NonZeroU8 {
    NonZeroU8::new(end.to_wire() as u8).unwrap_or(NonZeroU8::MAX)
}

/// Nanoseconds since the system's start.
pub(super) fn now() -> u64 {
    Instant::now().since_start().as_nanos() as u64
}
