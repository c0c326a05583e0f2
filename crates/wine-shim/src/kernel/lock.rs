//! A spin lock that guards a value, for use at any IRQL of this process's.

#![allow(unsafe_code)] // Hands out what the lock guards.

use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::wine::NtYieldExecution;

/// How often to look before the processor is given to others: the holder may wait for it.
const LOOKS: u32 = 64;

/// A value behind a lock. Whoever has it calls nothing that could want it too.
pub(crate) struct Locked<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard alone, and the lock admits one at a time.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub const fn new(value: T) -> Locked<T> {
        Locked { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    pub fn lock(&self) -> Guard<'_, T> {
        let mut looks = 0;
        while self.held.swap(true, Ordering::Acquire) {
            looks += 1;
            if looks % LOOKS == 0 {
                // SAFETY: no requirements.
                let _ = unsafe { NtYieldExecution() };
            }
            spin_loop();
        }
        Guard(self)
    }
}

/// Proof that the lock is held.
pub(crate) struct Guard<'a, T>(&'a Locked<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}
