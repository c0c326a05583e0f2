//! Memory descriptor lists.
#![allow(unsafe_code)] // MDLs are shared with drivers.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::null_mut;

use nt_abi::{
    DISPATCH_LEVEL, IRP, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARENT_MAPPED_SYSTEM_VA, MDL_PARTIAL,
    MDL_SOURCE_IS_NONPAGED_POOL, PAGE_SIZE, export_table,
};
use parking_lot::Mutex;

use crate::ex::pool;
use crate::ke::irql;
use crate::{fault, image, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    IoAllocateMdl, IoFreeMdl, IoBuildPartialMdl, MmBuildMdlForNonPagedPool, MmMapLockedPagesSpecifyCache, MmSizeOfMdl,
]);

#[derive(Clone, Copy)]
struct Info {
    site: usize,
    size: usize,
    /// The pool block that it describes, as far as known.
    block: Option<usize>,
}

const SHARDS: usize = 16;
type Shard = Mutex<Option<HashMap<usize, Info>>>;
static LIVE: [Shard; SHARDS] = [const { Mutex::new(None) }; SHARDS];

fn shard(mdl: *mut MDL) -> &'static Shard {
    &LIVE[(mdl as usize >> 5) % SHARDS]
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap_or(Layout::new::<u128>())
}

fn pages(address: usize, length: usize) -> usize {
    (address % PAGE_SIZE + length).div_ceil(PAGE_SIZE)
}

/// Live MDLs.
pub(crate) fn count() -> u64 {
    LIVE.iter().map(|shard| shard.lock().as_ref().map_or(0, HashMap::len)).sum::<usize>() as u64
}

/// MDLs that code at addresses of `range` allocated and has not freed.
pub(crate) fn leaks_of(range: &Range<usize>) -> Vec<String> {
    let live = LIVE.iter().flat_map(|shard| shard.lock().iter().flatten().map(|(at, info)| (*at, *info)).collect::<Vec<_>>());
    let owned = live.filter(|(_, info)| range.contains(&info.site));
    owned.map(|(at, info)| format!("MDL {at:#x}, allocated in {}", image::describe(info.site - 1))).collect()
}

/// Reports an MDL that is not alive.
fn known(function: &str, mdl: *mut MDL) -> bool {
    let live = shard(mdl).lock().as_ref().is_some_and(|shard| shard.contains_key(&(mdl as usize)));
    if !live {
        verifier::violation("mdl", format!("{function}: {mdl:p} is no MDL that IoAllocateMdl made, or was freed"));
    }
    live
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `irp` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoAllocateMdl(
    address: *mut c_void,
    length: u32,
    secondary: u8,
    _charge_quota: u8,
    irp: *mut IRP,
) -> *mut MDL {
    irql::at_most("IoAllocateMdl", DISPATCH_LEVEL);
    if fault::hit("IoAllocateMdl") {
        return null_mut();
    }
    let size = size_of::<MDL>() + 8 * pages(address as usize, length as usize);
    // SAFETY: the size is not zero.
    let mdl = unsafe { alloc_zeroed(layout(size)) }.cast::<MDL>();
    if mdl.is_null() {
        return null_mut();
    }
    let offset = address as usize % PAGE_SIZE;
    // SAFETY: the MDL is new; the IRP is the caller's.
    unsafe {
        (*mdl).Size = i16::try_from(size).unwrap_or(i16::MAX);
        (*mdl).StartVa = (address as usize - offset) as *mut c_void;
        (*mdl).ByteOffset = offset as u32;
        (*mdl).ByteCount = length;
        if let Some(irp) = irp.as_mut() {
            attach(irp, mdl, secondary != 0);
        }
    }
    let info = Info { site: image::caller(), size, block: None };
    shard(mdl).lock().get_or_insert_default().insert(mdl as usize, info);
    mdl
}

/// Makes an MDL an IRP's first, or appends it.
unsafe fn attach(irp: &mut IRP, mdl: *mut MDL, secondary: bool) {
    if !secondary || irp.MdlAddress.is_null() {
        irp.MdlAddress = mdl;
        return;
    }
    let mut last = irp.MdlAddress;
    // SAFETY: the IRP's chain consists of valid MDLs.
    unsafe {
        while !(*last).Next.is_null() {
            last = (*last).Next;
        }
        (*last).Next = mdl;
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `mdl` came from `IoAllocateMdl`.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoFreeMdl(mdl: *mut MDL) {
    irql::at_most("IoFreeMdl", DISPATCH_LEVEL);
    let info = shard(mdl).lock().as_mut().and_then(|shard| shard.remove(&(mdl as usize)));
    let Some(info) = info else {
        verifier::violation("mdl-double-free", format!("IoFreeMdl: {mdl:p} is no MDL that IoAllocateMdl made, or was freed"));
        return;
    };
    if let Some(block) = info.block {
        pool::mdl_gone(block);
    }
    // SAFETY: the MDL was live, and its size is that of its allocation. A late use finds the pattern.
    unsafe {
        mdl.cast::<u8>().write_bytes(0xdd, info.size);
        dealloc(mdl.cast(), layout(info.size));
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `mdl` describes nonpaged memory.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn MmBuildMdlForNonPagedPool(mdl: *mut MDL) {
    irql::at_most("MmBuildMdlForNonPagedPool", DISPATCH_LEVEL);
    if !known("MmBuildMdlForNonPagedPool", mdl) {
        return;
    }
    // SAFETY: the MDL is live.
    let address = unsafe {
        let address = (*mdl).StartVa as usize + (*mdl).ByteOffset as usize;
        (*mdl).MappedSystemVa = address as *mut c_void;
        (*mdl).MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
        let frames = mdl.add(1).cast::<usize>();
        for page in 0..pages(address, (*mdl).ByteCount as usize) {
            frames.add(page).write(address / PAGE_SIZE + page);
        }
        address
    };
    let block = pool::mdl_built(address);
    let mut live = shard(mdl).lock();
    let info = live.as_mut().and_then(|live| live.get_mut(&(mdl as usize)));
    if let Some(old) = info.and_then(|info| std::mem::replace(&mut info.block, block)) {
        pool::mdl_gone(old);
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// Both MDLs are valid, and the target is large enough for the range, which lies in the source's.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoBuildPartialMdl(source: *mut MDL, target: *mut MDL, address: *mut c_void, length: u32) {
    irql::at_most("IoBuildPartialMdl", DISPATCH_LEVEL);
    // SAFETY: the caller vouches for both.
    unsafe {
        let start = (*source).StartVa as usize + (*source).ByteOffset as usize;
        let offset = (address as usize).wrapping_sub(start);
        let left = ((*source).ByteCount as usize).wrapping_sub(offset);
        let length = if length == 0 { left } else { length as usize };
        let room = ((*target).Size as usize - size_of::<MDL>()) / 8;
        if offset > (*source).ByteCount as usize || length > left || pages(address as usize, length) > room {
            let text = format!("IoBuildPartialMdl: {length} bytes at {address:p} do not fit into the source or the target");
            verifier::violation("mdl-partial", text);
            return;
        }
        let kept = (*source).MdlFlags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_PAGES_LOCKED);
        let mapped = (*source).MdlFlags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA) != 0;
        (*target).MdlFlags = kept | MDL_PARTIAL | if mapped { MDL_PARENT_MAPPED_SYSTEM_VA } else { 0 };
        (*target).Process = (*source).Process;
        (*target).StartVa = (address as usize / PAGE_SIZE * PAGE_SIZE) as *mut c_void;
        (*target).ByteOffset = (address as usize % PAGE_SIZE) as u32;
        (*target).ByteCount = length as u32;
        (*target).MappedSystemVa = ((*source).MappedSystemVa as usize).wrapping_add(offset) as *mut c_void;
    }
}

/// Every MDL of the bench's memory is mapped: the address is where the memory is.
///
/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `mdl` is built.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn MmMapLockedPagesSpecifyCache(
    mdl: *mut MDL,
    _mode: i8,
    _cache: u32,
    _address: *mut c_void,
    _bugcheck: u32,
    _priority: u32,
) -> *mut c_void {
    irql::at_most("MmMapLockedPagesSpecifyCache", DISPATCH_LEVEL);
    // SAFETY: the caller vouches for the MDL.
    unsafe {
        let address = (*mdl).StartVa as usize + (*mdl).ByteOffset as usize;
        (*mdl).MappedSystemVa = address as *mut c_void;
        (*mdl).MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
        (*mdl).MappedSystemVa
    }
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn MmSizeOfMdl(address: *mut c_void, length: usize) -> usize {
    size_of::<MDL>() + 8 * pages(address as usize, length)
}
