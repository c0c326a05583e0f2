//! The tables of functions that the driver's sockets have, and the way to a function in one of Wine's.

#![allow(unsafe_code)] // Tables of functions.

use core::ffi::c_void;
use core::ptr::null;

use nt_abi::wsk::{
    WSK_FLAG_CONNECTION_SOCKET, WSK_FLAG_DATAGRAM_SOCKET, WSK_FLAG_LISTEN_SOCKET, WSK_FLAG_STREAM_SOCKET,
    WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_DATAGRAM_DISPATCH, WSK_PROVIDER_LISTEN_DISPATCH,
    WSK_PROVIDER_STREAM_DISPATCH,
};

use super::{accept, calls, data, datagram};

/// The kinds of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Basic,
    Listening,
    Connection,
    Datagram,
    Stream,
}

impl Kind {
    /// What the flags of WskSocket ask for.
    pub fn of(flags: u32) -> Kind {
        match flags {
            WSK_FLAG_LISTEN_SOCKET => Kind::Listening,
            WSK_FLAG_CONNECTION_SOCKET => Kind::Connection,
            WSK_FLAG_DATAGRAM_SOCKET => Kind::Datagram,
            WSK_FLAG_STREAM_SOCKET => Kind::Stream,
            _ => Kind::Basic,
        }
    }

    /// Its name in the trace.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Basic => "basic",
            Kind::Listening => "listening",
            Kind::Connection => "connection",
            Kind::Datagram => "datagram",
            Kind::Stream => "stream",
        }
    }

    /// Its functions.
    pub fn table(self) -> *const c_void {
        match self {
            Kind::Basic => (&raw const BASIC).cast(),
            Kind::Listening => (&raw const LISTEN).cast(),
            Kind::Connection => (&raw const CONNECTION).cast(),
            Kind::Datagram => (&raw const DATAGRAM).cast(),
            Kind::Stream => (&raw const STREAM).cast(),
        }
    }
}

static BASIC: WSK_PROVIDER_BASIC_DISPATCH = BASIC_FUNCTIONS;

static LISTEN: WSK_PROVIDER_LISTEN_DISPATCH = WSK_PROVIDER_LISTEN_DISPATCH {
    Basic: BASIC_FUNCTIONS,
    WskBind: calls::bind,
    WskAccept: accept::accept,
    WskInspectComplete: calls::inspect_complete,
    WskGetLocalAddress: calls::local_address,
};

static CONNECTION: WSK_PROVIDER_CONNECTION_DISPATCH = WSK_PROVIDER_CONNECTION_DISPATCH {
    Basic: BASIC_FUNCTIONS,
    WskBind: calls::bind,
    WskConnect: calls::connect,
    WskGetLocalAddress: calls::local_address,
    WskGetRemoteAddress: calls::remote_address,
    WskSend: data::send,
    WskReceive: data::receive,
    WskDisconnect: calls::disconnect,
    WskRelease: calls::release,
    WskConnectEx: calls::connect_ex,
    WskSendEx: null(),
    WskReceiveEx: null(),
};

static DATAGRAM: WSK_PROVIDER_DATAGRAM_DISPATCH = WSK_PROVIDER_DATAGRAM_DISPATCH {
    Basic: BASIC_FUNCTIONS,
    WskBind: calls::bind,
    WskSendTo: datagram::send_to,
    WskReceiveFrom: datagram::receive_from,
    WskRelease: datagram::release,
    WskGetLocalAddress: calls::local_address,
    WskSendMessages: datagram::send_messages,
};

static STREAM: WSK_PROVIDER_STREAM_DISPATCH = WSK_PROVIDER_STREAM_DISPATCH {
    Basic: BASIC_FUNCTIONS,
    WskBind: calls::bind,
    WskAccept: accept::accept,
    WskConnect: calls::connect,
    WskListen: calls::listen,
    WskSend: data::send,
    WskReceive: data::receive,
    WskDisconnect: calls::disconnect,
    WskRelease: calls::release,
    WskGetLocalAddress: calls::local_address,
    WskGetRemoteAddress: calls::remote_address,
    WskConnectEx: calls::connect_ex,
    WskSendEx: null(),
    WskReceiveEx: null(),
};

const BASIC_FUNCTIONS: WSK_PROVIDER_BASIC_DISPATCH =
    WSK_PROVIDER_BASIC_DISPATCH { WskControlSocket: calls::control, WskCloseSocket: calls::close };

/// Reads a place in a table of Wine's, which may be empty there: `F` is the type of function, as an `Option`.
///
/// # Safety
/// The place holds a function of that type, or null.
pub(super) unsafe fn read<F: Copy>(place: *const F) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<usize>()) };
    // SAFETY: the caller's promise: a word.
    let word = unsafe { place.cast::<usize>().read() };
    // SAFETY: not null, so a function of that type.
    (word != 0).then(|| unsafe { place.read() })
}

/// A function of one of Wine's sockets: `function!(wine, WSK_PROVIDER_BASIC_DISPATCH, WskCloseSocket)`.
macro_rules! function {
    ($wine:expr, $table:ident, $($name:ident).+) => {{
        // SAFETY: Wine's socket begins with the address of its table.
        let table = unsafe { (*$wine).Dispatch }.cast::<nt_abi::wsk::$table>();
        // SAFETY: the table is of the socket's kind.
        unsafe { $crate::wsk::tables::read(&raw const (*table).$($name).+) }
    }};
}
pub(super) use function;
