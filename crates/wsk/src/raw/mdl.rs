//! Bytes for the network: nonpaged memory with the MDL that describes it.
//!
//! See [`MmBuildMdlForNonPagedPool`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmbuildmdlfornonpagedpool).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};

use allocator_api2::boxed::Box;
use wdk_sys::MDL;
use wdk_sys::ntddk::{IoAllocateMdl, IoFreeMdl, MmBuildMdlForNonPagedPool};
use wsk_sys::WSK_BUF;

use crate::sync::{OutOfMemory, Pool, tag};

type BufferPool = Pool<{ tag(b"WskB") }>;
type Bytes = Box<[MaybeUninit<u8>], BufferPool>;

/// A buffer for sending and receiving. Its memory is not zeroed: only what was received, or written, can be read.
///
/// # Invariants
/// `mdl` describes all of `bytes`, which does not move. The first `filled` bytes are initialised.
pub struct Buffer {
    mdl: NonNull<MDL>,
    bytes: Bytes,
    filled: usize,
}

// SAFETY: memory and MDL are owned and have no thread.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Allocates a buffer of `capacity` bytes, at least 1.
    ///
    /// # Errors
    /// [`OutOfMemory`], also for more than 4 GiB - 1.
    pub fn new(capacity: usize) -> Result<Self, OutOfMemory> {
        let length = u32::try_from(capacity.max(1)).map_err(|_| OutOfMemory)?;
        let mut bytes = Box::<[u8], BufferPool>::try_new_uninit_slice_in(length as usize, Pool)?;
        // SAFETY: describes memory that we own; there is no IRP to associate it with.
        let mdl = unsafe { IoAllocateMdl(bytes.as_mut_ptr().cast(), length, 0, 0, null_mut()) };
        let mdl = NonNull::new(mdl).ok_or(OutOfMemory)?;
        // SAFETY: the memory is nonpaged pool.
        unsafe { MmBuildMdlForNonPagedPool(mdl.as_ptr()) };
        // INVARIANT: built for exactly these bytes, of which none is filled.
        Ok(Self { mdl, bytes, filled: 0 })
    }

    /// How many bytes it can take.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes that were received or written.
    pub fn filled(&self) -> &[u8] {
        // SAFETY: `filled` bytes are initialised by the invariant.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.filled) }
    }

    /// Replaces the content with as much of `data` as fits, and says how much that was.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let taken = data.len().min(self.capacity());
        for (place, byte) in self.bytes.iter_mut().zip(data) {
            place.write(*byte);
        }
        // INVARIANT: just written.
        self.filled = taken;
        taken
    }

    /// Adds as much of `data` as fits to the content, and says how much that was.
    pub fn append(&mut self, data: &[u8]) -> usize {
        let before = self.filled;
        // A slice, so that this becomes one copy of memory.
        let places = self.bytes.get_mut(before..).unwrap_or_default();
        let taken = data.len().min(places.len());
        for (place, byte) in places.iter_mut().zip(data) {
            place.write(*byte);
        }
        // INVARIANT: just written, behind what was filled.
        self.filled = before + taken;
        taken
    }

    /// Makes the MDL one of a chain that describes what is filled, for the time of an operation.
    pub(super) fn link(&mut self, next: *mut MDL) {
        // SAFETY: the MDL is ours, and no operation uses it.
        let mdl = unsafe { self.mdl.as_mut() };
        (mdl.Next, mdl.ByteCount) = (next, self.filled as u32);
    }

    /// Undoes [`link`](Self::link).
    pub(super) fn unlink(&mut self) {
        let capacity = self.bytes.len() as u32;
        // SAFETY: the MDL is ours, and no operation uses it any more.
        let mdl = unsafe { self.mdl.as_mut() };
        (mdl.Next, mdl.ByteCount) = (null_mut(), capacity);
    }

    /// The first MDL of a chain that begins with this buffer's, for so many bytes from `offset` on.
    pub(super) fn described(&self, offset: usize, length: usize) -> WSK_BUF {
        WSK_BUF { Mdl: self.mdl.as_ptr(), Offset: offset as u32, Length: length as _ }
    }

    /// The whole of it, for a receive.
    pub(crate) fn room(&self) -> WSK_BUF {
        WSK_BUF { Mdl: self.mdl.as_ptr(), Offset: 0, Length: self.bytes.len() as _ }
    }

    /// What is filled, for a send.
    pub(crate) fn content(&self) -> WSK_BUF {
        WSK_BUF { Mdl: self.mdl.as_ptr(), Offset: 0, Length: self.filled as _ }
    }

    /// Says how much a receive has written.
    ///
    /// # Safety
    /// That many bytes, from the first on, have been written.
    pub(crate) unsafe fn received(&mut self, length: usize) {
        // INVARIANT: as the caller promises; more than there is cannot have been written.
        self.filled = length.min(self.capacity());
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {})", self.filled, self.capacity())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; nobody uses it, for an operation in flight owns its buffers.
        unsafe { IoFreeMdl(self.mdl.as_ptr()) };
    }
}
