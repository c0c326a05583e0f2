//! What can be sent without being copied together.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::fmt;
use core::ops::Range;
use core::ptr::null_mut;

use allocator_api2::vec::Vec;
use wsk_sys::WSK_BUF;

use super::indication::Indication;
use super::retained::Named;
use crate::Buffer;
use crate::sync::{OutOfMemory, Pool, tag, try_push};

type Buffers = Vec<Buffer, Pool<{ tag(b"WskB") }>>;

/// Bytes to send: a [`Buffer`], a part of one, several, or an [`Indication`].
///
/// Several buffers go out as one MDL chain, linked for the time of the send. An indication goes out in the memory in which it came.
pub struct Chain(Content);

enum Content {
    Part(Buffer, Range<usize>),
    Several(Buffers),
    Indication(Indication),
}

impl Chain {
    /// A chain of several buffers, still without one.
    pub fn new() -> Self {
        Self(Content::Several(Vec::new_in(Pool)))
    }

    /// A part of what is filled of a buffer.
    ///
    /// # Errors
    /// The buffer, if it has no such part.
    pub fn part(buffer: Buffer, part: Range<usize>) -> Result<Self, Buffer> {
        if part.start > part.end || part.end > buffer.filled().len() {
            return Err(buffer);
        }
        Ok(Self(Content::Part(buffer, part)))
    }

    /// Adds a buffer at the end; what is filled of it will be sent.
    ///
    /// # Errors
    /// The buffer, if there is no memory, or if this is a part of a buffer or an indication.
    pub fn push(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        let Content::Several(buffers) = &mut self.0 else { return Err(buffer) };
        if buffers.try_reserve(1).is_err() {
            return Err(buffer);
        }
        // There is room.
        let _: Result<(), OutOfMemory> = try_push(buffers, buffer);
        Ok(())
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        match &self.0 {
            Content::Part(_, part) => part.end - part.start,
            Content::Several(buffers) => buffers.iter().map(|buffer| buffer.filled().len()).sum(),
            Content::Indication(indication) => indication.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffers again, in order; none if it was an indication.
    pub fn into_buffers(self) -> impl Iterator<Item = Buffer> {
        let (one, several) = match self.0 {
            Content::Part(buffer, _) => (Some(buffer), None),
            Content::Several(buffers) => (None, Some(buffers)),
            Content::Indication(_) => (None, None),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// The indication again, if it is one.
    pub fn into_indication(self) -> Option<Indication> {
        match self.0 {
            Content::Indication(indication) => Some(indication),
            _ => None,
        }
    }

    /// How many operations it takes to send it.
    pub(crate) fn pieces(&self) -> usize {
        match &self.0 {
            Content::Indication(indication) => indication.parts().filter(|part| part.Length != 0).count(),
            _ => usize::from(!self.is_empty()),
        }
    }

    /// What the `number`th operation has to send: an indication of several parts takes one for each. The description is good
    /// until [`unlink`](Self::unlink), wherever the chain is moved.
    pub(crate) fn piece(&mut self, number: usize) -> Option<WSK_BUF> {
        match &mut self.0 {
            Content::Indication(indication) => indication.parts().filter(|part| part.Length != 0).nth(number),
            _ if number > 0 => None,
            Content::Part(buffer, part) => Some(buffer.described(part.start, part.end - part.start)),
            Content::Several(buffers) => link(buffers),
        }
    }

    /// The operation is over.
    pub(crate) fn unlink(&mut self) {
        if let Content::Several(buffers) = &mut self.0 {
            buffers.iter_mut().for_each(Buffer::unlink);
        }
    }

    /// The name of the indication, if it is one.
    pub(crate) fn named(&self) -> Option<Named> {
        match &self.0 {
            Content::Indication(indication) => Some(indication.kept().named()),
            _ => None,
        }
    }

    /// Drops it in a completion routine (L36).
    pub(crate) fn discard(self) {
        if let Some(indication) = self.into_indication() {
            indication.hand_over();
        }
    }
}

/// Links the MDLs of what is filled, from the last to the first.
fn link(buffers: &mut Buffers) -> Option<WSK_BUF> {
    let (mut first, mut length) = (None, 0);
    let mut next = null_mut();
    for buffer in buffers.iter_mut().rev().filter(|buffer| !buffer.filled().is_empty()) {
        buffer.link(next);
        length += buffer.filled().len();
        let described = buffer.described(0, length);
        next = described.Mdl;
        first = Some(described);
    }
    first
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Buffer> for Chain {
    fn from(buffer: Buffer) -> Self {
        let all = 0..buffer.filled().len();
        Self(Content::Part(buffer, all))
    }
}

impl From<Indication> for Chain {
    fn from(indication: Indication) -> Self {
        Self(Content::Indication(indication))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({})", self.len())
    }
}
