//! One task: header, output and future in a single pool allocation, which its wakers and its handle share.
//!
//! ```text
//!             spawn                    wake / abort                    begin
//!   (nothing) ----> (1) Scheduled <--------------------- (4) Idle
//!                        | begin                             ^
//!                        v                   pending         |        finished
//!                   (2) Running ---------------------------- + -----------------> (5) Done
//! ```
//!
//! The states are those of [`wsk_lifecycle::task`], which says who may touch what when. The future is dropped by the task's
//! runner, on its lane, and nowhere else: when it is ready, when it was aborted, or when its last waker is gone.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use allocator_api2::alloc::Allocator;
use atomic_waker::AtomicWaker;
use wsk_lifecycle::task::{AfterPoll, Begun, Output, Released, TaskState};

use super::exec::{Executor, Lane};
use super::join::JoinError;
use super::{Node, OutOfMemory, Pool, tag};

type TaskPool = Pool<{ tag(b"WskT") }>;

/// What came of a task, until somebody takes it.
type Outcome<T> = Option<Result<T, JoinError>>;

/// The part of a task that knows no types. `node` comes first: a queue's node is the task.
#[repr(C)]
pub(super) struct Header {
    node: Node,
    pub(super) state: TaskState,
    lane: Lane,
    executor: ManuallyDrop<Executor>,
    pub(super) joiner: AtomicWaker,
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<()>,
    /// Drops the future unpolled, with the reason for an output.
    end: unsafe fn(NonNull<Header>, JoinError),
    discard: unsafe fn(NonNull<Header>),
    free: unsafe fn(NonNull<Header>),
}

/// The part that a handle knows.
#[repr(C)]
pub(super) struct Joined<T> {
    pub(super) header: Header,
    outcome: UnsafeCell<Outcome<T>>,
}

#[repr(C)]
struct Task<F: Future> {
    joined: Joined<F::Output>,
    future: UnsafeCell<Option<F>>,
}

/// Makes a task, scheduled, held by the queue that it is to be put on and by the handle that it is to be joined by.
///
/// # Safety
/// The future may be polled and dropped on that lane, and its output by whoever has the handle.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(super) unsafe fn allocate<F: Future>(
    executor: Executor,
    lane: Lane,
    future: F,
) -> Result<NonNull<Joined<F::Output>>, OutOfMemory> {
    let place = TaskPool::default().allocate(Layout::new::<Task<F>>())?.cast::<Task<F>>();
    let header = Header {
        node: Node::new(run),
        state: TaskState::new_scheduled(),
        lane,
        executor: ManuallyDrop::new(executor),
        joiner: AtomicWaker::new(),
        poll: poll::<F>,
        end: end::<F>,
        discard: discard::<F::Output>,
        free: free::<F>,
    };
    let joined = Joined { header, outcome: UnsafeCell::new(None) };
    // SAFETY: the allocation fits the type and is ours.
    unsafe { place.write(Task { joined, future: UnsafeCell::new(Some(future)) }) };
    Ok(place.cast())
}

impl<T> Joined<T> {
    /// Takes what came of it.
    ///
    /// # Safety
    /// The caller is the one to whom the state gives the output.
    pub(super) unsafe fn take(&self) -> Outcome<T> {
        // SAFETY: the caller's alone, as it promises.
        unsafe { (*self.outcome.get()).take() }
    }
}

/// # Safety
/// `header` is a live `Task<F>`'s, in a turn that the caller has begun.
unsafe fn poll<F: Future>(header: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
    // SAFETY: live, and of this type, as the caller promises.
    let slot = unsafe { header.cast::<Task<F>>().as_ref() }.future.get();
    // SAFETY: the runner's alone during a turn.
    let Some(future) = (unsafe { &mut *slot }) else { return Poll::Ready(()) };
    // SAFETY: the future stays in its allocation until it is dropped there.
    let Poll::Ready(output) = unsafe { Pin::new_unchecked(future) }.poll(context) else { return Poll::Pending };
    // SAFETY: the turn is the caller's.
    unsafe { conclude::<F>(header, Ok(output)) };
    Poll::Ready(())
}

/// # Safety
/// As for [`poll`].
unsafe fn end<F: Future>(header: NonNull<Header>, why: JoinError) {
    // SAFETY: as the caller promises.
    unsafe { conclude::<F>(header, Err(why)) };
}

/// Drops the future and leaves what came of it.
///
/// # Safety
/// As for [`poll`].
unsafe fn conclude<F: Future>(header: NonNull<Header>, outcome: Result<F::Output, JoinError>) {
    // SAFETY: live, and of this type, as the caller promises.
    let task = unsafe { header.cast::<Task<F>>().as_ref() };
    // SAFETY: the runner's alone during a turn; assigning drops the future in place.
    unsafe { *task.future.get() = None };
    // SAFETY: the runner's until the turn is finished.
    unsafe { *task.joined.outcome.get() = Some(outcome) };
}

/// # Safety
/// `header` is a live task's with this output, which the state gives to the caller.
unsafe fn discard<T>(header: NonNull<Header>) {
    // SAFETY: live, and of this type, as the caller promises.
    let joined = unsafe { header.cast::<Joined<T>>().as_ref() };
    // SAFETY: as the caller promises.
    drop(unsafe { joined.take() });
}

/// # Safety
/// `header` is a `Task<F>`'s that everybody has left.
unsafe fn free<F: Future>(header: NonNull<Header>) {
    let task = header.cast::<Task<F>>();
    // SAFETY: nobody else refers to it. The executor is not dropped with it, but taken out before by `release`.
    unsafe { task.drop_in_place() };
    // SAFETY: allocated in `allocate` from the same pool with the same layout.
    unsafe { TaskPool::default().deallocate(task.cast(), Layout::new::<Task<F>>()) };
}

/// Runs a task that was taken from a queue.
///
/// # Safety
/// As for [`Node::run`]; the queue's hold comes along.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe fn run(node: NonNull<Node>) {
    let task = node.cast::<Header>();
    // SAFETY: live through the queue's hold.
    let header = unsafe { task.as_ref() };
    // SAFETY: the queue's hold came along.
    let polled = unsafe { turn(task, header) };
    if polled.is_ready() {
        if header.state.finished() == Output::Discard {
            // SAFETY: the handle is gone, so the output is ours.
            unsafe { (header.discard)(task) };
        } else {
            header.joiner.wake();
        }
    } else if header.state.pending() == AfterPoll::Requeue {
        // SAFETY: it has just been taken off, and keeps the queue's hold.
        return unsafe { header.executor.push(header.lane, node) };
    }
    // SAFETY: the queue's hold ends here.
    unsafe { release(task) };
}

/// # Safety
/// The task has just been taken from a queue, whose hold the caller has.
unsafe fn turn(task: NonNull<Header>, header: &Header) -> Poll<()> {
    let why = match header.state.begin() {
        Begun::Poll => {
            // SAFETY: the waker borrows the queue's hold, and is not dropped.
            let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task)) });
            // SAFETY: the turn has begun.
            return unsafe { (header.poll)(task, &mut Context::from_waker(&waker)) };
        }
        Begun::Aborted => JoinError::Aborted,
        Begun::Lost => JoinError::Lost,
    };
    // SAFETY: the turn has begun.
    unsafe { (header.end)(task, why) };
    Poll::Ready(())
}

/// Puts a task on its queue.
///
/// # Safety
/// The caller's hold becomes the queue's, and the state told it to do this.
pub(super) unsafe fn queue(task: NonNull<Header>) {
    // SAFETY: live through the hold.
    let header = unsafe { task.as_ref() };
    // SAFETY: in no queue, as the state says; the hold keeps it until it has run.
    unsafe { header.executor.push(header.lane, task.cast()) };
}

/// # Safety
/// The caller owns a hold, and does not use it afterwards.
pub(super) unsafe fn release(task: NonNull<Header>) {
    // SAFETY: live through that hold.
    let header = unsafe { task.as_ref() };
    match header.state.release() {
        Released::Held => {}
        // SAFETY: the hold goes on as the queue's, as the state says.
        Released::Lost => unsafe { queue(task) },
        Released::Ended => {
            // SAFETY: nobody holds the task any more, so nobody pushes it; `free` leaves the executor alone.
            let executor = unsafe { core::ptr::read(&raw const *header.executor) };
            // SAFETY: the holders' side goes with the last hold.
            unsafe { leave(task) };
            executor.task_freed();
        }
    }
}

/// # Safety
/// The caller is the last holder, or the handle, and does not use the task afterwards.
pub(super) unsafe fn leave(task: NonNull<Header>) {
    // SAFETY: live until both sides have left.
    let header = unsafe { task.as_ref() };
    if header.state.leave() {
        let free = header.free;
        // SAFETY: the other side has left before.
        unsafe { free(task) };
    }
}

fn raw_waker(task: NonNull<Header>) -> RawWaker {
    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);
    RawWaker::new(task.as_ptr().cast_const().cast(), &VTABLE)
}

/// # Safety
/// `data` is a waker's, and so a task that the waker holds.
unsafe fn task_of(data: *const ()) -> NonNull<Header> {
    // SAFETY: made from a `NonNull` in `raw_waker`.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: a waker's data.
    let task = unsafe { task_of(data) };
    // SAFETY: live through the waker's hold.
    unsafe { task.as_ref() }.state.hold();
    raw_waker(task)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: a waker's data.
    let task = unsafe { task_of(data) };
    // SAFETY: live through the waker's hold.
    if unsafe { task.as_ref() }.state.wake() {
        // SAFETY: this wake is the one that schedules it; the waker's hold becomes the queue's.
        unsafe { queue(task) };
    } else {
        // SAFETY: the waker's hold ends here.
        unsafe { release(task) };
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: a waker's data.
    let task = unsafe { task_of(data) };
    // SAFETY: live through the waker's hold.
    let header = unsafe { task.as_ref() };
    if header.state.wake() {
        header.state.hold();
        // SAFETY: this wake is the one that schedules it; the hold just taken is the queue's.
        unsafe { queue(task) };
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: a waker's data, whose hold ends here.
    unsafe { release(task_of(data)) };
}
