//! WskBind, WskConnect, WskGetLocalAddress, WskGetRemoteAddress, and the birth of sockets that a client asks for.

use std::net::SocketAddr;
use std::time::Duration;

use nt_abi::NtStatus;

use super::address;
use super::buffer::Buffers;
use super::client::Client;
use super::faults::Function;
use super::options::Options;
use super::request::{Outcome, Request};
use super::socket::{Birth, Hold, Kind, Socket};
use super::state::{Inner, Phase};
use super::transport::{Connecting, Endpoint, Family, Setting};

/// What a new socket is for, as WskSocket and WskSocketConnect say it.
pub(super) struct Wish {
    pub(super) kind: Kind,
    pub(super) family: Family,
    pub(super) context: *mut std::ffi::c_void,
    pub(super) dispatch: *const std::ffi::c_void,
    /// SOCK_*.
    pub(super) socket_type: u16,
    pub(super) descriptor: *const std::ffi::c_void,
}

impl Client {
    /// Makes a socket.
    pub(super) fn socket(&self, wish: &Wish, function: Function) -> Result<Hold, NtStatus> {
        if !self.shared.carries(wish.family, wish.socket_type) {
            return Err(NtStatus::PROTOCOL_NOT_SUPPORTED);
        }
        let descriptor = self.cached(function, wish.descriptor)?;
        let endpoint = match wish.kind {
            Kind::Basic => None,
            _ => Some(self.endpoint(wish)?),
        };
        let birth = Birth {
            kind: wish.kind,
            family: wish.family,
            phase: Phase::Fresh,
            endpoint,
            context: wish.context,
            dispatch: wish.dispatch,
            events: self.fixed_events(wish.kind),
            inspected: None,
            options: Options::of(wish.socket_type),
            descriptor,
        };
        Ok(Socket::create(self.hold().ok_or(NtStatus::DEVICE_NOT_READY)?, birth))
    }

    fn endpoint(&self, wish: &Wish) -> Result<Box<dyn Endpoint>, NtStatus> {
        let make = || {
            let transport = &self.shared.transport;
            if wish.kind == Kind::Datagram {
                return transport.datagrams(wish.family);
            }
            let endpoint = transport.stream(wish.family)?;
            // On NT connections that linger in TIME_WAIT do not keep a listener from its port; here this says so.
            if matches!(wish.kind, Kind::Listen | Kind::Stream) {
                endpoint.set(Setting::ReuseAddress(true))?;
            }
            Ok(endpoint)
        };
        make().map_err(|error: std::io::Error| address::status(&error))
    }

    /// WskSocketConnect.
    pub(super) fn socket_connect(&self, mut request: Request, wish: &Wish, local: SocketAddr, remote: SocketAddr) -> Outcome {
        let socket = match self.socket(wish, Function::SocketConnect) {
            Ok(socket) => socket,
            Err(status) => return Outcome::Done(request, status, 0),
        };
        if let Err(status) = socket.bind(local) {
            Socket::abandon(socket);
            return Outcome::Done(request, status, 0);
        }
        // The request waits in the new socket, which must outlive it.
        let Some(owner) = socket.hold() else { return Outcome::Done(request, NtStatus::CANCELLED, 0) };
        request.belong_to(owner);
        match socket.connect(request, remote, None, true) {
            Outcome::Done(request, NtStatus::SUCCESS, _) => Outcome::Done(request, NtStatus::SUCCESS, socket.address()),
            Outcome::Done(request, status, _) => {
                Socket::abandon(socket);
                Outcome::Done(request, status, 0)
            }
            Outcome::Pending => Outcome::Pending,
        }
    }
}

impl Socket {
    /// WskBind. A listening socket listens from now on.
    pub(super) fn bind(&self, to: SocketAddr) -> Result<(), NtStatus> {
        let mut inner = self.lock();
        if let Some(status) = inner.broken() {
            return Err(status);
        }
        if inner.phase != Phase::Fresh {
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        if self.shared.faults.address_absent() {
            return Err(NtStatus::INVALID_ADDRESS_COMPONENT);
        }
        let endpoint = inner.link.endpoint.as_ref().ok_or(NtStatus::INVALID_DEVICE_REQUEST)?;
        endpoint.bind(to).map_err(|error| address::status(&error))?;
        if self.kind == Kind::Listen {
            endpoint.listen().map_err(|error| address::status(&error))?;
        }
        if matches!(self.kind, Kind::Listen | Kind::Datagram) {
            self.watch(&inner)?;
        }
        inner.phase = Phase::Bound;
        Ok(())
    }

    /// WskListen.
    pub(super) fn listen(&self) -> Result<(), NtStatus> {
        let mut inner = self.lock();
        if let Some(status) = inner.broken() {
            return Err(status);
        }
        if self.kind != Kind::Stream {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        if inner.phase != Phase::Bound || self.role() == Kind::Listen {
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        self.act_as(&mut inner, Kind::Listen)?;
        let endpoint = inner.link.endpoint.as_ref().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
        endpoint.listen().map_err(|error| address::status(&error))?;
        self.watch(&inner)
    }

    /// WskConnect, WskConnectEx with what it sends, or the second half of WskSocketConnect.
    pub(super) fn connect(&self, request: Request, to: SocketAddr, data: Option<Buffers>, creates: bool) -> Outcome {
        let mut inner = self.lock();
        if let Some(status) = inner.broken() {
            return Outcome::Done(request, status, 0);
        }
        if inner.phase != Phase::Bound {
            return Outcome::Done(request, NtStatus::INVALID_DEVICE_STATE, 0);
        }
        if let Err(status) = self.act_as(&mut inner, Kind::Connection) {
            return Outcome::Done(request, status, 0);
        }
        match self.begin_connect(&mut inner, to) {
            Err(status) => return Outcome::Done(request, status, 0),
            Ok(Connecting::Done) if data.is_some() => {
                // The step of a begun connect does the rest.
                inner.phase = Phase::Connecting;
                inner.link.ready.writable = true;
                self.nudge(&mut inner, Duration::ZERO);
            }
            Ok(Connecting::Done) => return Outcome::Done(request, NtStatus::SUCCESS, 0),
            Ok(Connecting::Begun) => {}
        }
        inner.connect_creates = creates;
        inner.connect_data = data;
        inner.connect = Some(request);
        let waits = inner.connect.as_ref().is_some_and(Request::await_cancel);
        if let Some(request) = inner.connect.take_if(|_| !waits) {
            request.unpend();
            return Outcome::Done(request, NtStatus::CANCELLED, 0);
        }
        Outcome::Pending
    }

    fn begin_connect(&self, inner: &mut Inner, to: SocketAddr) -> Result<Connecting, NtStatus> {
        let endpoint = inner.link.endpoint.as_ref().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
        let begun = endpoint.connect(to).map_err(|error| address::status(&error))?;
        inner.phase = if begun == Connecting::Done { Phase::Connected } else { Phase::Connecting };
        self.watch(inner)?;
        Ok(begun)
    }

    /// WskGetLocalAddress.
    pub(super) fn local(&self) -> Result<SocketAddr, NtStatus> {
        let inner = self.lock();
        if inner.phase == Phase::Fresh {
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        let endpoint = inner.link.endpoint.as_ref().ok_or(NtStatus::CONNECTION_ABORTED)?;
        endpoint.local().map_err(|error| address::status(&error))
    }

    /// WskGetRemoteAddress.
    pub(super) fn remote(&self) -> Result<SocketAddr, NtStatus> {
        let inner = self.lock();
        if let Some(status) = inner.unconnected() {
            return Err(status);
        }
        let endpoint = inner.link.endpoint.as_ref().ok_or(NtStatus::CONNECTION_ABORTED)?;
        endpoint.peer().map_err(|error| address::status(&error))
    }
}
