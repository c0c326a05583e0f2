//! The executor: tasks and jobs, run from a DPC per processor or on a passive thread, never in a completion routine (L36).
//!
//! A wake puts the task on the queue of the processor that woke it and queues that processor's DPC. What exceeds the DPCs'
//! budget moves on to the passive thread, and the budget is renewed when that thread has run: so a flood of wakes
//! cannot hold a processor at DISPATCH_LEVEL, however often its DPC is queued again. A *job* is a [`Node`] embedded in something that exists anyway: queueing one cannot fail.
//!
//! The end (L31): dropping the [`Runtime`] waits until every task is freed, flushes the DPCs and joins the thread.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::future::Future;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use allocator_api2::vec::Vec;
use wdk_sys::KDPC;
use wsk_lifecycle::rundown::{Acquired, BeginEnd, Released, Right, Rundown};

use super::shared::tagged;
use super::{
    Dpc, Event, Node, OutOfMemory, Pool, Queue, Shared, Thread, current_processor, flush_dpcs, processor_count, tag, task,
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

/// Owns the executor's thread and DPCs. Dropping it waits for all tasks to end, and for everything that runs them to have
/// left this image (L31): it may be done only at PASSIVE_LEVEL, with no lock held, and not in a task.
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

impl Runtime {
    /// Starts the thread and makes the DPCs.
    ///
    /// # Errors
    /// STATUS_INSUFFICIENT_RESOURCES, or what creating the thread answered; nothing is left then.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn start() -> Result<Self, NtStatus> {
        let mut inner = Shared::try_new(Inner::new()?).map_err(NtStatus::from)?;
        let context = inner.as_ptr();
        if let Some(inner) = inner.unique() {
            inner.make_processors(context)?;
        }
        // SAFETY: `drop` joins the thread before the last handle, which `self` holds, is dropped.
        let thread = unsafe { Thread::start(run_passive, context.cast_mut().cast()) }?;
        Ok(Self { executor: Executor(inner), thread: Some(thread) })
    }

    /// A handle.
    ///
    /// # IRQL
    /// Any.
    pub fn executor(&self) -> Executor {
        self.executor.clone()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let inner = &self.executor.0;
        if inner.live.begin_end() == BeginEnd::Busy {
            self.executor.task_freed();
            inner.all_freed.wait();
        }
        flush_dpcs();
        inner.stop.store(true, Ordering::Release);
        inner.passive_wake.set();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
        // Again after the thread: a job there may have queued a DPC.
        flush_dpcs();
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
            // SAFETY: the context outlives the DPCs, which `Runtime::drop` flushes.
            let dpc = unsafe { Dpc::new(Some(run_dpc), context.cast_mut().cast()) }?;
            super::try_push(&mut self.processors, Processor::new(dpc))?;
        }
        Ok(())
    }

    /// # Safety
    /// As for [`Queue::push`].
    unsafe fn push_passive(&self, node: NonNull<Node>) {
        // SAFETY: as the caller promises.
        if unsafe { self.passive.push(node) } {
            self.passive_wake.set();
        }
    }

    fn run_processor(&self, processor: &Processor) {
        for node in processor.queue.take() {
            if processor.spend(self.rounds.load(Ordering::Relaxed)) {
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

    /// Takes one node's worth of the budget, which is new in every round of the passive thread.
    fn spend(&self, round: u32) -> bool {
        if self.round.swap(round, Ordering::Relaxed) != round {
            self.spent.store(0, Ordering::Relaxed);
        }
        self.spent.fetch_add(1, Ordering::Relaxed) < DPC_BUDGET
    }
}

impl Executor {
    /// Starts a task.
    ///
    /// # Errors
    /// [`SpawnError`]; the future is dropped.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn spawn(&self, lane: Lane, future: impl Future<Output = ()> + Send + 'static) -> Result<(), SpawnError> {
        match self.0.live.acquire() {
            Acquired::Granted => {}
            Acquired::Refused => return Err(SpawnError::Ending),
            Acquired::RefusedLast => {
                self.0.all_freed.set();
                return Err(SpawnError::Ending);
            }
        }
        match task::allocate(self.clone(), lane, future) {
            // SAFETY: new, so in no queue; its reference keeps it until it has run.
            Ok(node) => unsafe { self.push(lane, node) },
            Err(error) => {
                self.task_freed();
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Queues a node.
    ///
    /// # Safety
    /// It is in no queue, stays live until it has run, and may be run on that lane.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub unsafe fn push(&self, lane: Lane, node: NonNull<Node>) {
        let processors = &self.0.processors;
        let processor = processors.get(current_processor() % processors.len().max(1));
        match (lane, processor) {
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

    /// A task's memory, or an attempt at one, is gone.
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
    // SAFETY: as the caller promises; `Runtime::drop` flushes the DPCs before the inner part goes.
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
    while !inner.stop.load(Ordering::Acquire) {
        inner.passive_wake.wait();
        inner.rounds.fetch_add(1, Ordering::Relaxed);
        for node in inner.passive.take() {
            // SAFETY: taken from a queue, which guarantees that it may be run once.
            unsafe { Node::run(node) };
        }
    }
}
