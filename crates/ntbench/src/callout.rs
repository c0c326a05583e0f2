//! Calls from the bench into a driver: who is inside the image, and whether the driver comes back as it went in.

use crate::ke::irql;
use crate::thread::{self, LOCAL};
use crate::verifier;

/// Why a driver is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Its entry or unload routine.
    Entry,
    /// A dispatch routine of its driver object.
    Dispatch,
    /// A completion routine.
    Completion,
    /// An event callback of Winsock Kernel's.
    Event,
    /// A DPC routine.
    Dpc,
    /// A timer's DPC routine.
    Timer,
    /// A work item's routine.
    WorkItem,
    /// A system thread.
    Thread,
    /// A cancel routine.
    Cancel,
    /// A callback of the Network Module Registrar's.
    Nmr,
    /// Anything else.
    Other,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::Entry,
        Kind::Dispatch,
        Kind::Completion,
        Kind::Event,
        Kind::Dpc,
        Kind::Timer,
        Kind::WorkItem,
        Kind::Thread,
        Kind::Cancel,
        Kind::Nmr,
        Kind::Other,
    ];

    pub(crate) fn from_number(number: u8) -> Kind {
        Kind::ALL.get(usize::from(number)).copied().unwrap_or(Kind::Other)
    }

    /// Whether a thread inside such a call must not wait.
    pub(crate) fn forbids_waiting(self) -> bool {
        matches!(self, Kind::Completion | Kind::Event | Kind::Nmr | Kind::Cancel)
    }
}

/// Calls `routine` of a driver through `call`, and checks that it returns at the IRQL, and with the locks, that it was
/// entered with.
pub fn call<R>(kind: Kind, what: &'static str, routine: usize, call: impl FnOnce() -> R) -> R {
    thread::slot().push(kind, routine);
    checked(what, routine, call)
}

/// As [`call`], where the caller holds a reference that keeps the driver's image loaded until the call has returned.
pub(crate) fn call_kept<R>(kind: Kind, what: &'static str, routine: usize, call: impl FnOnce() -> R) -> R {
    thread::slot().push_kept(kind, routine);
    checked(what, routine, call)
}

fn checked<R>(what: &'static str, routine: usize, call: impl FnOnce() -> R) -> R {
    let before = LOCAL.with(|local| (local.irql.get(), local.locks.get()));
    let result = call();
    thread::slot().pop();
    let after = LOCAL.with(|local| (local.irql.get(), local.locks.get()));
    if before != after {
        complain(what, routine, before, after);
    }
    result
}

/// What the calling thread is inside, innermost first; none if no driver called the bench.
pub fn innermost() -> Option<Kind> {
    thread::slot().innermost()
}

#[cold]
fn complain(what: &str, routine: usize, before: (u8, u32), after: (u8, u32)) {
    let name = crate::image::describe(routine);
    let text = format!(
        "{what} ({name}) was entered at IRQL {} with {} spin locks held and returned at IRQL {} with {}",
        before.0, before.1, after.0, after.1
    );
    verifier::violation("irql-returned", text);
    irql::force(before.0);
}
