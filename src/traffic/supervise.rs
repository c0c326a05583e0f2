//! Sees to one job: starts its connections, ends it when its time is over or nobody asks about it any more, and is there until the
//! last connection has gone.
//!
//! # IRQL
//! `PASSIVE_LEVEL`: it is a task of the passive lane, and has no share in the traffic.

use core::time::Duration;

use allocator_api2::vec::Vec;
use control_abi::sockets::Protocol;
use control_abi::traffic::Kind;
use wsk::sync::{Shared, try_push};
use wsk::{JoinHandle, Lane, OutOfMemory, Sleep, SpawnError, first, yield_now};

use super::job::{Job, now};
use super::lot::Lot;
use super::part::Part;
use super::trouble::Trouble;
use super::{TrafficPool, tcp, udp};

/// How long connections may take to end by themselves when the job's end is decided.
const GRACE: Duration = Duration::from_millis(500);
/// How often to look whether nobody asks any more.
const LOOK: Duration = Duration::from_millis(500);
/// Connections that are started at once before others are let run.
const BATCH: u32 = 16;

/// Sees to a job.
pub(super) struct Supervisor {
    job: Shared<Job>,
    parts: Vec<JoinHandle<()>, TrafficPool>,
    tick: Sleep,
}

impl Supervisor {
    /// With all the memory that it takes.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(job: Shared<Job>) -> Result<Self, OutOfMemory> {
        let mut parts = Vec::new_in(TrafficPool::default());
        parts.try_reserve_exact(job.wanted.connections as usize)?;
        Ok(Self { job, parts, tick: Sleep::new(LOOK)? })
    }

    /// From the beginning to the end.
    pub(super) async fn run(mut self) {
        self.start().await;
        self.watch().await;
        // Those that wait for the others see that it is over.
        self.job.begun.fire();
        self.wind_up().await;
        self.job.over();
    }

    async fn start(&mut self) {
        for number in 0..self.job.wanted.connections {
            let lot = Lot::try_new(self.job.clone(), number);
            if lot.is_err() {
                self.job.arrive();
                self.job.leave();
            }
            // One that cannot be started has left already; there is room for the handle of each other.
            match lot.ok().and_then(|lot| spawn(Part::new(lot)).ok()) {
                Some(handle) => _ = try_push(&mut self.parts, handle),
                None => self.job.troubles.count(Trouble::NO_MEMORY),
            }
            if number % BATCH == BATCH - 1 {
                yield_now().await;
            }
        }
    }

    /// Until the end is decided.
    async fn watch(&mut self) {
        loop {
            let heard = self.job.bell.heard();
            let left = self.job.look();
            if self.job.is_ending() {
                return;
            }
            self.pause(heard, left.unwrap_or(LOOK).min(LOOK)).await;
        }
    }

    /// Until every connection has gone: by itself, or for good.
    async fn wind_up(&mut self) {
        let began = now();
        let grace = GRACE.as_nanos() as u64;
        let mut is_aborted = false;
        loop {
            let heard = self.job.bell.heard();
            if self.job.live() == 0 {
                return;
            }
            let left = grace.saturating_sub(now().saturating_sub(began));
            if left == 0 && !is_aborted {
                is_aborted = true;
                self.parts.iter().for_each(JoinHandle::abort);
            }
            let pause = if is_aborted { LOOK } else { Duration::from_nanos(left) };
            self.pause(heard, pause).await;
        }
    }

    /// Until the bell rings, or for that time.
    async fn pause(&mut self, heard: u64, time: Duration) {
        self.tick.restart(time);
        first(self.job.bell.after(heard), &mut self.tick).await;
    }
}

/// A task of each kind's own size.
fn spawn(part: Part) -> Result<JoinHandle<()>, SpawnError> {
    let executor = part.job.binding.executor().clone();
    match (part.job.wanted.protocol, part.job.wanted.kind) {
        (Protocol::Tcp, Kind::Echo) => executor.spawn(Lane::Dispatch, tcp::echo(part)),
        (Protocol::Tcp, Kind::Stream) => executor.spawn(Lane::Dispatch, tcp::stream(part)),
        (Protocol::Udp, Kind::Echo) => executor.spawn(Lane::Dispatch, udp::echo(part)),
        (Protocol::Udp, Kind::Stream) => executor.spawn(Lane::Dispatch, udp::stream(part)),
    }
}
