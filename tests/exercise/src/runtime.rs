//! Scenarios of the executor: joining, aborting, time limits, the passive thread.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::cell::Cell;
use core::future::{pending, poll_fn};
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Poll, Waker};
use core::time::Duration;

use wsk::sync::{Event, Pool, Shared, SpinLock, Tagged, tag};
use wsk::{
    Binding, Buffer, Either, Executor, Instant, JoinError, JoinHandle, Lane, Passive, Sleep, TcpStream, TimeoutError, first,
    timeout, yield_now,
};

use crate::Outcome;
use crate::failure::{Doing, expect};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

/// What tasks leave behind.
struct Marks {
    dropped: AtomicU32,
    turns: AtomicU32,
    kept: SpinLock<Option<Waker>>,
}

impl Tagged for Marks {
    type Pool = Pool<{ tag(b"Exrc") }>;
}

impl Marks {
    fn new() -> Result<Shared<Self>, crate::failure::Failure> {
        let marks = Self { dropped: AtomicU32::new(0), turns: AtomicU32::new(0), kept: SpinLock::new(None) };
        Shared::try_new(marks).doing("marks")
    }

    fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Acquire)
    }
}

/// Counts when it is dropped.
struct Guard(Shared<Marks>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::AcqRel);
    }
}

/// A guard that blocks when it is dropped, which the bench allows at PASSIVE_LEVEL alone.
struct PassiveGuard {
    passive: Passive,
    event: Event,
    _counted: Guard,
}

impl Drop for PassiveGuard {
    fn drop(&mut self) {
        self.event.wait_for(self.passive, Duration::from_millis(1));
    }
}

async fn joined<T>(handle: JoinHandle<T>) -> Result<Result<T, JoinError>, crate::failure::Failure> {
    timeout(Duration::from_secs(10), handle).await.doing("join")
}

/// Outputs come by the handle, from either lane and from the passive thread; a task without a handle goes on.
pub(crate) async fn join(binding: &Binding, _: SocketAddr) -> Outcome {
    let executor = binding.executor();
    for lane in [Lane::Passive, Lane::Dispatch] {
        let handle = executor.spawn(lane, async { Buffer::new(10) }).doing("spawn")?;
        let buffer = joined(handle).await?.doing("task")?.doing("buffer")?;
        expect(buffer.capacity() == 10, "the task's own buffer")?;
    }
    let counted = executor.spawn_passive(count_on_passive).doing("spawn")?;
    expect(joined(counted).await? == Ok(3), "a count from the passive thread")?;
    let marks = Marks::new()?;
    drop(executor.spawn(Lane::Dispatch, detached(Guard(marks.clone()))).doing("spawn")?);
    until(|| marks.dropped() == 1).await
}

/// A future that is not `Send`, and that blocks.
async fn count_on_passive(passive: Passive) -> u32 {
    let count = Cell::new(0);
    let Ok(never) = Event::notification(false) else { return 0 };
    while count.get() < 3 {
        never.wait_for(passive, Duration::from_millis(1));
        yield_now().await;
        count.set(count.get() + 1);
    }
    count.get()
}

async fn detached(guard: Guard) {
    if let Ok(sleep) = Sleep::new(SHORT) {
        sleep.await;
    }
    drop(guard);
}

async fn until(mut done: impl FnMut() -> bool) -> Outcome {
    let begun = Instant::now();
    while !done() {
        expect(begun.elapsed() < Duration::from_secs(20), "within twenty seconds")?;
        Sleep::new(Duration::from_millis(5)).doing("sleep")?.await;
    }
    Ok(())
}

/// A task that is aborted is dropped where it runs, before its handle is ready; one that is done keeps its output.
pub(crate) async fn abort(binding: &Binding, _: SocketAddr) -> Outcome {
    let marks = Marks::new()?;
    let executor = binding.executor();
    for lane in [Lane::Dispatch, Lane::Passive] {
        let sleeper = executor.spawn(lane, sleep_with(Guard(marks.clone()))).doing("spawn")?;
        Sleep::new(SHORT).doing("sleep")?.await;
        expect(!sleeper.is_finished(), "it sleeps")?;
        sleeper.abort();
        expect(joined(sleeper).await? == Err(JoinError::Aborted), "aborted")?;
    }
    expect(marks.dropped() == 2, "both dropped")?;
    abort_passive(executor, &marks).await?;
    let done = executor.spawn(Lane::Dispatch, async { 7 }).doing("spawn")?;
    until(|| done.is_finished()).await?;
    done.abort();
    expect(joined(done).await? == Ok(7), "what was done before")
}

async fn sleep_with(_guard: Guard) {
    if let Ok(sleep) = Sleep::new(LONG) {
        sleep.await;
    }
}

async fn abort_passive(executor: &Executor, marks: &Shared<Marks>) -> Outcome {
    let guard = Guard(marks.clone());
    let handle = executor.spawn_passive(|passive| wait_with(passive, guard)).doing("spawn")?;
    Sleep::new(SHORT).doing("sleep")?.await;
    handle.abort();
    expect(joined(handle).await? == Err(JoinError::Aborted), "aborted on the passive thread")?;
    expect(marks.dropped() == 3, "dropped there")
}

async fn wait_with(passive: Passive, guard: Guard) {
    let Ok(event) = Event::notification(false) else { return };
    let _guard = PassiveGuard { passive, event, _counted: guard };
    if let Ok(sleep) = Sleep::new(LONG) {
        sleep.await;
    }
}

/// A task that nobody can wake any more is dropped on its lane, and its handle says so.
pub(crate) async fn lost(binding: &Binding, _: SocketAddr) -> Outcome {
    let marks = Marks::new()?;
    let executor = binding.executor();
    let forgotten = executor.spawn(Lane::Dispatch, pending::<()>()).doing("spawn")?;
    expect(joined(forgotten).await? == Err(JoinError::Lost), "it left no waker")?;
    let (guard, keeper) = (Guard(marks.clone()), marks.clone());
    let task = executor.spawn_passive(|passive| keep_waker(passive, guard, keeper)).doing("spawn")?;
    until(|| marks.kept.with(|kept| kept.is_some())).await?;
    Sleep::new(SHORT).doing("sleep")?.await;
    expect(!task.is_finished(), "its waker is kept")?;
    // Dropped in this task, which a DPC runs, and not under the lock.
    let waker = marks.kept.with(Option::take);
    drop(waker);
    expect(joined(task).await? == Err(JoinError::Lost), "its last waker is gone")?;
    expect(marks.dropped() == 1, "dropped")
}

async fn keep_waker(passive: Passive, guard: Guard, keeper: Shared<Marks>) {
    let Ok(event) = Event::notification(false) else { return };
    let _guard = PassiveGuard { passive, event, _counted: guard };
    poll_fn(|context| {
        let waker = context.waker().clone();
        let before = keeper.kept.with(|kept| kept.replace(waker));
        drop(before);
        Poll::<()>::Pending
    })
    .await;
}

/// A limit ends what is not ready in time, leaves what is ready alone, and a socket goes on after a receive that ran out.
pub(crate) async fn limits(binding: &Binding, target: SocketAddr) -> Outcome {
    let begun = Instant::now();
    expect(timeout(SHORT, pending::<()>()).await == Err(TimeoutError::Elapsed), "elapsed")?;
    expect(begun.elapsed() >= SHORT, "not before its time")?;
    expect(timeout(LONG, async { 5 }).await == Ok(5), "at once")?;
    let slow = async {
        yield_now().await;
        6
    };
    expect(timeout(LONG, slow).await == Ok(6), "in time")?;
    let mut stream = TcpStream::connect(binding, target).await.doing("connect")?;
    let buffer = Buffer::new(64).doing("buffer")?;
    expect(matches!(timeout(SHORT, stream.receive(buffer)).await, Err(TimeoutError::Elapsed)), "nothing comes unasked")?;
    let mut buffer = Buffer::new(64).doing("buffer")?;
    buffer.write(b"now");
    stream.send(buffer).await.doing("send")?;
    let again = timeout(Duration::from_secs(10), stream.receive(Buffer::new(64).doing("buffer")?));
    let answer = again.await.doing("receive")?.doing("receive")?;
    expect(answer.filled() == b"now", "the echo")
}

/// Two tasks that are always ready keep neither a third one, nor the passive thread, from its turns.
pub(crate) async fn flood(binding: &Binding, _: SocketAddr) -> Outcome {
    let marks = Marks::new()?;
    let executor = binding.executor();
    let floods = [
        executor.spawn(Lane::Dispatch, flood_with(marks.clone())).doing("spawn")?,
        executor.spawn(Lane::Dispatch, flood_with(marks.clone())).doing("spawn")?,
    ];
    for _ in 0..20 {
        let passive = executor.spawn_passive(count_on_passive).doing("spawn")?;
        let other = executor.spawn(Lane::Dispatch, yield_now()).doing("spawn")?;
        expect(joined(passive).await? == Ok(3), "the passive thread")?;
        expect(joined(other).await? == Ok(()), "another task")?;
    }
    until(|| marks.turns.load(Ordering::Relaxed) > 1000).await?;
    for flood in floods {
        flood.abort();
        expect(joined(flood).await? == Err(JoinError::Aborted), "the flood is over")?;
    }
    Ok(())
}

async fn flood_with(marks: Shared<Marks>) {
    loop {
        marks.turns.fetch_add(1, Ordering::Relaxed);
        yield_now().await;
    }
}

/// Memory for what wants to be aligned more than the pool does by itself: each block where it wants to be, and its own.
pub(crate) async fn aligned(_: &Binding, _: SocketAddr) -> Outcome {
    let (mut lines, mut pages) = ([const { None }; 32], [const { None }; 8]);
    for (number, place) in lines.iter_mut().enumerate() {
        *place = Some(Shared::try_new(Line([number as u8; 72])).doing("a line")?);
    }
    for (number, place) in pages.iter_mut().enumerate() {
        *place = Some(Shared::try_new(Page([number as u8; 100])).doing("a page")?);
    }
    // Every other one goes, and comes back.
    for (number, place) in lines.iter_mut().enumerate().step_by(2) {
        drop(place.take());
        *place = Some(Shared::try_new(Line([number as u8; 72])).doing("a line")?);
    }
    for (number, line) in lines.iter().flatten().enumerate() {
        expect((&raw const **line).addr() % 64 == 0, "an address of a line")?;
        expect(line.0.iter().all(|byte| *byte == number as u8), "what was written to a line")?;
    }
    for (number, page) in pages.iter().flatten().enumerate() {
        expect((&raw const **page).addr() % 4096 == 0, "an address of a page")?;
        expect(page.0.iter().all(|byte| *byte == number as u8), "what was written to a page")?;
    }
    Ok(())
}

#[repr(align(64))]
struct Line([u8; 72]);

#[repr(align(4096))]
struct Page([u8; 100]);

impl Tagged for Line {
    type Pool = Pool<{ tag(b"Exrl") }>;
}

impl Tagged for Page {
    type Pool = Pool<{ tag(b"Exrp") }>;
}

/// Tasks that end with their binding, joined by one that does not; ends when the binding does.
pub(crate) async fn until_detach(binding: &Binding, _: SocketAddr) -> Outcome {
    let executor = binding.executor();
    let waits = |binding: Binding| async move { binding.ended().await.is_ok() };
    let tasks = [
        executor.spawn(Lane::Dispatch, waits(binding.clone())).doing("spawn")?,
        executor.spawn(Lane::Passive, waits(binding.clone())).doing("spawn")?,
    ];
    crate::say("runtime_until_detach", "waiting");
    for task in tasks {
        expect(task.await == Ok(true), "ended with the binding")?;
    }
    expect(matches!(first(binding.ended(), pending::<()>()).await, Either::First(Ok(()))), "it stays ended")
}
