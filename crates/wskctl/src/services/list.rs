//! `wskctl services list`.

use std::borrow::Cow;
use std::net::SocketAddr;

use control_abi::Text;
use control_abi::services::{Origin, Service, ServiceState};
use control_abi::settings::{Kind, OVER_TCP, OVER_UDP, Settings, TargetKind};
use serde::Serialize;

use crate::failure::Failure;
use crate::ntstatus::NtStatus;
use crate::output::{BAD, GOOD, WARNING, new_table, right, styled};
use crate::status::Figures;
use crate::text::{bytes, count, name};
use crate::tool::{Tool, name_of};

/// What `--json` prints of each. Times are seconds.
#[derive(Serialize)]
pub(super) struct Listed {
    id: u64,
    name: String,
    kind: Cow<'static, str>,
    state: Cow<'static, str>,
    origin: Cow<'static, str>,
    listening: u32,
    places: u32,
    /// Why it does not listen everywhere.
    problem: Option<String>,
    protocols: Vec<&'static str>,
    /// The port it has.
    port: u32,
    /// The port it asked for, 0 for any.
    wanted_port: u16,
    addresses: Vec<String>,
    everywhere: bool,
    target: Option<String>,
    max_connections: u32,
    buffer_size: u32,
    max_bytes: u64,
    idle_timeout_s: f64,
    rate_per_source: u32,
    totals: Figures,
}

/// Prints them.
pub(super) fn run(tool: &Tool) -> Result<(), Failure> {
    let services = tool.services()?;
    if tool.output().is_json() {
        return tool.output().json(&services.iter().map(Listed::of).collect::<Vec<_>>());
    }
    if services.is_empty() {
        return tool.output().line("no services; `wskctl services set` makes one");
    }
    let headings = ["name", "kind", "state", "listens at", "target", "conns", "received", "sent", "settings"];
    let mut table = new_table(&headings);
    for service in &services {
        let (totals, settings) = (&service.totals, &service.settings);
        table.add_row([
            name_of(service).to_owned(),
            kind(settings).into(),
            coloured_state(service),
            listens_at(service),
            target(settings).unwrap_or_else(|| "-".to_owned()),
            count(totals.connections),
            bytes(totals.received),
            bytes(totals.sent),
            origin(service).into(),
        ]);
    }
    right(&mut table, &[5, 6, 7]);
    tool.output().table(table, &[8, 7, 6, 4])?;
    problems(tool, &services)
}

/// Why some do not listen.
fn problems(tool: &Tool, services: &[Service]) -> Result<(), Failure> {
    for service in services {
        if let Some(problem) = problem(service) {
            tool.output().line(&format!("{} cannot listen everywhere: {}", name_of(service), styled(BAD, &problem)))?;
        }
    }
    Ok(())
}

impl Listed {
    pub(super) fn of(service: &Service) -> Self {
        let settings = &service.settings;
        Self {
            id: service.id,
            name: name_of(service).to_owned(),
            kind: kind(settings),
            state: state(service),
            origin: origin(service),
            listening: service.listening,
            places: service.places,
            problem: problem(service),
            protocols: protocols(settings),
            port: service.port,
            wanted_port: settings.port,
            addresses: settings.hosts().map(|host| host.to_string()).collect(),
            everywhere: settings.everywhere != 0,
            target: target(settings),
            max_connections: settings.max_connections,
            buffer_size: settings.buffer_size,
            max_bytes: settings.max_bytes,
            idle_timeout_s: f64::from(settings.idle_timeout_ms) / 1e3,
            rate_per_source: settings.rate_per_source,
            totals: Figures::of(&service.totals),
        }
    }
}

/// What it does.
pub(crate) fn kind(settings: &Settings) -> Cow<'static, str> {
    name(Kind::from_wire(settings.kind).map(Kind::name), settings.kind)
}

/// Where a service stands.
pub(crate) fn state(service: &Service) -> Cow<'static, str> {
    name(ServiceState::from_wire(service.state).map(ServiceState::name), service.state)
}

/// The same, in the colour that says how good that is.
pub(super) fn coloured_state(service: &Service) -> String {
    let style = match ServiceState::from_wire(service.state) {
        Some(ServiceState::Running) => GOOD,
        _ if service.status != 0 => BAD,
        _ => WARNING,
    };
    styled(style, &state(service))
}

/// What it has to do with the registry.
fn origin(service: &Service) -> Cow<'static, str> {
    name(Origin::from_wire(service.origin).map(Origin::name), service.origin)
}

/// Why it does not listen everywhere, if so.
pub(super) fn problem(service: &Service) -> Option<String> {
    (service.status != 0).then(|| NtStatus(service.status as u32).to_string())
}

fn protocols(settings: &Settings) -> Vec<&'static str> {
    [(OVER_TCP, "tcp"), (OVER_UDP, "udp")]
        .into_iter()
        .filter(|(bit, _)| settings.protocols & bit != 0)
        .map(|(_, name)| name)
        .collect()
}

/// As `tcp 127.0.0.1, ::1 port 7`.
pub(crate) fn listens_at(service: &Service) -> String {
    let settings = &service.settings;
    let everywhere = (settings.everywhere != 0).then(|| "*".to_owned());
    let hosts: Vec<_> = everywhere.into_iter().chain(settings.hosts().map(|host| host.to_string())).collect();
    let port = if service.port == 0 { "any".to_owned() } else { service.port.to_string() };
    format!("{} {} port {port}", protocols(settings).join("+"), hosts.join(", "))
}

fn target(settings: &Settings) -> Option<String> {
    let host = |name: &Text<256>| name.as_str().unwrap_or("?").to_owned();
    match TargetKind::from_wire(settings.target_kind)? {
        TargetKind::None => None,
        TargetKind::Address => settings.target_address.address().as_ref().map(SocketAddr::to_string),
        TargetKind::Name => Some(format!("{}:{}", host(&settings.target_name), settings.target_port)),
    }
}
