//! The ledger of what the driver holds, and the verdict at its end.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::dpc;
use super::lock::Locked;
use crate::ledger::{Entry, Kind, Ledger};
use crate::print::say;
use crate::trace::violation;

/// Entries that there is room for: a connection takes about ten.
const ROOM: usize = 1 << 15;

static HELD: Locked<Ledger<ROOM>> = Locked::new(Ledger::new());

/// Threads of the driver's that run.
pub(super) static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Forgets what a driver before this one has left.
pub(super) fn begin() {
    HELD.lock().clear();
    THREADS.store(0, Ordering::Release);
}

/// Enters what the driver has taken.
pub(super) fn take(kind: Kind, address: usize, tag: u32, size: usize) {
    HELD.lock().add(Entry { address, kind, tag, size });
}

/// Strikes out what it has given back; says so if it never had it.
pub(super) fn give(kind: Kind, address: usize) {
    let known = HELD.lock().remove(kind, address).is_some();
    if !known {
        violation(format_args!("{} {address:#x} is given back, and is not held", kind.name()));
    }
}

/// As [`give`], where not to hold it is no fault.
pub(super) fn forget(kind: Kind, address: usize) {
    HELD.lock().remove(kind, address);
}

/// Counts one more reference to an object.
pub(super) fn refer(address: usize) {
    let mut held = HELD.lock();
    match held.get_mut(Kind::Object, address) {
        Some(entry) => entry.tag += 1,
        None => held.add(Entry { address, kind: Kind::Object, tag: 1, size: 0 }),
    }
}

/// Counts one reference less.
pub(super) fn unrefer(address: usize) {
    let mut held = HELD.lock();
    match held.get_mut(Kind::Object, address) {
        Some(entry) if entry.tag > 1 => entry.tag -= 1,
        _ => drop(held.remove(Kind::Object, address)),
    }
}

/// A pool tag as debuggers show it.
struct Tag(u32);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_le_bytes().iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

/// Prints what the driver still holds: each thing on a line, and the verdict as the last one. `modules` are those
/// that the registrar still has, `violations` the rules that were broken.
pub(crate) fn verdict(modules: usize, violations: usize) {
    let held = HELD.lock();
    for entry in held.iter() {
        match entry.kind {
            Kind::Pool => say!("left: pool {} {:#x}, {} bytes", Tag(entry.tag), entry.address, entry.size),
            kind => say!("left: {} {:#x}", kind.name(), entry.address),
        }
    }
    let count = |kind| held.count(kind);
    let (threads, dpcs, timers) = (THREADS.load(Ordering::Acquire), dpc::count(), dpc::timers());
    let clean = held.iter().next().is_none() && held.lost() + threads + dpcs + timers + modules + violations == 0;
    let summary = format_args!(
        "(pool {}, irps {}, mdls {}, objects {}, handles {}, threads {threads}, timers {timers}, dpcs {dpcs}, armed {}, \
         modules {modules}, violations {violations}, peak pool {} bytes)",
        count(Kind::Pool),
        count(Kind::Irp),
        count(Kind::Mdl),
        count(Kind::Object),
        count(Kind::Handle),
        count(Kind::Armed),
        held.peak(),
    );
    match clean {
        true => say!("verdict: clean {summary}"),
        false => say!("verdict: LEFT {summary}, {} not entered", held.lost()),
    }
}
