//! One connection of a job, from its making to its end.
//!
//! ```text
//!   made --opened--> waits until all are there --begun--> at work --done | failed--> gone
//!     |                                                      '--- aborted by the supervisor --> gone
//!     '--- failed -----------------------------------------------------------------------> gone
//! ```
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::Future;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use wsk::sync::Shared;
use wsk::{TimeoutError, timeout};

use super::job::Job;
use super::lot::Lot;
use super::trouble::Trouble;

/// How long a connection may take to come about.
const CONNECT_MOST: Duration = Duration::from_secs(10);

/// One connection's share of a job. Dropping it leaves the job.
pub(super) struct Part {
    pub(super) job: Shared<Job>,
    pub(super) lot: Shared<Lot>,
    has_arrived: bool,
    is_open: bool,
}

impl Part {
    pub(super) fn new(lot: Shared<Lot>) -> Self {
        Self { job: lot.job.clone(), lot, has_arrived: false, is_open: false }
    }

    /// Waits for the connection, within the time for that, and then for those of the others.
    pub(super) async fn opened<T, E>(&mut self, opening: impl Future<Output = Result<T, E>>) -> Result<T, Trouble>
    where
        Trouble: From<E>,
    {
        let opened = match timeout(CONNECT_MOST, opening).await {
            Ok(opened) => opened?,
            Err(TimeoutError::Elapsed) => return Err(Trouble::TIMED_OUT),
            Err(TimeoutError::OutOfMemory) => return Err(Trouble::NO_MEMORY),
        };
        one_more(&self.job.connections.connected);
        one_more(&self.job.connections.open);
        self.is_open = true;
        self.arrive();
        self.job.begun.wait().await?;
        Ok(opened)
    }

    fn arrive(&mut self) {
        if !core::mem::replace(&mut self.has_arrived, true) {
            self.job.arrive();
        }
    }

    /// How it went.
    pub(super) fn ended(self, outcome: Result<(), Trouble>) {
        self.lot.answered();
        match outcome {
            Ok(()) => one_more(&self.job.connections.done),
            Err(Trouble::DETACHED) => self.job.taken_away(),
            Err(trouble) if !self.job.is_ending() => self.failed(trouble),
            // It was to end anyway.
            Err(_) => {}
        }
    }

    /// Something went wrong that does not end it.
    pub(super) fn trouble(&self, trouble: Trouble) {
        self.job.troubles.count(trouble);
    }

    fn failed(&self, trouble: Trouble) {
        self.trouble(trouble);
        one_more(&self.job.connections.failed);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // An end that came before the answer.
        if self.lot.is_waiting() {
            self.failed(Trouble::SILENT);
        }
        if self.is_open {
            self.job.connections.open.fetch_sub(1, Ordering::Relaxed);
        }
        self.arrive();
        self.job.leave();
    }
}

fn one_more(count: &AtomicU32) {
    count.fetch_add(1, Ordering::AcqRel);
}
