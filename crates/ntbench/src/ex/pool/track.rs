//! The table of live blocks, and the sums by tag.

use std::collections::BTreeMap;
use std::ops::Range;

use parking_lot::Mutex;
use serde::Serialize;

use super::{Block, tag_name};

/// Sums over blocks of one tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TagStats {
    /// Live blocks.
    pub blocks: u64,
    /// Live bytes.
    pub bytes: u64,
    /// The most bytes there ever were.
    pub peak_bytes: u64,
    /// Blocks ever allocated.
    pub total_blocks: u64,
}

/// Sums over the pool.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PoolStats {
    /// All tags together.
    pub all: TagStats,
    /// Nonpaged ones among them.
    pub nonpaged: TagStats,
    /// By tag.
    pub tags: BTreeMap<String, TagStats>,
}

struct Table {
    blocks: BTreeMap<usize, Block>,
    all: TagStats,
    nonpaged: TagStats,
    tags: BTreeMap<u32, TagStats>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    blocks: BTreeMap::new(),
    all: TagStats { blocks: 0, bytes: 0, peak_bytes: 0, total_blocks: 0 },
    nonpaged: TagStats { blocks: 0, bytes: 0, peak_bytes: 0, total_blocks: 0 },
    tags: BTreeMap::new(),
});

impl TagStats {
    fn add(&mut self, size: usize) {
        self.blocks += 1;
        self.total_blocks += 1;
        self.bytes += size as u64;
        self.peak_bytes = self.peak_bytes.max(self.bytes);
    }

    fn subtract(&mut self, size: usize) {
        self.blocks -= 1;
        self.bytes -= size as u64;
    }
}

impl Table {
    /// The block that `address` lies in.
    fn containing(&self, address: usize) -> Option<&Block> {
        let (_, block) = self.blocks.range(..=address).next_back()?;
        (address < block.address + block.size).then_some(block)
    }
}

pub(super) fn insert(block: Block) {
    let mut table = TABLE.lock();
    table.all.add(block.size);
    if !block.paged {
        table.nonpaged.add(block.size);
    }
    table.tags.entry(block.tag).or_default().add(block.size);
    table.blocks.insert(block.address, block);
}

pub(super) fn remove(address: usize) -> Option<Block> {
    let mut table = TABLE.lock();
    let block = table.blocks.remove(&address)?;
    table.all.subtract(block.size);
    if !block.paged {
        table.nonpaged.subtract(block.size);
    }
    table.tags.entry(block.tag).or_default().subtract(block.size);
    Some(block)
}

pub(super) fn containing(address: usize) -> Option<Block> {
    TABLE.lock().containing(address).cloned()
}

pub(super) fn is_live(address: usize) -> bool {
    TABLE.lock().blocks.contains_key(&address)
}

pub(super) fn all() -> Vec<Block> {
    TABLE.lock().blocks.values().cloned().collect()
}

/// Notes that an MDL describes memory at `address`; answers the block that it lies in, to be given to [`mdl_gone`].
pub(crate) fn mdl_built(address: usize) -> Option<usize> {
    let mut table = TABLE.lock();
    let start = table.containing(address)?.address;
    let block = table.blocks.get_mut(&start)?;
    block.mdls += 1;
    Some(start)
}

/// Notes that an MDL which described the block at `start` does so no more.
pub(crate) fn mdl_gone(start: usize) {
    if let Some(block) = TABLE.lock().blocks.get_mut(&start) {
        block.mdls = block.mdls.saturating_sub(1);
    }
}

/// Live blocks that code at addresses of `range` allocated.
pub(crate) fn leaks_of(range: &Range<usize>) -> Vec<Block> {
    TABLE.lock().blocks.values().filter(|block| range.contains(&block.site)).cloned().collect()
}

/// Sums over the pool.
pub(crate) fn stats() -> PoolStats {
    let table = TABLE.lock();
    let tags = table.tags.iter().map(|(tag, stats)| (tag_name(*tag), *stats)).collect();
    PoolStats { all: table.all, nonpaged: table.nonpaged, tags }
}
