//! The numbers of `wsk.h` and of the Winsock headers that it brings along.

#![allow(non_upper_case_globals, missing_docs)]

use crate::GUID;

/// NPI_WSK_INTERFACE_ID, the identifier that clients and the provider of WSK register under.
pub const NPI_WSK_INTERFACE_ID: GUID =
    GUID { Data1: 0x2227_e803, Data2: 0x8d8b, Data3: 0x11d4, Data4: [0xab, 0xad, 0x00, 0x90, 0x27, 0x71, 0x9e, 0x09] };

/// MAKE_WSK_VERSION.
pub const fn make_wsk_version(major: u8, minor: u8) -> u16 {
    ((major as u16) << 8) | minor as u16
}

/// The only documented version.
pub const WSK_VERSION_1_0: u16 = make_wsk_version(1, 0);

pub const WSK_FLAG_BASIC_SOCKET: u32 = 0;
pub const WSK_FLAG_LISTEN_SOCKET: u32 = 0x1;
pub const WSK_FLAG_CONNECTION_SOCKET: u32 = 0x2;
pub const WSK_FLAG_DATAGRAM_SOCKET: u32 = 0x4;
pub const WSK_FLAG_STREAM_SOCKET: u32 = 0x8;

// Event and request flags share numbers, each where it applies.
pub const WSK_FLAG_ABORTIVE: u32 = 0x1;
pub const WSK_FLAG_RELEASE_ASAP: u32 = 0x2;
pub const WSK_FLAG_ENTIRE_MESSAGE: u32 = 0x4;
pub const WSK_FLAG_AT_DISPATCH_LEVEL: u32 = 0x8;
pub const WSK_FLAG_NODELAY: u32 = 0x2;
pub const WSK_FLAG_WAITALL: u32 = 0x2;
pub const WSK_FLAG_DRAIN: u32 = 0x4;

pub const WSK_EVENT_SEND_BACKLOG: u32 = 0x10;
pub const WSK_EVENT_RECEIVE: u32 = 0x40;
pub const WSK_EVENT_DISCONNECT: u32 = 0x80;
pub const WSK_EVENT_RECEIVE_FROM: u32 = 0x100;
pub const WSK_EVENT_ACCEPT: u32 = 0x200;
pub const WSK_EVENT_DISABLE: u32 = 0x8000_0000;

pub const WSK_TRANSPORT_LIST_QUERY: u32 = 2;
pub const WSK_TRANSPORT_LIST_CHANGE: u32 = 3;
pub const WSK_CACHE_SD: u32 = 4;
pub const WSK_RELEASE_SD: u32 = 5;
pub const WSK_TDI_DEVICENAME_MAPPING: u32 = 6;
pub const WSK_SET_STATIC_EVENT_CALLBACKS: u32 = 7;
pub const WSK_TDI_BEHAVIOR: u32 = 8;

pub const WSK_SO_BASE: u32 = 0x4000;
pub const SO_WSK_SECURITY: u32 = WSK_SO_BASE + 1;
pub const SO_WSK_EVENT_CALLBACK: u32 = WSK_SO_BASE + 2;

const IOC_OUT: u32 = 0x4000_0000;
const IOC_IN: u32 = 0x8000_0000;
const IOC_VOID: u32 = 0x2000_0000;
const IOC_WSK: u32 = 0x0f00_0000;

pub const SIO_WSK_SET_REMOTE_ADDRESS: u32 = IOC_IN | IOC_WSK | 1;
pub const SIO_WSK_REGISTER_EXTENSION: u32 = IOC_IN | IOC_OUT | IOC_WSK | 2;
pub const SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: u32 = IOC_OUT | IOC_WSK | 3;
pub const SIO_WSK_QUERY_RECEIVE_BACKLOG: u32 = IOC_OUT | IOC_WSK | 4;
pub const SIO_WSK_QUERY_INSPECT_ID: u32 = IOC_OUT | IOC_WSK | 5;
pub const SIO_WSK_SET_SENDTO_ADDRESS: u32 = IOC_IN | IOC_WSK | 6;
pub const SIO_WSK_SET_TCP_SILENT_MODE: u32 = IOC_VOID | IOC_WSK | 7;
const IOC_WS2: u32 = 0x0800_0000;
pub const SIO_ADDRESS_LIST_QUERY: u32 = IOC_OUT | IOC_WS2 | 22;
pub const SIO_ADDRESS_LIST_CHANGE: u32 = IOC_VOID | IOC_WS2 | 23;
pub const SIO_ADDRESS_LIST_SORT: u32 = IOC_IN | IOC_OUT | IOC_WS2 | 25;

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 23;
pub const SOCK_STREAM: u16 = 1;
pub const SOCK_DGRAM: u16 = 2;
pub const SOCK_RAW: u16 = 3;
pub const IPPROTO_IP: u32 = 0;
pub const IPPROTO_TCP: u32 = 6;
pub const IPPROTO_UDP: u32 = 17;
pub const IPPROTO_IPV6: u32 = 41;

pub const SOL_SOCKET: u32 = 0xffff;
pub const SO_REUSEADDR: u32 = 0x4;
pub const SO_KEEPALIVE: u32 = 0x8;
pub const SO_SNDBUF: u32 = 0x1001;
pub const SO_RCVBUF: u32 = 0x1002;
pub const SO_ERROR: u32 = 0x1007;
pub const SO_TYPE: u32 = 0x1008;
pub const SO_CONDITIONAL_ACCEPT: u32 = 0x3002;
pub const SO_EXCLUSIVEADDRUSE: u32 = !SO_REUSEADDR;
pub const TCP_NODELAY: u32 = 1;
pub const TCP_KEEPALIVE: u32 = 3;
pub const TCP_KEEPCNT: u32 = 16;
pub const TCP_KEEPINTVL: u32 = 17;
pub const IPV6_V6ONLY: u32 = 27;

/// `WskCaptureProviderNPI`: do not wait.
pub const WSK_NO_WAIT: u32 = 0;
/// `WskCaptureProviderNPI`: wait for as long as it takes.
pub const WSK_INFINITE_WAIT: u32 = u32::MAX;
