//! What a client's WskReceiveFromEvent sees and answers.

#![allow(unsafe_code)] // Callbacks as drivers have them.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use nt_abi::wsk::*;
use nt_abi::{DISPATCH_LEVEL, NtStatus};

use super::{Object, address, any, objects};

/// One datagram that a callback saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub bytes: Vec<u8>,
    pub from: SocketAddr,
    pub objects: Vec<Object>,
}

pub type Gate = Arc<(Mutex<bool>, Condvar)>;

pub fn open(gate: &Gate) {
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

pub enum Answer {
    Status(NtStatus),
    /// Wait for the gate, then this.
    Slow(Gate, NtStatus),
}

#[derive(Default)]
pub struct Record {
    /// The lists, as they came, with their flags.
    pub lists: Mutex<Vec<(u32, Vec<Seen>)>>,
    pub at: Mutex<Vec<usize>>,
    pub answers: Mutex<VecDeque<Answer>>,
    pub gone: AtomicBool,
    pub odd: AtomicBool,
}

pub static EVENTS: WSK_CLIENT_DATAGRAM_DISPATCH = WSK_CLIENT_DATAGRAM_DISPATCH { WskReceiveFromEvent: Some(on_datagrams) };

/// # Safety
/// The provider's, and still there.
unsafe fn bytes(buf: &WSK_BUF, odd: &AtomicBool) -> Vec<u8> {
    let (mut mdl, mut skip, mut left) = (buf.Mdl, buf.Offset as usize, buf.Length);
    let mut all = Vec::new();
    while left > 0 {
        // SAFETY: an MDL of the provider's list.
        let part = unsafe { &*mdl };
        let here = (part.ByteCount as usize - skip).min(left);
        odd.fetch_or(skip > 0 || here < left, Ordering::SeqCst);
        let start = part.MappedSystemVa.cast::<u8>().wrapping_add(skip);
        // SAFETY: an MDL of the provider's describes so many bytes.
        all.extend_from_slice(unsafe { std::slice::from_raw_parts(start, here) });
        (mdl, skip, left) = (part.Next, 0, left - here);
    }
    all
}

/// # Safety
/// The provider's list, and still there.
pub unsafe fn read(mut list: *const WSK_DATAGRAM_INDICATION, odd: &AtomicBool) -> Vec<Seen> {
    let mut all = Vec::new();
    // SAFETY: as the caller promises.
    while let Some(one) = unsafe { list.as_ref() } {
        let objects = match one.ControlInfoLength {
            0 => Vec::new(),
            // SAFETY: so many bytes of control data.
            size => objects(unsafe { std::slice::from_raw_parts(one.ControlInfo.cast(), size as usize) }),
        };
        assert_eq!(one.ControlInfo.is_null(), one.ControlInfoLength == 0);
        // SAFETY: an address of the socket's family.
        let from = unsafe { sockaddr(one.RemoteAddress) };
        // SAFETY: as the caller promises.
        all.push(Seen { bytes: unsafe { bytes(&one.Buffer, odd) }, from, objects });
        list = one.Next;
    }
    all
}

/// # Safety
/// An address of the family that it says.
unsafe fn sockaddr(at: *const SOCKADDR) -> SocketAddr {
    let mut copy = address(any("[::]:0"));
    // SAFETY: as the caller promises.
    let size = if unsafe { (*at).sa_family } == AF_INET { size_of::<SOCKADDR_IN>() } else { size_of::<SOCKADDR_IN6>() };
    // SAFETY: as the caller promises; the copy has room for the larger.
    unsafe { std::ptr::copy_nonoverlapping(at.cast::<u8>(), copy.at().cast(), size) };
    copy.read()
}

unsafe extern "win64" fn on_datagrams(context: *mut c_void, flags: u32, list: *mut WSK_DATAGRAM_INDICATION) -> NtStatus {
    // SAFETY: it only reads.
    let dispatch = unsafe { nt_abi::kernel::KeGetCurrentIrql() } == DISPATCH_LEVEL;
    assert_eq!(flags & WSK_FLAG_AT_DISPATCH_LEVEL != 0, dispatch);
    // SAFETY: `context` is the record that the test leaked.
    let record = unsafe { &*context.cast::<Record>() };
    if list.is_null() {
        assert!(!record.gone.swap(true, Ordering::SeqCst));
        return NtStatus::SUCCESS;
    }
    // SAFETY: the provider keeps the list during the call.
    let seen = unsafe { read(list, &record.odd) };
    let answer = record.answers.lock().unwrap().pop_front();
    record.at.lock().unwrap().push(list as usize);
    record.lists.lock().unwrap().push((flags & !WSK_FLAG_AT_DISPATCH_LEVEL, seen));
    match answer {
        None => NtStatus::SUCCESS,
        Some(Answer::Status(status)) => status,
        Some(Answer::Slow(gate, status)) => {
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
            status
        }
    }
}

impl Record {
    pub fn leaked() -> &'static Record {
        Box::leak(Box::default())
    }

    pub fn context(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    pub fn next(&self, status: NtStatus) {
        self.answers.lock().unwrap().push_back(Answer::Status(status));
    }

    pub fn slow(&self, status: NtStatus) -> Gate {
        let gate = Gate::default();
        self.answers.lock().unwrap().push_back(Answer::Slow(Arc::clone(&gate), status));
        gate
    }

    /// The bytes of all datagrams, in order.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.lists.lock().unwrap().iter().flat_map(|(_, list)| list.iter().map(|one| one.bytes.clone())).collect()
    }

    pub fn calls(&self) -> usize {
        self.lists.lock().unwrap().len()
    }

    /// Where the list of a call was.
    pub fn list(&self, call: usize) -> *mut WSK_DATAGRAM_INDICATION {
        self.at.lock().unwrap()[call] as *mut _
    }
}
