//! `wskctl activate` and `deactivate`: NMR registration and deregistration, without loading and unloading (L33).

use std::time::Instant;

use control_abi::state::{ActivateRequest, DeactivateRequest};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{GOOD, WARNING, styled};
use crate::text::{counted, duration};
use crate::tool::Tool;

/// What came of it.
#[derive(Serialize)]
struct Changed {
    /// Whether the driver is registered with WSK now.
    active: bool,
    /// How long it took.
    took_s: f64,
    /// How many connections were there when it was asked for, and so were ended.
    connections_ended: u64,
}

/// Registers with WSK again.
pub(crate) fn activate(tool: &Tool) -> Result<(), Failure> {
    let begun = Instant::now();
    tool.order("activating", &ActivateRequest::NEW)?;
    let took = begun.elapsed();
    if tool.output().is_json() {
        return tool.output().json(&Changed { active: true, took_s: took.as_secs_f64(), connections_ended: 0 });
    }
    tool.output().line(&format!("{}: registered with WSK in {}", styled(GOOD, "active"), duration(took)))
}

/// Deregisters; returns once every connection and the binding are gone.
pub(crate) fn deactivate(tool: &Tool) -> Result<(), Failure> {
    let connections_ended = tool.state()?.totals.connections;
    let begun = Instant::now();
    tool.order("deactivating", &DeactivateRequest::NEW)?;
    let took = begun.elapsed();
    if tool.output().is_json() {
        return tool.output().json(&Changed { active: false, took_s: took.as_secs_f64(), connections_ended });
    }
    let inactive = styled(WARNING, "inactive");
    let ended = counted(connections_ended, "connection");
    tool.output().line(&format!("{inactive}: left WSK in {}, with {ended} to end", duration(took)))
}
