//! Wine, as a second kernel for the driver: a prefix of its own, services in it, and what they print.
//!
//! From the bottom up: [`program`] runs a program and is not kept waiting; [`prefix`] is the folder that Wine takes for a
//! machine, with its registry; [`service`] a driver in it; [`log`] what the driver, the shim and Wine print; [`story`] the
//! steps of a lifecycle in that, and the order that they must have; [`differences`] those between Wine and the bench.

pub mod differences;
pub mod log;
pub mod prefix;
pub mod program;
pub mod service;
pub mod story;

pub use log::{Line, Log, Mark, Source};
pub use prefix::{Prefix, Programs};
pub use service::{Service, State};
pub use story::{Step, Story};
