//! `wskctl activate` and `deactivate`: NMR registration and deregistration, without loading and unloading (L33).

use std::time::Instant;

use control_abi::Request;
use serde::Serialize;

use crate::failure::Failure;
use crate::text::duration;
use crate::tool::Tool;

/// What came of it.
#[derive(Serialize)]
struct Changed {
    /// Whether the driver is registered with WSK now.
    active: bool,
    /// How long it took.
    took_ms: f64,
    /// How many connections it has ended, or how many there were not before.
    connections_ended: u64,
}

/// Registers with WSK again.
pub(crate) fn activate(tool: &Tool) -> Result<(), Failure> {
    change(tool, Request::Activate, true)
}

/// Deregisters; returns once every connection and the binding are gone.
pub(crate) fn deactivate(tool: &Tool) -> Result<(), Failure> {
    change(tool, Request::Deactivate, false)
}

fn change(tool: &Tool, request: Request, active: bool) -> Result<(), Failure> {
    let before = tool.state()?;
    let begun = Instant::now();
    tool.order(request)?;
    let took = begun.elapsed();
    let connections_ended = if active { 0 } else { before.totals.connections };
    if tool.output().is_json() {
        return tool.output().json(&Changed { active, took_ms: took.as_secs_f64() * 1e3, connections_ended });
    }
    let took = duration(took);
    tool.output().line(&match (active, connections_ended) {
        (true, _) => format!("active: registered with WSK in {took}"),
        (false, 0) => format!("inactive: left WSK in {took}"),
        (false, 1) => format!("inactive: left WSK in {took}; 1 connection was ended"),
        (false, ended) => format!("inactive: left WSK in {took}; {ended} connections were ended"),
    })
}
