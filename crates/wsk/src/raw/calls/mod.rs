//! The provider's functions, each behind the right that it needs (L12): there is no other way to its tables.
//!
//! [`open`] makes sockets; [`addressed`], [`listen`], [`inspect`], [`connection`], [`datagram`], [`send_to`], [`messages`],
//! [`control`] and [`events`] are what can be asked of one.
//!
//! [`Call`] is the proof for a socket's functions: a place *inside* the socket, which is given back when the function has
//! returned. Until then the socket is not closed; until its close is back, and that is after all its IRPs, its drain right
//! keeps the binding (L13). So the data path needs no count that all sockets share; whether detach has begun is only read (L12).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;

use wdk_sys::{IRP, NTSTATUS};
use wsk_sys::{
    WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_DATAGRAM_DISPATCH, WSK_PROVIDER_DISPATCH,
    WSK_PROVIDER_LISTEN_DISPATCH, WSK_PROVIDER_STREAM_DISPATCH, WSK_SOCKET,
};

use super::NtStatus;
use super::binding::{Enter, Shell};
use super::op::{self, Arming, InPlace, Op, Payload, Pending, Ready};
use super::socket::{Kind, Socket};
use crate::sync::Shared;
use crate::{Detached, IoError};

pub(crate) mod addressed;
pub(crate) mod addresses;
pub(crate) mod chain;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod datagram;
pub(crate) mod events;
pub(crate) mod inspect;
pub(crate) mod listen;
pub(crate) mod messages;
pub(crate) mod open;
pub(crate) mod resolve;
pub(crate) mod send_to;
pub(in crate::raw) mod transfers;

/// The right to enter one function of one socket.
pub(crate) struct Call<'a> {
    socket: &'a Shared<Socket>,
    /// An operation is in flight when the function has returned.
    in_flight: bool,
}

impl<'a> Call<'a> {
    /// Asks for it.
    ///
    /// # Errors
    /// [`Detached`] once the binding's detach or the socket's close has begun.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn begin(socket: &'a Shared<Socket>) -> Result<Self, Detached> {
        socket.enter_inside()?;
        let call = Self { socket, in_flight: false };
        if socket.shell().is_open() { Ok(call) } else { Err(Detached) }
    }

    /// For the end of a socket: takes over a place inside, for one call more while draining.
    ///
    /// # Safety
    /// The caller holds that place, and does not give it back itself.
    pub(super) unsafe fn at_end(socket: &'a Shared<Socket>) -> Self {
        socket.take_off();
        Self { socket, in_flight: false }
    }

    /// Starts an operation under this right, which goes with it.
    ///
    /// # Errors
    /// No memory: the payload comes back.
    ///
    /// # Safety
    /// As for [`op::start`].
    unsafe fn start<P: Payload<Owner = Shared<Socket>>>(
        mut self,
        slot: &mut Option<Shared<Op<P>>>,
        payload: P,
        call: impl FnOnce(*mut WSK_SOCKET, *mut P, *mut IRP) -> NTSTATUS,
    ) -> Result<Pending<P>, (NtStatus, P)> {
        let wsk = self.socket.wsk();
        // SAFETY: as the caller promises.
        let started = unsafe { op::start(slot, Arming::Plain, self.socket, payload, |payload, irp| call(wsk, payload, irp)) };
        self.in_flight = started.as_ref().is_ok_and(|pending| !pending.has_landed());
        started
    }

    /// As [`start`](Self::start), with an operation that has its payload already.
    ///
    /// # Errors
    /// No arming: the operation stays ready.
    ///
    /// # Safety
    /// As for [`op::start`].
    unsafe fn start_in_place<P: Payload<Owner = Shared<Socket>>>(
        mut self,
        ready: Ready<P>,
        call: impl FnOnce(*mut WSK_SOCKET, *mut P, *mut IRP) -> NTSTATUS,
    ) -> Result<InPlace<P>, (NtStatus, Ready<P>)> {
        let wsk = self.socket.wsk();
        // SAFETY: as the caller promises.
        let started = unsafe { ready.start(|payload, irp| call(wsk, payload, irp)) };
        self.in_flight = started.as_ref().is_ok_and(|pending| !pending.has_landed());
        started.map(Pending::in_place)
    }

    fn connection(&self) -> Option<&'a WSK_PROVIDER_CONNECTION_DISPATCH> {
        // SAFETY: inside an open connection socket, whose table the provider keeps as long as the socket.
        (self.socket.kind() == Kind::Connection).then(|| unsafe { &*(*self.socket.wsk()).Dispatch.cast() })
    }

    fn listening(&self) -> Option<&'a WSK_PROVIDER_LISTEN_DISPATCH> {
        // SAFETY: inside an open listening socket, whose table the provider keeps as long as the socket.
        (self.socket.kind() == Kind::Listen).then(|| unsafe { &*(*self.socket.wsk()).Dispatch.cast() })
    }

    fn stream(&self) -> Option<&'a WSK_PROVIDER_STREAM_DISPATCH> {
        // SAFETY: inside an open stream socket, whose table the provider keeps as long as the socket.
        (self.socket.kind() == Kind::Stream).then(|| unsafe { &*(*self.socket.wsk()).Dispatch.cast() })
    }

    fn datagram(&self) -> Option<&'a WSK_PROVIDER_DATAGRAM_DISPATCH> {
        // SAFETY: inside an open datagram socket, whose table the provider keeps as long as the socket.
        (self.socket.kind() == Kind::Datagram).then(|| unsafe { &*(*self.socket.wsk()).Dispatch.cast() })
    }

    fn basic(&self) -> &'a WSK_PROVIDER_BASIC_DISPATCH {
        // SAFETY: inside an open socket; every table begins with the basic one.
        unsafe { &*(*self.socket.wsk()).Dispatch.cast() }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.socket.leave_inside(self.in_flight);
    }
}

/// A function that every provider has; one that leaves it out answers like one that does not know it.
macro_rules! enter {
    ($function:expr, $($argument:expr),* $(,)?) => {
        match $function {
            // SAFETY: the caller shows a right, and the arguments live until the IRP is back, as the page demands.
            Some(function) => unsafe { function($($argument),*) },
            None => NtStatus::NOT_IMPLEMENTED.0,
        }
    };
}

/// The function of that name in the first of the named tables that the call's socket has.
macro_rules! function {
    ($call:ident . $name:ident in $($table:ident)|+) => {
        None$(.or_else(|| $call.$table().and_then(|table| table.$name)))+
    };
}

use {enter, function};

/// The client object, and the functions that take it.
type Provider<'a> = (*mut c_void, &'a WSK_PROVIDER_DISPATCH);

/// Starts a call of the client's rather than of a socket's.
///
/// # Errors
/// Detach has begun, or there is no memory.
///
/// # Safety
/// `call` hands the IRP to the provider, once, and gives it no pointers but into the payload and to what the payload owns.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`, or that of the function.
unsafe fn start_client<P: Payload<Owner = Shared<Shell>>>(
    shell: &Shared<Shell>,
    payload: P,
    call: impl FnOnce(Provider<'_>, *mut P, *mut IRP) -> NTSTATUS,
) -> Result<Pending<P>, IoError> {
    let enter = Enter::acquire(shell)?;
    let provider = enter.provider();
    let call = |payload: *mut P, irp| call(provider, payload, irp);
    // SAFETY: as the caller promises.
    let started = unsafe { op::start(&mut None, Arming::OnDevice(shell.device), shell, payload, call) };
    let pending = started.map_err(|(status, _)| IoError::from(status))?;
    enter.transfer();
    Ok(pending)
}

/// [`WskCloseSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_close_socket)
///
/// # Safety
/// The socket is open, nobody is inside, this is its one close, and `irp` is armed.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(super) unsafe fn close(wsk: *mut WSK_SOCKET, irp: *mut IRP) {
    // SAFETY: open, as the caller promises; every table begins with the basic one.
    let basic = unsafe { &*(*wsk).Dispatch.cast::<WSK_PROVIDER_BASIC_DISPATCH>() };
    let _: NTSTATUS = enter!(basic.WskCloseSocket, wsk, irp);
}
