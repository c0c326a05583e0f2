//! Received data of a stream as clients are told of it: lists of WSK_DATA_INDICATION, and the memory behind them.

#![allow(unsafe_code)] // Clients know it by pointer.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use nt_abi::wsk::{WSK_BUF, WSK_DATA_INDICATION};
use nt_abi::{MDL, MDL_PAGES_LOCKED, MDL_SOURCE_IS_NONPAGED_POOL, PAGE_SIZE};
use parking_lot::{Mutex, MutexGuard};

/// Bytes indicated to a client that accepts them, and to one that did not accept the last.
pub(super) const LARGE: usize = 65_536;
pub(super) const SMALL: usize = 512;

/// Received data in the form in which clients are told of it.
///
/// # Invariants
/// `body.data` describes the bytes from `start` to `end` whenever a client can see it.
pub(super) struct Indication(ManuallyDrop<Box<Body>>);

#[repr(C)]
struct Body {
    data: WSK_DATA_INDICATION,
    mdl: MDL,
    /// What else an odd list has.
    others: Vec<WSK_DATA_INDICATION>,
    mdls: Vec<MDL>,
    start: usize,
    end: usize,
    bytes: Box<[u8]>,
}

// SAFETY: the pointers inside point into the body and its vectors.
unsafe impl Send for Body {}

/// Memory for the next indications: what one thread takes another gives back, when the client has kept it.
#[allow(clippy::vec_box)] // The boxes go out as they are: their addresses are known to clients.
static SPARE: [Mutex<Vec<Box<Body>>>; 2] = [const { Mutex::new(Vec::new()) }; 2];
/// As many of each size stay at most.
const MOST_SPARE: usize = 1024;

/// The memory for indications of so many bytes.
#[allow(clippy::vec_box)] // As above.
fn spare(size: usize) -> MutexGuard<'static, Vec<Box<Body>>> {
    SPARE[usize::from(size > SMALL)].lock()
}

impl Indication {
    /// Room for at least `size` bytes.
    pub(super) fn with_room(size: usize) -> Self {
        let known = spare(size).pop();
        let body = known.unwrap_or_else(|| {
            let bytes = vec![0; if size > SMALL { LARGE } else { SMALL }].into_boxed_slice();
            let none = WSK_BUF { Mdl: std::ptr::null_mut(), Offset: 0, Length: 0 };
            let data = WSK_DATA_INDICATION { Next: std::ptr::null_mut(), Buffer: none };
            Box::new(Body { data, mdl: describe(&bytes), others: Vec::new(), mdls: Vec::new(), start: 0, end: 0, bytes })
        });
        Self(ManuallyDrop::new(body))
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.0.bytes
    }

    pub(super) fn filled(mut self, count: usize) -> Self {
        (self.0.start, self.0.end) = (0, count);
        self
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> &[u8] {
        &self.0.bytes[self.0.start..self.0.end]
    }

    /// Goes on; true if nothing is left.
    pub(super) fn consume(&mut self, count: usize) -> bool {
        self.0.start += count;
        debug_assert!(self.0.start <= self.0.end);
        self.0.start == self.0.end
    }

    /// What the client is told; an odd list has several elements, each of several MDLs.
    pub(super) fn list(&mut self, odd: bool) -> *mut WSK_DATA_INDICATION {
        let body = &mut **self.0;
        if odd && body.end - body.start > 1 {
            return body.odd_list();
        }
        body.mdl = describe(&body.bytes);
        // INVARIANT: this is what `start` and `end` say.
        body.data.Buffer = WSK_BUF { Mdl: &raw mut body.mdl, Offset: body.start as u32, Length: body.end - body.start };
        body.data.Next = std::ptr::null_mut();
        &raw mut body.data
    }

    /// Leaves it to the client, known by the pointer that the client has.
    pub(super) fn leave(mut self) -> NonNull<Indication> {
        // SAFETY: the box is not used again; `self` is forgotten.
        let body = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        NonNull::from(Box::leak(body)).cast()
    }

    /// Has it back.
    ///
    /// # Safety
    /// `from` came from `leave`, and comes back once.
    pub(super) unsafe fn back(from: NonNull<Indication>) -> Self {
        // SAFETY: as the caller promises; `leave` leaked a box of a body.
        Self(ManuallyDrop::new(unsafe { Box::from_raw(from.cast::<Body>().as_ptr()) }))
    }
}

impl Drop for Indication {
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        let body = unsafe { ManuallyDrop::take(&mut self.0) };
        let mut spare = spare(body.bytes.len());
        if spare.len() < MOST_SPARE {
            spare.push(body);
        }
    }
}

impl Body {
    /// Two elements. The first begins within its first MDL, an empty MDL comes next, and one that is not mapped; the last MDL goes on
    /// behind the end of the data.
    fn odd_list(&mut self) -> *mut WSK_DATA_INDICATION {
        let (start, end) = (self.start, self.end);
        let cut = start + 1 + crate::rng::below((end - start - 1) as u64) as usize;
        let middle = start + (cut - start).div_ceil(2);
        let lead = start - crate::rng::below(start as u64 + 1) as usize;
        let tail = (end + crate::rng::below(64) as usize).min(self.bytes.len());
        let piece = |from: usize, to: usize| describe(&self.bytes[from..to]);
        self.mdls = vec![piece(middle, middle), piece(middle, cut), piece(cut, tail)];
        self.mdl = piece(lead, middle);
        // As an MDL of a user's locked pages would be.
        self.mdls[1].MdlFlags = MDL_PAGES_LOCKED;
        self.mdls[1].MappedSystemVa = std::ptr::null_mut();
        // INVARIANT: the vectors are not touched again while the client can see them.
        self.mdls[0].Next = &raw mut self.mdls[1];
        self.mdl.Next = &raw mut self.mdls[0];
        let last = WSK_BUF { Mdl: &raw mut self.mdls[2], Offset: 0, Length: end - cut };
        self.others = vec![WSK_DATA_INDICATION { Next: std::ptr::null_mut(), Buffer: last }];
        self.data.Buffer = WSK_BUF { Mdl: &raw mut self.mdl, Offset: (start - lead) as u32, Length: cut - start };
        self.data.Next = &raw mut self.others[0];
        &raw mut self.data
    }
}

/// An MDL of nonpaged memory.
pub(super) fn describe(bytes: &[u8]) -> MDL {
    let start = bytes.as_ptr() as usize;
    MDL {
        Next: std::ptr::null_mut(),
        Size: size_of::<MDL>() as i16,
        MdlFlags: MDL_SOURCE_IS_NONPAGED_POOL,
        AllocationProcessorNumber: 0,
        Reserved: 0,
        Process: std::ptr::null_mut(),
        MappedSystemVa: start as *mut _,
        StartVa: (start & !(PAGE_SIZE - 1)) as *mut _,
        ByteCount: bytes.len() as u32,
        ByteOffset: (start & (PAGE_SIZE - 1)) as u32,
    }
}
