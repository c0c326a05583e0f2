//! `wdfldr.sys` for Wine: what a KMDF driver that is a client of WSK needs there and does not find.
//!
//! Wine has no KMDF, its Network Module Registrar consists of stubs, and its kernel lacks some exports. A driver's
//! entry stub calls `WdfVersionBind` before anything else of it runs; here that gives the function table of
//! `kmdf-lite`, and points the driver's import slots at the registrar of `nmr` and at what is missing. The registrar has one
//! provider, Wine's own WSK, taken by `WskRegister` and `WskCaptureProviderNPI`. The driver's file is not changed.
//!
//! From the top down: `entry` (bind and unbind), `imports` (which slots are pointed where; `image` finds them), `kernel` (what
//! Wine's kernel lacks, and what is counted on its way there), `provider` (Wine's WSK as a module of the registrar), `wsk`
//! (its sockets, made to keep what the API's pages promise), `ledger` (what the driver holds), `trace` (what is printed), `wine`
//! (what is imported from Wine).
//!
//! Everything here runs in a process of Wine's, `winedevice.exe`; it is a judge's tool and no kernel code.
//! `KeBugCheckEx` and panics end that process.
#![no_std]

pub mod image;
pub mod ledger;

#[cfg(windows)]
mod entry;
#[cfg(windows)]
mod imports;
#[cfg(windows)]
mod kernel;
#[cfg(windows)]
mod print;
#[cfg(windows)]
mod provider;
#[cfg(windows)]
mod trace;
#[cfg(windows)]
mod wine;
#[cfg(windows)]
mod wsk;
