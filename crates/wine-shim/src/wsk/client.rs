//! One attachment of the driver: Wine's client object, the functions of it, and how much work is open.

#![allow(unsafe_code)] // Functions that the driver calls, and Wine's.

use core::ffi::c_void;
use core::ptr::null_mut;

use nt_abi::wsk::{
    ADDRINFOEXW, PWSK_CLIENT, SOCKADDR, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_DISPATCH, WSK_CLIENT_NPI, WSK_NO_WAIT,
    WSK_PROVIDER_DISPATCH, WSK_PROVIDER_NPI, WSK_REGISTRATION, WSK_VERSION_1_0,
};
use nt_abi::{GUID, IRP, NtStatus, UNICODE_STRING};

use super::block::Block;
use super::inner::{Inner, call};
use super::irp::Taken;
use super::socket::Socket;
use super::tables::{Kind, read};
use crate::kernel::lock::Locked;
use crate::wine::{WskCaptureProviderNPI, WskDeregister, WskRegister, WskReleaseProviderNPI};

/// The functions that the driver gets.
pub(crate) static FUNCTIONS: WSK_PROVIDER_DISPATCH = WSK_PROVIDER_DISPATCH {
    Version: WSK_VERSION_1_0,
    Reserved: 0,
    WskSocket: socket,
    WskSocketConnect: socket_connect,
    WskControlClient: control_client,
    WskGetAddressInfo: get_address_info,
    WskFreeAddressInfo: free_address_info,
    WskGetNameInfo: get_name_info,
};

/// What Wine is told of its client: no events.
static CLIENT: WSK_CLIENT_DISPATCH = WSK_CLIENT_DISPATCH { Version: WSK_VERSION_1_0, Reserved: 0, WskClientEvent: None };

/// An attachment.
pub(crate) struct Binding {
    registration: WSK_REGISTRATION,
    wine: WSK_PROVIDER_NPI,
    /// The binding's handle at the registrar.
    handle: *mut c_void,
    state: Locked<State>,
}

struct State {
    /// Sockets, and calls that Wine has.
    work: usize,
    /// The registrar waits for the end of it.
    detaching: bool,
}

impl Binding {
    /// Attaches to Wine's WSK. The registration stays where it is made.
    ///
    /// # Errors
    /// No memory; what WskRegister or WskCaptureProviderNPI answered.
    ///
    /// # IRQL
    /// PASSIVE_LEVEL
    pub fn new(handle: *mut c_void) -> Result<Block<Binding>, NtStatus> {
        let binding = Block::new(Binding {
            registration: WSK_REGISTRATION {
                ReservedRegistrationState: 0,
                ReservedRegistrationContext: null_mut(),
                ReservedRegistrationLock: 0,
            },
            wine: WSK_PROVIDER_NPI { Client: null_mut(), Dispatch: core::ptr::null() },
            handle,
            state: Locked::new(State { work: 0, detaching: false }),
        });
        let mut binding = binding.ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        let npi = WSK_CLIENT_NPI { ClientContext: null_mut(), Dispatch: &raw const CLIENT };
        // SAFETY: the registration stays in its block until it is deregistered.
        let status = unsafe { WskRegister(&npi, &mut binding.registration) };
        if status.is_failure() {
            return Err(status);
        }
        let Binding { registration, wine, .. } = &mut *binding;
        // SAFETY: registered.
        let status = unsafe { WskCaptureProviderNPI(registration, WSK_NO_WAIT, wine) };
        if status.is_failure() {
            // SAFETY: registered, and nothing was captured.
            unsafe { WskDeregister(registration) };
            return Err(status);
        }
        Ok(binding)
    }

    /// Leaves Wine's WSK.
    ///
    /// # IRQL
    /// <= DISPATCH_LEVEL
    pub fn free(mut binding: Block<Binding>) {
        let registration = &raw mut binding.registration;
        // SAFETY: captured when it was made, and no function is entered any more.
        unsafe { WskReleaseProviderNPI(registration) };
        // SAFETY: registered, and released.
        unsafe { WskDeregister(registration) };
    }

    /// The binding that a function of the client's was called with.
    ///
    /// # Safety
    /// It is what the driver was attached to.
    unsafe fn of<'a>(client: PWSK_CLIENT) -> &'a Binding {
        // SAFETY: the caller's promise.
        unsafe { &*client.cast::<Binding>() }
    }

    /// One piece of work more.
    pub fn begin(&self) {
        self.state.lock().work += 1;
    }

    /// One less. The last one ends a detach that waits for it, after which the binding may be gone.
    ///
    /// # Safety
    /// It was begun.
    pub unsafe fn end(binding: *mut Binding) {
        // SAFETY: it stays while there is work.
        let it = unsafe { &*binding };
        let handle = it.handle;
        let last = {
            let mut state = it.state.lock();
            state.work -= 1;
            state.work == 0 && state.detaching
        };
        if last {
            // SAFETY: the registrar's handle; the detach callback said that this would come.
            unsafe { nmr::NmrProviderDetachClientComplete(handle) };
        }
    }

    /// The registrar wants it back. STATUS_PENDING while there is work.
    pub fn detach(&self) -> NtStatus {
        let mut state = self.state.lock();
        state.detaching = state.work > 0;
        if state.detaching { NtStatus::PENDING } else { NtStatus::SUCCESS }
    }
}

/// A function of Wine's client object.
macro_rules! of_wine {
    ($binding:expr, $name:ident) => {
        // SAFETY: Wine's table, which stays while its NPI is captured.
        unsafe { read(&raw const (*$binding.wine.Dispatch).$name) }
    };
}

/// Prepares a call for an IRP of the driver's, which is completed if there is no memory for it.
fn prepare(binding: &Binding, name: &'static str, irp: Taken, finish: super::inner::Finish) -> Option<Block<Inner>> {
    let Some(mut made) = Inner::new(name, finish) else {
        irp.complete(NtStatus::INSUFFICIENT_RESOURCES, 0);
        return None;
    };
    binding.begin();
    made.binding = core::ptr::from_ref(binding).cast_mut();
    made.client = irp.as_ptr();
    Some(made)
}

/// The end of a call that has given the driver's IRP nothing but a status.
fn finish(call: Block<Inner>, status: NtStatus, information: usize) {
    super::tell(call.name(), status);
    let (client, binding) = (call.client(), call.binding);
    drop(call);
    if let Some(client) = client {
        client.complete(status, information);
    }
    // SAFETY: begun by `prepare`.
    unsafe { Binding::end(binding) };
}

/// The end of a call that makes a socket.
fn finish_socket(call: Block<Inner>, status: NtStatus, information: usize) {
    // SAFETY: let go by the function that made the call.
    let socket = unsafe { Block::from_raw(call.result.cast::<Socket>()) };
    if status.is_failure() || information == 0 {
        return finish(call, status, 0);
    }
    // SAFETY: the binding has work: this call.
    let socket = unsafe { Socket::open(socket, information as *mut _) };
    finish(call, status, socket.addr());
}

#[allow(clippy::too_many_arguments)]
unsafe extern "win64" fn socket(
    client: PWSK_CLIENT,
    family: u16,
    socket_type: u16,
    protocol: u32,
    flags: u32,
    _context: *mut c_void,
    _dispatch: *const c_void,
    process: *mut c_void,
    thread: *mut c_void,
    descriptor: *mut c_void,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: what the driver was attached to.
    let binding = unsafe { Binding::of(client) };
    let enter = |irp: *mut IRP| match of_wine!(binding, WskSocket) {
        // SAFETY: the driver's arguments; Wine has no events, so that it gets no context for them.
        Some(function) => unsafe {
            function(
                binding.wine.Client,
                family,
                socket_type,
                protocol,
                flags,
                null_mut(),
                core::ptr::null(),
                process,
                thread,
                descriptor,
                irp,
            )
        },
        None => NtStatus::NOT_IMPLEMENTED,
    };
    // SAFETY: the driver's IRP.
    make(binding, "WskSocket", Kind::of(flags), unsafe { Taken::new(irp) }, enter)
}

#[allow(clippy::too_many_arguments)]
unsafe extern "win64" fn socket_connect(
    client: PWSK_CLIENT,
    socket_type: u16,
    protocol: u32,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    flags: u32,
    _context: *mut c_void,
    _dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    process: *mut c_void,
    thread: *mut c_void,
    descriptor: *mut c_void,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: what the driver was attached to.
    let binding = unsafe { Binding::of(client) };
    let enter = |irp: *mut IRP| match of_wine!(binding, WskSocketConnect) {
        // SAFETY: as in `socket`.
        Some(function) => unsafe {
            function(
                binding.wine.Client,
                socket_type,
                protocol,
                local,
                remote,
                flags,
                null_mut(),
                core::ptr::null(),
                process,
                thread,
                descriptor,
                irp,
            )
        },
        None => NtStatus::NOT_IMPLEMENTED,
    };
    // SAFETY: the driver's IRP.
    make(binding, "WskSocketConnect", Kind::Connection, unsafe { Taken::new(irp) }, enter)
}

fn make(
    binding: &Binding,
    name: &'static str,
    kind: Kind,
    irp: Taken,
    enter: impl FnOnce(*mut IRP) -> NtStatus,
) -> NtStatus {
    let Some(socket) = Socket::new(core::ptr::from_ref(binding).cast_mut(), kind) else {
        irp.complete(NtStatus::INSUFFICIENT_RESOURCES, 0);
        return NtStatus::PENDING;
    };
    if let Some(mut made) = prepare(binding, name, irp, finish_socket) {
        made.result = socket.into_raw().cast();
        call(made, |_, irp| enter(irp));
    }
    NtStatus::PENDING
}

#[allow(clippy::too_many_arguments)]
unsafe extern "win64" fn control_client(
    client: PWSK_CLIENT,
    code: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    returned: *mut usize,
    irp: *mut IRP,
) -> NtStatus {
    const NAME: &str = "WskControlClient";
    // SAFETY: what the driver was attached to.
    let binding = unsafe { Binding::of(client) };
    let enter = |irp: *mut IRP| match of_wine!(binding, WskControlClient) {
        // SAFETY: the driver's arguments.
        Some(function) => unsafe {
            function(binding.wine.Client, code, input_size, input, output_size, output, returned, irp)
        },
        None => NtStatus::NOT_IMPLEMENTED,
    };
    if irp.is_null() {
        let status = enter(irp);
        super::tell(NAME, status);
        return status;
    }
    // SAFETY: the driver's IRP.
    if let Some(made) = prepare(binding, NAME, unsafe { Taken::new(irp) }, finish) {
        call(made, |_, irp| enter(irp));
    }
    NtStatus::PENDING
}

#[allow(clippy::too_many_arguments)]
unsafe extern "win64" fn get_address_info(
    client: PWSK_CLIENT,
    node: *const UNICODE_STRING,
    service: *const UNICODE_STRING,
    space: u32,
    provider: *const GUID,
    hints: *const ADDRINFOEXW,
    result: *mut *mut ADDRINFOEXW,
    process: *mut c_void,
    thread: *mut c_void,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: what the driver was attached to.
    let binding = unsafe { Binding::of(client) };
    // SAFETY: the driver's IRP.
    let Some(made) = prepare(binding, "WskGetAddressInfo", unsafe { Taken::new(irp) }, finish) else { return NtStatus::PENDING };
    call(made, |_, irp| match of_wine!(binding, WskGetAddressInfo) {
        // SAFETY: the driver's arguments, which stay until its IRP is completed.
        Some(function) => unsafe {
            function(binding.wine.Client, node, service, space, provider, hints, result, process, thread, irp)
        },
        None => NtStatus::NOT_IMPLEMENTED,
    });
    NtStatus::PENDING
}

unsafe extern "win64" fn free_address_info(client: PWSK_CLIENT, info: *mut ADDRINFOEXW) {
    // SAFETY: what the driver was attached to.
    let binding = unsafe { Binding::of(client) };
    if let Some(function) = of_wine!(binding, WskFreeAddressInfo) {
        // SAFETY: what Wine gave.
        unsafe { function(binding.wine.Client, info) };
    }
}

#[allow(clippy::too_many_arguments)]
unsafe extern "win64" fn get_name_info(
    client: PWSK_CLIENT,
    address: *const SOCKADDR,
    length: u32,
    node: *mut UNICODE_STRING,
    service: *mut UNICODE_STRING,
    flags: u32,
    process: *mut c_void,
    thread: *mut c_void,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: what the driver was attached to.
    let binding = unsafe { Binding::of(client) };
    // SAFETY: the driver's IRP.
    let Some(made) = prepare(binding, "WskGetNameInfo", unsafe { Taken::new(irp) }, finish) else { return NtStatus::PENDING };
    call(made, |_, irp| match of_wine!(binding, WskGetNameInfo) {
        // SAFETY: the driver's arguments, which stay until its IRP is completed.
        Some(function) => unsafe {
            function(binding.wine.Client, address, length, node, service, flags, process, thread, irp)
        },
        None => NtStatus::NOT_IMPLEMENTED,
    });
    NtStatus::PENDING
}
