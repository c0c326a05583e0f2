//! Which driver this is, and what it can do.
//!
//! # IRQL
//! Any.

use control_abi::events::REMEMBERED;
use control_abi::settings::MOST_SERVICES;
use control_abi::version::{CAN_CHANGE_SERVICES, CAN_LIST_SOCKETS, CAN_RESOLVE, CAN_TELL_EVENTS, Version};

use super::io::{Answer, Output};

/// The version of the package, as numbers.
const DRIVER: [u16; 4] =
    [number(env!("CARGO_PKG_VERSION_MAJOR")), number(env!("CARGO_PKG_VERSION_MINOR")), number(env!("CARGO_PKG_VERSION_PATCH")), 0];

/// What it can do.
const CAPABILITIES: u64 = CAN_CHANGE_SERVICES | CAN_LIST_SOCKETS | CAN_RESOLVE | CAN_TELL_EVENTS;

/// Answers with the version.
pub(super) fn answer(output: &mut Output<'_>) -> Answer {
    output.one(&Version {
        version: control_abi::VERSION,
        reserved: 0,
        driver: DRIVER,
        capabilities: CAPABILITIES,
        most_services: MOST_SERVICES as u32,
        most_events: REMEMBERED,
    })
}

const fn number(text: &str) -> u16 {
    match u16::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version is made of numbers"),
    }
}
