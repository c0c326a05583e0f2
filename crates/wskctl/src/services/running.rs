//! `wskctl services start` and `stop`. Both are begun by a request; then the list tells when it is done.

use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use control_abi::services::{MOST_GRACE_MS, Service, ServiceState, StartRequest, StopRequest};
use jiff::SignedDuration;

use super::list::{Listed, coloured_state, listens_at, problem};
use crate::failure::Failure;
use crate::text::{counted, duration};
use crate::tool::{Tool, name_of};

/// How often to look.
const LOOK: Duration = Duration::from_millis(50);
/// How long a service may take until it listens.
const TO_LISTEN: Duration = Duration::from_secs(5);
/// How long the end of a service may take beside the grace of its connections.
const TO_END: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct Start {
    /// The service
    name: String,
    /// Do not wait until it listens
    #[arg(long)]
    no_wait: bool,
}

#[derive(Args)]
pub(super) struct Stop {
    /// The service
    name: String,
    /// How long its connections may take to end by themselves, before they are reset: up to 10m
    #[arg(long, value_name = "SPAN", default_value = "2s")]
    grace: SignedDuration,
    /// Do not wait until it has stopped
    #[arg(long)]
    no_wait: bool,
}

/// Starts one, and tells where it listens then.
pub(super) fn start(tool: &Tool, arguments: &Start) -> Result<(), Failure> {
    let service = tool.service(&arguments.name)?;
    tool.order("starting the service", &StartRequest::new(service.settings.name, 0))?;
    if arguments.no_wait {
        return shown(tool, &tool.service(&arguments.name)?);
    }
    started(tool, &arguments.name)
}

/// Waits until one that is to run listens, or says why it does not.
pub(super) fn started(tool: &Tool, name: &str) -> Result<(), Failure> {
    let service = wait(tool, name, TO_LISTEN, |service| {
        let state = ServiceState::from_wire(service.state);
        matches!(state, Some(ServiceState::Running | ServiceState::Waiting)) || service.status != 0
    })?;
    shown(tool, &service)?;
    match ServiceState::from_wire(service.state) {
        Some(ServiceState::Starting) => Err(Failure::NotListening { name: name_of(&service).to_owned(), why: problem(&service) }),
        _ => Ok(()),
    }
}

fn shown(tool: &Tool, service: &Service) -> Result<(), Failure> {
    if tool.output().is_json() {
        return tool.output().json(&Listed::of(service));
    }
    let (name, state, at) = (name_of(service), coloured_state(service), listens_at(service));
    let why = match ServiceState::from_wire(service.state) {
        Some(ServiceState::Waiting) => "; the driver is not attached to WSK: `wskctl activate` registers it".to_owned(),
        _ => problem(service).map(|problem| format!("; {problem}")).unwrap_or_default(),
    };
    tool.output().line(&format!("{name}: {state}, {at}{why}"))
}

/// Stops one.
pub(super) fn stop(tool: &Tool, arguments: &Stop) -> Result<(), Failure> {
    let grace = grace_ms(arguments.grace)?;
    let before = tool.service(&arguments.name)?;
    let begun = Instant::now();
    tool.order("stopping the service", &StopRequest::new(before.settings.name, grace))?;
    if arguments.no_wait {
        return shown(tool, &tool.service(&arguments.name)?);
    }
    let patience = Duration::from_millis(grace.into()) + TO_END;
    let service = wait(tool, &arguments.name, patience, |service| service.state == ServiceState::Stopped.to_wire())?;
    if tool.output().is_json() {
        return tool.output().json(&Listed::of(&service));
    }
    if service.state != ServiceState::Stopped.to_wire() {
        return Err(Failure::NotStopped(name_of(&service).to_owned()));
    }
    let ended = counted(before.totals.connections, "connection");
    let (name, state) = (name_of(&service), coloured_state(&service));
    tool.output().line(&format!("{name}: {state} in {}, with {ended} to end", duration(begun.elapsed())))
}

fn grace_ms(grace: SignedDuration) -> Result<u32, Failure> {
    u32::try_from(grace.as_millis())
        .ok()
        .filter(|grace| *grace <= MOST_GRACE_MS)
        .ok_or_else(|| Failure::usage("--grace takes 0s to 10m".to_owned()))
}

/// Looks until something is so, or for as long as that may take; gives what was seen last.
fn wait(tool: &Tool, name: &str, patience: Duration, is_so: impl Fn(&Service) -> bool) -> Result<Service, Failure> {
    let begun = Instant::now();
    loop {
        let service = tool.service(name)?;
        if is_so(&service) || begun.elapsed() >= patience {
            return Ok(service);
        }
        sleep(LOOK);
    }
}
