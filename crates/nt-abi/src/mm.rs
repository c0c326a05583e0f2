//! Memory descriptor lists and pool flags.
#![allow(non_camel_case_types, non_snake_case)] // Names and fields are the documented ones.

use core::ffi::c_void;

use crate::layout;

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// `MDL`, followed by its page frame numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MDL {
    /// The next MDL of the chain, or null.
    pub Next: *mut MDL,
    /// Bytes of this header and the page frame numbers.
    pub Size: i16,
    /// `MDL_*` flags.
    pub MdlFlags: i16,
    /// Processor that allocated it.
    pub AllocationProcessorNumber: u16,
    /// Zero.
    pub Reserved: u16,
    /// Process, or null.
    pub Process: *mut c_void,
    /// Where the memory can be reached, if mapped.
    pub MappedSystemVa: *mut c_void,
    /// Address of the first page.
    pub StartVa: *mut c_void,
    /// Bytes described.
    pub ByteCount: u32,
    /// Offset of the first byte in the first page.
    pub ByteOffset: u32,
}
layout!(MDL, 48, Next @ 0, Size @ 8, MdlFlags @ 10, Process @ 16, MappedSystemVa @ 24, StartVa @ 32,
    ByteCount @ 40, ByteOffset @ 44);

/// `MDL_MAPPED_TO_SYSTEM_VA`.
pub const MDL_MAPPED_TO_SYSTEM_VA: i16 = 0x0001;
/// `MDL_PAGES_LOCKED`.
pub const MDL_PAGES_LOCKED: i16 = 0x0002;
/// `MDL_SOURCE_IS_NONPAGED_POOL`.
pub const MDL_SOURCE_IS_NONPAGED_POOL: i16 = 0x0004;
/// `MDL_ALLOCATED_FIXED_SIZE`.
pub const MDL_ALLOCATED_FIXED_SIZE: i16 = 0x0008;
/// `MDL_PARTIAL`.
pub const MDL_PARTIAL: i16 = 0x0010;
/// `MDL_PARTIAL_HAS_BEEN_MAPPED`.
pub const MDL_PARTIAL_HAS_BEEN_MAPPED: i16 = 0x0020;
/// `MDL_PARENT_MAPPED_SYSTEM_VA`.
pub const MDL_PARENT_MAPPED_SYSTEM_VA: i16 = 0x0100;

/// `POOL_FLAG_UNINITIALIZED`.
pub const POOL_FLAG_UNINITIALIZED: u64 = 0x2;
/// `POOL_FLAG_CACHE_ALIGNED`.
pub const POOL_FLAG_CACHE_ALIGNED: u64 = 0x8;
/// `POOL_FLAG_RAISE_ON_FAILURE`.
pub const POOL_FLAG_RAISE_ON_FAILURE: u64 = 0x20;
/// `POOL_FLAG_NON_PAGED`.
pub const POOL_FLAG_NON_PAGED: u64 = 0x40;
/// `POOL_FLAG_NON_PAGED_EXECUTE`.
pub const POOL_FLAG_NON_PAGED_EXECUTE: u64 = 0x80;
/// `POOL_FLAG_PAGED`.
pub const POOL_FLAG_PAGED: u64 = 0x100;
