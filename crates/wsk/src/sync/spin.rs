//! A value behind a spin lock.
//!
//! Wraps [`KeAcquireSpinLockRaiseToDpc`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquirespinlockraisetodpc).
//! The code under the lock runs at DISPATCH_LEVEL: it does not wait, wakes nobody and completes nothing.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use wdk_sys::ntddk::{
    KeAcquireSpinLockAtDpcLevel, KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock, KeReleaseSpinLockFromDpcLevel,
};
use wdk_sys::{KIRQL, KSPIN_LOCK};

use super::AtDispatch;

/// A value that is reached with the lock held only.
pub struct SpinLock<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value to one holder at a time.
unsafe impl<T: Send> Send for SpinLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// Unlocked. (KeInitializeSpinLock stores a zero.)
    ///
    /// # IRQL
    /// Any.
    pub const fn new(value: T) -> Self {
        Self { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// Locks, and raises to DISPATCH_LEVEL until the guard is dropped. Not recursive.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        // SAFETY: the lock is initialised and lives as long as `self`.
        let irql = unsafe { KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        SpinGuard { lock: self, irql: Some(irql), not_send: core::marker::PhantomData }
    }

    /// Locks, and leaves the IRQL alone if it is known to be DISPATCH_LEVEL. Not recursive.
    ///
    /// See [`KeAcquireSpinLockAtDpcLevel`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquirespinlockatdpclevel).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn lock_at(&self, level: Option<AtDispatch>) -> SpinGuard<'_, T> {
        if level.is_none() {
            return self.lock();
        }
        // SAFETY: the lock is initialised and lives as long as `self`; the token says that the IRQL is DISPATCH_LEVEL.
        unsafe { KeAcquireSpinLockAtDpcLevel(self.lock.get()) };
        SpinGuard { lock: self, irql: None, not_send: core::marker::PhantomData }
    }

    /// Calls `use_it` with the value, at DISPATCH_LEVEL. The lock is not recursive.
    ///
    /// Value and closure are `Send`, so that neither brings a [`Passive`](super::Passive) under the lock.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`; `use_it` runs at `DISPATCH_LEVEL`.
    pub fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R + Send) -> R
    where
        T: Send,
    {
        use_it(&mut self.lock())
    }

    /// The value for its sole owner.
    ///
    /// # IRQL
    /// Any.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// Proof that the lock is held by this thread.
///
/// # Invariants
/// The lock was acquired by the thread that drops the guard: at `irql`, or without raising that.
pub(crate) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    irql: Option<KIRQL>,
    not_send: core::marker::PhantomData<*const ()>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard stands for the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard stands for the lock.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        match self.irql {
            // SAFETY: acquired by this thread at this IRQL, by the invariant.
            Some(irql) => unsafe { KeReleaseSpinLock(self.lock.lock.get(), irql) },
            // SAFETY: acquired by this thread at DISPATCH_LEVEL, by the invariant.
            None => unsafe { KeReleaseSpinLockFromDpcLevel(self.lock.lock.get()) },
        }
    }
}
