//! Constants of the headers that are macros of a kind that bindgen cannot evaluate (calls of other macros, casts).
//!
//! Their values are compared with the headers' by `cargo xtask kit check`.

#![allow(missing_docs, reason = "named and documented as in wsk.h, ws2def.h and mstcpip.h")]

use wdk_sys::{ULONG, USHORT};

const IOC_VOID: ULONG = 0x2000_0000;
const IOC_OUT: ULONG = 0x4000_0000;
const IOC_IN: ULONG = 0x8000_0000;
const IOC_INOUT: ULONG = IOC_IN | IOC_OUT;
const IOC_WS2: ULONG = 0x0800_0000;
const IOC_VENDOR: ULONG = 0x1800_0000;
const IOC_WSK: ULONG = IOC_WS2 | 0x0700_0000;

pub const SIO_WSK_SET_REMOTE_ADDRESS: ULONG = IOC_IN | IOC_WSK | 1;
pub const SIO_WSK_REGISTER_EXTENSION: ULONG = IOC_INOUT | IOC_WSK | 2;
pub const SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: ULONG = IOC_OUT | IOC_WSK | 3;
pub const SIO_WSK_QUERY_RECEIVE_BACKLOG: ULONG = IOC_OUT | IOC_WSK | 4;
pub const SIO_WSK_QUERY_INSPECT_ID: ULONG = IOC_OUT | IOC_WSK | 5;
pub const SIO_WSK_SET_SENDTO_ADDRESS: ULONG = IOC_IN | IOC_WSK | 6;
pub const SIO_WSK_SET_TCP_SILENT_MODE: ULONG = IOC_VOID | IOC_WSK | 7;

pub const SIO_ROUTING_INTERFACE_QUERY: ULONG = IOC_INOUT | IOC_WS2 | 20;
pub const SIO_ROUTING_INTERFACE_CHANGE: ULONG = IOC_IN | IOC_WS2 | 21;
pub const SIO_ADDRESS_LIST_QUERY: ULONG = IOC_OUT | IOC_WS2 | 22;
pub const SIO_ADDRESS_LIST_CHANGE: ULONG = IOC_VOID | IOC_WS2 | 23;
pub const SIO_ADDRESS_LIST_SORT: ULONG = IOC_INOUT | IOC_WS2 | 25;
pub const SIO_KEEPALIVE_VALS: ULONG = IOC_IN | IOC_VENDOR | 4;

/// What the macro of this name in wsk.h makes of a major and a minor version.
///
/// # IRQL
/// Any.
#[allow(non_snake_case, reason = "named as in wsk.h")]
#[must_use]
pub const fn MAKE_WSK_VERSION(major: u8, minor: u8) -> USHORT {
    USHORT::from_be_bytes([major, minor])
}
