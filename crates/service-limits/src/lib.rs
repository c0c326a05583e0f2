//! What a service over UDP may answer, as pure logic: no FFI, no allocation, no lock, no clock of its own.
//!
//! Anybody can send a datagram in another's name. A service that answers datagrams is therefore a weapon, unless it knows
//! whom it does not answer at all ([`source`]), and how often it answers one source at most ([`rate`]). [`chargen`] is the
//! pattern of RFC 864, whose answers are larger than the questions.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod chargen;
pub mod rate;
pub mod source;
