//! The executor: tasks and jobs, run from a DPC per processor or on a passive thread, never in a completion routine (L36).
//!
//! A wake puts the task on the queue of the processor that woke it and queues that processor's DPC. What exceeds the DPCs'
//! budget moves on to the passive thread, and the budget is renewed when that thread has run: so a flood of wakes
//! cannot hold a processor at DISPATCH_LEVEL, however often its DPC is queued again. A *job* is a [`Node`] embedded in
//! something that exists anyway: queueing one cannot fail.
//!
//! The end (L31): stopping the [`Runtime`] waits until every task is freed, flushes the DPCs and joins the thread.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::fmt;
use core::future::Future;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use allocator_api2::vec::Vec;
use wdk_sys::KDPC;
use wsk_lifecycle::rundown::{Acquired, BeginEnd, Released, Right, Rundown};

use super::shared::tagged;
use super::{
    Dpc, Event, JoinHandle, Node, OutOfMemory, Passive, Pool, Queue, Shared, Thread, current_processor, flush_dpcs,
    processor_count, tag, task,
};
use crate::raw::NtStatus;

/// How many nodes a processor's DPC runs before others go to the passive thread.
const DPC_BUDGET: u32 = 128;

/// Where a task or job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// On a thread at PASSIVE_LEVEL. It must not be used for anything that takes long, for all passive work shares it.
    Passive,
    /// At `<= DISPATCH_LEVEL`, from a DPC as a rule. It must not block.
    Dispatch,
}

struct Processor {
    queue: Queue,
    dpc: Dpc,
    /// Nodes run since the round of the passive thread that `round` names. A count that is off by some does no harm.
    spent: AtomicU32,
    round: AtomicU32,
}

struct Inner {
    /// Written once by [`Runtime::start`], before anything is queued.
    processors: Vec<Processor, Pool<{ tag(b"WskX") }>>,
    passive: Queue,
    passive_wake: Event,
    /// Counts the passive thread's rounds.
    rounds: AtomicU32,
    stop: AtomicBool,
    live: Rundown,
    all_freed: Event,
}

tagged!(Inner, b"WskX");

/// A handle for spawning and queueing.
#[derive(Clone)]
pub struct Executor(Shared<Inner>);

/// Owns the executor's thread and DPCs. [`stop`](Self::stop) waits for all tasks to end, and for everything that runs them to have
/// left this image (L31). Dropping it does the same, and stops the system if that is not at PASSIVE_LEVEL.
pub struct Runtime {
    executor: Executor,
    thread: Option<Thread>,
}

/// Why a task could not be spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// No memory for it.
    OutOfMemory,
    /// The executor is being shut down.
    Ending,
}

impl From<OutOfMemory> for SpawnError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "no memory for a task",
            Self::Ending => "the executor is being shut down",
        })
    }
}

impl Runtime {
    /// Starts the thread and makes the DPCs.
    ///
    /// # Errors
    /// STATUS_INSUFFICIENT_RESOURCES, or what creating the thread answered; nothing is left then.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn start(passive: Passive) -> Result<Self, NtStatus> {
        let mut inner = Shared::try_new(Inner::new()?).map_err(NtStatus::from)?;
        let context = inner.as_ptr();
        if let Some(inner) = inner.unique() {
            inner.make_processors(context)?;
        }
        // SAFETY: `end` joins the thread before the last handle, which `self` holds, is dropped.
        let thread = unsafe { Thread::start(passive, run_passive, context.cast_mut().cast()) }?;
        Ok(Self { executor: Executor(inner), thread: Some(thread) })
    }

    /// A handle.
    ///
    /// # IRQL
    /// Any.
    pub fn executor(&self) -> Executor {
        self.executor.clone()
    }

    /// Waits until every task has ended, the thread is joined and the DPCs are flushed. New tasks are refused from now on. It
    /// is not to be called in a task of its own, for which it would wait.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub fn stop(mut self, passive: Passive) {
        if let Some(thread) = self.thread.take() {
            self.executor.end(thread, passive);
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.executor.end(thread, Passive::demand());
        }
    }
}

impl Inner {
    fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            processors: Vec::new_in(Pool),
            passive: Queue::new(),
            passive_wake: Event::synchronization()?,
            rounds: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            live: Rundown::new_open(),
            all_freed: Event::notification(false)?,
        })
    }

    fn make_processors(&mut self, context: *const Self) -> Result<(), OutOfMemory> {
        let count = processor_count();
        self.processors.try_reserve_exact(count)?;
        for _ in 0..count {
            // SAFETY: the context outlives the DPCs, which [`Executor::end`] flushes.
            let dpc = unsafe { Dpc::new(Some(run_dpc), context.cast_mut().cast()) }?;
            super::try_push(&mut self.processors, Processor::new(dpc))?;
        }
        Ok(())
    }

    /// The one that runs this; those that came later share the first one's.
    #[inline]
    fn processor(&self) -> Option<&Processor> {
        self.processors.get(current_processor()).or(self.processors.first())
    }

    /// # Safety
    /// As for [`Queue::push`].
    unsafe fn push_passive(&self, node: NonNull<Node>) {
        // SAFETY: as the caller promises.
        if unsafe { self.passive.push(node) } {
            self.passive_wake.set();
        }
    }

    /// Runs what the passive lane has, at PASSIVE_LEVEL; `false` if that was nothing.
    fn run_passive(&self) -> bool {
        let mut any = false;
        for node in self.passive.take() {
            any = true;
            // SAFETY: taken from a queue, which guarantees that it may be run once.
            unsafe { Node::run(node) };
        }
        any
    }

    fn run_processor(&self, processor: &Processor) {
        for node in processor.queue.take() {
            if processor.spend(1, self.rounds.load(Ordering::Relaxed)) {
                // SAFETY: taken from a queue, which guarantees that it may be run once.
                unsafe { Node::run(node) };
            } else {
                // SAFETY: in no queue any more.
                unsafe { self.push_passive(node) };
            }
        }
    }
}

impl Processor {
    fn new(dpc: Dpc) -> Self {
        Self { queue: Queue::new(), dpc, spent: AtomicU32::new(0), round: AtomicU32::new(0) }
    }

    /// Takes the worth of so many nodes of the budget, which is new in every round of the passive thread. Only the processor's DPC
    /// does, and a count that is off by some does no harm: loads and stores are enough.
    fn spend(&self, nodes: u32, round: u32) -> bool {
        let spent = if self.round.load(Ordering::Relaxed) == round { self.spent.load(Ordering::Relaxed) } else { 0 };
        self.round.store(round, Ordering::Relaxed);
        self.spent.store(spent.saturating_add(nodes), Ordering::Relaxed);
        spent < DPC_BUDGET
    }
}

impl Executor {
    /// Starts a task. The future and its output are `Send`, and so are made for every IRQL up to DISPATCH_LEVEL, on either lane.
    ///
    /// # Errors
    /// [`SpawnError`]; the future is dropped.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn spawn<F>(&self, lane: Lane, future: F) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        // SAFETY: future and output may go to any thread.
        unsafe { self.spawn_on(lane, future) }
    }

    /// Starts a task on the passive thread: what it does may take the [`Passive`] token. The future is created, polled and
    /// dropped on that thread, and so need not be `Send`; `create` is called with the first poll, or dropped uncalled.
    ///
    /// All passive work shares the thread: what blocks it blocks the rest, also the end of a binding. So a task blocks for
    /// short times only, and never waits there for the end of its own [`Client`](crate::Client) or [`Runtime`].
    ///
    /// # Errors
    /// [`SpawnError`]; `create` is dropped.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn spawn_passive<C, F>(&self, create: C) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        C: FnOnce(Passive) -> F + Send + 'static,
        F: Future<Output: Send> + 'static,
    {
        // The closure goes to that thread with the task, and makes the future there.
        let future = async move {
            // SAFETY: the passive lane's tasks are polled at PASSIVE_LEVEL.
            let passive = unsafe { Passive::assume() };
            create(passive).await
        };
        // SAFETY: nothing but the passive thread runs the passive lane, and a task's future is dropped where it runs.
        unsafe { self.spawn_on(Lane::Passive, future) }
    }

    /// # Safety
    /// The future may be moved here, and polled and dropped on that lane; its output may go to any thread.
    unsafe fn spawn_on<F: Future>(&self, lane: Lane, future: F) -> Result<JoinHandle<F::Output>, SpawnError> {
        match self.0.live.acquire() {
            Acquired::Granted => {}
            Acquired::Refused => return Err(SpawnError::Ending),
            Acquired::RefusedLast => {
                self.0.all_freed.set();
                return Err(SpawnError::Ending);
            }
        }
        // SAFETY: as the caller promises.
        match unsafe { task::allocate(self.clone(), lane, future) } {
            Ok(task) => {
                // SAFETY: new, so in no queue; the queue's hold keeps it until it has run.
                unsafe { self.push(lane, task.cast()) };
                // SAFETY: new, and held by this handle's side.
                Ok(unsafe { JoinHandle::new(task) })
            }
            Err(error) => {
                self.task_freed();
                Err(error.into())
            }
        }
    }

    /// Queues a node.
    ///
    /// # Safety
    /// It is in no queue, stays live until it has run, and may be run on that lane.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) unsafe fn push(&self, lane: Lane, node: NonNull<Node>) {
        match (lane, self.0.processor()) {
            (Lane::Dispatch, Some(processor)) => {
                // SAFETY: as the caller promises.
                if unsafe { processor.queue.push(node) } {
                    processor.dpc.queue();
                }
            }
            // SAFETY: as the caller promises.
            _ => unsafe { self.0.push_passive(node) },
        }
    }

    /// For a DPC that is not the executor's own, and has done the work of so many nodes: whether it may go on, or leaves what it was
    /// to do now to the passive lane, because this processor's DPCs have run as much as they may in this round.
    ///
    /// # IRQL
    /// `DISPATCH_LEVEL`.
    #[inline]
    pub(crate) fn spend(&self, nodes: u32) -> bool {
        let round = self.0.rounds.load(Ordering::Relaxed);
        self.0.processor().is_none_or(|processor| processor.spend(nodes, round))
    }

    /// See [`Runtime::stop`].
    fn end(&self, thread: Thread, passive: Passive) {
        let inner = &self.0;
        if inner.live.begin_end() == BeginEnd::Busy {
            self.task_freed();
            inner.all_freed.wait(passive);
        }
        flush_dpcs(passive);
        inner.stop.store(true, Ordering::Release);
        inner.passive_wake.set();
        thread.join(passive);
        // Again after the thread: a job there may have queued a DPC, and a DPC may have passed on what exceeded its budget when
        // the thread had looked for the last time.
        flush_dpcs(passive);
        while inner.run_passive() {
            flush_dpcs(passive);
        }
    }

    /// A task, or an attempt at one, is gone.
    pub(super) fn task_freed(&self) {
        if self.0.live.release(Right::Enter) == Released::Last {
            self.0.all_freed.set();
        }
    }
}

/// # Safety
/// `context` is the executor's inner part.
///
/// # IRQL
/// `DISPATCH_LEVEL`.
unsafe extern "C" fn run_dpc(dpc: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: as the caller promises; [`Executor::end`] flushes the DPCs before the inner part goes.
    let inner = unsafe { &*context.cast_const().cast::<Inner>() };
    if let Some(processor) = inner.processors.iter().find(|processor| processor.dpc.is(dpc)) {
        inner.run_processor(processor);
    }
}

/// # Safety
/// `context` is the executor's inner part, and stays until this thread has been joined.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe extern "C" fn run_passive(context: *mut c_void) {
    // SAFETY: as the caller promises.
    let inner = unsafe { &*context.cast_const().cast::<Inner>() };
    // SAFETY: a system thread begins at PASSIVE_LEVEL, and what runs here leaves it there.
    let passive = unsafe { Passive::assume() };
    while !inner.stop.load(Ordering::Acquire) {
        inner.passive_wake.wait(passive);
        inner.rounds.fetch_add(1, Ordering::Relaxed);
        inner.run_passive();
    }
}
