//! Lists, page by page.
//!
//! A page begins with a [`PageHeader`], and its entries follow. Whoever wants the next one asks again with the cursor that
//! came; nothing is kept in the driver between the two. What is there from the first page to the last is listed exactly once, what comes or
//! goes meanwhile at most once.

use core::fmt;
use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{RequestHeader, VERSION};

/// The cursor before the first entry, and behind the last.
pub const END: u64 = 0;

/// The most entries of a page, however much room there is: a request does not hold the driver up.
pub const MOST_ENTRIES: usize = 256;

/// Asks for a page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PageRequest {
    /// How every request begins.
    pub header: RequestHeader,
    /// 0 for the first page; then what the page before said.
    pub cursor: u64,
}

impl PageRequest {
    /// For the first page.
    pub const FIRST: Self = Self::at(END);

    /// For the page at a cursor.
    pub const fn at(cursor: u64) -> Self {
        Self { header: RequestHeader::CURRENT, cursor }
    }
}

/// The beginning of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PageHeader {
    /// [`VERSION`].
    pub version: u32,
    /// How many entries follow.
    pub count: u32,
    /// The cursor of the next page; 0 if this one is the last.
    pub next: u64,
    /// How many entries there are in all, now.
    pub total: u64,
    /// Of sockets: the generation of the newest binding, 0 if there is none. Of services: changes with every change of the
    /// list. Of events: how many were lost before the first of this page.
    pub mark: u64,
}

/// The room that a page with so many entries takes.
pub const fn room<T>(entries: usize) -> usize {
    size_of::<PageHeader>() + entries * size_of::<T>()
}

/// How many entries fit into so much room, [`MOST_ENTRIES`] at most.
pub const fn entries_in<T>(room: usize) -> usize {
    let fit = room.saturating_sub(size_of::<PageHeader>()) / size_of::<T>();
    if fit < MOST_ENTRIES { fit } else { MOST_ENTRIES }
}

/// An answer that is not what this crate describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver's answer is not of this version")
    }
}

impl core::error::Error for Malformed {}

/// A page that has come.
#[derive(Clone, Debug)]
pub struct Page<'a, T> {
    /// Its beginning.
    pub header: PageHeader,
    entries: &'a [u8],
    of: PhantomData<T>,
}

impl<'a, T: FromBytes + Copy> Page<'a, T> {
    /// Reads a page.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(answer: &'a [u8]) -> Result<Self, Malformed> {
        let (header, entries) = PageHeader::read_from_prefix(answer).map_err(|_| Malformed)?;
        let length = (header.count as usize).checked_mul(size_of::<T>()).ok_or(Malformed)?;
        if header.version != VERSION || entries.len() != length {
            return Err(Malformed);
        }
        Ok(Self { header, entries, of: PhantomData })
    }

    /// Its entries.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = T> + use<'a, T> {
        struct Entries<'a, T>(&'a [u8], PhantomData<T>);
        impl<T: FromBytes> Iterator for Entries<'_, T> {
            type Item = T;

            fn next(&mut self) -> Option<T> {
                let (entry, rest) = T::read_from_prefix(self.0).ok()?;
                self.0 = rest;
                Some(entry)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                let left = self.0.len() / size_of::<T>();
                (left, Some(left))
            }
        }
        impl<T: FromBytes> ExactSizeIterator for Entries<'_, T> {}
        Entries(self.entries, PhantomData)
    }
}

/// Reads an answer of one structure.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn read_one<T: FromBytes>(answer: &[u8], version: impl Fn(&T) -> u32) -> Result<T, Malformed> {
    T::read_from_bytes(answer).ok().filter(|read| version(read) == VERSION).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    extern crate alloc;

    use super::*;

    #[test]
    fn pages_are_read_and_damaged_ones_are_seen() {
        let header = PageHeader { version: VERSION, count: 2, next: 7, total: 9, mark: 1 };
        let bytes = [header.as_bytes(), &5_u64.to_le_bytes(), &6_u64.to_le_bytes()].concat();
        let page = Page::<u64>::read(&bytes).expect("a page");
        assert_eq!((page.header, page.entries().len()), (header, 2));
        assert!(page.entries().eq([5, 6]));
        for length in 0..bytes.len() {
            assert!(Page::<u64>::read(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Page::<u64>::read(&[&bytes[..], &[0]].concat()).is_err());
        for wrong in [PageHeader { version: 0, ..header }, PageHeader { count: u32::MAX, ..header }] {
            assert!(Page::<u64>::read(&[wrong.as_bytes(), &bytes[size_of::<PageHeader>()..]].concat()).is_err());
        }
    }

    #[test]
    fn room_and_entries_are_each_others_inverse() {
        for entries in 0..MOST_ENTRIES {
            assert_eq!(entries_in::<[u8; 136]>(room::<[u8; 136]>(entries)), entries);
            assert_eq!(entries_in::<[u8; 136]>(room::<[u8; 136]>(entries) + 135), entries);
        }
        assert_eq!(entries_in::<u64>(0), 0);
        assert_eq!(entries_in::<u64>(usize::MAX), MOST_ENTRIES);
    }
}
