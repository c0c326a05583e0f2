//! Special pool: each block ends at a guard page, and its pages become inaccessible when it is freed.
#![allow(unsafe_code)] // Pages are mapped and protected.

use std::collections::{BTreeMap, VecDeque};
use std::ptr::null_mut;

use nt_abi::PAGE_SIZE;
use parking_lot::Mutex;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::Block;

/// The pages of a block, by their start: their length and the block, for what faults on them later.
static PAGES: Mutex<BTreeMap<usize, (usize, Option<Block>)>> = Mutex::new(BTreeMap::new());

/// A block of `size` bytes that ends, as far as alignment allows, at a guard page; zero if there is no memory.
pub(super) fn allocate(size: usize) -> usize {
    let span = size.next_multiple_of(PAGE_SIZE) + PAGE_SIZE;
    // SAFETY: a new mapping.
    let mapped = unsafe { mmap_anonymous(null_mut(), span, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    let Ok(start) = mapped else { return 0 };
    let start = start as usize;
    let guard = start + span - PAGE_SIZE;
    protect(guard, PAGE_SIZE);
    PAGES.lock().insert(start, (span, None));
    let address = if size >= PAGE_SIZE { guard - size.next_multiple_of(PAGE_SIZE) } else { guard - size };
    address & !15
}

/// Freed blocks whose pages stay inaccessible, oldest first.
static FREED: Mutex<VecDeque<usize>> = Mutex::new(VecDeque::new());
/// How many there are at most: the host maps a limited number of areas.
const KEPT: usize = 8192;

/// Makes a freed block's pages inaccessible; the oldest ones go back to the host.
pub(super) fn retire(block: &Block) {
    let mut pages = PAGES.lock();
    let Some((&start, (span, kept))) = pages.range_mut(..=block.address).next_back() else { return };
    *kept = Some(block.clone());
    protect(start, *span);
    let mut freed = FREED.lock();
    freed.push_back(start);
    if freed.len() <= KEPT {
        return;
    }
    if let Some(oldest) = freed.pop_front()
        && let Some((span, _)) = pages.remove(&oldest)
    {
        // SAFETY: the pages are this pool's, of a block that was freed.
        let _ = unsafe { munmap(oldest as *mut _, span) };
    }
}

fn protect(start: usize, length: usize) {
    // SAFETY: the pages are this pool's.
    let _ = unsafe { mprotect(start as *mut _, length, MprotectFlags::empty()) };
}

/// The block on whose pages `address` lies.
pub(super) fn find(address: usize) -> Option<Block> {
    let pages = PAGES.try_lock()?;
    let (start, (span, block)) = pages.range(..=address).next_back()?;
    if address >= start + span {
        return None;
    }
    block.clone().or_else(|| super::track::all().into_iter().find(|b| (*start..start + span).contains(&b.address)))
}
