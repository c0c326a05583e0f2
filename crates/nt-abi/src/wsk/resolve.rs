//! Name resolution: what `ws2def.h` has for WskGetAddressInfo and WskGetNameInfo.

#![allow(non_snake_case, missing_docs, clippy::upper_case_acronyms)]

use core::ffi::c_void;

use super::SOCKADDR;
use crate::GUID;

/// One address, in a list.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ADDRINFOEXW {
    pub ai_flags: i32,
    pub ai_family: i32,
    pub ai_socktype: i32,
    pub ai_protocol: i32,
    pub ai_addrlen: usize,
    pub ai_canonname: *mut u16,
    pub ai_addr: *mut SOCKADDR,
    pub ai_blob: *mut c_void,
    pub ai_bloblen: usize,
    pub ai_provider: *mut GUID,
    pub ai_next: *mut ADDRINFOEXW,
}

pub const AF_UNSPEC: u16 = 0;

pub const AI_PASSIVE: u32 = 0x1;
pub const AI_CANONNAME: u32 = 0x2;
pub const AI_NUMERICHOST: u32 = 0x4;
pub const AI_NUMERICSERV: u32 = 0x8;
pub const AI_ALL: u32 = 0x100;
pub const AI_ADDRCONFIG: u32 = 0x400;
pub const AI_V4MAPPED: u32 = 0x800;
pub const AI_FQDN: u32 = 0x2_0000;

pub const NI_NOFQDN: u32 = 0x1;
pub const NI_NUMERICHOST: u32 = 0x2;
pub const NI_NAMEREQD: u32 = 0x4;
pub const NI_NUMERICSERV: u32 = 0x8;
pub const NI_DGRAM: u32 = 0x10;

pub const NS_ALL: u32 = 0;
pub const NS_DNS: u32 = 12;

/// The size of SOCKADDR_STORAGE, the largest that an address can be.
pub const SOCKADDR_STORAGE_SIZE: u32 = 128;

const _: () = assert!(size_of::<ADDRINFOEXW>() == 72);
