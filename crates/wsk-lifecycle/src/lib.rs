//! The lifecycle of a WSK client as pure state: no FFI, no allocation of its own, no locks.
//!
//! What decides whether a driver may be unloaded is decided here, each time in one atomic step, and judged by loom
//! (`cargo xtask test` runs `tests/loom.rs`). No protocol depends on `SeqCst`.
//!
//! From the outside in:
//! - [`registration`]: one registration in the NMR, taken away and brought back (L33).
//! - [`rundown`]: the count of rights to call and the step that decides who completes a detach (L12-L18, L23).
//! - [`table`]: the open sockets of a binding (L14, L19).
//! - [`op`]: one operation between its call, its IRP and its future (L13, L22, L35, L37).
//! - [`retention`]: received lists that are kept, and who gives each one back (L21, L35).
//! - [`task`]: one task of the executor between its wakers, its runner and its handle (L36).
//! - [`job`]: a job of several parts, that ends once and for one reason.
//! - [`turns`]: one IRP that goes out again and again, between its runner and the future that waits for the end (L35, L37).
//!
//! The rules are those of `docs/lifecycle.md`.
#![no_std]
#![warn(clippy::missing_errors_doc)]

#[cfg(any(test, loom))]
extern crate std;

pub mod job;
pub mod op;
mod primitives;
pub mod registration;
pub mod retention;
pub mod rundown;
pub mod table;
pub mod task;
pub mod turns;
