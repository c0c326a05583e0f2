//! A queue of fixed capacity: its memory is taken once, so that putting in cannot fail for lack of it.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use allocator_api2::vec::Vec;

use super::{OutOfMemory, Pool, tag, try_push};

/// A queue: first in, first out.
///
/// # Invariants
/// The `length` places from `first` on, around the end, are full; the others are empty.
pub struct Ring<T> {
    places: Vec<Option<T>, Pool<{ tag(b"WskQ") }>>,
    first: usize,
    length: usize,
}

impl<T> Ring<T> {
    /// A queue that takes nothing.
    pub const fn new() -> Self {
        Self { places: Vec::new_in(Pool), first: 0, length: 0 }
    }

    /// A queue for so many.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn with_capacity(capacity: usize) -> Result<Self, OutOfMemory> {
        let mut places = Vec::new_in(Pool);
        places.try_reserve_exact(capacity)?;
        for _ in 0..capacity {
            try_push(&mut places, None)?;
        }
        Ok(Self { places, first: 0, length: 0 })
    }

    /// How many it can hold.
    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts one in at the end.
    ///
    /// # Errors
    /// It comes back if the queue is full.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let place = self.place(self.length);
        match self.places.get_mut(place) {
            Some(place @ None) => {
                *place = Some(value);
                self.length += 1;
                Ok(())
            }
            _ => Err(value),
        }
    }

    /// The first one.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.places.get_mut(self.first)?.as_mut()
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<T> {
        let value = self.places.get_mut(self.first)?.take()?;
        self.first = self.place(1);
        self.length -= 1;
        Some(value)
    }

    /// The place that is so far from the first.
    fn place(&self, offset: usize) -> usize {
        let place = self.first + offset;
        if place >= self.places.len() { place.wrapping_sub(self.places.len()) } else { place }
    }
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self::new()
    }
}
