//! What came of a job, for people and for machines.

use std::borrow::Cow;
use std::time::Duration;

use comfy_table::Table;
use control_abi::sockets::Protocol;
use control_abi::traffic::{End, ErrorKind, Kind, Phase, Report};
use serde::Serialize;

use crate::failure::Failure;
use crate::ntstatus::NtStatus;
use crate::output::{BAD, WARNING, new_table, styled};
use crate::text::{address, bytes, count, counted, duration, name};
use crate::tool::Tool;

/// What `--json` prints. Times are seconds, rates are per second.
#[derive(Serialize)]
pub(super) struct Told {
    job: u64,
    state: Cow<'static, str>,
    /// Why it ends or has ended.
    end: Option<Cow<'static, str>>,
    kind: Cow<'static, str>,
    protocol: Cow<'static, str>,
    target: Option<String>,
    connections: u32,
    message_bytes: u32,
    elapsed_s: f64,
    connected: u32,
    open: u32,
    failed: u32,
    sent: Flow,
    received: Flow,
    mismatched: u64,
    lost: u64,
    late: u64,
    errors: Vec<Trouble>,
    first_status: Option<String>,
    latency: Option<Latency>,
}

/// One direction.
#[derive(Serialize)]
struct Flow {
    messages: u64,
    bytes: u64,
    messages_per_s: f64,
    bytes_per_s: f64,
}

#[derive(Serialize)]
struct Trouble {
    error: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct Latency {
    least_s: f64,
    mean_s: f64,
    p50_s: f64,
    p90_s: f64,
    p99_s: f64,
    p999_s: f64,
    most_s: f64,
}

impl Told {
    pub(super) fn of(report: &Report) -> Self {
        let asked = &report.asked;
        Self {
            job: report.id,
            state: name(Phase::from_wire(report.phase).map(Phase::name), report.phase),
            end: (report.end != 0).then(|| end(report)),
            kind: name(Kind::from_wire(asked.kind).map(Kind::name), asked.kind),
            protocol: name(Protocol::from_wire(asked.protocol).map(Protocol::name), asked.protocol),
            target: asked.target.address().map(|target| target.to_string()),
            connections: asked.connections,
            message_bytes: asked.message,
            elapsed_s: elapsed(report).as_secs_f64(),
            connected: report.connected,
            open: report.open,
            failed: report.failed,
            sent: Flow::of(report, report.sent, report.bytes_sent),
            received: Flow::of(report, report.received, report.bytes_received),
            mismatched: report.mismatched,
            lost: report.lost,
            late: report.late,
            errors: report.errors().map(|(kind, count)| Trouble { error: kind.name(), count }).collect(),
            first_status: (report.first_status != 0).then(|| format!("{:#010x}", report.first_status)),
            latency: Latency::of(report),
        }
    }
}

impl Flow {
    fn of(report: &Report, messages: u64, bytes: u64) -> Self {
        Self { messages, bytes, messages_per_s: per_second(report, messages), bytes_per_s: per_second(report, bytes) }
    }
}

impl Latency {
    fn of(report: &Report) -> Option<Self> {
        let told = &report.latency;
        let [least_s, mean_s, p50_s, p90_s, p99_s, p999_s, most_s] =
            [told.least, told.mean, told.p50, told.p90, told.p99, told.p999, told.most]
                .map(|time| Duration::from_nanos(time).as_secs_f64());
        (told.count > 0).then_some(Self { least_s, mean_s, p50_s, p90_s, p99_s, p999_s, most_s })
    }
}

/// How long it has run.
fn elapsed(report: &Report) -> Duration {
    Duration::from_nanos(report.elapsed_ns)
}

fn per_second(report: &Report, count: u64) -> f64 {
    if report.elapsed_ns == 0 { 0.0 } else { count as f64 / elapsed(report).as_secs_f64() }
}

/// Why it ends, in a word or two.
fn end(report: &Report) -> Cow<'static, str> {
    name(End::from_wire(report.end).map(End::name), report.end)
}

/// Where it stands, and why it ended.
pub(super) fn state(report: &Report) -> Cow<'static, str> {
    match Phase::from_wire(report.phase) {
        Some(Phase::Over) => Cow::Owned(format!("over: {}", end(report))),
        known => name(known.map(Phase::name), report.phase),
    }
}

/// What is asked of a job, in a line.
pub(super) fn heading(report: &Report) -> String {
    let asked = &report.asked;
    let kind = name(Kind::from_wire(asked.kind).map(Kind::name), asked.kind);
    let protocol = name(Protocol::from_wire(asked.protocol).map(Protocol::name), asked.protocol);
    let (target, connections) = (address(&asked.target), counted(asked.connections.into(), "connection"));
    format!("job {}: {kind} over {protocol} to {target}, {connections}, messages of {}", report.id, bytes(asked.message.into()))
}

/// Prints how a job is, or what came of it.
pub(super) fn print(tool: &Tool, report: &Report) -> Result<(), Failure> {
    if tool.output().is_json() {
        return tool.output().json(&Told::of(report));
    }
    tool.output().line(&heading(report))?;
    let mut table = new_table(&[]);
    table.add_row(["state", &format!("{}, after {}", state(report), duration(elapsed(report)))]);
    table.add_row(["connections", &connections(report)]);
    flow(&mut table, "sent", report, report.sent, report.bytes_sent);
    if report.asked.kind == Kind::Echo.to_wire() {
        flow(&mut table, "came back", report, report.received, report.bytes_received);
    }
    let counts = [(report.mismatched, "wrong"), (report.lost, "lost"), (report.late, "late")];
    for (number, what) in counts.into_iter().filter(|(number, _)| *number > 0) {
        table.add_row([styled(WARNING, what), count(number)]);
    }
    latency(&mut table, report);
    errors(&mut table, report);
    tool.output().table(table, &[])
}

fn connections(report: &Report) -> String {
    let failed =
        if report.failed > 0 { styled(BAD, &format!(", {} failed", count(report.failed.into()))) } else { String::new() };
    format!("{} of {}{failed}", count(report.connected.into()), count(report.asked.connections.into()))
}

fn flow(table: &mut Table, what: &str, report: &Report, messages: u64, size: u64) {
    let (each, all) = (per_second(report, messages), per_second(report, size));
    let rate = format!("{} and {} a second", count(each as u64), bytes(all as u64));
    table.add_row([what, &format!("{}, {}: {rate}", counted(messages, "message"), bytes(size))]);
}

fn latency(table: &mut Table, report: &Report) {
    let told = &report.latency;
    if told.count == 0 {
        return;
    }
    let what = if report.asked.kind == Kind::Echo.to_wire() { "latency" } else { "send" };
    let times = [("p50", told.p50), ("p90", told.p90), ("p99", told.p99), ("p99.9", told.p999), ("max", told.most)];
    let times = times.map(|(name, time)| format!("{name} {}", duration(Duration::from_nanos(time))));
    table.add_row([what, &times.join("  ")]);
}

fn errors(table: &mut Table, report: &Report) {
    for (number, (kind, times)) in report.errors().enumerate() {
        let is_first = ErrorKind::from_wire(report.first_error) == Some(kind) && report.first_status != 0;
        let status = if is_first { format!(": {}", NtStatus(report.first_status)) } else { String::new() };
        let heading = if number == 0 { styled(BAD, "errors") } else { String::new() };
        table.add_row([heading, format!("{} {}{status}", count(times), kind.name())]);
    }
}
