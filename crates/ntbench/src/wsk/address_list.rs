//! [`AddressList`]: the memory of a list of ADDRINFOEXW that a client has been given.
//!
//! # Invariants
//! The nodes are linked in their order, each points to its own address, and none of them moves as long as the list lives.

#![allow(unsafe_code)] // Clients have it by pointer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ptr::null_mut;
use std::sync::Mutex;

use nt_abi::wsk::{ADDRINFOEXW, AF_INET, AF_INET6, SOCKADDR_IN, SOCKADDR_IN6};

use super::address::Sockaddr;
use super::transport::Family;
use super::transport::names::{Answer, Found};

/// Lists that were freed and are kept, so that a client that still reads one finds nonsense and not somebody else's data.
const KEPT: usize = 64;

static GRAVES: Mutex<VecDeque<AddressList>> = Mutex::new(VecDeque::new());

#[repr(C)]
struct Node {
    info: ADDRINFOEXW,
    address: Sockaddr,
}

/// See the module.
pub(super) struct AddressList {
    nodes: Box<[Node]>,
    /// The nodes point to it.
    _canonical: Option<Box<[u16]>>,
}

// SAFETY: the pointers inside point into the list's own memory.
unsafe impl Send for AddressList {}

impl Node {
    fn of(found: &Found) -> Self {
        let (family, number, size) = match found.address {
            SocketAddr::V4(_) => (Family::V4, AF_INET, size_of::<SOCKADDR_IN>()),
            SocketAddr::V6(_) => (Family::V6, AF_INET6, size_of::<SOCKADDR_IN6>()),
        };
        let info = ADDRINFOEXW {
            ai_flags: 0,
            ai_family: i32::from(number),
            ai_socktype: found.kind,
            ai_protocol: found.protocol,
            ai_addrlen: size,
            ai_canonname: null_mut(),
            ai_addr: null_mut(),
            ai_blob: null_mut(),
            ai_bloblen: 0,
            ai_provider: null_mut(),
            ai_next: null_mut(),
        };
        Self { info, address: Sockaddr::of(found.address, family) }
    }
}

impl AddressList {
    pub(super) fn of(answer: &Answer) -> Self {
        let mut nodes: Box<[Node]> = answer.found.iter().map(Node::of).collect();
        let mut canonical = answer.canonical.as_ref().map(|name| name.encode_utf16().chain([0]).collect::<Box<[u16]>>());
        // INVARIANT: from the last to the first; boxed slices do not move.
        let mut next = null_mut();
        for node in nodes.iter_mut().rev() {
            node.info.ai_addr = node.address.as_mut_ptr();
            node.info.ai_next = next;
            next = &raw mut node.info;
        }
        if let (Some(first), Some(name)) = (nodes.first_mut(), canonical.as_mut()) {
            first.info.ai_canonname = name.as_mut_ptr();
        }
        Self { nodes, _canonical: canonical }
    }

    /// What a client knows it by.
    pub(super) fn first(&self) -> *mut ADDRINFOEXW {
        self.nodes.as_ptr().cast_mut().cast()
    }

    /// The client has given it back: what it reads from now on is nonsense.
    pub(super) fn bury(mut self) {
        let size = size_of_val(&*self.nodes);
        // SAFETY: the nodes are plain numbers and pointers, which nobody follows from here on.
        unsafe { std::ptr::write_bytes(self.nodes.as_mut_ptr().cast::<u8>(), 0xdd, size) };
        let mut graves = GRAVES.lock().unwrap();
        graves.push_back(self);
        let gone = if graves.len() > KEPT { graves.pop_front() } else { None };
        drop(graves);
        drop(gone);
    }
}
