//! What a job sends: bytes that look like nothing, others in each message, and the same for whoever checks them.
//!
//! A message is a piece of one template, which begins elsewhere each time: writing and checking one is as cheap as a copy and a
//! comparison, and an answer that is that to another message does not pass. A datagram that is to be echoed begins with its number.
//!
//! # IRQL
//! Any.

use core::sync::atomic::AtomicU64;

use allocator_api2::vec::Vec;
use wsk::sync::try_push;
use wsk::{Buffer, OutOfMemory};

use super::TrafficPool;
use crate::services::random;

/// How many places there are where a message can begin. A prime, so that no power of two comes back to the same.
const BEGINNINGS: usize = 251;

/// Bytes of the number of a datagram.
pub(super) const NUMBER: usize = size_of::<u64>();

/// The messages of a job.
pub(super) struct Messages {
    template: Vec<u8, TrafficPool>,
    length: usize,
}

/// What a datagram that has come is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datagram {
    /// That of this number, as it was sent.
    Whole(u64),
    /// None that was sent.
    Wrong,
}

impl Messages {
    /// What they take.
    pub(super) const fn cost(length: u32) -> u64 {
        length as u64 + BEGINNINGS as u64 + 8
    }

    /// Messages of that many bytes.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(length: u32, seed: u64) -> Result<Self, OutOfMemory> {
        let (length, mut template) = (length as usize, Vec::new_in(TrafficPool::default()));
        let whole = (length + BEGINNINGS).next_multiple_of(8);
        template.try_reserve_exact(whole)?;
        let state = AtomicU64::new(seed);
        while template.len() < whole {
            for byte in random::next(&state).to_le_bytes() {
                try_push(&mut template, byte)?;
            }
        }
        Ok(Self { template, length })
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// So many bytes of a message, from `offset` on.
    fn piece(&self, number: u64, offset: usize, length: usize) -> &[u8] {
        let begin = (number % BEGINNINGS as u64) as usize + offset;
        self.template.get(begin..begin + length).unwrap_or_default()
    }

    /// Writes a message.
    pub(super) fn write(&self, number: u64, buffer: &mut Buffer) {
        buffer.write(self.piece(number, 0, self.length));
    }

    /// Whether these are the bytes of a message from `offset` on.
    pub(super) fn is_part(&self, number: u64, offset: usize, bytes: &[u8]) -> bool {
        offset + bytes.len() <= self.length && self.piece(number, offset, bytes.len()) == bytes
    }

    /// Writes a datagram, its number first.
    pub(super) fn write_datagram(&self, number: u64, buffer: &mut Buffer) {
        buffer.write(&number.to_le_bytes());
        buffer.append(self.piece(number, NUMBER, self.length.saturating_sub(NUMBER)));
    }

    /// Which datagram these bytes are.
    pub(super) fn read_datagram(&self, bytes: &[u8]) -> Datagram {
        let Some((number, rest)) = bytes.split_first_chunk::<NUMBER>() else { return Datagram::Wrong };
        let number = u64::from_le_bytes(*number);
        if bytes.len() == self.length && self.is_part(number, NUMBER, rest) { Datagram::Whole(number) } else { Datagram::Wrong }
    }
}
