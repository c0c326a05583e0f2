//! Nonpaged pool as an allocator of `allocator-api2`, one type per pool tag.
//!
//! Wraps [`ExAllocatePool2`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepool2). Unlike
//! the global `WdkAllocator` it carries the driver's own tags and honours every alignment.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::alloc::Layout;
use core::ptr::{NonNull, slice_from_raw_parts_mut, without_provenance_mut};

use allocator_api2::alloc::{AllocError, Allocator};
use wdk_sys::POOL_FLAG_NON_PAGED;
use wdk_sys::ntddk::{ExAllocatePool2, ExFreePoolWithTag};

use super::pool_use;

/// Do not zero: whoever allocates writes first.
const POOL_FLAG_UNINITIALIZED: u64 = 2;

/// What the pool aligns every allocation to on 64-bit systems (MEMORY_ALLOCATION_ALIGNMENT).
const POOL_ALIGNMENT: usize = 16;

/// Turns four letters into a pool tag that debuggers show in this order.
pub const fn tag(letters: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*letters)
}

/// Nonpaged pool under one tag.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool<const TAG: u32>;

impl<const TAG: u32> Pool<TAG> {
    fn take(size: usize) -> Result<NonNull<u8>, AllocError> {
        let flags = POOL_FLAG_NON_PAGED | POOL_FLAG_UNINITIALIZED;
        // SAFETY: the function has no requirements beyond the IRQL, and a size of 0 was ruled out by the caller.
        let memory = unsafe { ExAllocatePool2(flags as _, size as _, TAG) };
        let memory = NonNull::new(memory.cast()).ok_or(AllocError)?;
        pool_use::taken(TAG, size);
        Ok(memory)
    }

    /// # Safety
    /// `memory` came from [`take`](Self::take) of that size, and is not used any more.
    unsafe fn give(memory: NonNull<u8>, size: usize) {
        pool_use::given(TAG, size);
        // SAFETY: as the caller promises; the tag is the one it was allocated under.
        unsafe { ExFreePoolWithTag(memory.as_ptr().cast(), TAG) };
    }
}

// SAFETY: memory stays where it is until it is freed, is as large and aligned as asked, and every value of the type is the
// same allocator.
unsafe impl<const TAG: u32> Allocator for Pool<TAG> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let start = match (layout.size(), layout.align()) {
            (0, align) => NonNull::new(without_provenance_mut(align)).ok_or(AllocError)?,
            (size, align) if align <= POOL_ALIGNMENT => Self::take(size)?,
            (size, align) => over_aligned(Self::take(size.checked_add(align).ok_or(AllocError)?)?, align),
        };
        let slice = slice_from_raw_parts_mut(start.as_ptr(), layout.size());
        NonNull::new(slice).ok_or(AllocError)
    }

    unsafe fn deallocate(&self, start: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        let (memory, size) = if layout.align() <= POOL_ALIGNMENT {
            (start, layout.size())
        } else {
            // SAFETY: `over_aligned` stored the address of the whole just before what it gave out.
            (unsafe { start.cast::<NonNull<u8>>().sub(1).read() }, layout.size() + layout.align())
        };
        // SAFETY: `memory` is what `take` gave for this allocation, as the caller promises.
        unsafe { Self::give(memory, size) };
    }
}

/// The first place in `whole` that is aligned and leaves room before it for the address of `whole`.
fn over_aligned(whole: NonNull<u8>, align: usize) -> NonNull<u8> {
    let skip = align - whole.addr().get() % align;
    // SAFETY: `skip` is at most `align`, by which the allocation is larger than what was asked.
    let start = unsafe { whole.add(skip) };
    // SAFETY: `whole` is aligned to 16, `align` is a larger power of two, so `skip` is at least 16.
    unsafe { start.cast::<NonNull<u8>>().sub(1).write(whole) };
    start
}
