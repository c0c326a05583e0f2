//! An NT kernel in a Linux process, for network drivers.
//!
//! [`Bench::load`] maps a driver's .sys file, binds its imports to the functions here and calls its entry point; it
//! then serves real sockets of the host through [`wsk`], is watched by the [`verifier`], and is unloaded by
//! [`Driver::unload`]. A bench is one per process, for the kernel's functions are global: a test that uses one runs in
//! a process of its own, by [`rusty_fork`]'s `rusty_fork_test!`.
//!
//! From the top down: [`bench`](mod@bench) and [`driver`] are the interface; [`wsk`] is the network; `io`, `ps`, `mm`, `ex`, `ke`,
//! `ob`, `rtl`, `registry`, `dbg`, `etw` are the kernel, one file per component; [`image`] is the loader; [`callout`] is how
//! the bench enters a driver; [`verifier`], [`trace`], [`fault`], [`profile`] are what a bench has and a machine has not.

pub mod bench;
pub mod bugcheck;
pub mod callout;
mod dbg;
pub mod driver;
pub mod etw;
pub mod ex;
mod exports;
pub mod fault;
mod futex;
pub mod image;
pub mod io;
pub mod ke;
mod leave;
mod mm;
mod ob;
pub mod profile;
mod ps;
mod registry;
pub mod rng;
mod rtl;
mod thread;
pub mod trace;
pub mod verifier;
mod watch;
pub mod wsk;

pub use ::nmr;
pub use bench::{Bench, Config, Error, Stats};
pub use driver::{Driver, LoadError, Phase, Unload, UnloadRefused};
pub use exports::all as exports;
pub use fault::When;
pub use image::parse::ImageError;
pub use io::file::{Handle, IoctlError};
pub use ke::irql::CompletionIrql;
pub use nt_abi::NtStatus;
pub use registry::Value;
pub use rusty_fork;
pub use trace::{Level, Trace};
pub use verifier::{OnViolation, Verdict, Verifier, Violation};
