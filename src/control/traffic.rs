//! Jobs of traffic: started, asked about, cancelled, listed.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use control_abi::VERSION;
use control_abi::page::{END, PageHeader, entries_in};
use control_abi::traffic::{Report, Started, Wanted};

use super::io::{Answer, Output};
use crate::driver::Driver;

/// Starts a job.
pub(super) fn start(driver: &'static Driver, wanted: Wanted, output: &mut Output<'_>) -> Answer {
    let id = driver.traffic.start(driver.binding(), wanted)?;
    output.one(&Started { version: VERSION, reserved: 0, id })
}

/// Answers with how a job is.
pub(super) fn ask(driver: &Driver, id: u64, renew: bool, output: &mut Output<'_>) -> Answer {
    output.one(&driver.traffic.report(id, renew)?)
}

/// Has a job end.
pub(super) fn cancel(driver: &Driver, id: u64) -> Answer {
    Ok(driver.traffic.cancel(id).map(|()| 0)?)
}

/// Answers with a page of the jobs after a number.
pub(super) fn list(driver: &Driver, after: u64, output: &mut Output<'_>) -> Answer {
    let (room, mut count, mut last) = (entries_in::<Report>(output.room()), 0, after);
    loop {
        let (next, total) = driver.traffic.next_after(last);
        let next = next.filter(|_| count < room);
        let Some(report) = next else {
            let is_end = driver.traffic.next_after(last).0.is_none();
            let header = PageHeader {
                count: count as u32,
                next: if is_end { END } else { last },
                total: total as u64,
                ..PageHeader::default()
            };
            return output.page::<Report>(header);
        };
        output.entry(count, &report)?;
        (count, last) = (count + 1, report.id);
    }
}
