//! What Wine's kernel lacks, supplied; what a driver takes from it, counted on its way there.
//!
//! Three kinds of function, each in the file of its subject. Those that Wine has not (`ExAllocatePool2`,
//! `IoSetCompletionRoutineEx`, `KeGetCurrentIrql` …) are written here. Those that know the IRQL are too: it is kept per
//! thread, raised by locks and DPCs. The rest goes on to Wine, and is entered in the ledger if the driver holds something
//! afterwards. The names of the C functions are kept, so that a slot and its function are found by one word.

#![allow(unsafe_code)] // Tables of functions that drivers call.

mod clock;
mod dpc;
mod etw;
mod held;
mod io;
mod irql;
mod objects;
mod pool;
mod stop;

pub(crate) mod lock;
pub(crate) mod thread;

use nt_abi::{Export, NtStatus};

pub(crate) use held::verdict;
pub(crate) use irql::at_dispatch;

/// Everything that is here for a driver.
pub(crate) const EXPORTS: [&[Export]; 9] = [
    clock::EXPORTS,
    dpc::EXPORTS,
    etw::EXPORTS,
    io::EXPORTS,
    irql::EXPORTS,
    irql::LOCKS,
    objects::EXPORTS,
    pool::EXPORTS,
    stop::EXPORTS,
];

/// Readies what the functions here need.
///
/// # Errors
/// STATUS_INSUFFICIENT_RESOURCES.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn begin() -> Result<(), NtStatus> {
    held::begin();
    irql::begin()?;
    dpc::begin()
}

/// Ends it.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn end() {
    dpc::end();
    irql::end();
}
