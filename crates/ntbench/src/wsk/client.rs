//! [`Client`]: one client attached through the NMR, which is what a WSK_CLIENT is.
//!
//! # Invariants
//! - `count` is the number of [`ClientHold`]s (a socket has one, so has a request of the client's), with DETACHING
//!   once the provider's detach callback has run. The step from DETACHING|1 to DETACHING happens once, for no hold is
//!   taken from there; it reports the provider's detach complete (rule N8).
//! - A client's memory stays for the life of the process, so that one that calls after its detach is caught (L20).

#![allow(unsafe_code)] // NMR callbacks and handles.

use std::ffi::c_void;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nt_abi::nmr::NPI_REGISTRATION_INSTANCE;
use nt_abi::wsk::{
    WSK_CLIENT_DISPATCH, WSK_EVENT_ACCEPT, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_EVENT_RECEIVE_FROM,
    WSK_EVENT_SEND_BACKLOG,
};
use nt_abi::{IRP, NtStatus};

use super::Shared;
use super::address_list::AddressList;
use super::descriptors::Descriptor;
use super::faults::{Function, Moment};
use super::request::{Outcome, Request};
use super::socket::Kind;
use super::state::Ended;

const DETACHING: usize = 1 << (usize::BITS - 1);

static CLIENTS: Mutex<Vec<Arc<Client>>> = Mutex::new(Vec::new());

/// See the module.
pub(super) struct Client {
    count: AtomicUsize,
    /// What the client has of ours: sockets that are not closed, requests of its own that are not completed. Lower
    /// than `count` while a completion is on its way back.
    owned: AtomicUsize,
    /// Handle of the binding.
    binding: usize,
    /// The client has reported its detach complete, or had nothing to wait for.
    gone: AtomicBool,
    /// Registered by WskRegister: the provider waits for its sockets, the client need not.
    by_function: bool,
    pub(super) fixed: AtomicU32,
    pub(super) socket_made: AtomicBool,
    /// Security descriptors cached and not released.
    pub(super) descriptors: Mutex<Vec<Descriptor>>,
    parked: Mutex<Vec<(Await, Request)>>,
    /// Lists of addresses that it has and must free.
    pub(super) lists: Mutex<Vec<AddressList>>,
    pub(super) shared: Arc<Shared>,
}

/// What a request of a client's own waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Await {
    /// To be cancelled, as a fault has it.
    Cancel,
    /// A change of the transports.
    Transports,
    /// The answer to the look-up of this number.
    LookUp(u64),
}

/// Keeps the provider's side of a binding from detaching.
pub(super) struct ClientHold(Arc<Client>);

impl Deref for ClientHold {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.0
    }
}

impl ClientHold {
    pub(super) fn arc(&self) -> Arc<Client> {
        Arc::clone(&self.0)
    }
}

impl Drop for ClientHold {
    fn drop(&mut self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == DETACHING | 1 {
            // SAFETY: the detach callback of this binding answered STATUS_PENDING, or is about to.
            unsafe { nmr::NmrProviderDetachClientComplete(self.binding as *mut c_void) };
        }
    }
}

impl Client {
    /// The client that a driver means. None if the provider has finished its own detaching; also, and reported, if the client
    /// has, or is none.
    ///
    /// # Safety
    /// `at` is null or was given to a client as its binding context.
    pub(super) unsafe fn enter(at: *mut c_void, function: &'static str) -> Option<ClientHold> {
        // None: the provider has finished its own detaching and the client has not: a call that was on its way when both
        // were told. It breaks no rule, but there is nothing for it here any more.
        // SAFETY: as the caller promises.
        unsafe { Self::known(at, function)? }.hold()
    }

    /// The same, for what a client may still give back when the provider has finished its own detaching.
    ///
    /// # Safety
    /// As of `enter`.
    pub(super) unsafe fn known(at: *mut c_void, function: &'static str) -> Option<Arc<Client>> {
        let known = CLIENTS.lock().unwrap().iter().find(|one| one.address() == at as usize).cloned();
        let Some(client) = known else {
            let text = format!("{function} was called with {at:p}, which is no client");
            crate::verifier::violation("WSK-ARG", text);
            return None;
        };
        if client.gone.load(Ordering::Acquire) {
            let text = format!("{function} was called after the client's detach was complete");
            crate::verifier::violation("L20", text);
            return None;
        }
        Some(client)
    }

    /// Keeps the provider from detaching, unless it has detached.
    pub(super) fn hold(self: &Client) -> Option<ClientHold> {
        let more = |count: usize| (count != DETACHING).then_some(count + 1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        let at = std::ptr::from_ref(self);
        // SAFETY: every client is in an Arc that CLIENTS keeps.
        let arc = unsafe {
            Arc::increment_strong_count(at);
            Arc::from_raw(at)
        };
        Some(ClientHold(arc))
    }

    /// What the driver knows it by.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// The client has one thing of ours more.
    pub(super) fn gives(&self) {
        self.owned.fetch_add(1, Ordering::AcqRel);
    }

    /// The client has one thing of ours less, or is about to be told so.
    pub(super) fn has_back(&self) {
        self.owned.fetch_sub(1, Ordering::AcqRel);
    }

    /// The events that are always on for a kind of socket.
    pub(super) fn fixed_events(&self, kind: Kind) -> u32 {
        self.socket_made.store(true, Ordering::Relaxed);
        let valid = match kind {
            Kind::Basic | Kind::Stream => 0,
            Kind::Listen => WSK_EVENT_ACCEPT,
            Kind::Connection => WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT | WSK_EVENT_SEND_BACKLOG,
            Kind::Datagram => WSK_EVENT_RECEIVE_FROM,
        };
        self.fixed.load(Ordering::Relaxed) & valid
    }

    /// Keeps a request until it is resumed or cancelled.
    pub(super) fn park(&self, request: Request, what: Await) -> Outcome {
        let mut parked = self.parked.lock().unwrap();
        parked.push((what, request));
        let waits = parked.last().is_some_and(|(_, request)| request.await_cancel());
        match parked.pop_if(|_| !waits) {
            None => Outcome::Pending,
            Some((_, request)) => {
                request.unpend();
                Outcome::Done(request, NtStatus::CANCELLED, 0)
            }
        }
    }

    /// Takes a request whose wait is over. None: its cancel routine has it, or will.
    pub(super) fn resume(&self, what: Await) -> Option<Request> {
        let mut parked = self.parked.lock().unwrap();
        let at = parked.iter().position(|(waits_for, request)| *waits_for == what && request.claim())?;
        Some(parked.swap_remove(at).1)
    }

    /// Takes a request that waits, for its cancel routine.
    ///
    /// # Safety
    /// `at` is the address of a client.
    pub(super) unsafe fn unpark(at: usize, irp: *mut IRP) -> Option<(Request, Ended)> {
        // SAFETY: as the caller promises; clients stay.
        let client = unsafe { &*(at as *const Client) };
        let mut parked = client.parked.lock().unwrap();
        let at = parked.iter().position(|(_, one)| one.irp() == irp)?;
        Some((parked.swap_remove(at).1, (NtStatus::CANCELLED, 0)))
    }

    /// Ends what waits for something that will not come. A look-up ends by itself, unless the client cancels it.
    fn cancel_parked(&self) {
        let mut parked = self.parked.lock().unwrap();
        let (mine, others): (Vec<_>, Vec<_>) =
            parked.drain(..).partition(|(what, request)| !matches!(what, Await::LookUp(_)) && request.claim());
        *parked = others;
        drop(parked);
        mine.into_iter().for_each(|(_, request)| request.complete(NtStatus::CANCELLED, 0));
    }

    /// The client says that it is done: whatever it still has of ours it has kept.
    fn left(&self) {
        if self.gone.swap(true, Ordering::AcqRel) {
            return;
        }
        let held = self.owned.load(Ordering::Acquire);
        if held > 0 && !self.by_function {
            let text = format!("the client completed its detach with {held} sockets or requests of the provider's");
            crate::verifier::violation("N8", text);
        }
        let lists = self.lists.lock().unwrap().len();
        if lists > 0 {
            let text = format!("the client completed its detach with {lists} lists of addresses that it never freed");
            crate::verifier::violation("L21", text);
        }
        let descriptors = self.descriptors.lock().unwrap().len();
        if descriptors > 0 {
            let text = format!("the client completed its detach with {descriptors} cached security descriptors");
            crate::verifier::violation("L21", text);
        }
    }
}

/// What the NMR tells of bindings; whoever observes it passes it on.
pub fn nmr_event(event: &nmr::Event) {
    let done = match event.kind {
        nmr::Kind::DetachComplete => true,
        nmr::Kind::DetachReturn { status } => status == NtStatus::SUCCESS,
        _ => false,
    };
    if !done || event.side != nmr::Side::Client {
        return;
    }
    let client = CLIENTS.lock().unwrap().iter().find(|one| one.binding == event.binding).cloned();
    if let Some(client) = client {
        client.left();
    }
}

/// The clients of a provider that are attached, now or once.
pub(super) fn all_of(shared: &Arc<Shared>) -> Vec<Arc<Client>> {
    CLIENTS.lock().unwrap().iter().filter(|one| Arc::ptr_eq(&one.shared, shared)).cloned().collect()
}

/// Whether clients are attached to an instance of the provider's.
pub(super) fn attached() -> usize {
    CLIENTS.lock().unwrap().iter().filter(|one| one.count.load(Ordering::Acquire) & DETACHING == 0).count()
}

/// `ProviderAttachClient`.
///
/// # Safety
/// As the NMR calls it; `context` is the [`Shared`] that was registered.
pub(super) unsafe extern "win64" fn attach(
    binding: *mut c_void,
    context: *mut c_void,
    client_instance: *const NPI_REGISTRATION_INSTANCE,
    _client_context: *mut c_void,
    client_dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NtStatus {
    // SAFETY: as registered; the provider keeps it for the life of the process.
    let shared = unsafe {
        Arc::increment_strong_count(context.cast::<Shared>());
        Arc::from_raw(context.cast::<Shared>())
    };
    shared.faults.step(Function::Attach, Moment::Enter);
    // SAFETY: as the NMR promises.
    let status = match unsafe { client_dispatch.cast::<WSK_CLIENT_DISPATCH>().as_ref() } {
        None => NtStatus::INVALID_PARAMETER,
        Some(dispatch) => shared.judge(dispatch),
    };
    if status == NtStatus::SUCCESS {
        let client = Arc::new(Client {
            count: AtomicUsize::new(0),
            owned: AtomicUsize::new(0),
            binding: binding as usize,
            gone: AtomicBool::new(false),
            by_function: super::register::is_ours(client_instance),
            fixed: AtomicU32::new(0),
            socket_made: AtomicBool::new(false),
            descriptors: Mutex::new(Vec::new()),
            parked: Mutex::new(Vec::new()),
            lists: Mutex::new(Vec::new()),
            shared: Arc::clone(&shared),
        });
        // SAFETY: as the NMR promises.
        unsafe {
            provider_context.write(Arc::as_ptr(&client).cast_mut().cast());
            provider_dispatch.write((&raw const super::entry::PROVIDER).cast());
        }
        CLIENTS.lock().unwrap().push(client);
    }
    shared.faults.step(Function::Attach, Moment::Return);
    status
}

/// `ProviderDetachClient`.
///
/// # Safety
/// As the NMR calls it; `context` is a [`Client`].
pub(super) unsafe extern "win64" fn detach(context: *mut c_void) -> NtStatus {
    // SAFETY: it was given out by `attach`, and clients stay.
    let client = unsafe { &*context.cast::<Client>() };
    client.shared.faults.step(Function::Detach, Moment::Enter);
    let holds = client.count.fetch_or(DETACHING, Ordering::AcqRel);
    // The report that this may bring can come before the answer below; the NMR takes both orders (N7).
    client.cancel_parked();
    client.shared.faults.step(Function::Detach, Moment::Return);
    if holds == 0 { NtStatus::SUCCESS } else { NtStatus::PENDING }
}

/// `ProviderCleanupBindingContext`.
///
/// # Safety
/// As the NMR calls it; `context` is a [`Client`].
pub(super) unsafe extern "win64" fn cleanup(context: *mut c_void) {
    // SAFETY: as in `detach`.
    unsafe { &*context.cast::<Client>() }.left();
}
