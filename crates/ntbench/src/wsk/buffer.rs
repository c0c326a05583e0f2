//! [`Buffers`]: the memory that a WSK_BUF describes, as slices for the transport.

#![allow(unsafe_code)] // It turns MDLs, which drivers give by pointer, into slices.

use std::io::{IoSlice, IoSliceMut};

use nt_abi::wsk::WSK_BUF;
use nt_abi::{MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARTIAL, MDL_SOURCE_IS_NONPAGED_POOL, NtStatus};

/// Pieces handed to the transport at a time; a longer chain takes more than one turn.
pub(super) const PIECES: usize = 16;

/// What is left of a WSK_BUF.
///
/// # Invariants
/// The chain describes at least `left` bytes after `offset`; its owner keeps it until the request is completed.
#[derive(Clone, Copy)]
pub(super) struct Buffers {
    mdl: *mut MDL,
    offset: usize,
    left: usize,
}

// SAFETY: the memory belongs to the request, which belongs to one thread at a time.
unsafe impl Send for Buffers {}

impl Buffers {
    /// No bytes.
    pub(super) const NONE: Buffers = Buffers { mdl: std::ptr::null_mut(), offset: 0, left: 0 };

    /// Reads and checks a WSK_BUF.
    ///
    /// # Safety
    /// `buf` is null or points to a WSK_BUF whose chain is valid.
    pub(super) unsafe fn of(buf: *const WSK_BUF, function: &str) -> Result<Self, NtStatus> {
        if buf.is_null() {
            return Ok(Self::NONE);
        }
        // SAFETY: as the caller promises.
        let buf = unsafe { *buf };
        if buf.Length == 0 {
            return Ok(Self::NONE);
        }
        let complain = |what: &str| {
            crate::verifier::violation("WSK-BUF", format!("{function}: {what}"));
            NtStatus::INVALID_PARAMETER
        };
        let mut described = 0;
        let mut at = buf.Mdl;
        while !at.is_null() && described < buf.Length + buf.Offset as usize {
            // SAFETY: as the caller promises; the chain ends with null.
            let mdl = unsafe { &*at };
            if mdl.MdlFlags & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL) == 0 {
                return Err(complain("an MDL is neither locked nor of nonpaged memory"));
            }
            if described == 0 && buf.Offset >= mdl.ByteCount {
                return Err(complain("the offset lies outside of the first MDL"));
            }
            described += mdl.ByteCount as usize;
            at = mdl.Next;
        }
        if described < buf.Length + buf.Offset as usize {
            return Err(complain("the MDLs describe fewer bytes than the WSK_BUF says"));
        }
        // INVARIANT: just counted.
        Ok(Self { mdl: buf.Mdl, offset: buf.Offset as usize, left: buf.Length })
    }

    /// Bytes left.
    pub(super) fn len(&self) -> usize {
        self.left
    }

    /// Goes on by `count` bytes.
    pub(super) fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.left);
        self.left -= count;
        while count > 0 {
            // SAFETY: by the invariant there are `count` bytes more in the chain.
            let mdl = unsafe { &*self.mdl };
            let here = (mdl.ByteCount as usize - self.offset).min(count);
            count -= here;
            self.offset += here;
            if self.offset == mdl.ByteCount as usize && (count > 0 || self.left > 0) {
                (self.mdl, self.offset) = (mdl.Next, 0);
            }
        }
    }

    /// The next pieces, at most `limit` bytes; how many there are, and of how many bytes.
    fn pieces(&self, limit: usize, mut each: impl FnMut(usize, *mut u8, usize)) -> (usize, usize) {
        let (mut at, mut offset) = (self.mdl, self.offset);
        let wanted = self.left.min(limit);
        let (mut count, mut total) = (0, 0);
        while total < wanted && count < PIECES {
            // SAFETY: by the invariant the chain reaches as far as `left`.
            let mdl = unsafe { &*at };
            let here = (mdl.ByteCount as usize - offset).min(wanted - total);
            if here > 0 {
                each(count, address(mdl).wrapping_add(offset), here);
                count += 1;
                total += here;
            }
            (at, offset) = (mdl.Next, 0);
        }
        (count, total)
    }

    /// Lets `with` read from the memory: the pieces, and how many bytes they are.
    pub(super) fn read<R>(&self, with: impl FnOnce(&[IoSlice<'_>], usize) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); PIECES];
        // SAFETY: the memory is described by the client's MDLs, which stay until the request is completed.
        let (count, total) = self.pieces(usize::MAX, |index, start, length| unsafe {
            slices[index] = IoSlice::new(std::slice::from_raw_parts(start, length));
        });
        with(&slices[..count], total)
    }

    /// Lets `with` write to at most `limit` bytes of the memory: the pieces, and how many bytes they are.
    pub(super) fn write<R>(&self, limit: usize, with: impl FnOnce(&mut [IoSliceMut<'_>], usize) -> R) -> R {
        let mut slices: [IoSliceMut<'_>; PIECES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        // SAFETY: as in `read`, and the client lets it alone meanwhile.
        let (count, total) = self.pieces(limit, |index, start, length| unsafe {
            slices[index] = IoSliceMut::new(std::slice::from_raw_parts_mut(start, length));
        });
        with(&mut slices[..count], total)
    }

    /// Parts of so many bytes, one behind the other; the last may be smaller.
    pub(super) fn parts(mut self, size: usize) -> Vec<Buffers> {
        let mut all = Vec::new();
        while self.left > size {
            all.push(Self { left: size, ..self });
            self.advance(size);
        }
        all.push(self);
        all
    }

    /// All pieces, however many they are.
    fn every(&self, mut each: impl FnMut(*mut u8, usize)) {
        let mut rest = *self;
        while rest.left > 0 {
            let (_, total) = rest.pieces(usize::MAX, |_, start, length| each(start, length));
            rest.advance(total);
        }
    }

    /// All of it, to read from.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut all = Vec::new();
        // SAFETY: as in `read`.
        self.every(|start, length| all.push(IoSlice::new(unsafe { std::slice::from_raw_parts(start, length) })));
        all
    }

    /// All of it, to write to.
    pub(super) fn slices_mut(&self) -> Vec<IoSliceMut<'_>> {
        let mut all = Vec::new();
        // SAFETY: as in `write`.
        self.every(|start, length| all.push(IoSliceMut::new(unsafe { std::slice::from_raw_parts_mut(start, length) })));
        all
    }

    /// Copies bytes in and goes on; how many.
    pub(super) fn fill(&mut self, mut from: &[u8]) -> usize {
        let mut copied = 0;
        while self.left > 0 && !from.is_empty() {
            let now = self.write(from.len(), |pieces, total| {
                for piece in pieces {
                    let (head, tail) = from.split_at(piece.len());
                    piece.copy_from_slice(head);
                    from = tail;
                }
                total
            });
            self.advance(now);
            copied += now;
        }
        copied
    }
}

/// Where the bytes of an MDL are: MmGetSystemAddressForMdlSafe, where all memory is mapped.
fn address(mdl: &MDL) -> *mut u8 {
    if mdl.MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        return mdl.MappedSystemVa.cast();
    }
    mdl.StartVa.cast::<u8>().wrapping_add(mdl.ByteOffset as usize)
}
