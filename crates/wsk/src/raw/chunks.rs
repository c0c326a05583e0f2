//! The bytes that a WSK_BUF of the provider's describes, read where they are.
//!
//! See [`MmGetSystemAddressForMdlSafe`](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-mdls), which is an inline
//! of `wdm.h` and so written here: an MDL is mapped, or of nonpaged pool, or it is mapped now, or refused.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::marker::PhantomData;
use core::ptr::null_mut;

use wdk_sys::_MM_PAGE_PRIORITY::NormalPagePriority;
use wdk_sys::_MODE::KernelMode;
use wdk_sys::ntddk::MmMapLockedPagesSpecifyCache;
use wdk_sys::{MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARTIAL, MDL_SOURCE_IS_NONPAGED_POOL};
use wsk_sys::WSK_BUF;

use crate::sync::OutOfMemory;

const MDL_MAPPING_NO_EXECUTE: u32 = 0x4000_0000;
/// MEMORY_CACHING_TYPE; a number, for not every WDK has the type.
const MM_CACHED: u32 = 1;

/// The pieces of memory that a WSK_BUF describes, in order. None is empty.
///
/// # Invariants
/// `mdl` is null or an MDL that is live for `'a`, and so are those that follow it as far as `left` bytes reach.
#[derive(Clone)]
pub struct Chunks<'a> {
    mdl: *const MDL,
    offset: usize,
    left: usize,
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: the memory is only read.
unsafe impl Send for Chunks<'_> {}
// SAFETY: as above.
unsafe impl Sync for Chunks<'_> {}

impl Chunks<'_> {
    /// # Safety
    /// The chain and its memory stay for the lifetime, which the caller chooses, and nobody writes there; [`map`] has succeeded.
    pub(super) unsafe fn new(buffer: &WSK_BUF) -> Self {
        // INVARIANT: as the caller promises.
        Self { mdl: buffer.Mdl, offset: buffer.Offset as usize, left: buffer.Length as usize, memory: PhantomData }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.left > 0 {
            // SAFETY: null, or live by the invariant.
            let mdl = unsafe { self.mdl.as_ref() }?;
            let offset = core::mem::take(&mut self.offset);
            let length = (mdl.ByteCount as usize).saturating_sub(offset).min(self.left);
            self.mdl = mdl.Next;
            self.left -= length;
            if length > 0 {
                let start = system_address(mdl)?.wrapping_add(offset);
                // SAFETY: the MDL describes that memory, which stays and is not written, by the invariant.
                return Some(unsafe { core::slice::from_raw_parts(start, length) });
            }
        }
        None
    }
}

/// Where an MDL's memory is, if it is mapped.
fn system_address(mdl: &MDL) -> Option<*const u8> {
    let mapped = u32::from(mdl.MdlFlags.cast_unsigned()) & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0;
    (mapped && !mdl.MappedSystemVa.is_null()).then_some(mdl.MappedSystemVa.cast_const().cast())
}

/// Sees to it that all that a WSK_BUF describes can be read, and says how many bytes that is.
///
/// # Errors
/// [`OutOfMemory`], if something could not be mapped.
///
/// # Safety
/// The chain is live, and nobody else maps it meanwhile.
pub(super) unsafe fn map(buffer: &WSK_BUF) -> Result<usize, OutOfMemory> {
    let (mut at, mut offset, mut left) = (buffer.Mdl, buffer.Offset as usize, buffer.Length as usize);
    while left > 0 {
        // SAFETY: null, or live as the caller promises.
        let Some(mdl) = (unsafe { at.as_ref() }) else { break };
        let length = (mdl.ByteCount as usize).saturating_sub(offset).min(left);
        // The mapping writes to the MDL: the reference is not used after it.
        let (next, unmapped) = (mdl.Next, length > 0 && system_address(mdl).is_none());
        if unmapped {
            // SAFETY: as the caller promises.
            unsafe { map_one(at) }?;
        }
        (at, offset, left) = (next, 0, left - length);
    }
    Ok(buffer.Length as usize - left)
}

/// # Safety
/// The MDL is live, not mapped, and nobody else maps it meanwhile.
unsafe fn map_one(mdl: *mut MDL) -> Result<(), OutOfMemory> {
    // SAFETY: live, as the caller promises.
    let flags = unsafe { (*mdl).MdlFlags };
    if u32::from(flags.cast_unsigned()) & (MDL_PAGES_LOCKED | MDL_PARTIAL) == 0 {
        return Err(OutOfMemory);
    }
    let priority = NormalPagePriority as u32 | MDL_MAPPING_NO_EXECUTE;
    // SAFETY: locked pages, as the flags say; its owner takes the mapping away when it unlocks or reuses the MDL.
    let address = unsafe { MmMapLockedPagesSpecifyCache(mdl, KernelMode as _, MM_CACHED as _, null_mut(), 0, priority) };
    if address.is_null() { Err(OutOfMemory) } else { Ok(()) }
}
