//! Traffic: the driver as client, for measuring and testing what is at the other end.
//!
//! From the outside in: [`Traffic`] are all jobs, kept in a [`table`] that decides what may run; a [`job`] is one of them, seen to its
//! end by [`supervise`]; each of its connections is a [`part`] with its [`lot`] of messages, which [`tcp`] or [`udp`] serves; [`message`] is what they
//! send, and [`tally`] and [`trouble`] what they count.
//!
//! A job holds no request and no handle: it is started, asked about and cancelled by short requests (L38).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

mod job;
mod lot;
mod message;
mod part;
mod supervise;
mod table;
mod tally;
mod tcp;
mod trouble;
mod udp;

use core::sync::atomic::{AtomicU32, Ordering};

use control_abi::traffic::{End, Report, Wanted};
use wsk::sync::{Pool, tag};
use wsk::{Binding, Lane, NtStatus};

use crate::log;
use job::Job;
use supervise::Supervisor;
use table::Table;

/// Memory of jobs.
type TrafficPool = Pool<{ tag(b"WskJ") }>;

/// The target is beyond loopback, and nobody said that it may be (STATUS_ACCESS_DENIED).
const ACCESS_DENIED: NtStatus = NtStatus(0xc000_0022_u32 as i32);
/// There is no provider to send by (STATUS_DEVICE_NOT_READY).
const DEVICE_NOT_READY: NtStatus = NtStatus(0xc000_00a3_u32 as i32);

/// All jobs.
pub(crate) struct Traffic {
    table: Table,
    /// The [`End`] of jobs whose binding goes, where that is the driver's own wish; else 0.
    leaving: AtomicU32,
}

impl Traffic {
    /// No jobs.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new() -> Result<Self, NtStatus> {
        Ok(Self { table: Table::new()?, leaving: AtomicU32::new(0) })
    }

    /// Starts a job on the binding: its number.
    ///
    /// # Errors
    /// The target is not one that was allowed; there is no binding; as many jobs run, or hold as much memory, as may; no memory.
    pub(crate) fn start(&'static self, binding: Option<Binding>, wanted: Wanted) -> Result<u64, NtStatus> {
        if !wanted.may_go_there() {
            return Err(ACCESS_DENIED);
        }
        let binding = binding.ok_or(DEVICE_NOT_READY)?;
        let admitted = self.table.admit(job::cost(&wanted))?;
        let id = admitted.id();
        let executor = binding.executor().clone();
        let job = Job::try_new(self, binding, wanted, admitted)?;
        let supervisor = Supervisor::new(job.clone())?;
        self.table.running(job);
        log!("traffic {id}: {} over {} to {}, {} connections", wanted.kind, wanted.protocol, wanted.target, wanted.connections);
        match executor.spawn(Lane::Passive, supervisor.run()) {
            Ok(_) => Ok(id),
            Err(_) => {
                self.table.forget(id);
                Err(NtStatus::INSUFFICIENT_RESOURCES)
            }
        }
    }

    /// How a job is; `renew` says that whoever started it has asked.
    ///
    /// # Errors
    /// There is no such job, or not any more.
    pub(crate) fn report(&self, id: u64, renew: bool) -> Result<Report, NtStatus> {
        let found = self.table.find(id).ok_or(NtStatus::NOT_FOUND)?;
        Ok(found.report(renew))
    }

    /// Has a job end soon. One that ends already does so for the reason that it has.
    ///
    /// # Errors
    /// There is no such job, or not any more.
    pub(crate) fn cancel(&self, id: u64) -> Result<(), NtStatus> {
        let found = self.table.find(id).ok_or(NtStatus::NOT_FOUND)?;
        found.end(End::Cancelled);
        Ok(())
    }

    /// The job with the lowest number above `id`, and how many there are in all.
    pub(crate) fn next_after(&self, id: u64) -> (Option<Report>, usize) {
        let (next, count) = self.table.next_after(id);
        (next.map(|found| found.report(false)), count)
    }

    /// The driver leaves its bindings for this reason, and with it every job ends; `None` if it does not after all.
    pub(crate) fn leave(&self, end: Option<End>) {
        self.leaving.store(end.map_or(0, End::to_wire), Ordering::Release);
        let Some(end) = end else { return };
        let mut last = 0;
        while let (Some(found), _) = self.table.next_after(last) {
            found.end(end);
            last = found.id();
        }
    }

    /// Why a binding goes.
    fn gone(&self) -> End {
        End::from_wire(self.leaving.load(Ordering::Acquire)).unwrap_or(End::ProviderGone)
    }

    /// A job has ended.
    fn over(&self, job: &Job) {
        let report = job.report(true);
        let (end, errors) = (job.end_reason().map_or("", End::name), report.errors.iter().sum::<u64>());
        log!("traffic {}: {end}; {} messages sent, {} received, {errors} errors", report.id, report.sent, report.received);
        self.table.over(report);
    }
}
