//! The IRQL, per thread, and the spin locks that raise it. Wine's kernel has none: everything there is PASSIVE_LEVEL.

#![allow(unsafe_code)] // Functions that drivers call; Wine's spin locks.
#![allow(non_snake_case)] // Their names are what drivers import.

use core::sync::atomic::{AtomicU32, Ordering};

use nt_abi::kernel::{KeAcquireSpinLockAtDpcLevel, KeReleaseSpinLockFromDpcLevel};
use nt_abi::{DISPATCH_LEVEL, KIRQL, KSPIN_LOCK, NtStatus};

use crate::wine::{TlsAlloc, TlsFree, TlsGetValue, TlsSetValue};

nt_abi::export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [KeGetCurrentIrql, KfRaiseIrql, KeLowerIrql]);
nt_abi::export_table!(pub(crate) LOCKS, "ntoskrnl.exe", [KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock]);

const NO_SLOT: u32 = u32::MAX;

/// The thread-local slot that the IRQL is kept in.
static SLOT: AtomicU32 = AtomicU32::new(NO_SLOT);

/// Takes a slot.
pub(super) fn begin() -> Result<(), NtStatus> {
    if SLOT.load(Ordering::Acquire) == NO_SLOT {
        // SAFETY: no requirements.
        SLOT.store(unsafe { TlsAlloc() }, Ordering::Release);
    }
    if SLOT.load(Ordering::Acquire) == NO_SLOT { Err(NtStatus::INSUFFICIENT_RESOURCES) } else { Ok(()) }
}

/// Gives it back: the IRQL is asked for no more.
pub(super) fn end() {
    let slot = SLOT.swap(NO_SLOT, Ordering::AcqRel);
    if slot != NO_SLOT {
        // SAFETY: allocated by `begin`.
        unsafe { TlsFree(slot) };
    }
}

fn set(irql: KIRQL) {
    // SAFETY: the slot was allocated; an IRQL fits it.
    unsafe { TlsSetValue(SLOT.load(Ordering::Acquire), irql.into()) };
}

/// Runs `f` at DISPATCH_LEVEL.
pub(crate) fn at_dispatch<R>(f: impl FnOnce() -> R) -> R {
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    let result = f();
    KeLowerIrql(before);
    result
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
extern "win64" fn KeGetCurrentIrql() -> KIRQL {
    // SAFETY: the slot was allocated, and holds nothing but IRQLs.
    unsafe { TlsGetValue(SLOT.load(Ordering::Acquire)) as KIRQL }
}

/// # IRQL
/// Not above the new one
#[unsafe(no_mangle)]
extern "win64" fn KfRaiseIrql(irql: KIRQL) -> KIRQL {
    let before = KeGetCurrentIrql();
    set(irql);
    before
}

/// # IRQL
/// Not below the new one
#[unsafe(no_mangle)]
extern "win64" fn KeLowerIrql(irql: KIRQL) {
    set(irql);
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeAcquireSpinLockRaiseToDpc(lock: *mut KSPIN_LOCK) -> KIRQL {
    let before = KfRaiseIrql(DISPATCH_LEVEL);
    // SAFETY: the caller's lock.
    unsafe { KeAcquireSpinLockAtDpcLevel(lock) };
    before
}

/// # IRQL
/// DISPATCH_LEVEL
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeReleaseSpinLock(lock: *mut KSPIN_LOCK, irql: KIRQL) {
    // SAFETY: the caller's lock, which it holds.
    unsafe { KeReleaseSpinLockFromDpcLevel(lock) };
    KeLowerIrql(irql);
}
