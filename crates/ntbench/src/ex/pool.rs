//! Pool memory, by tag, with who allocated each block; overruns, late writes, wrong frees and leaks are found.
//!
//! A block lies between two canaries. A freed one is filled with a pattern and kept for a while (`quarantine`); with
//! special pool it lies before a guard page and becomes inaccessible when freed (`special`).
#![allow(unsafe_code)] // Memory is allocated, filled and checked.

mod quarantine;
mod special;
mod track;

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;
use std::ptr::null_mut;

use nt_abi::{
    APC_LEVEL, DISPATCH_LEVEL, PAGE_SIZE, POOL_FLAG_NON_PAGED, POOL_FLAG_NON_PAGED_EXECUTE, POOL_FLAG_PAGED,
    POOL_FLAG_RAISE_ON_FAILURE, POOL_FLAG_UNINITIALIZED, export_table,
};

use crate::ke::{irql, lockorder};
use crate::{fault, image, verifier};

pub use track::{PoolStats, TagStats};
pub(crate) use track::{leaks_of, mdl_built, mdl_gone, stats};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    ExAllocatePool2, ExAllocatePoolWithTag, ExFreePool, ExFreePoolWithTag,
]);

/// What a block is preceded and followed by.
const CANARY: [u8; 16] = [0xc5; 16];
/// What a freed block is filled with.
const FREED: u8 = 0xdd;
/// What an uninitialized block is filled with.
const FRESH: u8 = 0xcd;

/// A live block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Its address.
    pub address: usize,
    /// Bytes asked for.
    pub size: usize,
    /// Its tag.
    pub tag: u32,
    /// Return address of who allocated it, zero if not in an image.
    pub site: usize,
    /// Whether it is paged.
    pub paged: bool,
    /// MDLs that describe it.
    pub mdls: u32,
    special: bool,
}

/// A tag as people write it.
pub(crate) fn tag_name(tag: u32) -> String {
    tag.to_le_bytes().iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { b as char } else { '.' }).collect()
}

impl Block {
    /// `n bytes of "Tag " at 0x..., allocated in ...`
    pub fn describe(&self) -> String {
        let site = if self.site == 0 { "the bench".to_owned() } else { image::describe(self.site - 1) };
        format!("{} bytes tagged '{}' at {:#x}, allocated in {site}", self.size, tag_name(self.tag), self.address)
    }

    fn layout(&self) -> Layout {
        layout(self.size)
    }

    /// Where the memory that it lies in begins.
    fn start(&self) -> usize {
        self.address - front(self.size)
    }
}

/// Bytes before a block: those of a page or more begin on one.
fn front(size: usize) -> usize {
    if size >= PAGE_SIZE { 0 } else { CANARY.len() }
}

fn layout(size: usize) -> Layout {
    let align = if size >= PAGE_SIZE { PAGE_SIZE } else { 16 };
    Layout::from_size_align(front(size) + size + CANARY.len(), align).unwrap_or(Layout::new::<u128>())
}

/// Allocates a block; null if there is no memory.
fn allocate(size: usize, tag: u32, paged: bool, zeroed: bool) -> *mut c_void {
    let site = if verifier::call_sites() { image::caller() } else { 0 };
    let special = verifier::special_pool();
    let address = if special { special::allocate(size) } else { plain(size) };
    if address == 0 {
        return null_mut();
    }
    // SAFETY: the block is new and `size` bytes long.
    unsafe { (address as *mut u8).write_bytes(if zeroed { 0 } else { FRESH }, size) };
    track::insert(Block { address, size, tag, site, paged, mdls: 0, special });
    address as *mut c_void
}

/// Memory with canaries around a block of `size` bytes; answers the block's address.
fn plain(size: usize) -> usize {
    if size > isize::MAX as usize / 2 {
        return 0;
    }
    // SAFETY: the layout is not empty.
    let start = unsafe { alloc(layout(size)) } as usize;
    if start == 0 {
        return 0;
    }
    let address = start + front(size);
    // SAFETY: the canaries lie in the layout.
    unsafe {
        if front(size) > 0 {
            (start as *mut [u8; 16]).write_unaligned(CANARY);
        }
        ((address + size) as *mut [u8; 16]).write_unaligned(CANARY);
    }
    address
}

/// Frees a block; `tag` is checked if given.
fn free(address: usize, tag: Option<u32>) {
    let Some(block) = track::remove(address) else {
        unknown(address);
        return;
    };
    irql::at_most("ExFreePool", if block.paged { APC_LEVEL } else { DISPATCH_LEVEL });
    if tag.is_some_and(|tag| tag != 0 && tag != block.tag) {
        let text = format!("{} is freed with tag '{}'", block.describe(), tag_name(tag.unwrap_or(0)));
        verifier::violation("pool-tag", text);
    }
    if block.mdls > 0 {
        verifier::violation("mdl-buffer", format!("{} is freed while {} MDLs describe it", block.describe(), block.mdls));
    }
    lockorder::forget_range(&(address..address + block.size));
    if block.special {
        special::retire(&block);
        return;
    }
    check_canaries(&block);
    quarantine::retire(block);
}

#[cold]
fn unknown(address: usize) {
    match quarantine::find(address).or_else(|| special::find(address)) {
        Some(block) if block.address == address => {
            verifier::violation("pool-double-free", format!("{} is freed again", block.describe()));
        }
        _ => {
            let inside = track::containing(address);
            let inside = inside.map(|block| format!(", an address inside {}", block.describe())).unwrap_or_default();
            verifier::violation("pool-bad-free", format!("{address:#x} is freed, which is no block{inside}"));
        }
    }
}

fn check_canaries(block: &Block) {
    // SAFETY: the canaries lie in the block's layout, which is still allocated.
    let (before, after) = unsafe {
        let before = (front(block.size) > 0).then(|| (block.start() as *const [u8; 16]).read_unaligned());
        (before, ((block.address + block.size) as *const [u8; 16]).read_unaligned())
    };
    if before.is_some_and(|canary| canary != CANARY) {
        verifier::violation("pool-underrun", format!("memory before {} was overwritten", block.describe()));
    }
    if after != CANARY {
        verifier::violation("pool-overrun", format!("memory after {} was overwritten", block.describe()));
    }
}

/// Gives a block's memory back to the host.
fn release(block: &Block) {
    // SAFETY: the memory was allocated with this layout, and the block is in no table any more.
    unsafe { dealloc(block.start() as *mut u8, block.layout()) };
}

/// Checks the canaries of every live block of `image` and the patterns of freed ones.
pub(crate) fn check_all() {
    for block in track::all().iter().filter(|block| !block.special) {
        check_canaries(block);
    }
    quarantine::check_all();
}

/// What the pool knows of an address that was used and is not accessible.
pub(crate) fn explain(address: usize) -> Option<String> {
    special::find(address).map(|block| {
        let at = address as isize - block.address as isize;
        let state = if track::is_live(block.address) { "live" } else { "freed" };
        format!("memory at offset {at} of a {state} block is used: {}", block.describe())
    })
}

/// Whether an address lies in a live block.
pub(crate) fn owns(address: usize) -> bool {
    track::containing(address).is_some()
}

/// Whether an address lies in a live block of paged pool.
pub(crate) fn is_paged(address: usize) -> bool {
    track::containing(address).is_some_and(|block| block.paged)
}

/// What `wdk-alloc`, the global allocator of drivers on windows-drivers-rs, allocates with.
const RUST_TAG: u32 = u32::from_le_bytes(*b"rust");

fn checked(flags: u64, size: usize, tag: u32) -> *mut c_void {
    let paged = flags & POOL_FLAG_PAGED != 0;
    irql::at_most("ExAllocatePool2", if paged { APC_LEVEL } else { DISPATCH_LEVEL });
    if flags & POOL_FLAG_NON_PAGED_EXECUTE != 0 {
        verifier::violation("pool-execute", format!("executable pool is allocated, tag '{}'", tag_name(tag)));
    }
    if tag == 0 || size == 0 {
        verifier::violation("pool-parameter", format!("{size} bytes with tag {tag:#x} are allocated"));
        return null_mut();
    }
    if tag == RUST_TAG && verifier::no_rust_tag() {
        verifier::violation("pool-tag", format!("{size} bytes are allocated with the tag 'rust'"));
    }
    if fault::hit("ExAllocatePool2") {
        return null_mut();
    }
    allocate(size, tag, paged, flags & POOL_FLAG_UNINITIALIZED == 0)
}

/// # IRQL
/// <= DISPATCH_LEVEL; <= APC_LEVEL for paged memory
#[unsafe(no_mangle)]
pub extern "win64" fn ExAllocatePool2(flags: u64, size: usize, tag: u32) -> *mut c_void {
    let kinds = flags & (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED);
    if kinds.count_ones() != 1 {
        verifier::violation("pool-parameter", format!("ExAllocatePool2 with flags {flags:#x}: one kind of pool is to be named"));
        return null_mut();
    }
    let block = checked(flags, size, tag);
    if block.is_null() && flags & POOL_FLAG_RAISE_ON_FAILURE != 0 {
        verifier::fatal("pool-raise", "POOL_FLAG_RAISE_ON_FAILURE: the bench cannot raise a structured exception");
    }
    block
}

/// The older form; `kind` is a `POOL_TYPE`.
///
/// # IRQL
/// <= DISPATCH_LEVEL; <= APC_LEVEL for paged memory
#[unsafe(no_mangle)]
pub extern "win64" fn ExAllocatePoolWithTag(kind: u32, size: usize, tag: u32) -> *mut c_void {
    let flags = match kind & 0x201 {
        0 => POOL_FLAG_NON_PAGED_EXECUTE,
        0x200 => POOL_FLAG_NON_PAGED,
        _ => POOL_FLAG_PAGED,
    };
    checked(flags | POOL_FLAG_UNINITIALIZED, size, tag)
}

/// # IRQL
/// <= DISPATCH_LEVEL; <= APC_LEVEL for paged memory
#[unsafe(no_mangle)]
pub extern "win64" fn ExFreePool(block: *mut c_void) {
    free(block as usize, None);
}

/// # IRQL
/// <= DISPATCH_LEVEL; <= APC_LEVEL for paged memory
#[unsafe(no_mangle)]
pub extern "win64" fn ExFreePoolWithTag(block: *mut c_void, tag: u32) {
    free(block as usize, Some(tag));
}
