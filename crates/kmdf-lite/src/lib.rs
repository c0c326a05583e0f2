//! The part of KMDF 1.31 that wskclient uses, over NT kernel functions.
//!
//! A driver's entry stub calls [`WdfVersionBind`] and gets the framework's function table; everything else is called
//! through that table by number. From the top down: `bind` (the loader's interface and the table), `driver`,
//! `device_init` and `device`, `queue` and `request`, `registry`, `sync` and `timer` are the functions by subject;
//! `object` is what all of them make and delete, `names` the numbers, `kernel` the NT below.
//!
//! What is not here: PnP and power, file object callbacks, manual queues and the cancellation of queued requests,
//! direct and neither I/O, synchronization scopes, references to objects. A function that is not here stops with its
//! name; a flag or value that is not here is refused with STATUS_NOT_SUPPORTED and a violation that names it.
//!
//! # Invariants
//! - A handle is the complement of an object's address, as in the framework itself; every call looks it up in the list
//!   of objects that exist, so a stale or foreign handle is reported and never followed.
//! - Callbacks of the driver's run without any lock of the framework's.
#![no_std]
#![allow(non_upper_case_globals)] // Constants keep the names of the framework's headers, also in patterns.

mod bind;
mod device;
mod device_init;
mod driver;
mod event;
mod kernel;
mod names;
mod object;
mod queue;
mod registry;
mod request;
mod sync;
mod timer;

pub use bind::{EXPORTS, PRESENT, WdfVersionBind, WdfVersionUnbind};
pub use device::{Device, describe};
pub use event::{Event, Kind, faults, observe};
pub use names::{COUNT, NAMES, number};
