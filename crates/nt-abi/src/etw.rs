//! Event Tracing for Windows: what a provider hands over with an event.
//! [EVENT_DESCRIPTOR](https://learn.microsoft.com/windows/win32/api/evntprov/ns-evntprov-event_descriptor),
//! [EVENT_DATA_DESCRIPTOR](https://learn.microsoft.com/windows/win32/api/evntprov/ns-evntprov-event_data_descriptor)
#![allow(non_camel_case_types, non_snake_case)] // Names and fields are the documented ones.

use core::ffi::c_void;

use crate::{GUID, layout};

/// `REGHANDLE`.
pub type REGHANDLE = u64;

/// `EVENT_DESCRIPTOR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EVENT_DESCRIPTOR {
    /// Identifier; zero for TraceLogging.
    pub Id: u16,
    /// Version.
    pub Version: u8,
    /// Channel.
    pub Channel: u8,
    /// Severity: less is more severe.
    pub Level: u8,
    /// Operation code.
    pub Opcode: u8,
    /// Task.
    pub Task: u16,
    /// Bits of categories.
    pub Keyword: u64,
}
layout!(EVENT_DESCRIPTOR, 16, Id @ 0, Version @ 2, Channel @ 3, Level @ 4, Opcode @ 5, Task @ 6, Keyword @ 8);

/// `EVENT_DATA_DESCRIPTOR`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EVENT_DATA_DESCRIPTOR {
    /// Address of the data.
    pub Ptr: u64,
    /// Bytes of it.
    pub Size: u32,
    /// What it is, one of `EVENT_DATA_DESCRIPTOR_TYPE_*`.
    pub Type: u8,
    /// Reserved.
    pub Reserved1: u8,
    /// Reserved.
    pub Reserved2: u16,
}
layout!(EVENT_DATA_DESCRIPTOR, 16, Ptr @ 0, Size @ 8, Type @ 12, Reserved1 @ 13, Reserved2 @ 14);

/// `EVENT_DATA_DESCRIPTOR_TYPE_NONE`: the event's data.
pub const EVENT_DATA_DESCRIPTOR_TYPE_NONE: u8 = 0;
/// `EVENT_DATA_DESCRIPTOR_TYPE_EVENT_METADATA`: the event's name and fields.
pub const EVENT_DATA_DESCRIPTOR_TYPE_EVENT_METADATA: u8 = 1;
/// `EVENT_DATA_DESCRIPTOR_TYPE_PROVIDER_METADATA`: the provider's name and traits.
pub const EVENT_DATA_DESCRIPTOR_TYPE_PROVIDER_METADATA: u8 = 2;

/// `MAX_EVENT_DATA_DESCRIPTORS`.
pub const MAX_EVENT_DATA_DESCRIPTORS: u32 = 128;
/// `EventProviderSetTraits`, as an `EVENT_INFO_CLASS`.
pub const EVENT_PROVIDER_SET_TRAITS: u32 = 2;
/// `EVENT_CONTROL_CODE_DISABLE_PROVIDER`.
pub const EVENT_CONTROL_CODE_DISABLE_PROVIDER: u32 = 0;
/// `EVENT_CONTROL_CODE_ENABLE_PROVIDER`.
pub const EVENT_CONTROL_CODE_ENABLE_PROVIDER: u32 = 1;

/// `ETWENABLECALLBACK`: a session begins or ends to take a provider's events.
pub type ETWENABLECALLBACK = unsafe extern "win64" fn(
    source: *const GUID,
    control_code: u32,
    level: u8,
    match_any_keyword: u64,
    match_all_keyword: u64,
    filter_data: *mut c_void,
    context: *mut c_void,
);
