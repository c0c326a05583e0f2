//! The jobs that there are: listed, shown, cancelled.

use clap::Args;
use control_abi::sockets::Protocol;
use control_abi::traffic::{AskRequest, CancelRequest, Kind, ListRequest, Report};
use serde::Serialize;

use super::told;
use crate::failure::Failure;
use crate::output::{new_table, right};
use crate::text::{address, bytes, count, name};
use crate::tool::Tool;

/// A job.
#[derive(Args)]
pub(super) struct Which {
    /// Its number, as `traffic list` has it
    job: u64,
}

/// What `--json` prints of a job that was started, or told to end.
#[derive(Serialize)]
struct Job {
    job: u64,
}

/// A job has been started, and goes on by itself.
pub(super) fn started(tool: &Tool, id: u64) -> Result<(), Failure> {
    match tool.output().is_json() {
        true => tool.output().json(&Job { job: id }),
        false => tool.output().line(&format!("job {id} has begun; see `wskctl traffic show {id}`")),
    }
}

/// How a job is.
pub(super) fn report(tool: &Tool, request: &AskRequest) -> Result<Report, Failure> {
    let what = "asking for a job of traffic";
    let answer = tool.ask(what, request, size_of::<Report>())?;
    Report::read(&answer).map_err(|_| Failure::Nonsense { what })
}

pub(super) fn show(tool: &Tool, which: &Which) -> Result<(), Failure> {
    told::print(tool, &report(tool, &AskRequest::looking(which.job))?)
}

pub(super) fn cancel(tool: &Tool, which: &Which) -> Result<(), Failure> {
    tool.order("cancelling a job of traffic", &CancelRequest::of(which.job))?;
    match tool.output().is_json() {
        true => tool.output().json(&Job { job: which.job }),
        false => tool.output().line(&format!("job {0} ends; see `wskctl traffic show {0}`", which.job)),
    }
}

pub(super) fn list(tool: &Tool) -> Result<(), Failure> {
    let reports: Vec<Report> = tool.list("listing traffic", ListRequest::at)?;
    if tool.output().is_json() {
        return tool.output().json(&reports.iter().map(told::Told::of).collect::<Vec<_>>());
    }
    if reports.is_empty() {
        return tool.output().line("no jobs");
    }
    let mut table = new_table(&["JOB", "STATE", "KIND", "OVER", "TARGET", "CONNECTIONS", "MESSAGE", "SENT", "CAME BACK"]);
    for report in &reports {
        let asked = &report.asked;
        table.add_row([
            report.id.to_string(),
            told::state(report).into_owned(),
            name(Kind::from_wire(asked.kind).map(Kind::name), asked.kind).into_owned(),
            name(Protocol::from_wire(asked.protocol).map(Protocol::name), asked.protocol).into_owned(),
            address(&asked.target),
            count(asked.connections.into()),
            bytes(asked.message.into()),
            count(report.sent),
            count(report.received),
        ]);
    }
    right(&mut table, &[0, 5, 6, 7, 8]);
    tool.output().table(table, &[6, 5, 8])
}
