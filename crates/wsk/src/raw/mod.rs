//! The edge to the kernel: IRPs, MDLs, the NMR, the provider's tables. Everything above is safe because of what the types
//! here promise.
//!
//! From the bottom up: [`status`], [`bugcheck`] and [`address`] are plain values; [`irp`] and [`mdl`] own kernel objects;
//! [`op`] is an IRP in flight with its buffers (L13, L35, L37), [`turning`] one that goes out again and again, and [`parked`] the list of those that a rule-breaking
//! provider kept; [`binding`] is one attachment with its rights (L12-L21); [`socket`] one socket from reservation to the
//! return of its close (L23-L25), [`account`] what is told of it, [`walk`] meets all of a binding, and [`listening`]
//! what one that listens keeps for its callbacks; [`given`], [`security`] and [`watch`] are what else has to go back or to be ended, by the list [`leaving`] (L21, L22); [`calls`] are the functions
//! of the provider, each behind the right that it needs; [`retained`] is what a socket keeps of the data that it is told of
//! (L21), read in place by `chunks` and `indication`, and sent on as a `chain`; [`client`] is the registration (L01-L11,
//! L27-L33); `entry` and `parameters` are the entry points and the registry key of a driver made by
//! [`driver!`](crate::driver).
#![allow(unsafe_code)] // calls WSK and the NMR, which work with pointers

mod account;
pub(crate) mod address;
mod batch;
pub(crate) mod binding;
mod bugcheck;
pub(crate) mod calls;
mod chain;
mod chunks;
pub(crate) mod client;
mod datagrams;
#[cfg(feature = "driver")]
pub(crate) mod entry;
pub(crate) mod events;
pub(crate) mod given;
mod indication;
pub(crate) mod inspections;
mod irp;
mod leaving;
mod listen_events;
pub(crate) mod listening;
mod mdl;
pub(crate) mod op;
#[cfg(feature = "driver")]
pub(crate) mod parameters;
mod parked;
pub(crate) mod retained;
pub(crate) mod security;
pub(crate) mod socket;
mod status;
pub(crate) mod walk;
pub(crate) mod turning;
pub(crate) mod watch;
pub(crate) mod wide;

pub use batch::Batch;
pub use chain::Chain;
pub use datagrams::{Datagram, Datagrams};
pub use indication::Indication;
pub use irp::Device;
pub use mdl::Buffer;
pub use status::NtStatus;

pub(crate) use bugcheck::{Bugcheck, bugcheck};
use irp::Irp;
