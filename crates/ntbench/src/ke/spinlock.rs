//! Spin locks: the driver's word holds the owner's thread number, so that misuse is seen where it happens.
//!
//! A host thread can lose its CPU while it holds one, so those who wait spin a little and then sleep.
#![allow(unsafe_code)] // Exports with the kernel's ABI over the driver's words.

use std::sync::atomic::{AtomicU32, Ordering};

use nt_abi::{DISPATCH_LEVEL, KIRQL, KSPIN_LOCK, export_table};

use crate::ke::{irql, lockorder};
use crate::thread::{self, LOCAL};
use crate::{futex, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    KeInitializeSpinLock, KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock, KeAcquireSpinLockAtDpcLevel,
    KeReleaseSpinLockFromDpcLevel, KeTryToAcquireSpinLockAtDpcLevel, KeTestSpinLock,
]);

const AWAITED: u32 = 1 << 31;
const SPINS: u32 = 200;

/// The low half of a spin lock.
///
/// # Safety
/// `lock` is valid for as long as the result is used.
unsafe fn word<'a>(lock: *mut KSPIN_LOCK) -> &'a AtomicU32 {
    // SAFETY: the caller vouches for the pointer; the word is only used atomically.
    unsafe { AtomicU32::from_ptr(lock.cast()) }
}

/// Acquires a lock at DISPATCH_LEVEL.
///
/// # Safety
/// `lock` is an initialized spin lock.
#[inline]
pub(crate) unsafe fn acquire(lock: *mut KSPIN_LOCK) {
    let me = thread::slot().id;
    // SAFETY: the caller vouches for the lock.
    let word = unsafe { word(lock) };
    if word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
        acquire_contended(lock, word, me);
    }
    note_held(lock);
}

#[cold]
fn acquire_contended(lock: *mut KSPIN_LOCK, word: &AtomicU32, me: u32) {
    if word.load(Ordering::Relaxed) & !AWAITED == me {
        let text = format!("spin lock {lock:p} is acquired by the thread that holds it: it would wait for ever");
        verifier::fatal("spinlock-recursion", text);
    }
    for _ in 0..SPINS {
        if word.load(Ordering::Relaxed) == 0 && word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return;
        }
        std::hint::spin_loop();
    }
    loop {
        let seen = word.load(Ordering::Relaxed);
        if seen == 0 {
            // Others may sleep still: the mark stays.
            if word.compare_exchange(0, me | AWAITED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return;
            }
        } else if seen & AWAITED != 0 || word.compare_exchange(seen, seen | AWAITED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            futex::wait(word, seen | AWAITED, None);
        }
    }
}

/// Releases a lock.
///
/// # Safety
/// `lock` is an initialized spin lock.
#[inline]
pub(crate) unsafe fn release(lock: *mut KSPIN_LOCK) {
    let me = thread::slot().id;
    // SAFETY: the caller vouches for the lock.
    let word = unsafe { word(lock) };
    let owner = word.load(Ordering::Relaxed);
    if owner & !AWAITED != me {
        not_owner(lock, owner);
        return;
    }
    forget_held(lock);
    if word.swap(0, Ordering::Release) & AWAITED != 0 {
        futex::wake(word, 1);
    }
}

#[cold]
fn not_owner(lock: *mut KSPIN_LOCK, owner: u32) {
    let held = match owner & !AWAITED {
        0 => "nobody holds it".to_owned(),
        other => format!("thread {other} holds it"),
    };
    verifier::violation("spinlock-owner", format!("spin lock {lock:p} is released, but {held}"));
}

fn note_held(lock: *mut KSPIN_LOCK) {
    LOCAL.with(|local| {
        let count = local.locks.get();
        if count > 0 {
            lockorder::taken(local.held.get(count as usize - 1).map_or(0, std::cell::Cell::get), lock as usize);
        }
        if let Some(cell) = local.held.get(count as usize) {
            cell.set(lock as usize);
        }
        local.locks.set(count + 1);
    });
}

fn forget_held(lock: *mut KSPIN_LOCK) {
    LOCAL.with(|local| {
        let count = local.locks.get().saturating_sub(1);
        let last = local.held.get(count as usize).map(std::cell::Cell::get);
        // Released out of order: the last takes the place of this one.
        let this = local.held[..local.held.len().min(count as usize)].iter().find(|cell| cell.get() == lock as usize);
        if let (Some(last), Some(this)) = (last, this) {
            this.set(last);
        }
        local.locks.set(count);
    });
}

/// # IRQL
/// Any
///
/// # Safety
/// `lock` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeSpinLock(lock: *mut KSPIN_LOCK) {
    lockorder::forget(lock as usize);
    // SAFETY: the caller passed memory for a lock.
    unsafe { lock.write(0) };
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `lock` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAcquireSpinLockRaiseToDpc(lock: *mut KSPIN_LOCK) -> KIRQL {
    irql::at_most("KeAcquireSpinLockRaiseToDpc", DISPATCH_LEVEL);
    let old = irql::raise(DISPATCH_LEVEL);
    // SAFETY: passed on.
    unsafe { acquire(lock) };
    old
}

/// # IRQL
/// DISPATCH_LEVEL
///
/// # Safety
/// `lock` is initialized and held.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReleaseSpinLock(lock: *mut KSPIN_LOCK, irql: KIRQL) {
    irql::at_least("KeReleaseSpinLock", DISPATCH_LEVEL);
    // SAFETY: passed on.
    unsafe { release(lock) };
    if irql > irql::current() {
        verifier::violation("irql", format!("KeReleaseSpinLock would raise the IRQL to {irql}"));
        return;
    }
    irql::lower(irql);
}

/// # IRQL
/// >= DISPATCH_LEVEL
///
/// # Safety
/// `lock` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) {
    irql::at_least("KeAcquireSpinLockAtDpcLevel", DISPATCH_LEVEL);
    // SAFETY: passed on.
    unsafe { acquire(lock) };
}

/// # IRQL
/// >= DISPATCH_LEVEL
///
/// # Safety
/// `lock` is initialized and held.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReleaseSpinLockFromDpcLevel(lock: *mut KSPIN_LOCK) {
    irql::at_least("KeReleaseSpinLockFromDpcLevel", DISPATCH_LEVEL);
    // SAFETY: passed on.
    unsafe { release(lock) };
}

/// # IRQL
/// >= DISPATCH_LEVEL
///
/// # Safety
/// `lock` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeTryToAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) -> u8 {
    irql::at_least("KeTryToAcquireSpinLockAtDpcLevel", DISPATCH_LEVEL);
    let me = thread::slot().id;
    // SAFETY: the caller vouches for the lock.
    let taken = unsafe { word(lock) }.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok();
    if taken {
        note_held(lock);
    }
    u8::from(taken)
}

/// # IRQL
/// >= DISPATCH_LEVEL
///
/// # Safety
/// `lock` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeTestSpinLock(lock: *mut KSPIN_LOCK) -> u8 {
    // SAFETY: the caller vouches for the lock.
    u8::from(unsafe { word(lock) }.load(Ordering::Relaxed) == 0)
}
