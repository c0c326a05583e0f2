//! The registration as a client of WSK in the Network Module Registrar, and its three callbacks.
//!
//! See [Attaching the WSK Client to the WSK Subsystem](https://learn.microsoft.com/windows-hardware/drivers/network/attaching-the-wsk-client-to-the-wsk-subsystem)
//! and [Network Module Registrar](https://learn.microsoft.com/windows-hardware/drivers/network/network-module-registrar2).
//! The callbacks may come before `NmrRegisterClient` returns, on any thread (L02): all that they touch is in place
//! before, and none uses the registration's handle.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use wdk_sys::{GUID, HANDLE, NTSTATUS};
use wsk_lifecycle::registration::{RegistrationState, State, Turn};
use wsk_sys::netioddk::{NmrClientAttachProvider, NmrDeregisterClient, NmrRegisterClient, NmrWaitForClientDeregisterComplete};
use wsk_sys::{
    NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_REGISTRATION_INSTANCE, NPI_WSK_INTERFACE_ID, WSK_PROVIDER_CHARACTERISTICS,
};

use super::binding::{Context, Shell};
use super::{Bugcheck, Device, NtStatus, bugcheck};
use crate::sync::shared::tagged;
use crate::sync::{Event, Executor, OutOfMemory, Passive, Shared, SpinLock};
use crate::{Binding, Handler, SocketId, Trace};

/// The versions of WSK_CLIENT_DISPATCH to offer, best first (L07). 1.0 is the only one that is documented; 1.1 shows, with a
/// provider of the bench's that demands it, that another one is tried in the same callback. A version outside of
/// what the provider says it has is never offered.
const VERSIONS: [u16; 2] = [0x0100, 0x0101];

/// How long a waiter lets the owner of a change run.
const PAUSE: Duration = Duration::from_millis(1);

/// NPI_MODULEID_TYPE for a GUID.
const MIT_GUID: i32 = 1;

/// One registration.
///
/// # Invariants
/// Pinned in its allocation. `characteristics` and `module` are complete before `NmrRegisterClient` is called, and are
/// neither written nor freed until the wait for deregistration has returned (L03).
pub(crate) struct Registration {
    characteristics: NPI_CLIENT_CHARACTERISTICS,
    module: NPI_MODULEID,
    handle: AtomicPtr<c_void>,
    state: RegistrationState,
    /// Set while nobody registers or deregisters; see [`wsk_lifecycle::registration`].
    settled: Event,
    /// Never set: what a pause is taken with.
    pause: Event,
    gates: SpinLock<Gates>,
    generations: AtomicU64,
    socket_ids: AtomicU64,
    most_sockets: AtomicU32,
    /// The lowest version that a provider offered last, and the highest in the upper half.
    offered: AtomicU32,
    handler: &'static dyn Handler,
    pub(super) executor: Executor,
    pub(super) device: Device,
    /// The events that the driver wants on for every socket.
    pub(super) static_events: u32,
}

tagged!(Registration, b"WskR");

// SAFETY: the raw pointers in the characteristics lead to the registration itself and to statics.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

/// Which binding is the one for new work.
struct Gates {
    open: Option<Shared<Shell>>,
    /// A second provider that was attached while the first was: it takes over when the first goes.
    standby: Option<Shared<Shell>>,
    /// The one that was open last, while it drains: for those who want to know why it takes so long.
    leaving: Option<Shared<Shell>>,
}

impl Registration {
    pub(crate) fn new(
        module: GUID,
        handler: &'static dyn Handler,
        executor: Executor,
        device: Device,
        static_events: u32,
    ) -> Result<Shared<Self>, OutOfMemory> {
        let mut registration = Shared::try_new(Self {
            characteristics: NPI_CLIENT_CHARACTERISTICS::default(),
            module: NPI_MODULEID::default(),
            handle: AtomicPtr::new(null_mut()),
            state: RegistrationState::new(),
            settled: Event::notification(true)?,
            pause: Event::notification(false)?,
            gates: SpinLock::new(Gates { open: None, standby: None, leaving: None }),
            generations: AtomicU64::new(0),
            socket_ids: AtomicU64::new(0),
            most_sockets: AtomicU32::new(0),
            offered: AtomicU32::new(0),
            handler,
            executor,
            device,
            static_events,
        })?;
        if let Some(fields) = registration.unique() {
            fields.describe(module);
        }
        Ok(registration)
    }

    /// Fills in what the NMR reads, now that it has its place.
    fn describe(&mut self, module: GUID) {
        self.module.Length = size_of::<NPI_MODULEID>() as _;
        self.module.Type = MIT_GUID as _;
        self.module.__bindgen_anon_1.Guid = module;
        self.characteristics = NPI_CLIENT_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as _,
            ClientAttachProvider: Some(attach_provider),
            ClientDetachProvider: Some(detach_provider),
            ClientCleanupBindingContext: Some(cleanup_binding),
            ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE {
                Version: 0,
                Size: size_of::<NPI_REGISTRATION_INSTANCE>() as _,
                NpiId: (&raw const NPI_WSK_INTERFACE_ID).cast_mut(),
                ModuleId: &raw mut self.module,
                Number: 0,
                NpiSpecificCharacteristics: null_mut(),
            },
        };
    }

    /// The number of a socket that is being made.
    pub(super) fn next_socket(&self) -> SocketId {
        SocketId(self.socket_ids.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A binding has so many open sockets.
    pub(super) fn has_sockets(&self, count: usize) {
        let count = count as u32;
        if self.most_sockets.load(Ordering::Relaxed) < count {
            self.most_sockets.fetch_max(count, Ordering::Relaxed);
        }
    }

    /// The most sockets that a binding ever had open.
    pub(crate) fn most_sockets(&self) -> u32 {
        self.most_sockets.load(Ordering::Relaxed)
    }

    /// The lowest and the highest version that a provider offered last.
    pub(crate) fn offered(&self) -> Option<(u16, u16)> {
        match self.offered.load(Ordering::Relaxed) {
            0 => None,
            both => Some((both as u16, (both >> 16) as u16)),
        }
    }

    pub(super) fn trace(&self, trace: Trace) {
        self.handler.trace(trace);
    }

    /// The services' start (L09).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(super) fn attached(&self, passive: Passive, shell: &Shared<Shell>) {
        self.handler.attached(passive, Binding::new(shell.clone()));
    }

    pub(crate) fn state(&self) -> State {
        self.state.state()
    }

    pub(crate) fn open_binding(&self) -> Option<Shared<Shell>> {
        self.gates.lock().open.clone()
    }

    /// Takes the gate of a new binding: opened, or kept for later if another one is open (L11).
    fn open_gate(&self, shell: &Shared<Shell>) -> bool {
        let mut gates = self.gates.lock();
        if gates.open.as_ref().is_some_and(|open| open.is_open()) {
            // A third one at the same instant stays shut: it is detached like any other.
            gates.standby.get_or_insert_with(|| shell.clone());
            return false;
        }
        let opened = shell.open();
        if opened {
            gates.open = Some(shell.clone());
        }
        opened
    }

    /// The binding that is being taken away, if there is one.
    pub(crate) fn leaving_binding(&self) -> Option<Shared<Shell>> {
        self.gates.lock().leaving.clone()
    }

    /// Takes a binding whose gate has been shut off its place, and opens the one that stands by, if any.
    fn gate_shut(&self, shell: &Shared<Shell>) -> Option<Shared<Shell>> {
        let is_it = |place: &mut Shared<Shell>| place.as_ptr() == shell.as_ptr();
        let mut gates = self.gates.lock();
        let stood_by = gates.standby.take_if(is_it);
        let before = gates.open.take_if(is_it).and_then(|open| gates.leaving.replace(open));
        if gates.open.is_none() {
            gates.open = gates.standby.take_if(|next| next.open());
        }
        let next = gates.open.clone().filter(|_| gates.leaving.as_mut().is_some_and(is_it));
        drop(gates);
        drop((stood_by, before));
        next
    }

    /// Forgets a binding that is gone.
    fn gone(&self, shell: &Shared<Shell>) {
        let gone = self.gates.lock().leaving.take_if(|place| place.as_ptr() == shell.as_ptr());
        drop(gone);
    }

    /// Lets whoever owns the registration's change finish it. The event is set a moment before the state is changed, so a
    /// pause is taken too: on one processor the waiter might keep the owner from running.
    fn wait_for_owner(&self, passive: Passive) {
        self.settled.wait(passive);
        self.pause.wait_for(passive, PAUSE);
    }
}

impl Shared<Registration> {
    /// Registers, unless it is registered.
    ///
    /// # Errors
    /// STATUS_DELETE_PENDING once unload has begun; the NMR's status.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub(crate) fn register(&self, passive: Passive) -> Result<(), NtStatus> {
        loop {
            match self.state.begin_register() {
                Turn::Own => break,
                Turn::Wait => self.wait_for_owner(passive),
                Turn::Done => return Ok(()),
                Turn::Terminal => return Err(NtStatus::DELETE_PENDING),
            }
        }
        self.settled.clear();
        let mut handle: HANDLE = null_mut();
        let characteristics = (&raw const self.characteristics).cast_mut();
        // SAFETY: complete and resident by the invariant; the context is this registration, which outlives the deregistration.
        let status = NtStatus(unsafe { NmrRegisterClient(characteristics, self.as_ptr().cast_mut().cast(), &raw mut handle) });
        self.handle.store(handle, Ordering::Release);
        self.settled.set();
        self.state.registered(status.is_success());
        status.ok()
    }

    /// Deregisters, if it is registered, and waits until every binding is gone (L28-L30). With `terminal` it is for good, and
    /// a failure stops the system, for callbacks could still come into an image that is about to go (L29).
    ///
    /// # Errors
    /// The NMR's status; then it counts as registered still, and can be deregistered again.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held, not in a callback.
    pub(crate) fn deregister(&self, passive: Passive, terminal: bool) -> Result<(), NtStatus> {
        loop {
            match self.state.begin_deregister(terminal) {
                Turn::Own => break,
                Turn::Wait => self.wait_for_owner(passive),
                Turn::Done | Turn::Terminal => return Ok(()),
            }
        }
        self.settled.clear();
        let outcome = deregister_and_wait(passive, self.handle.load(Ordering::Acquire), terminal);
        self.settled.set();
        self.state.deregistered(outcome.is_ok());
        outcome
    }
}

fn deregister_and_wait(_: Passive, handle: HANDLE, terminal: bool) -> Result<(), NtStatus> {
    // SAFETY: the handle of a registration that nobody else deregisters: the caller is its owner (L33).
    let status = NtStatus(unsafe { NmrDeregisterClient(handle) });
    if terminal && !status.is_success() {
        bugcheck(Bugcheck::DeregisterFailed, status.0 as usize, handle as usize);
    }
    status.ok()?;
    if status != NtStatus::PENDING {
        return Ok(());
    }
    // SAFETY: as above; the caller may block.
    let status = NtStatus(unsafe { NmrWaitForClientDeregisterComplete(handle) });
    if terminal && !status.is_success() {
        bugcheck(Bugcheck::WaitFailed, status.0 as usize, handle as usize);
    }
    status.ok()
}

/// [`ClientAttachProvider`](https://learn.microsoft.com/windows-hardware/drivers/ddi/netioddk/nc-netioddk-npi_client_attach_provider_fn)
///
/// # Safety
/// The NMR calls it with the context given to `NmrRegisterClient`.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe extern "C" fn attach_provider(
    handle: HANDLE,
    context: *mut c_void,
    provider: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: the registration outlives its deregistration.
    let registration = unsafe { Shared::<Registration>::clone_raw(context.cast_const().cast()) };
    // SAFETY: the NMR hands over the provider's instance, which names the characteristics that its NPI prescribes.
    let characteristics = unsafe { (*provider).NpiSpecificCharacteristics }.cast::<WSK_PROVIDER_CHARACTERISTICS>();
    // SAFETY: as above; null is answered.
    let status = match unsafe { characteristics.as_ref() } {
        Some(offered) => attach(&registration, handle, offered.LowestVersion, offered.HighestVersion),
        None => NtStatus::NOINTERFACE,
    };
    status.0
}

fn attach(registration: &Shared<Registration>, handle: HANDLE, lowest: u16, highest: u16) -> NtStatus {
    registration.offered.store(u32::from(highest) << 16 | u32::from(lowest), Ordering::Relaxed);
    registration.trace(Trace::Attaching { lowest, highest });
    let fits = |version: &u16| (lowest..=highest).contains(version);
    if registration.open_binding().is_some_and(|open| open.is_open()) || !VERSIONS.iter().any(fits) {
        registration.trace(Trace::AttachFailed { status: NtStatus::NOINTERFACE });
        return NtStatus::NOINTERFACE;
    }
    let generation = registration.generations.fetch_add(1, Ordering::Relaxed) + 1;
    let context = match Shared::try_new(Shell::new(registration, generation)).and_then(|shell| Context::new(shell, handle)) {
        Ok(context) => context,
        Err(error) => return error.into(),
    };
    // SAFETY: just made; freed below, or by the cleanup callback once this callback has returned.
    let shell = unsafe { &*context }.shell.clone();
    let status = attach_some_version(context, handle, fits);
    if !status.is_success() {
        // SAFETY: a refused attach is followed by no other callback.
        unsafe { Context::free(context) };
        registration.trace(Trace::AttachFailed { status });
        return status;
    }
    registration.trace(Trace::Attached { generation });
    if registration.open_gate(&shell) {
        shell.queue_start();
    }
    NtStatus::SUCCESS
}

/// Offers our versions one after the other until the provider takes one (L07), and keeps what it gives (L09).
fn attach_some_version(context: *mut Context, handle: HANDLE, fits: impl Fn(&u16) -> bool) -> NtStatus {
    let mut status = NtStatus::NOINTERFACE;
    for version in VERSIONS.into_iter().filter(fits) {
        let (mut client, mut provider) = (null_mut(), core::ptr::null());
        // SAFETY: the context is ours until the call below makes it the NMR's.
        let dispatch = unsafe { &raw mut (*context).version };
        // SAFETY: as above.
        unsafe { (*dispatch).Version = version };
        // SAFETY: in the attach callback, with its handle; context and dispatch stay until cleanup.
        let answer =
            unsafe { NmrClientAttachProvider(handle, context.cast(), dispatch.cast(), &raw mut client, &raw mut provider) };
        status = NtStatus(answer);
        if status.is_success() {
            // SAFETY: cleanup cannot come before this callback has returned.
            let context = unsafe { &*context };
            context.shell.version.store(version, Ordering::Relaxed);
            context.attached(client, provider);
        }
        if status != NtStatus::NOINTERFACE {
            break;
        }
    }
    status
}

/// [`ClientDetachProvider`](https://learn.microsoft.com/windows-hardware/drivers/ddi/netioddk/nc-netioddk-npi_client_detach_provider_fn)
///
/// # Safety
/// The NMR calls it with the context given to `NmrClientAttachProvider`.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn detach_provider(context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context lives until the cleanup callback, which comes after this.
    let shell = unsafe { &*context.cast_const().cast::<Context>() }.shell.clone();
    let registration = shell.registration.clone();
    let (_, in_flight, sockets) = shell.work();
    let pending = shell.begin_detach();
    // From here on the context may be gone.
    registration.trace(Trace::DetachBegun { generation: shell.generation, pending, in_flight, sockets });
    shell.ended.fire();
    shell.stopping.fire();
    if let Some(next) = registration.gate_shut(&shell) {
        next.queue_start();
    }
    if pending { NtStatus::PENDING.0 } else { NtStatus::SUCCESS.0 }
}

/// [`ClientCleanupBindingContext`](https://learn.microsoft.com/windows-hardware/drivers/ddi/netioddk/nc-netioddk-npi_client_cleanup_binding_context_fn)
///
/// # Safety
/// The NMR calls it with the context given to `NmrClientAttachProvider`, last of all.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe extern "C" fn cleanup_binding(context: *mut c_void) {
    let context = context.cast::<Context>();
    // SAFETY: freed below only.
    let shell = unsafe { &*context }.shell.clone();
    // SAFETY: both sides have detached: this is the one place that frees it (L27).
    unsafe { Context::free(context) };
    shell.registration.gone(&shell);
    shell.registration.trace(Trace::CleanedUp { generation: shell.generation });
}
