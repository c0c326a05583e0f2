//! `wskctl status`.

use clap::Args;
use control_abi::version::{
    CAN_CHANGE_SERVICES, CAN_LIST_SOCKETS, CAN_MAKE_TRAFFIC, CAN_RESOLVE, CAN_TELL_EVENTS, CAN_TRACE, Version,
};
use control_abi::{Gate, PoolUse, Registration, State, Totals};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{GOOD, WARNING, new_table, right, styled};
use crate::text::{bytes, count, counted, micros, name, seconds};
use crate::tool::Tool;

/// What `wskctl status` takes: nothing.
#[derive(Args)]
pub(crate) struct Arguments {}

/// What `--json` prints. Times are seconds.
#[derive(Serialize)]
struct Status {
    driver: DriverStatus,
    registration: String,
    attachment: Option<Attachment>,
    /// The versions of WSK that the provider offered last.
    provider: Option<Provider>,
    sockets: u32,
    most_sockets: Option<u64>,
    calls_in_flight: u32,
    since_load: Figures,
    since_attach: Option<Figures>,
    pool_peak_bytes: Option<u64>,
    pool: Vec<Pool>,
}

#[derive(Serialize)]
struct DriverStatus {
    version: String,
    protocol: u32,
    capabilities: Vec<&'static str>,
    loaded_s: Option<f64>,
}

#[derive(Serialize)]
struct Attachment {
    /// Counts them since load.
    number: u64,
    gate: String,
    wsk_version: Option<String>,
    attached_s: Option<f64>,
}

#[derive(Serialize)]
struct Provider {
    lowest_version: String,
    highest_version: String,
}

/// What services did.
#[derive(Serialize)]
pub(crate) struct Figures {
    connections: u64,
    accepted: u64,
    refused: u64,
    failed: u64,
    idle: u64,
    received_bytes: u64,
    sent_bytes: u64,
    held_bytes: u64,
    most_held_bytes: u64,
    datagrams: u64,
    answered: u64,
    ignored: u64,
}

#[derive(Serialize)]
struct Pool {
    tag: String,
    bytes: u64,
    allocations: u64,
    peak_bytes: u64,
}

/// Prints how the driver is.
pub(crate) fn run(tool: &Tool, _: &Arguments) -> Result<(), Failure> {
    let version = tool.version()?;
    let state = tool.state()?;
    if tool.output().is_json() {
        return tool.output().json(&Status::of(&version, &state));
    }
    summary(tool, &version, &state)?;
    tool.output().line("")?;
    figures(tool, &state)?;
    if state.pool().is_empty() {
        return Ok(());
    }
    tool.output().line("")?;
    pool(tool, &state)
}

fn summary(tool: &Tool, version: &Version, state: &State) -> Result<(), Failure> {
    let mut table = new_table(&[]);
    let loaded = said(state.loaded_us).map(|age| format!(", loaded {} ago", micros(age))).unwrap_or_default();
    table.add_row(["driver", &format!("wskclient {}, protocol {}{loaded}", driver_version(version), version.version)]);
    table.add_row(["registration", &registration(state)]);
    if state.provider_versions != 0 {
        let (lowest, highest) = offered(state);
        table.add_row(["provider", &format!("offers WSK {} to {}", wsk(lowest), wsk(highest))]);
    }
    let (sockets, calls) = (count(state.sockets.into()), counted(state.in_flight.into(), "call"));
    let most = said(state.peaks.sockets).map(|most| format!(" (at most {})", count(most))).unwrap_or_default();
    table.add_row(["sockets", &format!("{sockets} open{most}, {calls} in flight")]);
    if !state.pool().is_empty() {
        table.add_row(["pool", &format!("{} held (at most {})", bytes(held(state)), bytes(state.peaks.pool))]);
    }
    tool.output().table(table, &[])
}

/// Where the registration stands, and which attachment there is.
fn registration(state: &State) -> String {
    let (style, word) = match Registration::from_wire(state.registration) {
        Some(Registration::In) if state.gate == Gate::Open.to_wire() => (GOOD, "active"),
        Some(Registration::In) if state.gate == Gate::Shut.to_wire() => (WARNING, "registered, being detached"),
        Some(Registration::In) => (WARNING, "registered, not attached: there is no provider"),
        Some(Registration::Out) => (WARNING, "inactive (`wskctl activate` registers it)"),
        Some(Registration::Registering) => (WARNING, "registering"),
        Some(Registration::Leaving) => (WARNING, "leaving"),
        None => (WARNING, "unknown"),
    };
    let word = styled(style, word);
    match attachment(state) {
        Some(attachment) => format!("{word}: {attachment}"),
        None => word,
    }
}

/// What a row is about, and what is in it.
type Row = (&'static str, fn(&Totals) -> String);

fn figures(tool: &Tool, state: &State) -> Result<(), Failure> {
    let mut table = new_table(&["services", "since load", "since attach"][..2 + usize::from(state.attached_us != 0)]);
    let (all, new) = (&state.totals, &state.since_attach);
    table.add_row(["connections now".to_owned(), count(all.connections)]);
    let rows: [Row; 9] = [
        ("accepted", |totals| count(totals.accepted)),
        ("refused", |totals| count(totals.refused)),
        ("failed", |totals| count(totals.failed)),
        ("idle for too long", |totals| count(totals.idle)),
        ("received", |totals| bytes(totals.received)),
        ("sent", |totals| bytes(totals.sent)),
        ("datagrams", |totals| count(totals.datagrams)),
        ("answered", |totals| count(totals.answered)),
        ("ignored", |totals| count(totals.ignored)),
    ];
    for (heading, figure) in rows {
        let new = said(state.attached_us).map(|_| figure(new));
        table.add_row([heading.to_owned(), figure(all)].into_iter().chain(new));
    }
    right(&mut table, &[1, 2]);
    tool.output().table(table, &[])
}

fn pool(tool: &Tool, state: &State) -> Result<(), Failure> {
    let mut table = new_table(&["pool tag", "held", "allocations", "most held"]);
    for pool in state.pool() {
        table.add_row([tag(pool), bytes(pool.bytes), count(pool.allocations), bytes(pool.peak)]);
    }
    right(&mut table, &[1, 2, 3]);
    tool.output().table(table, &[])
}

impl Status {
    fn of(version: &Version, state: &State) -> Self {
        let (lowest, highest) = offered(state);
        let pool =
            |pool: &PoolUse| Pool { tag: tag(pool), bytes: pool.bytes, allocations: pool.allocations, peak_bytes: pool.peak };
        Self {
            driver: DriverStatus {
                version: driver_version(version),
                protocol: version.version,
                capabilities: capabilities(version.capabilities),
                loaded_s: said(state.loaded_us).map(seconds),
            },
            registration: name(Registration::from_wire(state.registration).map(Registration::name), state.registration).into(),
            attachment: (state.generation != 0).then(|| Attachment {
                number: state.generation,
                gate: name(Gate::from_wire(state.gate).map(Gate::name), state.gate).into(),
                wsk_version: (state.wsk_version != 0).then(|| wsk(state.wsk_version)),
                attached_s: said(state.attached_us).map(seconds),
            }),
            provider: (state.provider_versions != 0)
                .then(|| Provider { lowest_version: wsk(lowest), highest_version: wsk(highest) }),
            sockets: state.sockets,
            most_sockets: said(state.peaks.sockets),
            calls_in_flight: state.in_flight,
            since_load: Figures::of(&state.totals),
            since_attach: said(state.attached_us).map(|_| Figures::of(&state.since_attach)),
            pool_peak_bytes: said(state.peaks.pool),
            pool: state.pool().iter().map(pool).collect(),
        }
    }
}

impl Figures {
    /// As they come.
    pub(crate) const fn of(totals: &Totals) -> Self {
        let &Totals { connections, accepted, refused, failed, idle, datagrams, answered, ignored, .. } = totals;
        Self {
            connections,
            accepted,
            refused,
            failed,
            idle,
            received_bytes: totals.received,
            sent_bytes: totals.sent,
            held_bytes: totals.held,
            most_held_bytes: totals.most_held,
            datagrams,
            answered,
            ignored,
        }
    }
}

/// The driver's version as it is written.
pub(crate) fn driver_version(version: &Version) -> String {
    let [major, minor, patch, _] = version.driver;
    format!("{major}.{minor}.{patch}")
}

/// The binding, if there is one, as `attachment 2, WSK 1.0, for 3 min 2 s`.
pub(crate) fn attachment(state: &State) -> Option<String> {
    let version = said(state.wsk_version.into()).map(|_| format!(", WSK {}", wsk(state.wsk_version)));
    let age = said(state.attached_us).map(|age| format!(", for {}", micros(age)));
    let (version, age) = (version.unwrap_or_default(), age.unwrap_or_default());
    said(state.generation).map(|number| format!("attachment {number}{version}{age}"))
}

/// What a driver says, which may have nothing to say: 0 is nothing then.
pub(crate) fn said(figure: u64) -> Option<u64> {
    (figure != 0).then_some(figure)
}

/// A version of WSK as it is written.
pub(crate) fn wsk(version: u32) -> String {
    format!("{}.{}", version >> 8, version & 0xff)
}

/// All the nonpaged pool that is held.
pub(crate) fn held(state: &State) -> u64 {
    state.pool().iter().map(|pool| pool.bytes).sum()
}

/// A pool tag as it is written.
pub(crate) fn tag(pool: &PoolUse) -> String {
    String::from_utf8_lossy(&pool.tag).into_owned()
}

const fn offered(state: &State) -> (u32, u32) {
    (state.provider_versions & 0xffff, state.provider_versions >> 16)
}

fn capabilities(bits: u64) -> Vec<&'static str> {
    let all = [
        (CAN_LIST_SOCKETS, "sockets"),
        (CAN_CHANGE_SERVICES, "services"),
        (CAN_RESOLVE, "resolve"),
        (CAN_TELL_EVENTS, "events"),
        (CAN_MAKE_TRAFFIC, "traffic"),
        (CAN_TRACE, "etw"),
    ];
    all.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name).collect()
}
