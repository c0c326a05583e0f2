//! Interrupt request levels, one per host thread.
//!
//! At DISPATCH_LEVEL a thread holds one of the bench's processors, as on a machine: no more threads are there than
//! there are processors, and what is private to a processor at that level is private here.
#![allow(unsafe_code)] // Exports with the kernel's ABI.

use std::sync::atomic::{AtomicU8, Ordering};

use nt_abi::{DISPATCH_LEVEL, HIGH_LEVEL, KIRQL, PASSIVE_LEVEL, export_table};

use crate::ke::processor;
use crate::rng;
use crate::thread::LOCAL;
use crate::verifier;

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [KeGetCurrentIrql, KfRaiseIrql, KeRaiseIrqlToDpcLevel, KeLowerIrql]);

/// At which IRQL completions and events reach the driver, where the pages leave it open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CompletionIrql {
    /// PASSIVE_LEVEL or DISPATCH_LEVEL, at random.
    #[default]
    Random,
    /// Always PASSIVE_LEVEL.
    Passive,
    /// Always DISPATCH_LEVEL.
    Dispatch,
}

static COMPLETION: AtomicU8 = AtomicU8::new(CompletionIrql::Random as u8);

pub(crate) fn configure(completion: CompletionIrql) {
    COMPLETION.store(completion as u8, Ordering::Relaxed);
}

/// This thread's IRQL.
#[inline]
pub fn current() -> KIRQL {
    LOCAL.with(|local| local.irql.get())
}

/// Reports a call of `function` above `bound`.
#[inline]
pub(crate) fn at_most(function: &'static str, bound: KIRQL) {
    if current() > bound {
        misplaced(function, "at most", bound);
    }
}

/// Reports a call of `function` below `bound`.
#[inline]
pub(crate) fn at_least(function: &'static str, bound: KIRQL) {
    if current() < bound {
        misplaced(function, "at least", bound);
    }
}

#[cold]
fn misplaced(function: &str, how: &str, bound: KIRQL) {
    verifier::violation("irql", format!("{function} was called at IRQL {}; {how} {bound} is allowed", current()));
}

/// Runs `f` at `level`: raises to it and lowers again, whereupon the DPCs queued meanwhile run. A thread that is at
/// or above `level` runs `f` where it is.
pub fn at<R>(level: KIRQL, f: impl FnOnce() -> R) -> R {
    let old = current();
    if old >= level {
        return f();
    }
    raise(level);
    let result = f();
    lower(old);
    result
}

/// Runs `f` at PASSIVE_LEVEL or DISPATCH_LEVEL, as the settings and the seed have it.
pub fn at_random<R>(f: impl FnOnce() -> R) -> R {
    let dispatch = match COMPLETION.load(Ordering::Relaxed) {
        0 => rng::u64() & 1 == 0,
        n => n == CompletionIrql::Dispatch as u8,
    };
    at(if dispatch { DISPATCH_LEVEL } else { PASSIVE_LEVEL }, f)
}

/// Raises this thread's IRQL to `level`, not below the present one; answers the present one.
#[inline]
pub(crate) fn raise(level: KIRQL) -> KIRQL {
    let old = current();
    if old < DISPATCH_LEVEL && level >= DISPATCH_LEVEL {
        processor::take();
    }
    LOCAL.with(|local| local.irql.set(level));
    old
}

/// Lowers this thread's IRQL to `level`, not above the present one.
#[inline]
pub(crate) fn lower(level: KIRQL) {
    if current() >= DISPATCH_LEVEL && level < DISPATCH_LEVEL {
        processor::give_back(level);
    } else {
        LOCAL.with(|local| local.irql.set(level));
    }
}

/// Sets the IRQL whatever it is, after a violation or when a thread leaves the driver.
#[cold]
pub(crate) fn force(level: KIRQL) {
    if current() > level {
        lower(level);
    } else {
        raise(level);
    }
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn KeGetCurrentIrql() -> KIRQL {
    current()
}

/// # IRQL
/// Any, not above `level`
#[unsafe(no_mangle)]
pub extern "win64" fn KfRaiseIrql(level: KIRQL) -> KIRQL {
    if level < current() || level > HIGH_LEVEL {
        verifier::violation("irql", format!("KfRaiseIrql({level}) at IRQL {}", current()));
        return current();
    }
    raise(level)
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn KeRaiseIrqlToDpcLevel() -> KIRQL {
    at_most("KeRaiseIrqlToDpcLevel", DISPATCH_LEVEL);
    raise(DISPATCH_LEVEL)
}

/// # IRQL
/// Any, not below `level`
#[unsafe(no_mangle)]
pub extern "win64" fn KeLowerIrql(level: KIRQL) {
    if level > current() {
        verifier::violation("irql", format!("KeLowerIrql({level}) at IRQL {}", current()));
        return;
    }
    lower(level);
}
