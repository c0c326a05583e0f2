//! The jobs there are, and what may run: how many, and with how much memory.
//!
//! Both are decided at once, under one lock, together with the place in which the job can be asked about. Reports of jobs that are over
//! stay in their places until others need them, the oldest first.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use allocator_api2::vec::Vec;
use control_abi::traffic::{End, MOST_BYTES, MOST_JOBS, MOST_RUNNING, Report};
use wsk::sync::{Shared, SpinLock, try_push};
use wsk::{NtStatus, OutOfMemory};

use super::TrafficPool;
use super::job::Job;

/// As many jobs run as may (STATUS_DEVICE_BUSY).
const DEVICE_BUSY: NtStatus = NtStatus(0x8000_0011_u32 as i32);
/// The job, with those that run, would hold more memory than they may (STATUS_QUOTA_EXCEEDED).
const QUOTA_EXCEEDED: NtStatus = NtStatus(0xc000_0044_u32 as i32);

/// All jobs.
pub(super) struct Table(SpinLock<Inner>);

struct Inner {
    places: Vec<Place, TrafficPool>,
    /// The number of the youngest job.
    last: u64,
    /// What the jobs there are hold.
    bytes: u64,
}

#[expect(clippy::large_enum_variant, reason = "what is over takes no memory that could be short")]
enum Place {
    Free,
    /// It has been admitted, and is being made.
    Taken(u64),
    Running(Shared<Job>),
    Over(Report),
}

/// A job that may run, and so much memory that it may hold, until this is dropped.
pub(super) struct Admitted {
    table: &'static Table,
    id: u64,
    bytes: u64,
}

/// A job that was found.
pub(super) enum Found {
    Running(Shared<Job>),
    Over(Report),
}

impl Table {
    /// An empty one, with all the memory that it will ever take.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let mut places = Vec::new_in(TrafficPool::default());
        places.try_reserve_exact(MOST_JOBS)?;
        for _ in 0..MOST_JOBS {
            try_push(&mut places, Place::Free)?;
        }
        Ok(Self(SpinLock::new(Inner { places, last: 0, bytes: 0 })))
    }

    /// A place for one more job, which holds so many bytes.
    ///
    /// # Errors
    /// [`DEVICE_BUSY`], [`QUOTA_EXCEEDED`].
    pub(super) fn admit(&'static self, bytes: u64) -> Result<Admitted, NtStatus> {
        let (id, before) = self.0.with(|inner| inner.admit(bytes))?;
        drop(before);
        Ok(Admitted { table: self, id, bytes })
    }

    /// The job is there, in the place that it was admitted to.
    pub(super) fn running(&self, job: Shared<Job>) {
        self.replace(job.id(), Place::Running(job));
    }

    /// It is over, and this came of it.
    pub(super) fn over(&self, report: Report) {
        self.replace(report.id, Place::Over(report));
    }

    /// It has never begun.
    pub(super) fn forget(&self, id: u64) {
        self.replace(id, Place::Free);
    }

    fn replace(&self, id: u64, with: Place) {
        let before = self.0.with(|inner| {
            let place = inner.places.iter_mut().find(|place| place.id() == Some(id))?;
            Some(core::mem::replace(place, with))
        });
        // The last that held a job frees it, which is nothing to do under the lock.
        drop(before);
    }

    pub(super) fn find(&self, id: u64) -> Option<Found> {
        self.0.with(|inner| inner.places.iter().find(|place| place.id() == Some(id))?.found())
    }

    /// The job with the lowest number above `id`, and how many there are in all.
    pub(super) fn next_after(&self, id: u64) -> (Option<Found>, usize) {
        self.0.with(|inner| {
            let there = inner.places.iter().filter(|place| !matches!(place, Place::Free | Place::Taken(_)));
            let next = there.clone().filter(|place| place.id() > Some(id)).min_by_key(|place| place.id());
            (next.and_then(Place::found), there.count())
        })
    }
}

impl Inner {
    /// The number of the new job, and what was in its place.
    fn admit(&mut self, bytes: u64) -> Result<(u64, Place), NtStatus> {
        let running = self.places.iter().filter(|place| matches!(place, Place::Taken(_) | Place::Running(_))).count();
        if running >= MOST_RUNNING {
            return Err(DEVICE_BUSY);
        }
        let sum = self.bytes.checked_add(bytes).filter(|sum| *sum <= MOST_BYTES).ok_or(QUOTA_EXCEEDED)?;
        let usable = self.places.iter_mut().filter(|place| matches!(place, Place::Free | Place::Over(_)));
        let place = usable.min_by_key(|place| place.id()).ok_or(DEVICE_BUSY)?;
        (self.bytes, self.last) = (sum, self.last + 1);
        Ok((self.last, core::mem::replace(place, Place::Taken(self.last))))
    }
}

impl Place {
    fn id(&self) -> Option<u64> {
        match self {
            Self::Free => None,
            Self::Taken(id) => Some(*id),
            Self::Running(job) => Some(job.id()),
            Self::Over(report) => Some(report.id),
        }
    }

    fn found(&self) -> Option<Found> {
        match self {
            Self::Free | Self::Taken(_) => None,
            Self::Running(job) => Some(Found::Running(job.clone())),
            Self::Over(report) => Some(Found::Over(*report)),
        }
    }
}

impl Admitted {
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.table.0.with(|inner| {
            inner.bytes -= self.bytes;
            // A job that was never made leaves no report.
            let mut places = inner.places.iter_mut();
            if let Some(place) = places.find(|place| matches!(place, Place::Taken(id) if *id == self.id)) {
                *place = Place::Free;
            }
        });
    }
}

impl Found {
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Running(job) => job.id(),
            Self::Over(report) => report.id,
        }
    }

    pub(super) fn report(&self, renew: bool) -> Report {
        match self {
            Self::Running(job) => {
                if renew {
                    job.renew();
                }
                job.report(false)
            }
            Self::Over(report) => *report,
        }
    }

    pub(super) fn end(&self, end: End) {
        if let Self::Running(job) = self {
            job.end(end);
        }
    }
}
