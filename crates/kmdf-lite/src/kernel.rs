//! The NT kernel below the framework: a spin lock that guards a value, pool blocks, counted strings.

#![allow(unsafe_code)] // Calls the kernel's functions and hands out what a lock guards.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

use nt_abi::kernel::{ExAllocatePool2, ExFreePoolWithTag, KeAcquireSpinLockRaiseToDpc, KeGetCurrentIrql, KeReleaseSpinLock};
use nt_abi::{KIRQL, KSPIN_LOCK, UNICODE_STRING};

/// The tag of the framework's pool blocks, as in the framework itself: `FxDr`.
pub(crate) const TAG: u32 = u32::from_le_bytes(*b"FxDr");
const POOL_FLAG_NON_PAGED: u64 = 0x40;

/// A value behind a spin lock.
pub(crate) struct Locked<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and the spin lock admits one guard at a time.
unsafe impl<T> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub const fn new(value: T) -> Locked<T> {
        Locked { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// # IRQL
    /// <= DISPATCH_LEVEL; DISPATCH_LEVEL until the guard goes.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: the lock word is touched by the spin lock functions alone, and outlives the guard.
        let irql = unsafe { KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        Guard { locked: self, irql }
    }
}

/// Proof that the lock is held.
pub(crate) struct Guard<'a, T> {
    locked: &'a Locked<T>,
    irql: KIRQL,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.locked.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.locked.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: `lock` acquired it and returned this IRQL.
        unsafe { KeReleaseSpinLock(self.locked.lock.get(), self.irql) }
    }
}

/// A block of zeroed nonpaged pool.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn allocate_bytes(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: a nonpaged allocation is allowed at every IRQL up to DISPATCH_LEVEL.
    NonNull::new(unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, bytes, TAG) }.cast())
}

/// Gives a block back.
///
/// # Safety
/// The block comes from [`allocate_bytes`] and nobody reaches it any more.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe fn free_bytes(block: NonNull<u8>) {
    // SAFETY: the caller's promise.
    unsafe { ExFreePoolWithTag(block.as_ptr().cast(), TAG) }
}

/// # IRQL
/// Any
pub(crate) fn irql() -> KIRQL {
    // SAFETY: no precondition.
    unsafe { KeGetCurrentIrql() }
}

/// A string of its own in nonpaged pool, zero-terminated.
///
/// # Invariants
/// The buffer holds `Length / 2 + 1` code units, the last of them zero, and belongs to this value.
pub(crate) struct Text {
    string: UNICODE_STRING,
}

impl Text {
    /// Copies the parts, one behind the other. None if there is no memory or the result is too long.
    pub fn join(parts: &[&[u16]]) -> Option<Text> {
        let units: usize = parts.iter().map(|part| part.len()).sum();
        let length = u16::try_from(units * 2).ok().filter(|length| *length < u16::MAX - 2)?;
        let buffer = allocate_bytes(units * 2 + 2)?.cast::<u16>();
        let mut at = buffer.as_ptr();
        for part in parts {
            // SAFETY: the block has room for all parts and the terminator, which the zeroed pool provides.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), at, part.len()) };
            // SAFETY: as above.
            at = unsafe { at.add(part.len()) };
        }
        // INVARIANT: zeroed, and one unit longer than the text.
        Some(Text { string: UNICODE_STRING { Length: length, MaximumLength: length + 2, Buffer: buffer.as_ptr() } })
    }

    /// The text, as a counted string that stays with this value.
    pub fn string(&self) -> *mut UNICODE_STRING {
        (&raw const self.string).cast_mut()
    }

    pub fn units(&self) -> &[u16] {
        // SAFETY: by the type's invariant.
        unsafe { units(&self.string) }
    }

    pub fn as_ptr(&self) -> *const u16 {
        self.string.Buffer
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if let Some(buffer) = NonNull::new(self.string.Buffer) {
            // SAFETY: by the type's invariant.
            unsafe { free_bytes(buffer.cast()) };
        }
    }
}

/// The code units of a counted string.
///
/// # Safety
/// The string is valid for as long as the result is used.
pub(crate) unsafe fn units<'a>(string: &UNICODE_STRING) -> &'a [u16] {
    if string.Buffer.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(string.Buffer, usize::from(string.Length) / 2) }
}
