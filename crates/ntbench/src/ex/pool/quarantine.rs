//! Freed blocks, kept for a while with a pattern in them.
#![allow(unsafe_code)] // Freed memory is filled and read.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::{Block, FREED, release};
use crate::verifier;

/// Bytes kept.
const MAX_BYTES: usize = 8 << 20;
/// Blocks kept.
const MAX_BLOCKS: usize = 4096;
/// Of each block at most this much is filled and checked, so that freeing large ones stays cheap.
const CHECKED: usize = 64 << 10;

struct Kept {
    blocks: VecDeque<Block>,
    bytes: usize,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { blocks: VecDeque::new(), bytes: 0 });

/// Takes a freed block; releases the oldest ones if there are too many.
pub(super) fn retire(block: Block) {
    if !verifier::quarantine() {
        release(&block);
        return;
    }
    // SAFETY: the block has been freed by its owner and is still allocated.
    unsafe { (block.address as *mut u8).write_bytes(FREED, block.size.min(CHECKED)) };
    let mut kept = KEPT.lock();
    kept.bytes += block.size;
    kept.blocks.push_back(block);
    let mut old = Vec::new();
    while kept.bytes > MAX_BYTES || kept.blocks.len() > MAX_BLOCKS {
        let Some(block) = kept.blocks.pop_front() else { break };
        kept.bytes -= block.size;
        old.push(block);
    }
    drop(kept);
    for block in old {
        check(&block);
        release(&block);
    }
}

fn check(block: &Block) {
    // SAFETY: the block's memory is still allocated.
    let bytes = unsafe { std::slice::from_raw_parts(block.address as *const u8, block.size.min(CHECKED)) };
    if let Some(at) = bytes.iter().position(|&b| b != FREED) {
        let text = format!("offset {at} of a freed block was written to: {}", block.describe());
        verifier::violation("pool-use-after-free", text);
    }
}

/// The freed block that `address` lies in.
pub(super) fn find(address: usize) -> Option<Block> {
    let within = |block: &&Block| (block.address..block.address + block.size).contains(&address);
    KEPT.lock().blocks.iter().rev().find(within).cloned()
}

/// Checks every block that is kept.
pub(super) fn check_all() {
    let blocks: Vec<Block> = KEPT.lock().blocks.drain(..).collect();
    for block in &blocks {
        check(block);
        release(block);
    }
    let mut kept = KEPT.lock();
    kept.bytes = kept.blocks.iter().map(|block| block.size).sum();
}
