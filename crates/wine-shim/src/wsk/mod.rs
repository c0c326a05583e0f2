//! Wine's WSK, made to keep what the API's pages promise: what the driver gets instead of Wine's tables.
//!
//! From the bottom up: `block` (memory), `irp` (the driver's IRPs), `queue` (those that wait), `inner` (a call of Wine's),
//! `buffer` (bytes), `socket` (a socket and its end), `closer` (the thread that closes); `client`, `calls`, `accept`, `data` and
//! `datagram` are the functions that the driver calls, `tables` how it finds them.

mod accept;
mod block;
mod buffer;
mod calls;
mod client;
pub(crate) mod closer;
mod data;
mod datagram;
mod inner;
mod irp;
mod queue;
mod socket;
mod tables;

use nt_abi::NtStatus;

pub(crate) use block::Block;
pub(crate) use client::{Binding, FUNCTIONS};
pub(crate) use inner::out;

use crate::print::say;

/// Prints how a call has ended that Wine does not have.
fn tell(name: &str, status: NtStatus) {
    if status.is_failure() {
        say!("{name} {:08x}", status.0);
    }
}
