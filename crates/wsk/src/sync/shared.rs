//! A counted pointer into nonpaged pool: `Arc`, but making one can fail, and what it points to has a pool tag.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::alloc::Layout;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use allocator_api2::alloc::Allocator;

use super::{OutOfMemory, Pool};

/// The pool tag of a type, which its allocations carry.
pub trait Tagged {
    /// An allocator of that tag.
    type Pool: Allocator + Default;
}

struct Counted<T> {
    references: AtomicUsize,
    value: T,
}

/// A counted pointer.
///
/// # Invariants
/// It points to a live `Counted<T>` in `T::Pool`, and owns one of its references.
pub struct Shared<T: Tagged>(NonNull<Counted<T>>);

// SAFETY: as for `Arc`: the value is shared by reference and dropped by whoever is last.
unsafe impl<T: Tagged + Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Tagged + Send + Sync> Sync for Shared<T> {}

impl<T: Tagged> Shared<T> {
    /// Moves `value` into the pool.
    ///
    /// # Errors
    /// [`OutOfMemory`]; the value is dropped.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn try_new(value: T) -> Result<Self, OutOfMemory> {
        let place = T::Pool::default().allocate(Layout::new::<Counted<T>>())?.cast::<Counted<T>>();
        // SAFETY: the allocation fits the type and belongs to nobody yet.
        unsafe { place.write(Counted { references: AtomicUsize::new(1), value }) };
        // INVARIANT: just written, with one reference.
        Ok(Self(place))
    }

    /// Gives the reference away as a plain pointer, for a callback's context.
    ///
    /// # IRQL
    /// Any.
    pub fn into_raw(self) -> *const T {
        let raw = self.as_ptr();
        core::mem::forget(self);
        raw
    }

    /// The value's address, while something else keeps it.
    ///
    /// # IRQL
    /// Any.
    pub fn as_ptr(&self) -> *const T {
        // SAFETY: the pointee is live by the invariant.
        unsafe { &raw const (*self.0.as_ptr()).value }
    }

    /// Takes a reference back that [`into_raw`](Self::into_raw) gave away.
    ///
    /// # Safety
    /// `raw` came from `into_raw`, and each of its calls is taken back once.
    ///
    /// # IRQL
    /// Any.
    pub unsafe fn from_raw(raw: *const T) -> Self {
        let offset = core::mem::offset_of!(Counted<T>, value);
        // SAFETY: `raw` points to the value inside a `Counted<T>`, which starts `offset` bytes before it.
        let counted = unsafe { raw.byte_sub(offset) }.cast_mut().cast();
        // SAFETY: that pointer is not null.
        // INVARIANT: the reference is the one that was given away.
        Self(unsafe { NonNull::new_unchecked(counted) })
    }

    /// Another reference to what `raw` points to.
    ///
    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw) or [`as_ptr`](Self::as_ptr), and a reference is held by somebody for the
    /// time of this call.
    ///
    /// # IRQL
    /// Any.
    pub unsafe fn clone_raw(raw: *const T) -> Self {
        // SAFETY: the same requirement; the reference that is not ours is forgotten, not dropped.
        let theirs = core::mem::ManuallyDrop::new(unsafe { Self::from_raw(raw) });
        Self::clone(&theirs)
    }

    /// The value for its sole owner; `None` while there are others.
    ///
    /// # IRQL
    /// Any.
    pub fn unique(&mut self) -> Option<&mut T> {
        if self.counted().references.load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: live by the invariant, and nobody else can come by a reference while `self` is borrowed.
        Some(&mut unsafe { self.0.as_mut() }.value)
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: live by the invariant.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Tagged> Clone for Shared<T> {
    fn clone(&self) -> Self {
        self.counted().references.fetch_add(1, Ordering::Relaxed);
        // INVARIANT: the reference just counted is the new pointer's.
        Self(self.0)
    }
}

impl<T: Tagged> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T: Tagged> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.counted().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: the last reference is gone, so nobody else reaches the value.
        unsafe { self.0.drop_in_place() };
        // SAFETY: allocated in `try_new` from the same pool with the same layout.
        unsafe { T::Pool::default().deallocate(self.0.cast(), Layout::new::<Counted<T>>()) };
    }
}

/// Shorthand for implementing [`Tagged`].
macro_rules! tagged {
    ($type:ty, $letters:literal) => {
        impl $crate::sync::Tagged for $type {
            type Pool = $crate::sync::Pool<{ $crate::sync::tag($letters) }>;
        }
    };
}
pub(crate) use tagged;

const _: () = assert!(size_of::<Pool<0>>() == 0);
