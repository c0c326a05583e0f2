//! [`Sample`]: the driver at one moment.

use std::time::Instant;

use control_abi::State;
use control_abi::events::{Event, EventsRequest};
use control_abi::services::Service;
use control_abi::sockets::Socket;
use control_abi::version::{CAN_CHANGE_SERVICES, CAN_LIST_SOCKETS, CAN_TELL_EVENTS, Version};

use crate::failure::Failure;
use crate::tool::Tool;

/// How the driver was, and what it told since the sample before.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) version: Version,
    pub(crate) state: State,
    pub(crate) services: Vec<Service>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) events: Vec<Event>,
    /// After which event to go on.
    pub(crate) next_event: u64,
}

/// Asks for everything, each with a handle of its own.
pub(super) fn take(tool: &Tool, after: u64) -> Result<Sample, Failure> {
    let version = tool.version()?;
    let can = |what| version.capabilities & what != 0;
    let state = tool.state()?;
    let services = if can(CAN_CHANGE_SERVICES) { tool.services()? } else { Vec::new() };
    let sockets = if can(CAN_LIST_SOCKETS) { tool.sockets()? } else { Vec::new() };
    let (events, next_event) = if can(CAN_TELL_EVENTS) { events(tool, after)? } else { (Vec::new(), after) };
    Ok(Sample { at: Instant::now(), version, state, services, sockets, events, next_event })
}

/// Those after this one, and after which to go on. A driver that was loaded anew counts from 1 again.
fn events(tool: &Tool, after: u64) -> Result<(Vec<Event>, u64), Failure> {
    let mut after = after;
    let mut events = Vec::new();
    loop {
        let page = tool.events(&EventsRequest::after(after, 0))?;
        if page.newest < after {
            after = 0;
            continue;
        }
        after = page.next;
        if page.events.is_empty() {
            return Ok((events, after));
        }
        events.extend(page.events);
        if after >= page.newest {
            return Ok((events, after));
        }
    }
}
