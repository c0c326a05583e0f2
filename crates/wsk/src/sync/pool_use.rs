//! How much nonpaged pool there is under each of our tags: for those who look at a driver while it runs.
//!
//! What is counted is what was asked for; the pool may round it up. IRPs and MDLs are the system's, and have its tags.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many tags are told apart; what has others is not counted.
const PLACES: usize = 32;

static PLACES_OF_TAGS: [Place; PLACES] = [const { Place::new() }; PLACES];

/// The counts of one tag, on a cache line of their own. A tag keeps the place that it has once got.
#[repr(align(64))]
struct Place {
    /// 0 while it is nobody's.
    tag: AtomicU32,
    bytes: AtomicU64,
    allocations: AtomicU64,
    peak: AtomicU64,
}

/// What there is under one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// The tag, its letters in the order in which they are read.
    pub tag: [u8; 4],
    /// Bytes held.
    pub bytes: u64,
    /// Allocations held.
    pub allocations: u64,
    /// The most bytes that were ever held.
    pub peak: u64,
}

/// What there is under every tag that was ever used.
pub fn pool_use() -> impl Iterator<Item = PoolUse> {
    PLACES_OF_TAGS.iter().filter_map(Place::read)
}

/// So many bytes were allocated.
pub(super) fn taken(tag: u32, bytes: usize) {
    let Some(place) = place_of(tag) else { return };
    let now = place.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
    place.allocations.fetch_add(1, Ordering::Relaxed);
    if place.peak.load(Ordering::Relaxed) < now {
        place.peak.fetch_max(now, Ordering::Relaxed);
    }
}

/// So many bytes are free again.
pub(super) fn given(tag: u32, bytes: usize) {
    let Some(place) = place_of(tag) else { return };
    place.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    place.allocations.fetch_sub(1, Ordering::Relaxed);
}

/// The place of a tag: the first one from where its last letter leads that is its own, or nobody's.
fn place_of(tag: u32) -> Option<&'static Place> {
    let first = (tag >> 24) as usize;
    (first..first + PLACES).find_map(|number| PLACES_OF_TAGS.get(number % PLACES).filter(|place| place.is_of(tag)))
}

impl Place {
    const fn new() -> Self {
        Self { tag: AtomicU32::new(0), bytes: AtomicU64::new(0), allocations: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    /// Whether it is that tag's, which it becomes if it is nobody's.
    fn is_of(&self, tag: u32) -> bool {
        match self.tag.load(Ordering::Relaxed) {
            0 => match self.tag.compare_exchange(0, tag, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => true,
                Err(other) => other == tag,
            },
            other => other == tag,
        }
    }

    fn read(&self) -> Option<PoolUse> {
        let tag = self.tag.load(Ordering::Relaxed);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (bytes, allocations, peak) = (read(&self.bytes), read(&self.allocations), read(&self.peak));
        (tag != 0).then_some(PoolUse { tag: tag.to_le_bytes(), bytes, allocations, peak })
    }
}
