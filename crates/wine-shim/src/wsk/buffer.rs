//! Bytes to and from the buffers that the driver describes by chains of MDLs.

#![allow(unsafe_code)] // Follows MDLs.

use nt_abi::wsk::WSK_BUF;

/// Calls `piece` with each piece of memory of the buffer, and how many of its bytes came before.
///
/// # Safety
/// The buffer is the driver's, and it has lent it to us.
unsafe fn each_piece(buffer: &WSK_BUF, mut piece: impl FnMut(*mut u8, usize, usize)) {
    let (mut mdl, mut skip, mut done) = (buffer.Mdl, buffer.Offset as usize, 0);
    // SAFETY: the caller's promise: the chain's MDLs are there.
    while let Some(it) = unsafe { mdl.as_ref() }
        && done < buffer.Length
    {
        let start = it.StartVa.cast::<u8>().wrapping_add(it.ByteOffset as usize + skip);
        let length = (it.ByteCount as usize).saturating_sub(skip).min(buffer.Length - done);
        piece(start, length, done);
        done += length;
        skip = skip.saturating_sub(it.ByteCount as usize);
        mdl = it.Next;
    }
}

/// Copies a buffer's bytes out, as many as there is room for.
///
/// # Safety
/// The buffer is the driver's, and it has lent it to us.
pub(super) unsafe fn copy_out(buffer: &WSK_BUF, to: &mut [u8]) {
    let copy = |from: *mut u8, length: usize, at: usize| {
        let room = to.get_mut(at..).unwrap_or_default();
        // SAFETY: the piece is that long.
        let from = unsafe { core::slice::from_raw_parts(from, length.min(room.len())) };
        room[..from.len()].copy_from_slice(from);
    };
    // SAFETY: the caller's promise.
    unsafe { each_piece(buffer, copy) };
}

/// Copies bytes into a buffer, as many as it has room for.
///
/// # Safety
/// The buffer is the driver's, and it has lent it to us to write to.
pub(super) unsafe fn copy_in(from: &[u8], buffer: &WSK_BUF) {
    let copy = |to: *mut u8, length: usize, at: usize| {
        let left = from.get(at..).unwrap_or_default();
        let length = length.min(left.len());
        // SAFETY: the piece is that long, and lent to be written to.
        unsafe { to.copy_from_nonoverlapping(left.as_ptr(), length) };
    };
    // SAFETY: the caller's promise.
    unsafe { each_piece(buffer, copy) };
}
