//! `ExAllocatePool2`, which Wine has not, over `ExAllocatePoolWithTag`, which it has.

#![allow(unsafe_code)] // Functions that drivers call.
#![allow(non_snake_case)] // Their names are what drivers import.

use core::ffi::c_void;

use nt_abi::{Export, POOL_FLAG_PAGED, POOL_FLAG_UNINITIALIZED};

use super::held;
use crate::ledger::Kind;
use crate::wine::ExAllocatePoolWithTag;

/// For a driver: counted.
pub(crate) const EXPORTS: &[Export] = &[
    Export::new("ntoskrnl.exe", "ExAllocatePool2", allocate as *const ()),
    Export::new("ntoskrnl.exe", "ExFreePoolWithTag", free_with_tag as *const ()),
    Export::new("ntoskrnl.exe", "ExFreePool", free as *const ()),
];

const NON_PAGED_POOL: u32 = 0;
const PAGED_POOL: u32 = 1;

/// For the crates under this one: not counted.
///
/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
unsafe extern "win64" fn ExAllocatePool2(flags: u64, bytes: usize, tag: u32) -> *mut c_void {
    let kind = if flags & POOL_FLAG_PAGED == 0 { NON_PAGED_POOL } else { PAGED_POOL };
    // SAFETY: no requirements.
    let block = unsafe { ExAllocatePoolWithTag(kind, bytes, tag) };
    if !block.is_null() && flags & POOL_FLAG_UNINITIALIZED == 0 {
        // SAFETY: a new block of that many bytes.
        unsafe { block.cast::<u8>().write_bytes(0, bytes) };
    }
    block
}

unsafe extern "win64" fn allocate(flags: u64, bytes: usize, tag: u32) -> *mut c_void {
    // SAFETY: the driver's call.
    let block = unsafe { ExAllocatePool2(flags, bytes, tag) };
    if !block.is_null() {
        held::take(Kind::Pool, block.addr(), tag, bytes);
    }
    block
}

unsafe extern "win64" fn free_with_tag(block: *mut c_void, tag: u32) {
    held::give(Kind::Pool, block.addr());
    // SAFETY: the driver's block.
    unsafe { nt_abi::kernel::ExFreePoolWithTag(block, tag) };
}

unsafe extern "win64" fn free(block: *mut c_void) {
    held::give(Kind::Pool, block.addr());
    // SAFETY: the driver's block.
    unsafe { nt_abi::kernel::ExFreePool(block) };
}
