//! The next events.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

use core::time::Duration;

use control_abi::events::{Event, Events};
use control_abi::page::{PageHeader, entries_in};
use wsk::{NtStatus, Passive};

use super::io::{Answer, Io, Output};
use crate::trace::{self, Found, Ring};

/// Waits for events, for as long as it was asked to, and no longer than until the request is cancelled.
pub(super) fn wait(passive: Passive, io: &Io, asked: &Events) -> Result<(), NtStatus> {
    let ring = ring(asked)?;
    let after = known(ring, asked);
    ring.wait(passive, after, Duration::from_millis(asked.wait_ms.into()), || io.is_cancelled());
    if io.is_cancelled() { Err(NtStatus::CANCELLED) } else { Ok(()) }
}

/// Answers with a page of events.
pub(super) fn answer(asked: &Events, output: &mut Output<'_>) -> Answer {
    let ring = ring(asked)?;
    let (mut next, mut count, mut lost) = (known(ring, asked), 0, 0);
    while count < entries_in::<Event>(output.room()) {
        match ring.find(next + 1) {
            Found::This(event) => {
                output.entry(count, &event)?;
                (next, count) = (next + 1, count + 1);
            }
            // What is lost in the middle is told at the beginning of the next page.
            Found::Lost(_) if count > 0 => break,
            Found::Lost(oldest) => (lost, next) = (lost + (oldest - 1 - next), oldest - 1),
            Found::NotYet => break,
        }
    }
    output.page::<Event>(PageHeader { version: 0, count: count as u32, next, total: ring.last(), mark: lost })
}

fn ring(asked: &Events) -> Result<&'static Ring, NtStatus> {
    trace::ring(asked.with_sockets).ok_or(NtStatus::INVALID_DEVICE_STATE)
}

/// The last event that the tool knows. A number that was not given yet is from before this load.
fn known(ring: &Ring, asked: &Events) -> u64 {
    if asked.after > ring.last() { 0 } else { asked.after }
}
