//! The open sockets of one binding: a slab in chunks, with ids that are not confused when a slot is used again.
//!
//! It locks nothing and allocates nothing by itself: the owner makes a [`Chunk`] outside its lock and hands it in. A slot is
//! reserved before the call that may produce a socket (L14), so that entering the socket cannot fail.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

#![allow(unsafe_code)] // to make large arrays on the heap, in `boxed_array`

use allocator_api2::alloc::{AllocError, Allocator};
use allocator_api2::boxed::Box;

/// Slots in a [`Chunk`].
pub const CHUNK_SLOTS: usize = 256;
/// Chunks in a [`Table`], so 262,144 sockets at most.
pub const MAX_CHUNKS: usize = 1024;

const END: u32 = u32::MAX;

/// Names a slot as long as its content lasts: a later content of the same slot has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId {
    index: u32,
    generation: u32,
}

impl SlotId {
    /// The id as one number, for tools.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }
}

enum Content<T> {
    Vacant { next: u32 },
    Reserved,
    Full(T),
}

struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

/// Memory for [`CHUNK_SLOTS`] more slots.
pub struct Chunk<T, A: Allocator>(Box<[Slot<T>; CHUNK_SLOTS], A>);

impl<T, A: Allocator> Chunk<T, A> {
    /// Allocates a chunk.
    ///
    /// # Errors
    /// The allocator's.
    pub fn new(allocator: A) -> Result<Self, AllocError> {
        boxed_array(allocator, || Slot { generation: 0, content: Content::Vacant { next: END } }).map(Self)
    }
}

/// Slots for sockets.
///
/// # Invariants
/// The vacant slots of all chunks form one list that starts at `vacant` and ends with `END`.
pub struct Table<T, A: Allocator> {
    chunks: Box<[Option<Chunk<T, A>>; MAX_CHUNKS], A>,
    chunk_count: usize,
    vacant: u32,
    full: u32,
}

impl<T, A: Allocator> Table<T, A> {
    /// An empty table without slots.
    ///
    /// # Errors
    /// The allocator's: it takes [`MAX_CHUNKS`] pointers.
    pub fn new(allocator: A) -> Result<Self, AllocError> {
        Ok(Self { chunks: boxed_array(allocator, || None)?, chunk_count: 0, vacant: END, full: 0 })
    }

    /// Takes a vacant slot, if there is one.
    ///
    /// # IRQL
    /// Any.
    pub fn reserve(&mut self) -> Option<SlotId> {
        let index = self.vacant;
        let slot = self.slot_mut(index)?;
        let Content::Vacant { next } = slot.content else { return None };
        slot.content = Content::Reserved;
        let id = SlotId { index, generation: slot.generation };
        self.vacant = next;
        Some(id)
    }

    /// Adds slots.
    ///
    /// # Errors
    /// With the chunk, if the table is as large as it gets.
    ///
    /// # IRQL
    /// Any.
    pub fn grow(&mut self, chunk: Chunk<T, A>) -> Result<(), Chunk<T, A>> {
        let Some(place) = self.chunks.get_mut(self.chunk_count) else { return Err(chunk) };
        *place = Some(chunk);
        let first = self.chunk_count * CHUNK_SLOTS;
        self.chunk_count += 1;
        for index in (first..first + CHUNK_SLOTS).rev() {
            let next = self.vacant;
            if let Some(slot) = self.slot_mut(index as u32) {
                slot.content = Content::Vacant { next };
                self.vacant = index as u32;
            }
        }
        Ok(())
    }

    /// Puts `content` into a reserved slot.
    ///
    /// # Errors
    /// With the content, if the slot is not that reservation's.
    ///
    /// # IRQL
    /// Any.
    pub fn fill(&mut self, id: SlotId, content: T) -> Result<(), T> {
        match self.slot_of(id) {
            Some(slot) if matches!(slot.content, Content::Reserved) => slot.content = Content::Full(content),
            _ => return Err(content),
        }
        self.full += 1;
        Ok(())
    }

    /// Makes a slot vacant, whether reserved or full, and gives what was in it.
    ///
    /// # IRQL
    /// Any.
    pub fn remove(&mut self, id: SlotId) -> Option<T> {
        let next = self.vacant;
        let slot = self.slot_of(id).filter(|slot| !matches!(slot.content, Content::Vacant { .. }))?;
        let before = core::mem::replace(&mut slot.content, Content::Vacant { next });
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant = id.index;
        match before {
            Content::Full(content) => {
                self.full -= 1;
                Some(content)
            }
            _ => None,
        }
    }

    /// The content of a slot.
    ///
    /// # IRQL
    /// Any.
    pub fn content(&self, id: SlotId) -> Option<&T> {
        match self.slot(id.index)? {
            Slot { generation, content: Content::Full(content) } if *generation == id.generation => Some(content),
            _ => None,
        }
    }

    /// The first full slot at `cursor` or after it, of at most `limit` slots looked at. Moves the cursor behind what was
    /// looked at; `None` with [`at_end`](Self::at_end) says that all was seen.
    ///
    /// # IRQL
    /// Any.
    pub fn next_full(&self, cursor: &mut u32, limit: usize) -> Option<&T> {
        for _ in 0..limit {
            let slot = self.slot(*cursor)?;
            *cursor += 1;
            if let Content::Full(content) = &slot.content {
                return Some(content);
            }
        }
        None
    }

    /// Whether `cursor` stands behind the last slot.
    ///
    /// # IRQL
    /// Any.
    pub fn at_end(&self, cursor: u32) -> bool {
        cursor as usize >= self.chunk_count * CHUNK_SLOTS
    }

    /// How many slots are full.
    ///
    /// # IRQL
    /// Any.
    pub fn len(&self) -> usize {
        self.full as usize
    }

    /// Whether no slot is full.
    ///
    /// # IRQL
    /// Any.
    pub fn is_empty(&self) -> bool {
        self.full == 0
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let chunk = self.chunks.get(index as usize / CHUNK_SLOTS)?.as_ref()?;
        chunk.0.get(index as usize % CHUNK_SLOTS)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        let chunk = self.chunks.get_mut(index as usize / CHUNK_SLOTS)?.as_mut()?;
        chunk.0.get_mut(index as usize % CHUNK_SLOTS)
    }

    fn slot_of(&mut self, id: SlotId) -> Option<&mut Slot<T>> {
        self.slot_mut(id.index).filter(|slot| slot.generation == id.generation)
    }
}

/// An array made where it will live: a kernel stack is too small to pass it by value.
fn boxed_array<T, A: Allocator, const N: usize>(allocator: A, make: impl Fn() -> T) -> Result<Box<[T; N], A>, AllocError> {
    let mut array = Box::<[T; N], A>::try_new_uninit_in(allocator)?;
    let first = array.as_mut_ptr().cast::<T>();
    for index in 0..N {
        // SAFETY: `index` is inside the array, and the place is written once, before anybody reads it.
        unsafe { first.add(index).write(make()) };
    }
    // SAFETY: the loop has written every element.
    Ok(unsafe { array.assume_init() })
}
