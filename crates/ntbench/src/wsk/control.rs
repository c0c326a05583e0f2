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
use super::perform::answer;
use super::request::{Outcome, Request};
use super::socket::{Kind, Socket};
use super::state::Phase;

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

    /// Writes several; the output has room for them.
    pub(super) fn write_all<T: Copy>(&self, all: &[T]) {
        // SAFETY: the caller has looked at the buffer's size, and the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(all.as_ptr().cast::<u8>(), self.output.0.cast(), size_of_val(all)) };
        self.tell(size_of_val(all));
    }

    /// Tells how much there is, if the caller wants to know.
    pub(super) fn tell(&self, size: usize) {
        if !self.returned.is_null() {
            // SAFETY: the caller's variable.
            unsafe { self.returned.write(size) };
        }
    }

    /// Whether this is an I/O control that takes no IRP.
    pub(super) fn takes_no_irp(&self) -> bool {
        const ALL: [u32; 3] = [SIO_WSK_QUERY_INSPECT_ID, SIO_WSK_REGISTER_EXTENSION, SIO_ADDRESS_LIST_QUERY];
        self.kind == WskIoctl && ALL.contains(&self.code)
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
        if let Some(status) = self.lock().mute() {
            return Err(status);
        }
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

    /// WskControlSocket that may wait.
    pub(super) fn control_later(&self, control: &Control, request: Request) -> Outcome {
        if control.kind == WskIoctl && control.code == SIO_ADDRESS_LIST_CHANGE {
            return self.await_addresses(request);
        }
        answer(request, self.control(control))
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
        let valid = match self.role() {
            Kind::Basic | Kind::Stream => 0,
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
        let ready = match self.role() {
            Kind::Listen | Kind::Datagram => inner.phase == Phase::Bound,
            _ => inner.phase == Phase::Connected,
        };
        if !ready {
            drop(inner);
            self.complain("WSK-EVENT", Function::ControlSocket, "events are enabled before the socket is bound or connected");
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        if self.role() == Kind::Listen {
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
        inner.events.disabling.push(request);
        (NtStatus::PENDING, None)
    }
}

fn is_wsk(id: *const GUID) -> bool {
    // SAFETY: a client gives the address of an identifier, or null.
    unsafe { id.as_ref() }.is_some_and(|id| *id == NPI_WSK_INTERFACE_ID)
}

impl Client {
    /// WskControlClient without an IRP.
    pub(super) fn control(&self, control: &Control) -> NtStatus {
        let early = !self.socket_made.load(Ordering::Relaxed);
        let result = match control.code {
            WSK_TRANSPORT_LIST_QUERY => return self.list_transports(control),
            WSK_TDI_BEHAVIOR if early => control.number().map(|_| ()),
            WSK_SET_STATIC_EVENT_CALLBACKS if early => self.fix_events(control),
            WSK_TDI_BEHAVIOR | WSK_SET_STATIC_EVENT_CALLBACKS => Err(NtStatus::INVALID_DEVICE_STATE),
            WSK_CACHE_SD => self.cache(control),
            WSK_RELEASE_SD => self.uncache(control),
            _ => Err(control.lacking(Function::ControlClient, self.address())),
        };
        result.err().unwrap_or(NtStatus::SUCCESS)
    }

    /// WskControlClient with an IRP.
    pub(super) fn control_later(&self, control: &Control, request: Request) -> Outcome {
        if control.code == WSK_TRANSPORT_LIST_CHANGE {
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
        const ALL: u32 =
            WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE | WSK_EVENT_RECEIVE_FROM | WSK_EVENT_DISCONNECT | WSK_EVENT_SEND_BACKLOG;
        if wish.EventMask == 0 || wish.EventMask & !ALL != 0 {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        self.fixed.fetch_or(wish.EventMask, Ordering::Relaxed);
        Ok(())
    }
}
