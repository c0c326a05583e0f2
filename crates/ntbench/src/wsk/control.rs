//! WskControlSocket and WskControlClient: options, I/O controls, and which events are on.

#![allow(unsafe_code)] // Buffers and structures come by pointer.
#![allow(non_upper_case_globals)] // The documented names, in patterns.

use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nt_abi::wsk::*;
use nt_abi::{GUID, NtStatus};

use super::client::{Await, Client};
use super::faults::Function;
use super::request::{Outcome, Request};
use super::socket::{Kind, Socket};
use super::state::Phase;
use super::transport::Setting;

/// The arguments of a control function.
pub(super) struct Control {
    pub(super) kind: WSK_CONTROL_SOCKET_TYPE,
    pub(super) code: u32,
    pub(super) level: u32,
    pub(super) input: (*const c_void, usize),
    pub(super) output: (*mut c_void, usize),
    pub(super) returned: *mut usize,
}

impl Control {
    /// Reads the input.
    ///
    /// # Safety
    /// The buffer is as large as the caller said, and holds a `T` if it is large enough.
    pub(super) unsafe fn read<T: Copy>(&self) -> Result<T, NtStatus> {
        if self.input.0.is_null() || self.input.1 < size_of::<T>() {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        // SAFETY: as the caller promises.
        Ok(unsafe { self.input.0.cast::<T>().read_unaligned() })
    }

    /// A number, which callers give as a ULONG or as a BOOLEAN.
    pub(super) fn number(&self) -> Result<u32, NtStatus> {
        if self.input.1 == 1 {
            // SAFETY: any byte is one.
            return Ok(u32::from(unsafe { self.read::<u8>()? }));
        }
        // SAFETY: any four bytes are a number.
        unsafe { self.read::<u32>() }
    }

    /// Writes the output; its size.
    pub(super) fn write<T: Copy>(&self, value: T) -> Result<usize, NtStatus> {
        let size = size_of::<T>();
        if self.output.0.is_null() || self.output.1 < size {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        // SAFETY: the caller's buffer is as large as it says.
        unsafe { self.output.0.cast::<T>().write_unaligned(value) };
        self.tell(size);
        Ok(size)
    }

    fn tell(&self, size: usize) {
        if !self.returned.is_null() {
            // SAFETY: the caller's variable.
            unsafe { self.returned.write(size) };
        }
    }

    /// Whether this is the option that switches events.
    pub(super) fn is_events(&self) -> bool {
        self.kind == WskSetOption && self.level == SOL_SOCKET && self.code == SO_WSK_EVENT_CALLBACK
    }

    pub(super) fn lacking(&self, function: Function, object: usize) -> NtStatus {
        let detail = format!("code {:#x} of level {:#x} (request type {}) is not there", self.code, self.level, self.kind);
        super::trace(function.name(), object, Some(NtStatus::NOT_SUPPORTED), detail);
        NtStatus::NOT_SUPPORTED
    }
}

impl Socket {
    /// WskControlSocket, but for events.
    pub(super) fn control(&self, control: &Control) -> Result<usize, NtStatus> {
        if self.kind == Kind::Datagram
            && let Some(result) = self.control_datagrams(control)
        {
            return result;
        }
        match control.kind {
            WskSetOption => self.set_option(control).map(|()| 0),
            WskGetOption => self.get_option(control),
            WskIoctl => self.io_control(control),
            _ => Err(NtStatus::INVALID_PARAMETER),
        }
    }

    fn set_option(&self, control: &Control) -> Result<(), NtStatus> {
        let value = control.number();
        let setting = match (control.level, control.code) {
            (SOL_SOCKET, SO_EXCLUSIVEADDRUSE) => return Ok(()),
            (SOL_SOCKET, SO_REUSEADDR) => Setting::ReuseAddress(value? != 0),
            (SOL_SOCKET, SO_KEEPALIVE) => Setting::KeepAlive(value? != 0),
            (SOL_SOCKET, SO_SNDBUF) => Setting::SendBuffer(value?),
            (SOL_SOCKET, SO_RCVBUF) => Setting::ReceiveBuffer(value?),
            (IPPROTO_TCP, TCP_NODELAY) => Setting::NoDelay(value? != 0),
            (IPPROTO_TCP, TCP_KEEPALIVE) => Setting::KeepIdle(value?),
            (IPPROTO_TCP, TCP_KEEPINTVL) => Setting::KeepInterval(value?),
            (IPPROTO_TCP, TCP_KEEPCNT) => Setting::KeepCount(value?),
            (IPPROTO_IPV6, IPV6_V6ONLY) => Setting::OnlyV6(value? != 0),
            _ => return Err(control.lacking(Function::ControlSocket, self.address())),
        };
        let refuses = || self.shared.faults.current().is_some_and(|faults| faults.refuse_dual_stack);
        if setting == Setting::OnlyV6(false) && refuses() {
            return Err(NtStatus::NOT_SUPPORTED);
        }
        let inner = self.lock();
        let endpoint = inner.link.endpoint.as_ref().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
        endpoint.set(setting).map_err(|error| super::address::status(&error))
    }

    fn get_option(&self, control: &Control) -> Result<usize, NtStatus> {
        match (control.level, control.code) {
            (SOL_SOCKET, SO_TYPE) => control.write(u32::from(SOCK_STREAM)),
            (SOL_SOCKET, SO_ERROR) => {
                let failure = self.lock().link.failure.unwrap_or(NtStatus::SUCCESS);
                control.write(failure.0)
            }
            _ => Err(control.lacking(Function::ControlSocket, self.address())),
        }
    }

    fn io_control(&self, control: &Control) -> Result<usize, NtStatus> {
        match control.code {
            SIO_WSK_QUERY_IDEAL_SEND_BACKLOG => control.write(0x1_0000_usize),
            SIO_WSK_QUERY_RECEIVE_BACKLOG => {
                let inner = self.lock();
                let held = inner.held.as_ref().map_or(0, |held| held.rest().len());
                let waiting = inner.link.endpoint.as_ref().map_or(0, |endpoint| endpoint.waiting());
                control.write(held + waiting)
            }
            _ => Err(control.lacking(Function::ControlSocket, self.address())),
        }
    }

    /// SO_WSK_EVENT_CALLBACK. A request comes back if it is to be completed now, with the status that is returned.
    pub(super) fn switch_events(&self, control: &Control, request: Option<Request>) -> (NtStatus, Option<Request>) {
        // SAFETY: the caller's buffer is as large as it says; any bytes are such a structure.
        let wish = match unsafe { control.read::<WSK_EVENT_CALLBACK_CONTROL>() } {
            Ok(wish) => wish,
            Err(status) => return (status, request),
        };
        if !is_wsk(wish.NpiId) {
            return (control.lacking(Function::ControlSocket, self.address()), request);
        }
        if let Some(status) = self.shared.faults.current().and_then(|faults| faults.refuse_events) {
            return (status, request);
        }
        if wish.EventMask & WSK_EVENT_DISABLE != 0 {
            return self.disable(wish.EventMask & !WSK_EVENT_DISABLE, request);
        }
        (self.enable(wish.EventMask).err().unwrap_or(NtStatus::SUCCESS), request)
    }

    fn enable(&self, mask: u32) -> Result<(), NtStatus> {
        const CONNECTION: u32 = WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT | WSK_EVENT_SEND_BACKLOG;
        let valid = match self.kind {
            Kind::Basic => 0,
            Kind::Listen => WSK_EVENT_ACCEPT | CONNECTION,
            Kind::Connection => CONNECTION,
            Kind::Datagram => WSK_EVENT_RECEIVE_FROM,
        };
        if mask == 0 || mask & !valid != 0 {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if self.dispatch.load(Ordering::Acquire).is_null() {
            self.complain("WSK-EVENT", Function::ControlSocket, "events are enabled, and the socket has no client dispatch");
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let mut inner = self.lock();
        let ready = match self.kind {
            Kind::Listen | Kind::Datagram => inner.phase == Phase::Bound,
            _ => inner.phase == Phase::Connected,
        };
        if !ready {
            drop(inner);
            self.complain("WSK-EVENT", Function::ControlSocket, "events are enabled before the socket is bound or connected");
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        if self.kind == Kind::Listen {
            inner.events.inherit |= mask & CONNECTION;
            inner.events.enabled |= mask & WSK_EVENT_ACCEPT;
        } else {
            inner.events.enabled |= mask;
        }
        let ready = inner.link.ready;
        let datagrams = inner.datagrams.as_ref().is_some_and(|one| one.waits());
        if datagrams || ready.readable || ready.read_closed || ready.failed || inner.held.is_some() || inner.arrived.is_some() {
            self.nudge(&mut inner, Duration::ZERO);
        }
        Ok(())
    }

    fn disable(&self, event: u32, request: Option<Request>) -> (NtStatus, Option<Request>) {
        let mut inner = self.lock();
        let unknown = event.count_ones() != 1 || inner.events.enabled & event == 0;
        if unknown || inner.events.fixed & event != 0 {
            return (NtStatus::INVALID_PARAMETER, request);
        }
        inner.events.enabled &= !event;
        if inner.events.running != event {
            return (NtStatus::SUCCESS, request);
        }
        let Some(request) = request else { return (NtStatus::EVENT_PENDING, None) };
        request.pend();
        inner.events.disabling = Some(request);
        (NtStatus::PENDING, None)
    }
}

fn is_wsk(id: *const GUID) -> bool {
    // SAFETY: a client gives the address of an identifier, or null.
    unsafe { id.as_ref() }.is_some_and(|id| *id == NPI_WSK_INTERFACE_ID)
}

/// Identifies the host's TCP/IP as a provider of transports.
const TRANSPORT_ID: GUID =
    GUID { Data1: 0x5ff1_5f9c, Data2: 0x3d2e, Data3: 0x4c0b, Data4: [0x9a, 0x41, 0x77, 0x6b, 0x1e, 0x2c, 0x60, 0x8d] };

impl Client {
    /// WskControlClient without an IRP.
    pub(super) fn control(&self, control: &Control) -> NtStatus {
        let early = !self.socket_made.load(Ordering::Relaxed);
        let result = match control.code {
            WSK_TRANSPORT_LIST_QUERY => return list(control),
            WSK_TDI_BEHAVIOR if early => control.number().map(|_| ()),
            WSK_SET_STATIC_EVENT_CALLBACKS if early => self.fix_events(control),
            WSK_TDI_BEHAVIOR | WSK_SET_STATIC_EVENT_CALLBACKS => Err(NtStatus::INVALID_DEVICE_STATE),
            WSK_CACHE_SD => self.cache(control),
            WSK_RELEASE_SD => self.uncache(),
            _ => Err(control.lacking(Function::ControlClient, self.address())),
        };
        result.err().unwrap_or(NtStatus::SUCCESS)
    }

    /// WskControlClient with an IRP.
    pub(super) fn control_later(&self, control: &Control, request: Request) -> Outcome {
        if control.code == WSK_TRANSPORT_LIST_CHANGE {
            // The list never changes here.
            return self.park(request, Await::Transports);
        }
        let status = control.lacking(Function::ControlClient, self.address());
        Outcome::Done(request, status, 0)
    }

    fn fix_events(&self, control: &Control) -> Result<(), NtStatus> {
        // SAFETY: the caller's buffer is as large as it says; any bytes are such a structure.
        let wish = unsafe { control.read::<WSK_EVENT_CALLBACK_CONTROL>()? };
        if !is_wsk(wish.NpiId) {
            return Err(NtStatus::NOT_SUPPORTED);
        }
        self.fixed.fetch_or(wish.EventMask, Ordering::Relaxed);
        Ok(())
    }

    /// The descriptor itself is not looked at: whoever opens a socket here may.
    fn cache(&self, control: &Control) -> Result<(), NtStatus> {
        // SAFETY: the caller's buffer is as large as it says; any bytes are a pointer's.
        let descriptor = unsafe { control.read::<usize>()? };
        control.write(descriptor)?;
        self.descriptors.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn uncache(&self) -> Result<(), NtStatus> {
        let less = |count: usize| count.checked_sub(1);
        let given = self.descriptors.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        given.map(|_| ()).map_err(|_| NtStatus::INVALID_PARAMETER)
    }
}

/// WSK_TRANSPORT_LIST_QUERY.
fn list(control: &Control) -> NtStatus {
    let tcp = |family| WSK_TRANSPORT {
        Version: 0,
        SocketType: SOCK_STREAM,
        Protocol: IPPROTO_TCP,
        AddressFamily: family,
        ProviderId: TRANSPORT_ID,
    };
    let all = [tcp(AF_INET), tcp(AF_INET6)];
    if control.output.1 < size_of_val(&all) {
        control.tell(size_of_val(&all));
        return NtStatus::BUFFER_OVERFLOW;
    }
    control.write(all).err().unwrap_or(NtStatus::SUCCESS)
}
