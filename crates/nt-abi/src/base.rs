//! Counted strings, doubly linked lists, handles, object attributes: what every component uses.
#![allow(non_camel_case_types, non_snake_case)] // Names and fields are the documented ones.

use core::ffi::c_void;

use crate::layout;

/// A kernel handle.
pub type HANDLE = *mut c_void;
/// `BOOLEAN`: zero is false.
pub type BOOLEAN = u8;
/// `LARGE_INTEGER`, in units of 100 ns where it is a time.
pub type LARGE_INTEGER = i64;

/// `UNICODE_STRING`: lengths are in bytes and count no terminator.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UNICODE_STRING {
    /// Bytes in use.
    pub Length: u16,
    /// Bytes there are.
    pub MaximumLength: u16,
    /// UTF-16 code units.
    pub Buffer: *mut u16,
}
layout!(UNICODE_STRING, 16, Length @ 0, MaximumLength @ 2, Buffer @ 8);

impl UNICODE_STRING {
    /// The empty string without a buffer.
    pub const EMPTY: UNICODE_STRING = UNICODE_STRING { Length: 0, MaximumLength: 0, Buffer: core::ptr::null_mut() };
}

/// `LIST_ENTRY`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LIST_ENTRY {
    /// The next entry, or the head.
    pub Flink: *mut LIST_ENTRY,
    /// The previous entry, or the head.
    pub Blink: *mut LIST_ENTRY,
}
layout!(LIST_ENTRY, 16, Flink @ 0, Blink @ 8);

impl LIST_ENTRY {
    /// An entry on no list.
    pub const UNLINKED: LIST_ENTRY = LIST_ENTRY { Flink: core::ptr::null_mut(), Blink: core::ptr::null_mut() };
}

/// `GUID`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GUID {
    /// First field.
    pub Data1: u32,
    /// Second field.
    pub Data2: u16,
    /// Third field.
    pub Data3: u16,
    /// The rest, byte by byte.
    pub Data4: [u8; 8],
}
layout!(GUID, 16, Data1 @ 0, Data2 @ 4, Data3 @ 6, Data4 @ 8);

/// `OBJECT_ATTRIBUTES`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OBJECT_ATTRIBUTES {
    /// Size of this structure.
    pub Length: u32,
    /// Directory that the name is relative to, or null.
    pub RootDirectory: HANDLE,
    /// The object's name.
    pub ObjectName: *mut UNICODE_STRING,
    /// `OBJ_*` flags.
    pub Attributes: u32,
    /// Security descriptor, or null.
    pub SecurityDescriptor: *mut c_void,
    /// Security quality of service, or null.
    pub SecurityQualityOfService: *mut c_void,
}
layout!(OBJECT_ATTRIBUTES, 48, Length @ 0, RootDirectory @ 8, ObjectName @ 16, Attributes @ 24,
    SecurityDescriptor @ 32, SecurityQualityOfService @ 40);

/// `OBJ_KERNEL_HANDLE`.
pub const OBJ_KERNEL_HANDLE: u32 = 0x200;
/// `OBJ_CASE_INSENSITIVE`.
pub const OBJ_CASE_INSENSITIVE: u32 = 0x40;

/// `CLIENT_ID`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CLIENT_ID {
    /// Process id.
    pub UniqueProcess: HANDLE,
    /// Thread id.
    pub UniqueThread: HANDLE,
}
layout!(CLIENT_ID, 16, UniqueProcess @ 0, UniqueThread @ 8);

/// `PROCESSOR_NUMBER`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PROCESSOR_NUMBER {
    /// Processor group.
    pub Group: u16,
    /// Number within the group.
    pub Number: u8,
    /// Zero.
    pub Reserved: u8,
}
layout!(PROCESSOR_NUMBER, 4, Group @ 0, Number @ 2, Reserved @ 3);

/// `ALL_PROCESSOR_GROUPS`.
pub const ALL_PROCESSOR_GROUPS: u16 = 0xffff;

/// `KEY_VALUE_PARTIAL_INFORMATION`, up to its data.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KEY_VALUE_PARTIAL_INFORMATION {
    /// Zero.
    pub TitleIndex: u32,
    /// `REG_*` type.
    pub ValueType: u32,
    /// Bytes of data that follow at offset 12.
    pub DataLength: u32,
    /// First byte of the data.
    pub Data: [u8; 1],
}
layout!(KEY_VALUE_PARTIAL_INFORMATION, 16, TitleIndex @ 0, ValueType @ 4, DataLength @ 8, Data @ 12);

/// `KeyValuePartialInformation` as an information class.
pub const KEY_VALUE_PARTIAL_INFORMATION_CLASS: u32 = 2;

/// `KEY_BASIC_INFORMATION`, up to its name.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KEY_BASIC_INFORMATION {
    /// When the key was changed last.
    pub LastWriteTime: i64,
    /// Zero.
    pub TitleIndex: u32,
    /// Bytes of the name, which follows at offset 16 and has no zero at its end.
    pub NameLength: u32,
    /// First unit of the name.
    pub Name: [u16; 1],
}
layout!(KEY_BASIC_INFORMATION, 24, LastWriteTime @ 0, TitleIndex @ 8, NameLength @ 12, Name @ 16);

/// `KeyBasicInformation` as an information class.
pub const KEY_BASIC_INFORMATION_CLASS: u32 = 0;

/// `REG_SZ`.
pub const REG_SZ: u32 = 1;
/// `REG_BINARY`.
pub const REG_BINARY: u32 = 3;
/// `REG_DWORD`.
pub const REG_DWORD: u32 = 4;
/// `REG_MULTI_SZ`.
pub const REG_MULTI_SZ: u32 = 7;
/// `REG_QWORD`.
pub const REG_QWORD: u32 = 11;
