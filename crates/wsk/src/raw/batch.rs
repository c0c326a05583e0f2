//! Several buffers that are sent as one datagram each, by one request.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::ptr::null_mut;

use allocator_api2::vec::Vec;
use wsk_sys::{WSK_BUF, WSK_BUF_LIST};

use super::Buffer;
use crate::sync::{OutOfMemory, Pool, tag};

type BatchPool = Pool<{ tag(b"WskU") }>;

/// Buffers for [`UdpSocket::send_messages`](crate::UdpSocket::send_messages), in the order in which they are sent.
///
/// # Invariants
/// `list` has room for as many elements as `buffers`, so that linking them takes no memory.
pub struct Batch {
    buffers: Vec<Buffer, BatchPool>,
    list: Vec<WSK_BUF_LIST, BatchPool>,
}

// SAFETY: the list points into the buffers beside it, and is written anew before each use.
unsafe impl Send for Batch {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Batch {}

impl Batch {
    /// The most that a batch can have room for: what one request may keep the stack busy with.
    pub const MOST: usize = 64;

    /// An empty batch with room for so many buffers.
    ///
    /// # Errors
    /// [`OutOfMemory`], also for more than [`MOST`](Self::MOST).
    pub fn new(room: usize) -> Result<Self, OutOfMemory> {
        if room > Self::MOST {
            return Err(OutOfMemory);
        }
        let (mut buffers, mut list) = (Vec::new_in(Pool), Vec::new_in(Pool));
        buffers.try_reserve_exact(room)?;
        list.try_reserve_exact(room)?;
        // INVARIANT: the same room for both.
        Ok(Self { buffers, list })
    }

    /// Appends a buffer.
    ///
    /// # Errors
    /// The buffer, if there is no room.
    pub fn push(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        let length = self.buffers.len();
        let Some(place) = self.buffers.spare_capacity_mut().first_mut().filter(|_| length < Self::MOST) else {
            return Err(buffer);
        };
        place.write(buffer);
        // SAFETY: the element behind the last one has just been written.
        unsafe { self.buffers.set_len(length + 1) };
        Ok(())
    }

    /// Takes the last buffer out.
    pub fn pop(&mut self) -> Option<Buffer> {
        self.buffers.pop()
    }

    /// How many buffers there are.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// The buffers.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// The buffers, for changes.
    pub fn buffers_mut(&mut self) -> &mut [Buffer] {
        &mut self.buffers
    }

    /// The buffer at a place, if there is one; `with` takes its place.
    pub(crate) fn replace(&mut self, place: usize, with: Buffer) -> Option<Buffer> {
        self.buffers.get_mut(place).map(|buffer| core::mem::replace(buffer, with))
    }

    /// The list for the provider, good until the batch is changed; null if there is nothing in it.
    pub(super) fn link(&mut self) -> *mut WSK_BUF_LIST {
        let base: *mut WSK_BUF_LIST = self.list.as_mut_ptr();
        let mut next: *mut WSK_BUF_LIST = null_mut();
        for (at, buffer) in self.buffers.iter().enumerate().take(self.list.capacity()).rev() {
            let element = WSK_BUF_LIST { Next: next, Buffer: buffer.content() };
            next = base.wrapping_add(at);
            // SAFETY: below the capacity, so there is memory for it; what it held needs no drop.
            unsafe { next.write(element) };
        }
        next
    }
}

impl core::fmt::Debug for Batch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Batch of {}", self.len())
    }
}

const _: () = assert!(!core::mem::needs_drop::<WSK_BUF>());
