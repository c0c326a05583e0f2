//! Memory of the shim's own, that can fail to be had: a value, or bytes.

#![allow(unsafe_code)] // Wine's pool.

use core::ffi::c_void;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use nt_abi::kernel::ExFreePoolWithTag;

use crate::wine::ExAllocatePoolWithTag;

const TAG: u32 = u32::from_le_bytes(*b"Shim");

/// A value in a block.
///
/// # Invariants
/// The block is ours and holds a value.
pub(crate) struct Block<T>(NonNull<T>);

// SAFETY: as of a box.
unsafe impl<T: Send> Send for Block<T> {}

impl<T> Block<T> {
    /// Puts a value into a block.
    pub fn new(value: T) -> Option<Block<T>> {
        let block = allocate(size_of::<T>())?.cast::<T>();
        // SAFETY: new, large enough, and aligned as pool blocks are.
        unsafe { block.write(value) };
        Some(Block(block))
    }

    /// Lets it go, to be had back by [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> *mut T {
        let raw = self.0.as_ptr();
        mem::forget(self);
        raw
    }

    /// # Safety
    /// It was let go by [`into_raw`](Self::into_raw), and is had back once.
    pub unsafe fn from_raw(raw: *mut T) -> Block<T> {
        // SAFETY: the caller's promise.
        Block(unsafe { NonNull::new_unchecked(raw) })
    }

    pub fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl Block<u8> {
    /// That many zeros; at least one.
    pub fn bytes(length: usize) -> Option<Block<u8>> {
        let block = allocate(length.max(1))?;
        // SAFETY: new, and that large.
        unsafe { block.write_bytes(0, length) };
        Some(Block(block))
    }
}

fn allocate(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: no requirements.
    NonNull::new(unsafe { ExAllocatePoolWithTag(0, bytes, TAG) }.cast())
}

impl<T> Deref for Block<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: by the invariant.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Block<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by the invariant.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: by the invariant.
        unsafe { self.0.drop_in_place() };
        // SAFETY: as above; nobody has it any more.
        unsafe { ExFreePoolWithTag(self.0.as_ptr().cast::<c_void>(), TAG) };
    }
}
