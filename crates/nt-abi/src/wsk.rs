//! Winsock Kernel (`wsk.h`) as the bench knows it, written from the public API pages.
//!
//! Names are the header's own, so that a page and this file can be read side by side. Function pointers in
//! tables that a client fills are `Option`: a NULL there means "this event is not used". Tables that the
//! provider fills hold plain pointers, for a NULL there is never valid; reserved members are untyped.

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, missing_docs, clippy::upper_case_acronyms)]

use core::ffi::c_void;

use crate::{GUID, IRP, MDL, NTSTATUS, UNICODE_STRING};

mod codes;
mod resolve;
mod udp;
pub use codes::*;
pub use resolve::*;
pub use udp::*;

/// SOCKADDR: what every address begins with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SOCKADDR {
    pub sa_family: u16,
    pub sa_data: [u8; 14],
}

/// SOCKADDR_IN. Port and address are in network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SOCKADDR_IN {
    pub sin_family: u16,
    pub sin_port: u16,
    pub sin_addr: [u8; 4],
    pub sin_zero: [u8; 8],
}

/// SOCKADDR_IN6. Port and address are in network byte order, the scope is not.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SOCKADDR_IN6 {
    pub sin6_family: u16,
    pub sin6_port: u16,
    pub sin6_flowinfo: u32,
    pub sin6_addr: [u8; 16],
    pub sin6_scope_id: u32,
}

/// WSK_SOCKET: all that a client sees of a socket.
#[repr(C)]
pub struct WSK_SOCKET {
    pub Dispatch: *const c_void,
}

/// WSK_CLIENT is opaque to clients.
pub type PWSK_CLIENT = *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_BUF {
    pub Mdl: *mut MDL,
    pub Offset: u32,
    pub Length: usize,
}

#[repr(C)]
pub struct WSK_BUF_LIST {
    pub Next: *mut WSK_BUF_LIST,
    pub Buffer: WSK_BUF,
}

#[repr(C)]
pub struct WSK_DATA_INDICATION {
    pub Next: *mut WSK_DATA_INDICATION,
    pub Buffer: WSK_BUF,
}

#[repr(C)]
pub struct WSK_DATAGRAM_INDICATION {
    pub Next: *mut WSK_DATAGRAM_INDICATION,
    pub Buffer: WSK_BUF,
    pub ControlInfo: *mut CMSGHDR,
    pub ControlInfoLength: u32,
    pub RemoteAddress: *mut SOCKADDR,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CMSGHDR {
    pub cmsg_len: usize,
    pub cmsg_level: i32,
    pub cmsg_type: i32,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WSK_INSPECT_ID {
    pub Key: usize,
    pub SerialNumber: u32,
}

/// WSK_INSPECT_ACTION.
pub type WSK_INSPECT_ACTION = i32;
pub const WskInspectReject: WSK_INSPECT_ACTION = 0;
pub const WskInspectAccept: WSK_INSPECT_ACTION = 1;
pub const WskInspectPend: WSK_INSPECT_ACTION = 2;

/// WSK_CONTROL_SOCKET_TYPE.
pub type WSK_CONTROL_SOCKET_TYPE = i32;
pub const WskSetOption: WSK_CONTROL_SOCKET_TYPE = 0;
pub const WskGetOption: WSK_CONTROL_SOCKET_TYPE = 1;
pub const WskIoctl: WSK_CONTROL_SOCKET_TYPE = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_EVENT_CALLBACK_CONTROL {
    pub NpiId: *const GUID,
    pub EventMask: u32,
}

#[repr(C)]
pub struct WSK_EXTENSION_CONTROL_IN {
    pub NpiId: *const GUID,
    pub ClientContext: *mut c_void,
    pub ClientDispatch: *const c_void,
}

#[repr(C)]
pub struct WSK_EXTENSION_CONTROL_OUT {
    pub ProviderContext: *mut c_void,
    pub ProviderDispatch: *const c_void,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_TRANSPORT {
    pub Version: u16,
    pub SocketType: u16,
    pub Protocol: u32,
    pub AddressFamily: u16,
    pub ProviderId: GUID,
}

// What the client gives: its events.

pub type PFN_WSK_CLIENT_EVENT = unsafe extern "win64" fn(*mut c_void, u32, *mut c_void, usize) -> NTSTATUS;
pub type PFN_WSK_ACCEPT_EVENT = unsafe extern "win64" fn(
    SocketContext: *mut c_void,
    Flags: u32,
    LocalAddress: *mut SOCKADDR,
    RemoteAddress: *mut SOCKADDR,
    AcceptSocket: *mut WSK_SOCKET,
    AcceptSocketContext: *mut *mut c_void,
    AcceptSocketDispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NTSTATUS;
pub type PFN_WSK_INSPECT_EVENT =
    unsafe extern "win64" fn(*mut c_void, *mut SOCKADDR, *mut SOCKADDR, *mut WSK_INSPECT_ID) -> WSK_INSPECT_ACTION;
pub type PFN_WSK_ABORT_EVENT = unsafe extern "win64" fn(*mut c_void, *mut WSK_INSPECT_ID) -> NTSTATUS;
pub type PFN_WSK_RECEIVE_EVENT = unsafe extern "win64" fn(
    SocketContext: *mut c_void,
    Flags: u32,
    DataIndication: *mut WSK_DATA_INDICATION,
    BytesIndicated: usize,
    BytesAccepted: *mut usize,
) -> NTSTATUS;
pub type PFN_WSK_DISCONNECT_EVENT = unsafe extern "win64" fn(*mut c_void, u32) -> NTSTATUS;
pub type PFN_WSK_SEND_BACKLOG_EVENT = unsafe extern "win64" fn(*mut c_void, usize) -> NTSTATUS;
pub type PFN_WSK_RECEIVE_FROM_EVENT = unsafe extern "win64" fn(*mut c_void, u32, *mut WSK_DATAGRAM_INDICATION) -> NTSTATUS;

#[repr(C)]
pub struct WSK_CLIENT_DISPATCH {
    pub Version: u16,
    pub Reserved: u16,
    pub WskClientEvent: Option<PFN_WSK_CLIENT_EVENT>,
}

#[repr(C)]
pub struct WSK_CLIENT_LISTEN_DISPATCH {
    pub WskAcceptEvent: Option<PFN_WSK_ACCEPT_EVENT>,
    pub WskInspectEvent: Option<PFN_WSK_INSPECT_EVENT>,
    pub WskAbortEvent: Option<PFN_WSK_ABORT_EVENT>,
}

#[repr(C)]
pub struct WSK_CLIENT_CONNECTION_DISPATCH {
    pub WskReceiveEvent: Option<PFN_WSK_RECEIVE_EVENT>,
    pub WskDisconnectEvent: Option<PFN_WSK_DISCONNECT_EVENT>,
    pub WskSendBacklogEvent: Option<PFN_WSK_SEND_BACKLOG_EVENT>,
}

#[repr(C)]
pub struct WSK_CLIENT_DATAGRAM_DISPATCH {
    pub WskReceiveFromEvent: Option<PFN_WSK_RECEIVE_FROM_EVENT>,
}

#[repr(C)]
pub struct WSK_CLIENT_STREAM_DISPATCH {
    pub Listen: *const WSK_CLIENT_LISTEN_DISPATCH,
    pub Connect: *const WSK_CLIENT_CONNECTION_DISPATCH,
}

// What the provider gives: functions of the client object.

pub type PFN_WSK_SOCKET = unsafe extern "win64" fn(
    Client: PWSK_CLIENT,
    AddressFamily: u16,
    SocketType: u16,
    Protocol: u32,
    Flags: u32,
    SocketContext: *mut c_void,
    Dispatch: *const c_void,
    OwningProcess: *mut c_void,
    OwningThread: *mut c_void,
    SecurityDescriptor: *mut c_void,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_SOCKET_CONNECT = unsafe extern "win64" fn(
    Client: PWSK_CLIENT,
    SocketType: u16,
    Protocol: u32,
    LocalAddress: *mut SOCKADDR,
    RemoteAddress: *mut SOCKADDR,
    Flags: u32,
    SocketContext: *mut c_void,
    Dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    OwningProcess: *mut c_void,
    OwningThread: *mut c_void,
    SecurityDescriptor: *mut c_void,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_CONTROL_CLIENT = unsafe extern "win64" fn(
    Client: PWSK_CLIENT,
    ControlCode: u32,
    InputSize: usize,
    InputBuffer: *mut c_void,
    OutputSize: usize,
    OutputBuffer: *mut c_void,
    OutputSizeReturned: *mut usize,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_GET_ADDRESS_INFO = unsafe extern "win64" fn(
    Client: PWSK_CLIENT,
    NodeName: *const UNICODE_STRING,
    ServiceName: *const UNICODE_STRING,
    NameSpace: u32,
    Provider: *const GUID,
    Hints: *const ADDRINFOEXW,
    Result: *mut *mut ADDRINFOEXW,
    OwningProcess: *mut c_void,
    OwningThread: *mut c_void,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_FREE_ADDRESS_INFO = unsafe extern "win64" fn(Client: PWSK_CLIENT, AddrInfo: *mut ADDRINFOEXW);
pub type PFN_WSK_GET_NAME_INFO = unsafe extern "win64" fn(
    Client: PWSK_CLIENT,
    SockAddr: *const SOCKADDR,
    SockAddrLength: u32,
    NodeName: *mut UNICODE_STRING,
    ServiceName: *mut UNICODE_STRING,
    Flags: u32,
    OwningProcess: *mut c_void,
    OwningThread: *mut c_void,
    Irp: *mut IRP,
) -> NTSTATUS;

#[repr(C)]
pub struct WSK_PROVIDER_DISPATCH {
    pub Version: u16,
    pub Reserved: u16,
    pub WskSocket: PFN_WSK_SOCKET,
    pub WskSocketConnect: PFN_WSK_SOCKET_CONNECT,
    pub WskControlClient: PFN_WSK_CONTROL_CLIENT,
    pub WskGetAddressInfo: PFN_WSK_GET_ADDRESS_INFO,
    pub WskFreeAddressInfo: PFN_WSK_FREE_ADDRESS_INFO,
    pub WskGetNameInfo: PFN_WSK_GET_NAME_INFO,
}

// Functions of a socket.

pub type PFN_WSK_CONTROL_SOCKET = unsafe extern "win64" fn(
    Socket: *mut WSK_SOCKET,
    RequestType: WSK_CONTROL_SOCKET_TYPE,
    ControlCode: u32,
    Level: u32,
    InputSize: usize,
    InputBuffer: *mut c_void,
    OutputSize: usize,
    OutputBuffer: *mut c_void,
    OutputSizeReturned: *mut usize,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_CLOSE_SOCKET = unsafe extern "win64" fn(Socket: *mut WSK_SOCKET, Irp: *mut IRP) -> NTSTATUS;
/// WskBind and WskConnect have the same shape.
pub type PFN_WSK_BIND =
    unsafe extern "win64" fn(Socket: *mut WSK_SOCKET, Address: *mut SOCKADDR, Flags: u32, Irp: *mut IRP) -> NTSTATUS;
pub type PFN_WSK_CONNECT = PFN_WSK_BIND;
pub type PFN_WSK_LISTEN = unsafe extern "win64" fn(Socket: *mut WSK_SOCKET, Irp: *mut IRP) -> NTSTATUS;
pub type PFN_WSK_ACCEPT = unsafe extern "win64" fn(
    ListenSocket: *mut WSK_SOCKET,
    Flags: u32,
    AcceptSocketContext: *mut c_void,
    AcceptSocketDispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    LocalAddress: *mut SOCKADDR,
    RemoteAddress: *mut SOCKADDR,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_INSPECT_COMPLETE = unsafe extern "win64" fn(
    ListenSocket: *mut WSK_SOCKET,
    InspectID: *mut WSK_INSPECT_ID,
    Action: WSK_INSPECT_ACTION,
    Irp: *mut IRP,
) -> NTSTATUS;
/// WskSend, WskReceive and WskDisconnect have the same shape.
pub type PFN_WSK_SEND =
    unsafe extern "win64" fn(Socket: *mut WSK_SOCKET, Buffer: *mut WSK_BUF, Flags: u32, Irp: *mut IRP) -> NTSTATUS;
pub type PFN_WSK_RECEIVE = PFN_WSK_SEND;
pub type PFN_WSK_DISCONNECT = PFN_WSK_SEND;
pub type PFN_WSK_RELEASE_DATA_INDICATION_LIST =
    unsafe extern "win64" fn(Socket: *mut WSK_SOCKET, DataIndication: *mut WSK_DATA_INDICATION) -> NTSTATUS;
pub type PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST =
    unsafe extern "win64" fn(Socket: *mut WSK_SOCKET, DatagramIndication: *mut WSK_DATAGRAM_INDICATION) -> NTSTATUS;
/// WskGetLocalAddress and WskGetRemoteAddress have the same shape.
pub type PFN_WSK_GET_LOCAL_ADDRESS =
    unsafe extern "win64" fn(Socket: *mut WSK_SOCKET, Address: *mut SOCKADDR, Irp: *mut IRP) -> NTSTATUS;
pub type PFN_WSK_GET_REMOTE_ADDRESS = PFN_WSK_GET_LOCAL_ADDRESS;
pub type PFN_WSK_CONNECT_EX = unsafe extern "win64" fn(
    Socket: *mut WSK_SOCKET,
    RemoteAddress: *mut SOCKADDR,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_SEND_TO = unsafe extern "win64" fn(
    Socket: *mut WSK_SOCKET,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    RemoteAddress: *mut SOCKADDR,
    ControlInfoLength: u32,
    ControlInfo: *mut CMSGHDR,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_RECEIVE_FROM = unsafe extern "win64" fn(
    Socket: *mut WSK_SOCKET,
    Buffer: *mut WSK_BUF,
    Flags: u32,
    RemoteAddress: *mut SOCKADDR,
    ControlLength: *mut u32,
    ControlInfo: *mut CMSGHDR,
    ControlFlags: *mut u32,
    Irp: *mut IRP,
) -> NTSTATUS;
pub type PFN_WSK_SEND_MESSAGES = unsafe extern "win64" fn(
    Socket: *mut WSK_SOCKET,
    BufferList: *mut WSK_BUF_LIST,
    Flags: u32,
    RemoteAddress: *mut SOCKADDR,
    ControlInfoLength: u32,
    ControlInfo: *mut CMSGHDR,
    Irp: *mut IRP,
) -> NTSTATUS;

#[repr(C)]
pub struct WSK_PROVIDER_BASIC_DISPATCH {
    pub WskControlSocket: PFN_WSK_CONTROL_SOCKET,
    pub WskCloseSocket: PFN_WSK_CLOSE_SOCKET,
}

#[repr(C)]
pub struct WSK_PROVIDER_LISTEN_DISPATCH {
    pub Basic: WSK_PROVIDER_BASIC_DISPATCH,
    pub WskBind: PFN_WSK_BIND,
    pub WskAccept: PFN_WSK_ACCEPT,
    pub WskInspectComplete: PFN_WSK_INSPECT_COMPLETE,
    pub WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS,
}

#[repr(C)]
pub struct WSK_PROVIDER_CONNECTION_DISPATCH {
    pub Basic: WSK_PROVIDER_BASIC_DISPATCH,
    pub WskBind: PFN_WSK_BIND,
    pub WskConnect: PFN_WSK_CONNECT,
    pub WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS,
    pub WskGetRemoteAddress: PFN_WSK_GET_REMOTE_ADDRESS,
    pub WskSend: PFN_WSK_SEND,
    pub WskReceive: PFN_WSK_RECEIVE,
    pub WskDisconnect: PFN_WSK_DISCONNECT,
    pub WskRelease: PFN_WSK_RELEASE_DATA_INDICATION_LIST,
    pub WskConnectEx: PFN_WSK_CONNECT_EX,
    /// Reserved for the system.
    pub WskSendEx: *const c_void,
    /// Reserved for the system.
    pub WskReceiveEx: *const c_void,
}

#[repr(C)]
pub struct WSK_PROVIDER_DATAGRAM_DISPATCH {
    pub Basic: WSK_PROVIDER_BASIC_DISPATCH,
    pub WskBind: PFN_WSK_BIND,
    pub WskSendTo: PFN_WSK_SEND_TO,
    pub WskReceiveFrom: PFN_WSK_RECEIVE_FROM,
    pub WskRelease: PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST,
    pub WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS,
    pub WskSendMessages: PFN_WSK_SEND_MESSAGES,
}

#[repr(C)]
pub struct WSK_PROVIDER_STREAM_DISPATCH {
    pub Basic: WSK_PROVIDER_BASIC_DISPATCH,
    pub WskBind: PFN_WSK_BIND,
    pub WskAccept: PFN_WSK_ACCEPT,
    pub WskConnect: PFN_WSK_CONNECT,
    pub WskListen: PFN_WSK_LISTEN,
    pub WskSend: PFN_WSK_SEND,
    pub WskReceive: PFN_WSK_RECEIVE,
    pub WskDisconnect: PFN_WSK_DISCONNECT,
    pub WskRelease: PFN_WSK_RELEASE_DATA_INDICATION_LIST,
    pub WskGetLocalAddress: PFN_WSK_GET_LOCAL_ADDRESS,
    pub WskGetRemoteAddress: PFN_WSK_GET_REMOTE_ADDRESS,
    pub WskConnectEx: PFN_WSK_CONNECT_EX,
    /// Reserved for the system.
    pub WskSendEx: *const c_void,
    /// Reserved for the system.
    pub WskReceiveEx: *const c_void,
}

// WskRegister's own structures, for clients that do not speak to the NMR themselves.

#[repr(C)]
pub struct WSK_CLIENT_NPI {
    pub ClientContext: *mut c_void,
    pub Dispatch: *const WSK_CLIENT_DISPATCH,
}

#[repr(C)]
pub struct WSK_PROVIDER_NPI {
    pub Client: PWSK_CLIENT,
    pub Dispatch: *const WSK_PROVIDER_DISPATCH,
}

/// What the provider's registration with the NMR points to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_PROVIDER_CHARACTERISTICS {
    pub HighestVersion: u16,
    pub LowestVersion: u16,
}

#[repr(C)]
pub struct WSK_REGISTRATION {
    pub ReservedRegistrationState: u64,
    pub ReservedRegistrationContext: *mut c_void,
    pub ReservedRegistrationLock: usize,
}

#[allow(unsafe_code)] // Raw members (reserved NULLs) take the automatic Sync away.
// SAFETY: the table holds function pointers and constants only, and is never written after it is made.
unsafe impl Sync for WSK_PROVIDER_CONNECTION_DISPATCH {}

#[allow(unsafe_code)] // As above.
// SAFETY: as above.
unsafe impl Sync for WSK_PROVIDER_STREAM_DISPATCH {}

const _: () = {
    assert!(size_of::<WSK_BUF>() == 24);
    assert!(size_of::<WSK_DATA_INDICATION>() == 32);
    assert!(size_of::<WSK_DATAGRAM_INDICATION>() == 56);
    assert!(size_of::<WSK_PROVIDER_DISPATCH>() == 56);
    assert!(size_of::<WSK_PROVIDER_LISTEN_DISPATCH>() == 48);
    assert!(size_of::<WSK_PROVIDER_CONNECTION_DISPATCH>() == 104);
    assert!(size_of::<WSK_PROVIDER_DATAGRAM_DISPATCH>() == 64);
    assert!(size_of::<WSK_PROVIDER_STREAM_DISPATCH>() == 120);
    assert!(size_of::<WSK_TRANSPORT>() == 28);
    assert!(size_of::<SOCKADDR_IN6>() == 28);
};
