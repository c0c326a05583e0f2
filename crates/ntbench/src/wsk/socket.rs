//! [`Socket`]: one socket of a client's, its lifetime and its close.
//!
//! What a client sees of it is the WSK_SOCKET at its beginning. What it does is in the neighbours: `listen`, `connect`,
//! `send`, `receive`, `events`, `control`; what drives it is `pump`.
//!
//! # Invariants
//! - `count` is the number of [`Hold`]s, with CLOSING once the close has begun. None is taken after that, so the step
//!   from CLOSING|1 to CLOSING happens once, and the close ends there: after every request, every callback and every
//!   function has come to its end.
//! - Under the lock of `inner` nothing is completed, no event is called, and nothing waits.
//! - A closed socket's memory stays for a while, so that a client that uses it after the close is caught.

#![allow(unsafe_code)] // It is shared with drivers by pointer.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use nt_abi::wsk::{WSK_CLIENT_STREAM_DISPATCH, WSK_INSPECT_ID, WSK_SOCKET};
use nt_abi::{IRP, NtStatus};

use super::Shared;
use super::client::{Client, ClientHold};
use super::descriptors::Descriptor;
use super::options::Options;
use super::request::Request;
use super::state::{Ended, Inner, Phase};
use super::transport::{Endpoint, Family, Readiness, Ready};

const CLOSING: usize = 1 << (usize::BITS - 1);
const ALIVE: u32 = 0x534b_5357;
const DEAD: u32 = 0x6461_6544;
/// Closed sockets that are kept.
const KEPT: usize = 20_000;

static GRAVES: Mutex<VecDeque<Arc<Socket>>> = Mutex::new(VecDeque::new());

/// The kinds there are here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Basic,
    Listen,
    Connection,
    Datagram,
    /// Becomes one of the former two by WskListen or WskConnect.
    Stream,
}

/// See the module.
#[repr(C)]
pub(super) struct Socket {
    visible: WSK_SOCKET,
    magic: AtomicU32,
    pub(super) kind: Kind,
    /// What a stream socket has become.
    role: OnceLock<Kind>,
    pub(super) family: Family,
    count: AtomicUsize,
    /// Functions of the socket that are entered and have not returned.
    inside: AtomicU32,
    pub(super) context: AtomicPtr<c_void>,
    pub(super) dispatch: AtomicPtr<c_void>,
    pub(super) client: Arc<Client>,
    pub(super) shared: Arc<Shared>,
    inner: Mutex<Inner>,
}

// SAFETY: the pointers inside are opaque to us, or tables that never change.
unsafe impl Send for Socket {}
// SAFETY: as above; all that changes is atomic or under the lock.
unsafe impl Sync for Socket {}

/// Keeps a socket from ending its close.
pub(super) struct Hold(NonNull<Socket>);

// SAFETY: a counted reference to something that is Sync.
unsafe impl Send for Hold {}

impl Deref for Hold {
    type Target = Socket;
    fn deref(&self) -> &Socket {
        // SAFETY: a socket's memory stays while it is held.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == CLOSING | 1 {
            self.finish_close();
        }
    }
}

/// What a new socket is made of.
pub(super) struct Birth {
    pub(super) kind: Kind,
    pub(super) family: Family,
    pub(super) phase: Phase,
    pub(super) endpoint: Option<Box<dyn Endpoint>>,
    pub(super) context: *mut c_void,
    pub(super) dispatch: *const c_void,
    pub(super) events: u32,
    /// What the connection was inspected by.
    pub(super) inspected: Option<WSK_INSPECT_ID>,
    pub(super) options: Options,
    pub(super) descriptor: Option<Descriptor>,
}

impl Socket {
    /// Makes a socket. The client owns it from now on, until it closes it.
    pub(super) fn create(client: ClientHold, birth: Birth) -> Hold {
        let shared = Arc::clone(&client.shared);
        client.gives();
        let counter = shared.counters.of(birth.kind);
        counter.fetch_add(1, Ordering::Relaxed);
        if birth.kind == Kind::Connection {
            shared.counters.connections_total.fetch_add(1, Ordering::Relaxed);
        }
        let detail = format!("{:?} {:?}", birth.kind, birth.family);
        let socket = Arc::new(Self {
            visible: WSK_SOCKET { Dispatch: super::entry::table(birth.kind) },
            magic: AtomicU32::new(ALIVE),
            kind: birth.kind,
            role: OnceLock::new(),
            family: birth.family,
            count: AtomicUsize::new(1),
            inside: AtomicU32::new(0),
            context: AtomicPtr::new(birth.context),
            dispatch: AtomicPtr::new(birth.dispatch.cast_mut()),
            client: client.arc(),
            shared,
            inner: Mutex::new(Inner::new(birth, client)),
        });
        // INVARIANT: the count is 1 for the hold that is returned. The Arc is kept by the address, until `bury`.
        // SAFETY: an Arc's address is not null.
        let hold = Hold(unsafe { NonNull::new_unchecked(Arc::into_raw(socket).cast_mut()) });
        hold.shared.sockets.lock().unwrap().insert(hold.address());
        crate::trace::emit(crate::trace::Kind::SocketCreated { socket: hold.address(), detail });
        hold
    }

    /// The socket that a client means. None, and reported, if there is none or its close has begun.
    ///
    /// # Safety
    /// `at` is null or was once given to a client as a socket.
    pub(super) unsafe fn enter(at: *mut WSK_SOCKET, function: &'static str) -> Option<Hold> {
        let Some(place) = NonNull::new(at.cast::<Socket>()) else {
            crate::verifier::violation("L25", format!("{function} was called with a NULL socket"));
            return None;
        };
        // SAFETY: as the caller promises; a closed socket's memory stays for a while.
        let hold = unsafe { place.as_ref() }.hold();
        if hold.is_none() {
            let text = format!("{function} was called for socket {at:p} after its close had begun");
            crate::verifier::violation("L25", text);
        }
        hold
    }

    /// Holds the socket, unless its close has begun.
    pub(super) fn hold(&self) -> Option<Hold> {
        if self.magic.load(Ordering::Acquire) != ALIVE {
            return None;
        }
        let more = |count: usize| (count & CLOSING == 0).then_some(count + 1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        // INVARIANT: just counted.
        Some(Hold(NonNull::from(self)))
    }

    /// The socket of an address in [`Shared::sockets`], whose lock is held.
    ///
    /// # Safety
    /// The address is in there, so the socket is not buried.
    pub(super) unsafe fn living(at: usize) -> Option<Hold> {
        // SAFETY: as the caller promises.
        unsafe { &*(at as *const Socket) }.hold()
    }

    /// What a client knows it by.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Marks a function of the socket entered, until the answer is dropped.
    pub(super) fn step_inside(&self) -> Inside<'_> {
        self.inside.fetch_add(1, Ordering::AcqRel);
        Inside(self)
    }

    /// Takes a request out of the list where it waits, for its cancel routine.
    ///
    /// # Safety
    /// `at` is the address of a socket that the request holds.
    pub(super) unsafe fn unpark(at: usize, irp: *mut IRP) -> Option<(Request, Ended)> {
        // SAFETY: as the caller promises.
        let socket = unsafe { &*(at as *const Socket) };
        let mut inner = socket.lock();
        let creates = inner.connect_creates && inner.connect.as_ref().is_some_and(|one| one.irp() == irp);
        let found = inner.take_request(irp);
        drop(inner);
        debug_assert!(found.is_some(), "a request that waits is in a list of its socket");
        // WskSocketConnect is cancelled: nobody will ever know the socket.
        if creates && let Some(hold) = socket.hold() {
            Socket::abandon(hold);
        }
        found
    }

    /// What the socket acts as.
    pub(super) fn role(&self) -> Kind {
        self.role.get().copied().unwrap_or(self.kind)
    }

    /// A stream socket becomes a listening socket or a connection, by the first WskListen or WskConnect, even one that
    /// fails; others are what they are. Called with the lock held.
    pub(super) fn act_as(&self, inner: &mut Inner, role: Kind) -> Result<(), NtStatus> {
        if self.kind != Kind::Stream {
            return if self.kind == role { Ok(()) } else { Err(NtStatus::INVALID_DEVICE_REQUEST) };
        }
        let first = self.role.set(role).is_ok();
        if self.role() != role {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        if !first {
            return Ok(());
        }
        let both = self.dispatch.load(Ordering::Acquire).cast::<WSK_CLIENT_STREAM_DISPATCH>();
        // SAFETY: the client's table stays as long as the socket; until now it was a stream socket's.
        let own: *const c_void = match unsafe { both.as_ref() } {
            None => std::ptr::null(),
            Some(both) if role == Kind::Listen => both.Listen.cast(),
            Some(both) => both.Connect.cast(),
        };
        self.dispatch.store(own.cast_mut(), Ordering::Release);
        let fixed = self.client.fixed_events(role);
        (inner.events.fixed, inner.events.enabled) = (fixed, inner.events.enabled | fixed);
        Ok(())
    }

    /// Begins to listen to the endpoint's readiness.
    pub(super) fn watch(&self, inner: &Inner) -> Result<(), NtStatus> {
        let Some(endpoint) = &inner.link.endpoint else { return Err(NtStatus::CONNECTION_INVALID) };
        endpoint.watch(self.arc()).map_err(|error| super::address::status(&error))
    }

    pub(super) fn arc(&self) -> Arc<Socket> {
        let at = std::ptr::from_ref(self);
        // SAFETY: the socket was made by Arc and leaked, and is held by whoever calls this.
        unsafe {
            Arc::increment_strong_count(at);
            Arc::from_raw(at)
        }
    }

    /// WskCloseSocket. The request is given back if the socket is closed already.
    pub(super) fn close(hold: Hold, request: Request) -> Option<Request> {
        if hold.inside.load(Ordering::Acquire) > 0 {
            let text = format!("socket {:#x} is closed while a function of it is entered", hold.address());
            crate::verifier::violation("L23", text);
        }
        request.pend();
        {
            let mut inner = hold.lock();
            let lists = inner.datagrams.as_ref().map_or(0, |datagrams| datagrams.retained());
            let count = inner.retained.len() + lists;
            if count > 0 {
                let text = format!("socket {:#x} is closed with {count} retained indications", hold.address());
                crate::verifier::violation("L21", text);
            }
            inner.close = Some(request);
        }
        hold.shut_down();
        let socket = ManuallyDrop::new(hold).arc();
        // The hold ends here by hand: its last step tells whether the close is done already.
        if socket.count.fetch_sub(1, Ordering::AcqRel) != CLOSING | 1 {
            return None;
        }
        let request = socket.lock().close.take();
        drop(socket.bury());
        request.inspect(Request::unpend)
    }

    /// Closes a socket that no client has come to know.
    pub(super) fn abandon(hold: Hold) {
        hold.shut_down();
    }

    /// Lets no function begin any more, and ends all that waits.
    fn shut_down(&self) {
        self.count.fetch_or(CLOSING, Ordering::AcqRel);
        let (waiting, endpoint) = {
            let mut inner = self.lock();
            (inner.drain(), inner.let_go())
        };
        if let Some(endpoint) = endpoint {
            endpoint.unwatch();
        }
        for (request, (status, information)) in waiting {
            request.complete(status, information);
        }
    }

    /// The last hold is gone.
    #[cold]
    fn finish_close(&self) {
        let request = self.lock().close.take();
        // Often the provider's detach does not wait for the way out of the close's completion routine: only the device on which
        // that routine was armed keeps the driver then (L31).
        let client = self.bury().filter(|_| crate::rng::chance(0.5));
        if let Some(request) = request {
            request.complete(NtStatus::SUCCESS, 0);
        }
        drop(client);
    }

    /// The socket is no more, but for its memory. Its hold of the client is given back last.
    fn bury(&self) -> Option<ClientHold> {
        self.shared.sockets.lock().unwrap().remove(&self.address());
        self.magic.store(DEAD, Ordering::Release);
        self.shared.counters.of(self.kind).fetch_sub(1, Ordering::Relaxed);
        crate::trace::emit(crate::trace::Kind::SocketClosed { socket: self.address() });
        self.client.has_back();
        let client = self.lock().client.take();
        // SAFETY: the reference that `create` leaked, given back once.
        let leaked = unsafe { Arc::from_raw(std::ptr::from_ref(self)) };
        let mut graves = GRAVES.lock().unwrap();
        graves.push_back(leaked);
        let gone = if graves.len() > KEPT { graves.pop_front() } else { None };
        drop(graves);
        drop(gone);
        client
    }
}

impl Ready for Socket {
    fn ready(&self, what: Readiness) {
        if let Some(hold) = self.hold() {
            hold.pump(what);
        }
    }
}

/// Proof that a function of the socket is entered.
pub(super) struct Inside<'a>(&'a Socket);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}
