//! One task: a future in nonpaged pool, with the state that says who may poll it.
//!
//! Alive as long as a queue or a waker refers to it. A task that waits for nothing any more, because its last waker is
//! gone, is dropped: nobody could ever wake it.
//!
//! Who touches what: `future` is the runner's between [`TaskState::begin`] and the end of the poll, and afterwards
//! that of whoever drops the last reference. Everything else is shared.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use allocator_api2::alloc::Allocator;
use wsk_lifecycle::task::{AfterPoll, TaskState};

use super::exec::{Executor, Lane};
use super::{Node, OutOfMemory, Pool, tag};

type TaskPool = Pool<{ tag(b"WskT") }>;

/// The part of a task that does not know its future's type. `node` comes first: a queue's node is the task.
#[repr(C)]
pub(super) struct Header {
    node: Node,
    state: TaskState,
    references: AtomicUsize,
    lane: Lane,
    executor: ManuallyDrop<Executor>,
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<()>,
    free: unsafe fn(NonNull<Header>),
}

#[repr(C)]
struct Task<F> {
    header: Header,
    future: UnsafeCell<Option<F>>,
}

/// Makes a task, scheduled, with one reference for the queue that it is to be put on.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(super) fn allocate<F>(executor: Executor, lane: Lane, future: F) -> Result<NonNull<Node>, OutOfMemory>
where
    F: Future<Output = ()> + Send + 'static,
{
    let place = TaskPool::default().allocate(Layout::new::<Task<F>>())?.cast::<Task<F>>();
    let header = Header {
        node: Node::new(run),
        state: TaskState::new_scheduled(),
        references: AtomicUsize::new(1),
        lane,
        executor: ManuallyDrop::new(executor),
        poll: poll::<F>,
        free: free::<F>,
    };
    // SAFETY: the allocation fits the type and is ours.
    unsafe { place.write(Task { header, future: UnsafeCell::new(Some(future)) }) };
    Ok(place.cast())
}

/// # Safety
/// `header` is a live `Task<F>`'s, in a poll that the caller has begun.
unsafe fn poll<F: Future<Output = ()>>(header: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
    // SAFETY: live, and of this type, as the caller promises.
    let slot = unsafe { header.cast::<Task<F>>().as_ref() }.future.get();
    // SAFETY: the runner's alone during a poll.
    let Some(future) = (unsafe { &mut *slot }) else { return Poll::Ready(()) };
    // SAFETY: the future stays in its allocation until it is dropped there.
    let polled = unsafe { Pin::new_unchecked(future) }.poll(context);
    if polled.is_ready() {
        // SAFETY: as above; assigning drops the future in place.
        unsafe { *slot = None };
    }
    polled
}

/// # Safety
/// `header` is a `Task<F>`'s whose last reference is gone.
unsafe fn free<F>(header: NonNull<Header>) {
    let task = header.cast::<Task<F>>();
    // SAFETY: nobody else refers to it. The executor is not dropped with it, but taken out before by `release`.
    unsafe { task.drop_in_place() };
    // SAFETY: allocated in `allocate` from the same pool with the same layout.
    unsafe { TaskPool::default().deallocate(task.cast(), Layout::new::<Task<F>>()) };
}

/// Runs a task that was taken from a queue.
///
/// # Safety
/// As for [`Node::run`]; the queue's reference comes along.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
unsafe fn run(node: NonNull<Node>) {
    let task = node.cast::<Header>();
    // SAFETY: live through the queue's reference.
    let header = unsafe { task.as_ref() };
    header.state.begin();
    // SAFETY: the waker borrows the queue's reference, and is not dropped.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task)) });
    // SAFETY: the poll has begun.
    let polled = unsafe { (header.poll)(task, &mut Context::from_waker(&waker)) };
    if polled.is_ready() {
        header.state.finished();
    } else if header.state.pending() == AfterPoll::Requeue {
        // SAFETY: it has just been taken off, and keeps the queue's reference.
        return unsafe { header.executor.push(header.lane, node) };
    }
    // SAFETY: the queue's reference ends here.
    unsafe { release(task) };
}

/// # Safety
/// The caller owns a reference, and does not use it afterwards.
unsafe fn release(task: NonNull<Header>) {
    // SAFETY: live through that reference.
    let header = unsafe { task.as_ref() };
    if header.references.fetch_sub(1, Ordering::Release) != 1 {
        return;
    }
    fence(Ordering::Acquire);
    // SAFETY: the last reference is gone; `free` leaves the copied-out executor alone.
    let executor = unsafe { core::ptr::read(&raw const *header.executor) };
    // SAFETY: as above.
    unsafe { (header.free)(task) };
    executor.task_freed();
}

fn raw_waker(task: NonNull<Header>) -> RawWaker {
    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);
    RawWaker::new(task.as_ptr().cast_const().cast(), &VTABLE)
}

/// # Safety
/// `data` is a waker's, and so a task whose reference that waker owns.
unsafe fn task_of(data: *const ()) -> NonNull<Header> {
    // SAFETY: made from a `NonNull` in `raw_waker`.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: a waker's data.
    let task = unsafe { task_of(data) };
    // SAFETY: live through the waker's reference.
    unsafe { task.as_ref() }.references.fetch_add(1, Ordering::Relaxed);
    raw_waker(task)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: a waker's data.
    let task = unsafe { task_of(data) };
    // SAFETY: live through the waker's reference.
    let header = unsafe { task.as_ref() };
    if header.state.wake() {
        // SAFETY: this wake is the one that schedules it; the waker's reference becomes the queue's.
        unsafe { header.executor.push(header.lane, task.cast()) };
    } else {
        // SAFETY: the waker's reference ends here.
        unsafe { release(task) };
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: a waker's data.
    let task = unsafe { task_of(data) };
    // SAFETY: live through the waker's reference.
    let header = unsafe { task.as_ref() };
    if header.state.wake() {
        header.references.fetch_add(1, Ordering::Relaxed);
        // SAFETY: this wake is the one that schedules it; the reference just counted is the queue's.
        unsafe { header.executor.push(header.lane, task.cast()) };
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: a waker's data, whose reference ends here.
    unsafe { release(task_of(data)) };
}
