//! The registrar's rules N1 to N8, each with modules simulated in Rust.
//!
//! The registrar is one per process, so the tests of this file run one after another: `support::start` holds a lock for
//! as long as a test runs, resets the registrar's freedoms and empties the record of events.

#![allow(unsafe_code)] // Calls the registrar as drivers do, and is called by it.

mod support;
mod watchdog;

mod n1;
mod n2;
mod n3;
mod n4;
mod n5;
mod n6;
mod n7;
mod n8;
mod stress;
