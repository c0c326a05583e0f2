//! Winsock Kernel: a provider that registers with the bench's NMR and carries bytes over a [`transport`].
//!
//! From the top: [`Provider`] is what a bench has, with `knobs` to turn; `client` is one attached driver, `socket` one socket
//! of its, `state` what its lock guards; `entry` has the functions that drivers call, which work through `listen`, `inspect`
//! (conditional accept), `connect`, `send`, `receive`, `datagram`, `resolve` (names), `control` and `events`; behind `control`
//! are `options`, `ioctl`, `carriers` (the transports) and `descriptors` (security); `ancillary` has the control data of
//! datagrams; `pump` moves a socket on when its endpoint is ready; `request` is an IRP in our hands, `buffer` its memory;
//! `faults` makes all of it adverse; `transport` is the seam to the network.
//!
//! Lock order: a listening socket's lock before that of a connection it makes; nothing else is held with another, and
//! none of them while a driver is called or an IRP completed. The list of the sockets that live is locked for itself.

use std::collections::HashSet;
use std::ffi::c_void;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicUsize};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nt_abi::nmr::{MIT_GUID, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE};
use nt_abi::wsk::{NPI_WSK_INTERFACE_ID, WSK_CLIENT_DISPATCH, WSK_PROVIDER_CHARACTERISTICS, WSK_VERSION_1_0};
use nt_abi::{GUID, NtStatus};

mod address;
mod address_list;
mod ancillary;
mod buffer;
mod carriers;
mod client;
mod connect;
mod control;
mod datagram;
mod descriptors;
mod entry;
mod events;
pub mod faults;
mod indication;
mod inspect;
mod ioctl;
mod knobs;
mod listen;
mod options;
mod perform;
mod pump;
mod receive;
pub(crate) mod register;
mod request;
mod resolve;
mod send;
mod socket;
mod state;
mod stats;
pub mod transport;

pub use carriers::Carrier;
pub use client::nmr_event;
pub use faults::{Action, Faults, Function, Moment, Rule, Step, When};
pub use stats::Stats;

use faults::Adversity;
use socket::Kind;
use stats::Counters;
use transport::Transport;
use transport::host::Host;

/// How long the end of a bench waits for clients.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the provider is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The bench's seed; what is random draws from the bench's own generator.
    pub seed: u64,
    /// Threads that wait for the network; one per processor is right.
    pub reactors: u32,
}

/// What all parts of the provider share.
struct Shared {
    transport: Arc<dyn Transport>,
    faults: Adversity,
    counters: Counters,
    /// Addresses of the sockets that live.
    sockets: Mutex<HashSet<usize>>,
    /// The ideal send backlog of all connections.
    ideal_backlog: AtomicUsize,
    carriers: Mutex<Vec<Carrier>>,
}

impl Shared {
    /// Whether a client is taken.
    fn judge(&self, dispatch: &WSK_CLIENT_DISPATCH) -> NtStatus {
        let faults = self.faults.current();
        let version = faults.as_ref().map_or(WSK_VERSION_1_0, |faults| faults.client_version);
        match faults.and_then(|faults| faults.refuse_attach) {
            Some(status) => status,
            None if dispatch.Version != version => NtStatus::NOINTERFACE,
            None => NtStatus::SUCCESS,
        }
    }
}

impl Counters {
    fn of(&self, kind: Kind) -> &AtomicI64 {
        match kind {
            Kind::Basic | Kind::Stream => &self.others,
            Kind::Listen => &self.listeners,
            Kind::Connection => &self.connections,
            Kind::Datagram => &self.datagram_sockets,
        }
    }
}

/// The lowest and the highest version that a provider says it has.
#[derive(Clone, Copy)]
struct Versions(u16, u16);

/// The WSK provider of a bench. It can be there several times: one that departs lives on beside the one that
/// has arrived since, until its clients have let it go.
pub struct Provider {
    shared: Arc<Shared>,
    /// NMR handle of the instance that is registered.
    registered: Mutex<Option<usize>>,
    /// What the next instance says that it has.
    versions: Mutex<Versions>,
}

impl Provider {
    /// Starts its threads. It is not there for clients before [`Provider::arrive`].
    ///
    /// # Errors
    /// The host's, for threads and what they wait with.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let host = Host::start(settings.reactors, crate::ke::processor::adopt)?;
        let (faults, counters, sockets) = Default::default();
        let ideal_backlog = AtomicUsize::new(knobs::IDEAL_BACKLOG);
        let carriers = Mutex::new(carriers::of_the_host(&host));
        let transport = Arc::new(host);
        let shared = Arc::new(Shared { transport, faults, counters, sockets, ideal_backlog, carriers });
        let versions = Versions(WSK_VERSION_1_0, WSK_VERSION_1_0);
        Ok(Self { shared, registered: Mutex::new(None), versions: Mutex::new(versions) })
    }

    /// The versions that it offers to clients from its next arrival on.
    pub fn offer_versions(&self, lowest: u16, highest: u16) {
        *self.versions.lock().unwrap() = Versions(lowest, highest);
    }

    /// Registers with the NMR. Clients that are registered already are attached before this returns, or later, as the
    /// NMR is set.
    pub fn arrive(&self) -> NtStatus {
        let mut registered = self.registered.lock().unwrap();
        if registered.is_some() {
            return NtStatus::OBJECT_NAME_COLLISION;
        }
        match register(&self.shared, *self.versions.lock().unwrap()) {
            Ok(handle) => *registered = Some(handle),
            Err(status) => return status,
        }
        NtStatus::SUCCESS
    }

    /// Whether it is registered.
    pub fn is_there(&self) -> bool {
        self.registered.lock().unwrap().is_some()
    }

    /// Begins to deregister, on a thread of its own. Afterwards the provider may arrive anew at once.
    pub fn depart(&self) -> Departure {
        let (began, beginning) = mpsc::channel();
        let handle = self.registered.lock().unwrap().take();
        let start = Instant::now();
        let body = move || {
            let status = match handle {
                Some(handle) => deregister(handle, began),
                None => NtStatus::NOT_FOUND,
            };
            (status, start.elapsed())
        };
        let name = String::from("departure");
        let thread = std::thread::Builder::new().name(name).spawn(body);
        // The deregistration call itself has returned, or there is none.
        let answer = beginning.recv().unwrap_or(NtStatus::NOT_FOUND);
        Departure { answer, thread: thread.ok() }
    }

    /// Makes the provider adverse, from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.faults.set(faults);
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        self.shared.faults.current().map(|faults| (*faults).clone()).unwrap_or_default()
    }

    /// Has every step told to `hook`, on the thread that takes it, at its IRQL, and with no lock held.
    pub fn on_step(&self, hook: impl Fn(Step) + Send + Sync + 'static) {
        self.shared.faults.hook(Some(Arc::new(hook)));
    }

    /// Tells of steps no more.
    pub fn no_steps(&self) {
        self.shared.faults.hook(None);
    }

    /// What went through it.
    pub fn stats(&self) -> Stats {
        self.shared.counters.now()
    }

    /// Clients that are attached and not detaching.
    pub fn clients(&self) -> usize {
        client::attached()
    }

    /// Departs, waits (for a few seconds at most), and ends its threads.
    pub fn shut_down(&self) -> NtStatus {
        let status = if self.is_there() { self.depart().wait_for(PATIENCE) } else { NtStatus::SUCCESS };
        if status == NtStatus::TIMEOUT {
            crate::verifier::violation("N8", "a client never gave the provider's sockets back, or never detached");
        }
        self.shared.transport.stop();
        status
    }
}

/// A provider's deregistration in progress.
#[must_use = "it says how the departure went"]
pub struct Departure {
    answer: NtStatus,
    thread: Option<JoinHandle<(NtStatus, Duration)>>,
}

impl Departure {
    /// What NmrDeregisterProvider answered.
    pub fn answer(&self) -> NtStatus {
        self.answer
    }

    /// Whether it is complete.
    pub fn is_complete(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it is complete, or for so long: how it ended, or STATUS_TIMEOUT.
    pub fn wait_for(self, time: Duration) -> NtStatus {
        let end = Instant::now() + time;
        while !self.is_complete() {
            if Instant::now() >= end {
                return NtStatus::TIMEOUT;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        self.wait().0
    }

    /// Waits until it is complete: how it ended, and how long it took.
    pub fn wait(self) -> (NtStatus, Duration) {
        let failed = (NtStatus::INTERNAL_ERROR, Duration::ZERO);
        self.thread.and_then(|thread| thread.join().ok()).unwrap_or(failed)
    }
}

const MODULE: NPI_MODULEID = NPI_MODULEID {
    Length: size_of::<NPI_MODULEID>() as u16,
    Type: MIT_GUID,
    Value: NPI_MODULEID_VALUE {
        Guid: GUID { Data1: 0x9f1d_5c60, Data2: 0x2b77, Data3: 0x4c15, Data4: [0xa8, 0x8e, 0x51, 0x0d, 0x36, 0xf2, 0x4b, 0x70] },
    },
};
static MODULE_ID: Pinned<NPI_MODULEID> = Pinned(MODULE);
static NPI_ID: GUID = NPI_WSK_INTERFACE_ID;

/// What the NMR reads as long as the provider is registered.
struct Pinned<T>(T);

#[allow(unsafe_code)] // Pointers inside take the automatic Sync away.
// SAFETY: written never again.
unsafe impl<T> Sync for Pinned<T> {}

/// What an instance registers with. The NMR and clients read it at any time: it is kept for the life of the process.
fn characteristics(Versions(lowest, highest): Versions) -> *const NPI_PROVIDER_CHARACTERISTICS {
    let versions = Box::leak(Box::new(WSK_PROVIDER_CHARACTERISTICS { HighestVersion: highest, LowestVersion: lowest }));
    Box::leak(Box::new(NPI_PROVIDER_CHARACTERISTICS {
        Version: 0,
        Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
        ProviderAttachClient: Some(client::attach),
        ProviderDetachClient: Some(client::detach),
        ProviderCleanupBindingContext: Some(client::cleanup),
        ProviderRegistrationInstance: NPI_REGISTRATION_INSTANCE {
            Version: 0,
            Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
            NpiId: &raw const NPI_ID,
            ModuleId: &raw const MODULE_ID.0,
            Number: 0,
            NpiSpecificCharacteristics: (&raw const *versions).cast(),
        },
    }))
}

#[allow(unsafe_code)] // The NMR's functions.
fn register(shared: &Arc<Shared>, versions: Versions) -> Result<usize, NtStatus> {
    let mut handle: *mut c_void = std::ptr::null_mut();
    // The NMR's callbacks use it at any time: it is kept for the life of the process.
    let context = Arc::into_raw(Arc::clone(shared)).cast_mut().cast();
    // SAFETY: the characteristics and the context stay.
    let status = unsafe { nmr::NmrRegisterProvider(characteristics(versions), context, &raw mut handle) };
    if status.is_failure() {
        return Err(status);
    }
    Ok(handle as usize)
}

#[allow(unsafe_code)] // The NMR's functions.
fn deregister(handle: usize, began: mpsc::Sender<NtStatus>) -> NtStatus {
    let handle = handle as *mut c_void;
    // SAFETY: the handle of our registration, used for this once.
    let answer = unsafe { nmr::NmrDeregisterProvider(handle) };
    let _ = began.send(answer);
    if answer != NtStatus::PENDING {
        return answer;
    }
    // SAFETY: as above.
    unsafe { nmr::NmrWaitForProviderDeregisterComplete(handle) }
}

/// Puts something of the provider's into the trace.
fn trace(what: &'static str, object: usize, status: Option<NtStatus>, detail: String) {
    crate::trace::emit(crate::trace::Kind::Provider { what, object, status, detail });
}

/// The same for the data path; the caller has asked whether it is wanted.
fn trace_io(what: &'static str, object: usize, detail: String) {
    crate::trace::emit(crate::trace::Kind::Io { what, object, detail });
}
