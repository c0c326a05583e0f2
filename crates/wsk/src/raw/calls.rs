//! The provider's functions, each behind the right that it needs (L12): there is no other way to its tables.
//!
//! [`Call`] is the proof for a socket's functions: an [`Enter`] on its binding, and a place *inside* the socket. The
//! place is given back when the function has returned; the right goes with the operation until its IRP is back (L13).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdk_sys::{IRP, NTSTATUS};
use wsk_sys::IPPROTO::IPPROTO_TCP;
use wsk_sys::WSK_CONTROL_SOCKET_TYPE::WskSetOption;
use wsk_sys::{
    SO_WSK_EVENT_CALLBACK, SOCK_STREAM, SOCKADDR, SOL_SOCKET, WSK_BUF, WSK_CLIENT_CONNECTION_DISPATCH,
    WSK_CLIENT_LISTEN_DISPATCH, WSK_DATA_INDICATION, WSK_EVENT_CALLBACK_CONTROL, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE,
    WSK_FLAG_ABORTIVE, WSK_FLAG_LISTEN_SOCKET, WSK_FLAG_NODELAY, WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_CONNECTION_DISPATCH,
    WSK_PROVIDER_LISTEN_DISPATCH, WSK_SOCKET,
};

use super::address::RawAddress;
use super::binding::{Enter, Shell};
use super::op::{self, Arming, Op, Payload, Pending};
use super::socket::{GONE, READABLE, Reserved, Socket, SocketHandle};
use super::{Buffer, NtStatus};
use crate::sync::Shared;
use crate::{Detached, OpenError};

/// The right to enter one function of one socket.
pub(crate) struct Call<'a> {
    socket: &'a Shared<Socket>,
    enter: Option<Enter>,
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
        let enter = Enter::acquire(socket.shell())?;
        socket.enter_inside()?;
        Ok(Self { socket, enter: Some(enter) })
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
        let started =
            unsafe { op::start(slot, Arming::Plain, self.socket.clone(), payload, |payload, irp| call(wsk, payload, irp)) };
        if started.is_ok() {
            // It is the operation's now.
            self.enter.take().map(Enter::transfer);
        }
        started
    }

    fn connection(&self) -> &'a WSK_PROVIDER_CONNECTION_DISPATCH {
        // SAFETY: inside an open connection socket, whose table the provider keeps as long as the socket.
        unsafe { &*(*self.socket.wsk()).Dispatch.cast() }
    }

    fn listening(&self) -> &'a WSK_PROVIDER_LISTEN_DISPATCH {
        // SAFETY: inside an open listening socket, whose table the provider keeps as long as the socket.
        unsafe { &*(*self.socket.wsk()).Dispatch.cast() }
    }

    fn basic(&self) -> &'a WSK_PROVIDER_BASIC_DISPATCH {
        // SAFETY: inside an open socket; every table begins with the basic one.
        unsafe { &*(*self.socket.wsk()).Dispatch.cast() }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.socket.leave_inside();
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

/// The making of a socket.
pub(crate) struct Opening {
    reserved: Option<Reserved>,
    pub(crate) socket: Option<SocketHandle>,
}

impl Payload for Opening {
    type Owner = Shared<Shell>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        let Some(reserved) = self.reserved.take() else { return };
        if status.is_success() {
            self.socket = reserved.opened(information as *mut WSK_SOCKET);
        }
    }
}

/// A listening socket: [`WskSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_socket)
///
/// # Errors
/// Detach has begun, or there is no memory or slot.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn open_listener(shell: &Shared<Shell>, family: u16) -> Result<Pending<Opening>, OpenError> {
    let enter = Enter::acquire(shell)?;
    let reserved = Reserved::new(&enter)?;
    let context = reserved.context();
    let (client, provider) = enter.provider();
    let dispatch = (&raw const LISTEN_EVENTS).cast::<c_void>();
    let call = |_: *mut Opening, irp: *mut IRP| {
        enter!(
            provider.WskSocket,
            client,
            family,
            SOCK_STREAM as _,
            IPPROTO_TCP as _,
            WSK_FLAG_LISTEN_SOCKET,
            context,
            dispatch,
            null_mut(),
            null_mut(),
            null_mut(),
            irp,
        )
    };
    let payload = Opening { reserved: Some(reserved), socket: None };
    // SAFETY: the context lives until the socket's close; the dispatch tables are statics.
    let started = unsafe { op::start(&mut None, Arming::OnDevice(shell.device), shell.clone(), payload, call) };
    match started {
        Ok(pending) => {
            enter.transfer();
            Ok(pending)
        }
        Err((status, payload)) => {
            // The reservation goes while the right is held.
            drop(payload);
            Err(status.into())
        }
    }
}

/// A request whose parameter is an address, going or coming.
pub(crate) struct Addressed(pub(crate) RawAddress);

impl Payload for Addressed {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// Takes an address out of a payload without a reference that would outlive the call.
fn sockaddr_of(payload: *mut Addressed) -> *mut SOCKADDR {
    payload.cast()
}

/// [`WskBind`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_bind), on a listening socket.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn bind(call: Call<'_>, address: RawAddress) -> Result<Pending<Addressed>, NtStatus> {
    let table = call.listening();
    let enter = |wsk, address, irp| enter!(table.WskBind, wsk, sockaddr_of(address), 0, irp);
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, Addressed(address), enter) }.map_err(|(status, _)| status)
}

/// [`WskGetLocalAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_local_address), of a
/// listening socket.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn local_address(call: Call<'_>) -> Result<Pending<Addressed>, NtStatus> {
    let table = call.listening();
    let enter = |wsk, address, irp| enter!(table.WskGetLocalAddress, wsk, sockaddr_of(address), irp);
    // SAFETY: the address is in the payload.
    unsafe { call.start(&mut None, Addressed(RawAddress::EMPTY), enter) }.map_err(|(status, _)| status)
}

/// An option that is set by an IRP.
pub(crate) struct OptionValue {
    /// Read by the provider, through its address.
    _value: u32,
}

impl Payload for OptionValue {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WskControlSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_control_socket), WskSetOption,
/// for an option that is a ULONG.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn set_option(call: Call<'_>, level: u32, option: u32, value: u32) -> Result<Pending<OptionValue>, NtStatus> {
    let table = call.basic();
    let enter = |wsk, value: *mut OptionValue, irp| {
        let size = size_of::<u32>();
        enter!(table.WskControlSocket, wsk, WskSetOption, option, level, size as _, value.cast(), 0, null_mut(), null_mut(), irp)
    };
    // SAFETY: the value is in the payload.
    unsafe { call.start(&mut None, OptionValue { _value: value }, enter) }.map_err(|(status, _)| status)
}

/// Switches the receive and disconnect events of a connection on. It takes no IRP.
///
/// # Errors
/// The provider's status.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn enable_events(call: &Call<'_>) -> Result<(), NtStatus> {
    let mut control = WSK_EVENT_CALLBACK_CONTROL {
        NpiId: &raw const wsk_sys::NPI_WSK_INTERFACE_ID,
        EventMask: (WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT) as _,
    };
    NtStatus(enter!(
        call.basic().WskControlSocket,
        call.socket.wsk(),
        WskSetOption,
        SO_WSK_EVENT_CALLBACK,
        SOL_SOCKET,
        size_of::<WSK_EVENT_CALLBACK_CONTROL>() as _,
        (&raw mut control).cast(),
        0,
        null_mut(),
        null_mut(),
        null_mut(),
    ))
    .ok()
}

/// The accepting of a connection.
pub(crate) struct Accepting {
    reserved: Option<Reserved>,
    pub(crate) socket: Option<SocketHandle>,
    pub(crate) remote: RawAddress,
}

impl Payload for Accepting {
    type Owner = Shared<Socket>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        let Some(reserved) = self.reserved.take() else { return };
        if status.is_success() {
            self.socket = reserved.opened(information as *mut WSK_SOCKET);
        }
    }
}

/// [`WskAccept`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_accept)
///
/// # Errors
/// No memory or slot.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn accept(call: Call<'_>, slot: &mut Option<Shared<Op<Accepting>>>) -> Result<Pending<Accepting>, OpenError> {
    let table = call.listening();
    // Under the call's right, and later that of the operation.
    let reserved = Reserved::new(call.enter.as_ref().ok_or(Detached)?)?;
    let context = reserved.context();
    let payload = Accepting { reserved: Some(reserved), socket: None, remote: RawAddress::EMPTY };
    let enter = |wsk, payload: *mut Accepting, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let remote = unsafe { &raw mut (*payload).remote }.cast::<SOCKADDR>();
        enter!(table.WskAccept, wsk, 0, context, &raw const CONNECTION_EVENTS, null_mut(), remote, irp)
    };
    let right = call.enter.as_ref().map(Enter::another);
    // SAFETY: context and tables live until the accepted socket's close; the address is in the payload.
    let started = unsafe { call.start(slot, payload, enter) };
    started.map_err(|(status, payload)| {
        // The reservation goes while a right is held.
        drop(payload);
        drop(right);
        status.into()
    })
}

/// A transfer to or from a buffer.
pub(crate) struct Transfer {
    pub(crate) buffer: Buffer,
    description: WSK_BUF,
    receive: bool,
}

// SAFETY: the description points to the buffer beside it.
unsafe impl Send for Transfer {}

impl Payload for Transfer {
    type Owner = Shared<Socket>;

    fn completed(&mut self, status: NtStatus, information: usize) {
        if self.receive {
            let length = if status.is_success() { information } else { 0 };
            // SAFETY: the provider says that it has written so many bytes.
            unsafe { self.buffer.received(length) };
        }
    }
}

type TransferSlot = Option<Shared<Op<Transfer>>>;

/// [`WskReceive`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive) into all of the buffer.
///
/// # Errors
/// No memory; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn receive(call: Call<'_>, slot: &mut TransferSlot, buffer: Buffer) -> Result<Pending<Transfer>, (NtStatus, Buffer)> {
    let table = call.connection();
    let payload = Transfer { description: buffer.room(), buffer, receive: true };
    let enter = |wsk, payload, irp| enter!(table.WskReceive, wsk, description_of(payload), 0, irp);
    // SAFETY: buffer and description are in the payload.
    unsafe { call.start(slot, payload, enter) }.map_err(|(status, transfer)| (status, transfer.buffer))
}

/// [`WskSend`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send) of what is filled.
///
/// # Errors
/// No memory; the buffer comes back.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn send(call: Call<'_>, slot: &mut TransferSlot, buffer: Buffer) -> Result<Pending<Transfer>, (NtStatus, Buffer)> {
    let table = call.connection();
    let payload = Transfer { description: buffer.content(), buffer, receive: false };
    let enter = |wsk, payload, irp| enter!(table.WskSend, wsk, description_of(payload), WSK_FLAG_NODELAY, irp);
    // SAFETY: buffer and description are in the payload.
    unsafe { call.start(slot, payload, enter) }.map_err(|(status, transfer)| (status, transfer.buffer))
}

fn description_of(payload: *mut Transfer) -> *mut WSK_BUF {
    // SAFETY: the payload stays until the IRP is back; no reference is formed.
    unsafe { &raw mut (*payload).description }
}

/// A request without parameters.
pub(crate) struct Bare;

impl Payload for Bare {
    type Owner = Shared<Socket>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WskDisconnect`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect); an abortive one
/// resets the connection.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn disconnect(call: Call<'_>, abortive: bool) -> Result<Pending<Bare>, NtStatus> {
    let table = call.connection();
    let flags = if abortive { WSK_FLAG_ABORTIVE } else { 0 };
    let enter = |wsk, _, irp| enter!(table.WskDisconnect, wsk, null_mut(), flags, irp);
    // SAFETY: there is nothing to keep.
    unsafe { call.start(&mut None, Bare, enter) }.map_err(|(status, _)| status)
}

static CONNECTION_EVENTS: WSK_CLIENT_CONNECTION_DISPATCH = WSK_CLIENT_CONNECTION_DISPATCH {
    WskReceiveEvent: Some(on_receive),
    WskDisconnectEvent: Some(on_disconnect),
    WskSendBacklogEvent: None,
};

static LISTEN_EVENTS: WSK_CLIENT_LISTEN_DISPATCH =
    WSK_CLIENT_LISTEN_DISPATCH { WskAcceptEvent: Some(on_accept), WskInspectEvent: None, WskAbortEvent: None };

/// [`WskReceiveEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_event): says that
/// there is something to receive, and takes nothing.
///
/// # Safety
/// `context` is that of a socket whose close has not completed.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_receive(
    context: *mut c_void,
    _flags: u32,
    indication: *mut WSK_DATA_INDICATION,
    _indicated: wdk_sys::SIZE_T,
    _accepted: *mut wdk_sys::SIZE_T,
) -> NTSTATUS {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    if indication.is_null() {
        socket.raise(GONE | READABLE);
        return NtStatus::SUCCESS.0;
    }
    socket.raise(READABLE);
    NtStatus::DATA_NOT_ACCEPTED.0
}

/// [`WskDisconnectEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect_event): a
/// receive will say how the stream ended.
///
/// # Safety
/// As for [`on_receive`].
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_disconnect(context: *mut c_void, _flags: u32) -> NTSTATUS {
    // SAFETY: as the caller promises; table and close IRP hold references.
    let socket = unsafe { Shared::<Socket>::clone_raw(context.cast_const().cast()) };
    socket.raise(READABLE);
    NtStatus::SUCCESS.0
}

/// [`WskAcceptEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_accept_event): it is never
/// switched on, and nothing is reserved for what it brings (L14).
///
/// # Safety
/// None: it touches nothing.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn on_accept(
    _context: *mut c_void,
    _flags: u32,
    _local: *mut SOCKADDR,
    _remote: *mut SOCKADDR,
    _socket: *mut WSK_SOCKET,
    _socket_context: *mut *mut c_void,
    _socket_dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NTSTATUS {
    NtStatus::REQUEST_NOT_ACCEPTED.0
}
