//! kmdf-lite, called through its function table as a driver would.
//!
//! The bench is one per process, so the tests of this file run one after another: `support::Driver` holds a lock while it
//! lives, and checks at its end that neither the kernel nor the framework has anything of the driver left.

#![allow(unsafe_code)] // Calls the framework as drivers do, and is called by it.

mod support;
#[path = "../nmr/watchdog.rs"]
mod watchdog;

mod binding;
mod devices;
mod misuse;
mod objects;
mod parameters;
mod requests;
