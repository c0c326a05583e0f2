//! The transports that the provider lists: WSK_TRANSPORT_LIST_QUERY, WSK_TRANSPORT_LIST_CHANGE, and what a bench makes of them.

use nt_abi::wsk::{AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, WSK_TRANSPORT};
use nt_abi::{GUID, NtStatus};

use super::client::{self, Await, Client};
use super::control::Control;
use super::transport::{Family, Transport};
use super::{Provider, Shared};

/// Identifies the host's TCP/IP as a provider of transports.
const TRANSPORT_ID: GUID =
    GUID { Data1: 0x5ff1_5f9c, Data2: 0x3d2e, Data3: 0x4c0b, Data4: [0x9a, 0x41, 0x77, 0x6b, 0x1e, 0x2c, 0x60, 0x8d] };

/// One combination that sockets can be made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carrier {
    /// Address family.
    pub family: Family,
    /// SOCK_*.
    pub socket_type: u16,
    /// IPPROTO_*, 0 where any will do.
    pub protocol: u32,
}

impl Carrier {
    fn describe(&self) -> WSK_TRANSPORT {
        WSK_TRANSPORT {
            Version: 0,
            SocketType: self.socket_type,
            Protocol: self.protocol,
            AddressFamily: if self.family == Family::V4 { AF_INET } else { AF_INET6 },
            ProviderId: TRANSPORT_ID,
        }
    }
}

/// What the host has. Of raw sockets there are basic ones only.
pub(super) fn of_the_host(transport: &dyn Transport) -> Vec<Carrier> {
    let families = [Family::V4, Family::V6].into_iter().filter(|family| transport.stream(*family).is_ok());
    let kinds = [(SOCK_STREAM, IPPROTO_TCP), (SOCK_DGRAM, IPPROTO_UDP), (SOCK_RAW, IPPROTO_IP)];
    let all = |family| kinds.map(|(socket_type, protocol)| Carrier { family, socket_type, protocol });
    families.flat_map(all).collect()
}

impl Shared {
    /// Whether sockets of a family and a type can be made now.
    pub(super) fn carries(&self, family: Family, socket_type: u16) -> bool {
        self.carriers.lock().unwrap().iter().any(|one| one.family == family && one.socket_type == socket_type)
    }
}

impl Client {
    /// WSK_TRANSPORT_LIST_QUERY.
    pub(super) fn list_transports(&self, control: &Control) -> NtStatus {
        let all: Vec<_> = self.shared.carriers.lock().unwrap().iter().map(Carrier::describe).collect();
        let size = size_of_val(&*all);
        if control.output.1 < size || control.output.0.is_null() {
            control.tell(size);
            return NtStatus::BUFFER_OVERFLOW;
        }
        control.write_all(&all);
        NtStatus::SUCCESS
    }
}

impl Provider {
    /// The transports that clients are told of, and can make sockets of.
    pub fn transports(&self) -> Vec<Carrier> {
        self.shared.carriers.lock().unwrap().clone()
    }

    /// Changes them, and tells the clients that wait for a change.
    pub fn change_transports(&self, all: Vec<Carrier>) {
        *self.shared.carriers.lock().unwrap() = all;
        for client in client::all_of(&self.shared) {
            while let Some(request) = client.resume(Await::Transports) {
                request.complete(NtStatus::SUCCESS, 0);
            }
        }
    }

    /// Tells the sockets that wait for a change of the machine's addresses that there has been one.
    pub fn change_addresses(&self) {
        self.shared.living().iter().for_each(|socket| socket.addresses_changed());
    }
}
