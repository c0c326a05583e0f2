//! `wskctl status`.

use clap::Args;
use control_abi::{Gate, Registration, State};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, GOOD, WARNING, styled};
use crate::text::{bytes, count};
use crate::tool::Tool;

/// Tell how the driver is: its registration with WSK, what it serves, what it holds
#[derive(Args)]
pub(crate) struct Arguments {}

/// What `--json` prints.
#[derive(Serialize)]
struct Status {
    registration: &'static str,
    sockets: u32,
    generation: u64,
}

/// Prints it.
pub(crate) fn run(tool: &Tool, _: &Arguments) -> Result<(), Failure> {
    let state = tool.state()?;
    if tool.output().is_json() {
        return tool.output().json(&Status {
            registration: registration(&state),
            sockets: state.sockets,
            generation: state.generation,
        });
    }
    let mut table = output::table(&[]);
    let style = if state.gate == Gate::Open as u32 { GOOD } else { WARNING };
    table.add_row(["registration", &styled(style, registration(&state))]);
    table.add_row(["sockets", &count(state.sockets.into())]);
    table.add_row(["held", &bytes(state.totals.held)]);
    tool.output().table(&table)
}

fn registration(state: &State) -> &'static str {
    const ALL: [(Registration, &str); 4] = [
        (Registration::Out, "inactive"),
        (Registration::Registering, "registering"),
        (Registration::In, "active"),
        (Registration::Leaving, "leaving"),
    ];
    ALL.iter().find(|(each, _)| *each as u32 == state.registration).map_or("unknown", |(_, name)| name)
}
