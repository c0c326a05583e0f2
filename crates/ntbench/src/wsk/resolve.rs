//! WskGetAddressInfo, WskFreeAddressInfo and WskGetNameInfo: names and addresses, by the transport's resolver.
//!
//! A question is asked on a thread that may block, while its request waits with the client; the answer finds the request
//! there, or does not, if it has been cancelled meanwhile. Pages: `PFN_WSK_GET_ADDRESS_INFO`, `PFN_WSK_FREE_ADDRESS_INFO`,
//! `PFN_WSK_GET_NAME_INFO`. As they say, IoStatus.Information holds the status too.

#![allow(unsafe_code)] // Names, addresses and results come and go by pointer.

use std::ffi::c_void;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nt_abi::wsk::*;
use nt_abi::{GUID, NtStatus, UNICODE_STRING};

use super::address;
use super::address_list::AddressList;
use super::client::{Await, Client};
use super::faults::Function;
use super::request::{Outcome, Request};
use super::transport::names::{Answer, Question, Unresolved};
use crate::rtl;

/// A pointer of the client's, valid until its request is completed.
struct Theirs<T>(*mut T);

// SAFETY: used by whoever has the request, one thread at a time.
unsafe impl<T> Send for Theirs<T> {}

/// The arguments of WskGetAddressInfo that say what is asked.
pub(super) struct Ask {
    pub(super) node: *const UNICODE_STRING,
    pub(super) service: *const UNICODE_STRING,
    pub(super) name_space: u32,
    pub(super) provider: *const GUID,
    pub(super) hints: *const ADDRINFOEXW,
}

/// The results of WskGetNameInfo.
struct Names {
    node: Theirs<UNICODE_STRING>,
    service: Theirs<UNICODE_STRING>,
}

/// A thread is named only together with its process.
fn check_context(process: *mut c_void, thread: *mut c_void) -> Result<(), NtStatus> {
    if process.is_null() && !thread.is_null() { Err(NtStatus::INVALID_PARAMETER) } else { Ok(()) }
}

/// Reads a name. None: it is NULL.
///
/// # Safety
/// `at` is null or points to a string.
unsafe fn name(at: *const UNICODE_STRING) -> Result<Option<String>, NtStatus> {
    if at.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises.
    match unsafe { rtl::string(at) } {
        Some(name) if !name.contains('\0') => Ok(Some(name)),
        _ => Err(NtStatus::INVALID_PARAMETER),
    }
}

impl Ask {
    /// # Safety
    /// All are what a driver gave.
    unsafe fn read(&self) -> Result<Question, NtStatus> {
        if !matches!(self.name_space, NS_ALL | NS_DNS) || !self.provider.is_null() {
            return Err(NtStatus::NO_MATCH);
        }
        // SAFETY: as the caller promises.
        let (host, service) = unsafe { (name(self.node)?, name(self.service)?) };
        if host.is_none() && service.is_none() {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let mut question = Question { host, service, family: None, kind: 0, protocol: 0, flags: 0 };
        // SAFETY: as the caller promises.
        if let Some(hints) = unsafe { self.hints.as_ref() } {
            question.take(hints)?;
        }
        Ok(question)
    }
}

impl Question {
    fn take(&mut self, hints: &ADDRINFOEXW) -> Result<(), NtStatus> {
        let unused = hints.ai_addrlen == 0
            && hints.ai_canonname.is_null()
            && hints.ai_addr.is_null()
            && hints.ai_next.is_null()
            && hints.ai_blob.is_null();
        let nameless = hints.ai_flags as u32 & AI_CANONNAME != 0 && self.host.is_none();
        if !unused || nameless {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let number = u16::try_from(hints.ai_family).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        self.family = address::family(number);
        if self.family.is_none() && number != AF_UNSPEC {
            return Err(NtStatus::NOT_SUPPORTED);
        }
        (self.kind, self.protocol, self.flags) = (hints.ai_socktype, hints.ai_protocol, hints.ai_flags as u32);
        Ok(())
    }

    fn text(&self) -> String {
        format!("{} {}", self.host.as_deref().unwrap_or("-"), self.service.as_deref().unwrap_or("-"))
    }
}

fn status(why: Unresolved) -> NtStatus {
    match why {
        Unresolved::NoMatch => NtStatus::NO_MATCH,
        Unresolved::NoService => NtStatus::NOT_FOUND,
        Unresolved::Malformed => NtStatus::INVALID_PARAMETER,
        Unresolved::NotSupported => NtStatus::NOT_SUPPORTED,
        Unresolved::NoMemory => NtStatus::INSUFFICIENT_RESOURCES,
    }
}

fn information(status: NtStatus) -> usize {
    status.0 as u32 as usize
}

impl Client {
    /// WskGetAddressInfo.
    ///
    /// # Safety
    /// All pointers are what a driver gave.
    pub(super) unsafe fn address_info(
        &self,
        request: Request,
        ask: &Ask,
        result: *mut *mut ADDRINFOEXW,
        (process, thread): (*mut c_void, *mut c_void),
    ) -> Outcome {
        // SAFETY: as the caller promises.
        let question = check_context(process, thread).and_then(|()| unsafe { ask.read() });
        let question = match question {
            Ok(question) if !result.is_null() => question,
            other => {
                let status = other.err().unwrap_or(NtStatus::INVALID_PARAMETER);
                return Outcome::Done(request, status, information(status));
            }
        };
        let result = Theirs(result);
        let transport = Arc::clone(&self.shared.transport);
        let work = move || {
            let answer = transport.resolve(&question).map_err(status);
            let detail = question.text();
            move |client: &Client| client.answer(answer, result, detail)
        };
        self.look_up(request, work)
    }

    /// Gives the client its list.
    fn answer(&self, answer: Result<Answer, NtStatus>, result: Theirs<*mut ADDRINFOEXW>, detail: String) -> NtStatus {
        let status = match answer {
            Err(status) => status,
            Ok(answer) => {
                let list = AddressList::of(&answer);
                // SAFETY: the client's variable, valid until its request is completed.
                unsafe { result.0.write(list.first()) };
                self.lists.lock().unwrap().push(list);
                NtStatus::SUCCESS
            }
        };
        super::trace(Function::GetAddressInfo.name(), self.address(), Some(status), detail);
        status
    }

    /// WskFreeAddressInfo.
    pub(super) fn free_address_info(&self, first: *mut ADDRINFOEXW) {
        let mut lists = self.lists.lock().unwrap();
        let Some(at) = lists.iter().position(|list| list.first() == first) else {
            drop(lists);
            let text = format!("WskFreeAddressInfo was given {first:p}, which is no list of this client's, or not any more");
            crate::verifier::violation("WSK-ARG", text);
            return;
        };
        let list = lists.swap_remove(at);
        drop(lists);
        list.bury();
    }

    /// WskGetNameInfo.
    ///
    /// # Safety
    /// `node` and `service` are what a driver gave.
    pub(super) unsafe fn name_info(
        &self,
        request: Request,
        address: Result<SocketAddr, NtStatus>,
        (node, service): (*mut UNICODE_STRING, *mut UNICODE_STRING),
        flags: u32,
        (process, thread): (*mut c_void, *mut c_void),
    ) -> Outcome {
        let address = match check_context(process, thread).and(address) {
            Ok(address) if !(node.is_null() && service.is_null()) => address,
            other => {
                let status = other.err().unwrap_or(NtStatus::INVALID_PARAMETER);
                return Outcome::Done(request, status, information(status));
            }
        };
        // What is not wanted is not looked up.
        let flags = match (node.is_null(), service.is_null()) {
            (true, _) => flags & !NI_NAMEREQD | NI_NUMERICHOST,
            (_, true) => flags | NI_NUMERICSERV,
            _ => flags,
        };
        let names = Names { node: Theirs(node), service: Theirs(service) };
        let transport = Arc::clone(&self.shared.transport);
        let work = move || {
            let told = transport.names(&address, flags).map_err(status);
            move |client: &Client| {
                let status = told.and_then(|told| names.write(&told)).err().unwrap_or(NtStatus::SUCCESS);
                super::trace(Function::GetNameInfo.name(), client.address(), Some(status), address.to_string());
                status
            }
        };
        self.look_up(request, work)
    }

    /// Has `work` done where it may block; what comes of it is taken to the client, if the request still waits then.
    fn look_up<Done>(&self, request: Request, work: impl FnOnce() -> Done + Send + 'static) -> Outcome
    where
        Done: FnOnce(&Client) -> NtStatus + Send + 'static,
    {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(client) = self.hold().map(|hold| hold.arc()) else {
            return Outcome::Done(request, NtStatus::CANCELLED, information(NtStatus::CANCELLED));
        };
        let number = Await::LookUp(NEXT.fetch_add(1, Ordering::Relaxed));
        self.shared.counters.look_ups.fetch_add(1, Ordering::Relaxed);
        let outcome = self.park(request, number);
        if matches!(outcome, Outcome::Pending) {
            let transport = Arc::clone(&self.shared.transport);
            self.shared.transport.aside(Box::new(move || {
                let done = work();
                transport.later(Duration::ZERO, Box::new(move || client.looked_up(number, done)));
            }));
        }
        outcome
    }

    fn looked_up(&self, number: Await, done: impl FnOnce(&Client) -> NtStatus) {
        if let Some(request) = self.resume(number) {
            let status = done(self);
            request.complete(status, information(status));
        }
    }
}

impl Names {
    fn write(&self, (node, service): &(String, String)) -> Result<(), NtStatus> {
        let (into_node, into_service) = (Room::of(&self.node), Room::of(&self.service));
        let (node, service) = (into_node.map(|room| room.take(node)), into_service.map(|room| room.take(service)));
        node.unwrap_or(Ok(())).and(service.unwrap_or(Ok(())))
    }
}

/// A string of the client's to be filled.
struct Room<'a>(&'a mut UNICODE_STRING);

impl<'a> Room<'a> {
    fn of(theirs: &'a Theirs<UNICODE_STRING>) -> Option<Self> {
        // SAFETY: the client's string, valid until its request is completed, and let alone meanwhile.
        unsafe { theirs.0.as_mut() }.map(Room)
    }

    /// Writes the text and a NUL, which `Length` does not count.
    fn take(self, text: &str) -> Result<(), NtStatus> {
        let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
        if self.0.Buffer.is_null() || usize::from(self.0.MaximumLength) < size_of_val(&*units) {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        // SAFETY: the buffer has that much room, as the string says.
        unsafe { std::ptr::copy_nonoverlapping(units.as_ptr(), self.0.Buffer, units.len()) };
        self.0.Length = size_of_val(&units[1..]) as u16;
        Ok(())
    }
}
