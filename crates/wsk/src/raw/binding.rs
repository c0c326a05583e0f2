//! One attachment to a provider: the shell that handles point to, the NMR's binding context behind it, and the rights.
//!
//! ```text
//!   attach ok ----> gate open ----> detach callback: gate shut, drain queued ----> every socket closed, every call back
//!   (start queued)                  (SUCCESS at once if there was no work)               |
//!                        cleanup callback: context freed <--- NmrClientDetachProviderComplete (finish queued)
//! ```
//!
//! The three nodes are part of the context (L06). Each runs under a right, so that the context outlives it: *start* under
//! an `Enter`, *drain* under the one that [`BeginEnd::Busy`] grants, *finish* because the NMR waits for what it does.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, Ordering};

use allocator_api2::boxed::Box;
use wdk_sys::HANDLE;
use wsk_lifecycle::rundown::{Acquired, BeginEnd, Phase, Released, Right, Rundown};
use wsk_lifecycle::table::Table;
use wsk_sys::netioddk::NmrClientDetachProviderComplete;
use wsk_sys::{WSK_CLIENT_DISPATCH, WSK_EVENT_RECEIVE, WSK_PROVIDER_DISPATCH};

use super::client::Registration;
use super::leaving::Endings;
use super::op::Owner;
use super::parked::ParkedList;
use super::socket::{EVENTS, Kind, Socket};
use super::walk::next_socket;
use super::{Device, calls};
use crate::signal::Signal;
use crate::sync::shared::tagged;
use crate::sync::{Executor, Instant, Lane, Node, Passive, Pool, Shared, SpinLock, prefetch, tag};
use crate::{Detached, Trace};

pub(super) type BindingPool = Pool<{ tag(b"WskC") }>;
pub(super) type SocketTable = Table<Shared<Socket>, BindingPool>;

/// How many sockets the drain closes before it lets others run (L19).
const DRAIN_BATCH: usize = 64;

/// What a binding's handles point to. It outlives the binding.
///
/// # Invariants
/// `context` is the NMR's binding context from before the gate opens until the cleanup callback; it may be followed only
/// with a right in hand, and by the cleanup callback.
pub(crate) struct Shell {
    rundown: Rundown,
    context: AtomicPtr<Context>,
    parked: ParkedList,
    /// What the drain ends besides the sockets.
    pub(super) endings: Endings,
    /// Fired when detach begins: who waits for something that is not an operation ends with it.
    pub(crate) ended: Signal,
    /// Fired when the owner of the services wants them to end, and when detach begins.
    pub(crate) stopping: Signal,
    pub(crate) executor: Executor,
    pub(crate) device: Device,
    pub(crate) registration: Shared<Registration>,
    /// Counts up with each attachment of a registration, from 1.
    pub(crate) generation: u64,
    /// When it was made.
    pub(crate) born: Instant,
    /// The version of WSK that was negotiated, major * 256 + minor; 0 before.
    pub(crate) version: AtomicU16,
    /// The events that are on for every socket.
    static_events: AtomicU32,
    /// Sockets may be made: what has to come before the first has been done.
    prepared: AtomicBool,
}

tagged!(Shell, b"WskC");

/// The NMR's binding context. Pinned in its allocation; freed by the cleanup callback alone (L27).
pub(super) struct Context {
    pub(super) shell: Shared<Shell>,
    pub(super) handle: HANDLE,
    pub(super) version: WSK_CLIENT_DISPATCH,
    client: AtomicPtr<c_void>,
    provider: AtomicPtr<WSK_PROVIDER_DISPATCH>,
    pub(super) table: SpinLock<SocketTable>,
    start: Node,
    drain: Node,
    finish: Node,
    drained: AtomicU32,
}

// SAFETY: the handle is the NMR's and has no thread; everything else is shared in its own right.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// The right to new work on a binding (L12). Dropping it gives it back.
pub(crate) struct Enter(Shared<Shell>);

/// The right to give one thing back to the provider, also while draining (L12).
pub(crate) struct DrainRight(Shared<Shell>);

impl Shell {
    pub(super) fn new(registration: &Shared<Registration>, generation: u64) -> Self {
        Self {
            rundown: Rundown::new(),
            context: AtomicPtr::new(null_mut()),
            parked: ParkedList::new(),
            endings: Endings::new(),
            ended: Signal::new(),
            stopping: Signal::new(),
            executor: registration.executor.clone(),
            device: registration.device,
            registration: registration.clone(),
            generation,
            born: Instant::now(),
            version: AtomicU16::new(0),
            static_events: AtomicU32::new(0),
            prepared: AtomicBool::new(registration.static_events == 0),
        }
    }

    /// Whether sockets may be made.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Acquire)
    }

    /// The events that are on for every socket.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn static_events(&self) -> u32 {
        self.static_events.load(Ordering::Acquire)
    }

    /// The flags that a new socket begins with.
    pub(super) fn first_flags(&self, kind: Kind) -> u32 {
        let receive = self.static_events() & WSK_EVENT_RECEIVE != 0;
        if receive && matches!(kind, Kind::Connection | Kind::Stream) { EVENTS } else { 0 }
    }

    /// Whether new work is admitted.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn is_open(&self) -> bool {
        self.rundown.is_open()
    }

    /// Has what [`is_open`](Self::is_open) reads come to this processor.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&raw const self.rundown);
    }

    /// Calls in flight, and sockets or resources to be given back.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn work(&self) -> (Phase, u32, u32) {
        let now = self.rundown.snapshot();
        (now.phase, now.enters, now.drains)
    }

    fn leave_with(&self, right: Right) {
        if self.rundown.release(right) == Released::Last {
            self.finish();
        }
    }

    /// The last work is gone: has NmrClientDetachProviderComplete called, on the thread that unload joins (L18, L31).
    fn finish(&self) {
        // SAFETY: the NMR keeps the context until that call. Queued here only, and this happens once.
        unsafe { self.queue(offset_of!(Context, finish)) };
    }

    /// Queues the node that is `offset` bytes into the context, for the passive thread.
    ///
    /// # Safety
    /// There is a node there, in no queue, and a right or the NMR keeps the context until it has run.
    unsafe fn queue(&self, offset: usize) {
        let context = self.context.load(Ordering::Acquire);
        // SAFETY: inside the context, by a pointer that is good for all of it.
        let node = unsafe { NonNull::new_unchecked(context.byte_add(offset).cast::<Node>()) };
        // SAFETY: as the caller promises.
        unsafe { self.executor.push(Lane::Passive, node) };
    }

    /// The table of sockets, for whoever holds a right, or is the cleanup callback.
    pub(super) fn table_while_held(&self) -> &SpinLock<SocketTable> {
        &self.context().table
    }

    /// The context, for whoever holds a right.
    fn context(&self) -> &Context {
        // SAFETY: callers show a right, so that detach has not been completed, and cleanup not happened.
        unsafe { &*self.context.load(Ordering::Acquire) }
    }
}

impl Owner for Shared<Shell> {
    const COUNTED: bool = true;

    fn leave(&self) {
        self.leave_with(Right::Enter);
    }

    fn is(&self, other: &Self) -> bool {
        self.as_ptr() == other.as_ptr()
    }

    fn parked(&self) -> &ParkedList {
        &self.parked
    }
}

impl Enter {
    /// Asks for it.
    ///
    /// # Errors
    /// [`Detached`], from the instant in which detach has begun.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn acquire(shell: &Shared<Shell>) -> Result<Self, Detached> {
        match shell.rundown.acquire() {
            Acquired::Granted => Ok(Self(shell.clone())),
            Acquired::Refused => Err(Detached),
            Acquired::RefusedLast => {
                shell.finish();
                Err(Detached)
            }
        }
    }

    /// The guard of a right that was counted before.
    fn held(shell: Shared<Shell>) -> Self {
        Self(shell)
    }

    /// Hands the right over to an operation, which gives it back through [`Owner::leave`].
    pub(super) fn transfer(self) -> Shared<Shell> {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the reference is moved.
        unsafe { core::ptr::read(&raw const this.0) }
    }

    pub(crate) fn shell(&self) -> &Shared<Shell> {
        &self.0
    }

    pub(super) fn table(&self) -> &SpinLock<SocketTable> {
        &self.0.context().table
    }

    /// What has to be done before the first socket is made, by whom nobody can come before.
    fn prepare(&self) {
        let shell = &self.0;
        let wanted = shell.registration.static_events;
        if wanted != 0 && calls::events::enable_for_all(self, wanted).is_ok() {
            shell.static_events.store(wanted, Ordering::Release);
        }
        shell.prepared.store(true, Ordering::Release);
    }

    /// The provider's table, and the client object that its functions take.
    pub(super) fn provider(&self) -> (*mut c_void, &WSK_PROVIDER_DISPATCH) {
        self.0.context().provider()
    }
}

impl Drop for Enter {
    fn drop(&mut self) {
        self.0.leave_with(Right::Enter);
    }
}

impl DrainRight {
    /// The right to give back what the provider has just made, for somebody who holds a right already.
    pub(super) fn while_held(shell: &Shared<Shell>) -> Self {
        shell.rundown.acquire_more(Right::Drain);
        Self(shell.clone())
    }

    /// As [`while_held`](Self::while_held), for somebody who may hold none, because its operation was parked (L35): none is
    /// given once the end has been decided.
    pub(super) fn unless_ended(shell: &Shared<Shell>) -> Option<Self> {
        shell.rundown.try_acquire_more(Right::Drain).then(|| Self(shell.clone()))
    }

    pub(super) fn table(&self) -> &SpinLock<SocketTable> {
        &self.0.context().table
    }

    /// As [`Enter::provider`]: for the functions that give something back.
    pub(super) fn provider(&self) -> (*mut c_void, &WSK_PROVIDER_DISPATCH) {
        self.0.context().provider()
    }

    pub(super) fn shell(&self) -> &Shared<Shell> {
        &self.0
    }
}

impl Drop for DrainRight {
    fn drop(&mut self) {
        self.0.leave_with(Right::Drain);
    }
}

impl Context {
    /// A complete context (L06), in the pool.
    pub(super) fn new(shell: Shared<Shell>, handle: HANDLE) -> Result<*mut Self, crate::sync::OutOfMemory> {
        let context = Box::try_new_in(
            Self {
                shell,
                handle,
                version: WSK_CLIENT_DISPATCH::default(),
                client: AtomicPtr::new(null_mut()),
                provider: AtomicPtr::new(null_mut()),
                table: SpinLock::new(SocketTable::new(Pool)?),
                start: Node::new(start),
                drain: Node::new(drain),
                finish: Node::new(finish),
                drained: AtomicU32::new(0),
            },
            BindingPool::default(),
        )?;
        let raw = Box::into_raw(context);
        // SAFETY: just made, and nobody else's yet.
        unsafe { &*raw }.shell.context.store(raw, Ordering::Release);
        Ok(raw)
    }

    /// Frees a context.
    ///
    /// # Safety
    /// It came from [`new`](Self::new), and nobody uses it any more.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) unsafe fn free(context: *mut Self) {
        // SAFETY: as the caller promises.
        let context = unsafe { Box::from_raw_in(context, BindingPool::default()) };
        // Before the pointer goes: what is reclaimed may give a slot of the table back (L35).
        context.shell.parked.reclaim();
        context.shell.context.store(null_mut(), Ordering::Release);
    }

    /// For whoever holds a right.
    fn provider(&self) -> (*mut c_void, &WSK_PROVIDER_DISPATCH) {
        // SAFETY: stored before the gate opened; the provider keeps it until detach has been completed (L20).
        (self.client.load(Ordering::Relaxed), unsafe { &*self.provider.load(Ordering::Relaxed) })
    }

    pub(super) fn attached(&self, client: *mut c_void, provider: *const c_void) {
        self.client.store(client, Ordering::Relaxed);
        self.provider.store(provider.cast_mut().cast(), Ordering::Relaxed);
    }
}

impl Shared<Shell> {
    /// Opens the gate (L09). `false` if a detach came first.
    pub(super) fn open(&self) -> bool {
        self.rundown.open()
    }

    /// Queues the start of the services (L09).
    pub(super) fn queue_start(&self) {
        let Ok(enter) = Enter::acquire(self) else { return };
        let shell = enter.transfer();
        // SAFETY: queued once, after the gate was opened; the right, which `start` gives back, keeps the context.
        unsafe { shell.queue(offset_of!(Context, start)) };
    }

    /// The detach callback's part: `true` if it is pending (L16-L18).
    pub(super) fn begin_detach(&self) -> bool {
        match self.rundown.begin_end() {
            BeginEnd::Idle | BeginEnd::Already => false,
            BeginEnd::Busy => {
                // SAFETY: detach is called once per binding; the right just granted keeps the context.
                unsafe { self.queue(offset_of!(Context, drain)) };
                true
            }
        }
    }
}

/// The context that `node`, `offset` bytes into it, is part of.
///
/// # Safety
/// It is; and a right, or the NMR, keeps the context for the time of the borrow.
unsafe fn context_of<'a>(node: NonNull<Node>, offset: usize) -> &'a Context {
    // SAFETY: as the caller promises.
    unsafe { node.byte_sub(offset).cast().as_ref() }
}

/// # Safety
/// Queued by [`Shell::queue_start`].
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe fn start(node: NonNull<Node>) {
    // SAFETY: kept by the right that came with it.
    let context = unsafe { context_of(node, offset_of!(Context, start)) };
    // The right that `queue_start` took.
    let enter = Enter::held(context.shell.clone());
    enter.prepare();
    // SAFETY: on the passive lane.
    let passive = unsafe { Passive::assume() };
    enter.0.registration.attached(passive, &enter.0);
}

/// Closes a batch of sockets, and queues itself again until all were seen (L19).
///
/// # Safety
/// Queued by [`Shell::begin_detach`] or by itself.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe fn drain(node: NonNull<Node>) {
    // SAFETY: kept by the right that came with it.
    let context = unsafe { context_of(node, offset_of!(Context, drain)) };
    // The right that the beginning of the end granted.
    let enter = Enter::held(context.shell.clone());
    enter.0.endings.end_all();
    let mut cursor = context.drained.load(Ordering::Relaxed);
    for _ in 0..DRAIN_BATCH {
        let Some(socket) = next_socket(&context.table, &mut cursor) else { return };
        socket.begin_close();
    }
    context.drained.store(cursor, Ordering::Relaxed);
    let shell = enter.transfer();
    // SAFETY: it has just been taken off, and the right goes on.
    unsafe { shell.executor.push(Lane::Passive, node) };
}

/// # Safety
/// Queued by [`Shell::finish`].
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe fn finish(node: NonNull<Node>) {
    // SAFETY: the NMR keeps it until the call below.
    let context = unsafe { context_of(node, offset_of!(Context, finish)) };
    let (handle, shell) = (context.handle, context.shell.clone());
    shell.registration.trace(Trace::DetachCompleted { generation: shell.generation });
    // SAFETY: the detach callback answered STATUS_PENDING, and this is the one completion of it. The context may be gone
    // when it returns.
    unsafe { NmrClientDetachProviderComplete(handle) };
}
