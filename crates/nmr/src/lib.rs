//! A Network Module Registrar over NT kernel functions.
//!
//! Client and provider modules register for a Network Programming Interface; the registrar attaches each client to
//! each provider of the same interface, and takes them apart again when one of them deregisters. What a driver may
//! expect of it is written down as rules N1 to N7 of `docs/lifecycle.md`; where the rules leave a freedom, [`Config`]
//! chooses. A module that breaks a rule is reported to the observer as a violation and answered as the pages say.
//!
//! From the top down: `api` is what modules import, `register` and `attach` and `detach` are what those calls do,
//! `characteristics` is what modules promise to keep, `registry` keeps the registrations and bindings under one lock,
//! `state` decides, `kernel` is the NT below.
//!
//! # Invariants
//! - Every decision is one step under the registrar's lock; callbacks, events and pool run without it.
//! - A registration's memory is freed only when it is deregistered, has no binding, no offer pass walks its
//!   bindings, and nobody waits for it. A binding's memory is freed only by the thread that took it to `Cleaning`
//!   (or withdrew or refused it), after its cleanup callbacks have returned.
//! - Handles are numbers, never addresses: a stale one is not found, and is never used again.
#![no_std]

mod api;
mod attach;
mod characteristics;
mod config;
mod detach;
mod event;
mod kernel;
mod register;
mod registry;
mod state;

pub use api::{
    EXPORTS, NmrClientAttachProvider, NmrClientDetachProviderComplete, NmrDeregisterClient, NmrDeregisterProvider,
    NmrProviderDetachClientComplete, NmrRegisterClient, NmrRegisterProvider, NmrWaitForClientDeregisterComplete,
    NmrWaitForProviderDeregisterComplete,
};
pub use config::{Attach, Choice, Config, Deregister, Level, configure};
pub use event::{Event, Kind, faults, observe, report};
pub use registry::{Registration, census};

/// Which of the two roles a module has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It calls.
    Client,
    /// It is called.
    Provider,
}

impl Side {
    /// The other role.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Provider,
            Side::Provider => Side::Client,
        }
    }
}
