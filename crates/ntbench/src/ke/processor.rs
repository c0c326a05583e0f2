//! The bench's processors: what a thread holds at DISPATCH_LEVEL, each with its queue of DPCs.
//!
//! A thread that raises takes a processor; one that lowers first runs that processor's queue, then gives it back. Who
//! queues a DPC for a processor that nobody holds, below DISPATCH_LEVEL, takes it and runs the queue at once; at
//! DISPATCH_LEVEL it does so as soon as it lowers. So no DPC waits for a host thread to come by, and a DPC that is
//! bound to a processor never runs twice at a time.
#![allow(unsafe_code)] // Futexes, exports with the kernel's ABI, queues of the driver's KDPCs.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nt_abi::{DISPATCH_LEVEL, KDPC, KIRQL, NtStatus, PASSIVE_LEVEL, PROCESSOR_NUMBER, export_table};
use parking_lot::Mutex;

use crate::ke::{dpc, irql};
use crate::thread::{LOCAL, NO_CPU};
use crate::{futex, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    KeGetCurrentProcessorNumberEx, KeQueryActiveProcessorCountEx, KeQueryMaximumProcessorCountEx,
    KeGetProcessorNumberFromIndex,
]);

const FREE: u32 = 0;
const HELD: u32 = 1;
const AWAITED: u32 = 2;

/// How long a thread waits for a processor before it goes first.
const PATIENCE: Duration = Duration::from_micros(200);

/// A queued DPC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    /// The driver's object.
    pub dpc: *mut KDPC,
    /// Its arguments, from when it was queued.
    pub arguments: [*mut c_void; 2],
}

// SAFETY: the pointers are only carried; whoever runs the DPC uses them as the kernel would.
unsafe impl Send for Queued {}

#[repr(align(128))]
struct Processor {
    state: AtomicU32,
    /// Threads that have waited for too long: nobody else takes the processor before them.
    overdue: AtomicU32,
    pending: AtomicUsize,
    queue: Mutex<VecDeque<Queued>>,
    runs: AtomicU64,
}

static PROCESSORS: OnceLock<Box<[Processor]>> = OnceLock::new();
static HOMES: AtomicU32 = AtomicU32::new(0);

impl Processor {
    fn new() -> Processor {
        Processor {
            state: AtomicU32::new(FREE),
            overdue: AtomicU32::new(0),
            pending: AtomicUsize::new(0),
            queue: Mutex::new(VecDeque::new()),
            runs: AtomicU64::new(0),
        }
    }

    #[inline]
    fn try_take(&self) -> bool {
        self.overdue.load(Ordering::SeqCst) == 0
            && self.state.compare_exchange(FREE, HELD, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Takes the processor for a thread that has waited; others may be waiting still.
    fn try_take_waiting(&self, overdue: bool) -> bool {
        (overdue || self.overdue.load(Ordering::SeqCst) == 0)
            && self.state.compare_exchange(FREE, AWAITED, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Sleeps until the processor is given back, or a while.
    fn sleep(&self) {
        let held = self.state.compare_exchange(HELD, AWAITED, Ordering::SeqCst, Ordering::SeqCst);
        if held != Err(FREE) {
            futex::wait(&self.state, AWAITED, Some(PATIENCE));
        } else if self.overdue.load(Ordering::SeqCst) > 0 {
            // It is free, for another one.
            std::thread::yield_now();
        }
    }

    #[inline]
    fn release(&self) {
        if self.state.swap(FREE, Ordering::SeqCst) == AWAITED {
            futex::wake(&self.state, 1);
        }
    }

    #[inline]
    fn has_work(&self) -> bool {
        self.pending.load(Ordering::SeqCst) > 0
    }

    fn pop(&self) -> Option<Queued> {
        let mut queue = self.queue.lock();
        let queued = queue.pop_front()?;
        self.pending.fetch_sub(1, Ordering::SeqCst);
        // SAFETY: the DPC was queued by its owner, who keeps it valid until it has been taken off the queue.
        unsafe { dpc::dequeued(queued.dpc) };
        Some(queued)
    }
}

/// Sets how many processors there are; they can be set once.
pub(crate) fn configure(count: u32) {
    let _ = PROCESSORS.set((0..count.clamp(1, 64)).map(|_| Processor::new()).collect());
}

fn all() -> &'static [Processor] {
    PROCESSORS.get_or_init(|| (0..2).map(|_| Processor::new()).collect())
}

/// How many there are.
pub(crate) fn count() -> u32 {
    all().len() as u32
}

/// Makes processor `number` (modulo their count) this thread's home: where it runs at DISPATCH_LEVEL if it can, and
/// where its DPCs go.
pub fn adopt(number: u32) {
    LOCAL.with(|local| local.home.set(number % count()));
}

fn home() -> u32 {
    let home = LOCAL.with(|local| local.home.get());
    if home != NO_CPU {
        return home;
    }
    adopt(HOMES.fetch_add(1, Ordering::Relaxed));
    LOCAL.with(|local| local.home.get())
}

/// The processor that this thread is on.
pub(crate) fn current() -> u32 {
    match LOCAL.with(|local| local.cpu.get()) {
        NO_CPU => home(),
        cpu => cpu,
    }
}

/// Takes a processor for this thread, which raises to DISPATCH_LEVEL.
#[inline]
pub(crate) fn take() {
    let home = home();
    let cpu = if all()[home as usize].try_take() { home } else { take_other(home) };
    LOCAL.with(|local| local.cpu.set(cpu));
}

#[cold]
fn take_other(home: u32) -> u32 {
    let other = (0..count()).find(|&n| n != home && all()[n as usize].try_take());
    other.unwrap_or_else(|| wait_for(home, 0..count()))
}

/// Waits for one of these processors, the first one named most. Who gives a processor back may take it again before
/// a thread that sleeps is awake, but not for longer than [`PATIENCE`].
fn wait_for(first: u32, among: Range<u32>) -> u32 {
    let processor = &all()[first as usize];
    let began = Instant::now();
    let mut overdue = false;
    loop {
        let order = std::iter::once(first).chain(among.clone().filter(|&n| n != first));
        let taken = order.into_iter().find(|&n| all()[n as usize].try_take_waiting(overdue && n == first));
        if let Some(number) = taken {
            if overdue {
                processor.overdue.fetch_sub(1, Ordering::SeqCst);
                // Who found the processor reserved left its queue to us.
                LOCAL.with(|local| local.kicks.set(local.kicks.get() | 1 << first));
            }
            return number;
        }
        processor.sleep();
        if !overdue && began.elapsed() > PATIENCE {
            overdue = true;
            processor.overdue.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Runs the DPCs of the processor that this thread holds, gives it back, and leaves the thread at `level`; then runs
/// what it queued elsewhere.
#[inline]
pub(crate) fn give_back(level: KIRQL) {
    let cpu = LOCAL.with(|local| local.cpu.get());
    drain_and_release(&all()[cpu as usize]);
    let kicks = LOCAL.with(|local| {
        local.cpu.set(NO_CPU);
        local.irql.set(level);
        local.kicks.take()
    });
    if kicks != 0 {
        kick(kicks);
    }
}

#[inline]
fn drain_and_release(processor: &Processor) {
    loop {
        if processor.has_work() {
            drain(processor);
        }
        processor.release();
        // Who queues while we release either sees the processor free or is seen here.
        if !processor.has_work() || !processor.try_take() {
            return;
        }
    }
}

fn drain(processor: &Processor) {
    LOCAL.with(|local| local.irql.set(DISPATCH_LEVEL));
    while let Some(queued) = processor.pop() {
        processor.runs.fetch_add(1, Ordering::Relaxed);
        dpc::run(queued);
    }
}

#[cold]
fn kick(mut kicks: u64) {
    while kicks != 0 {
        let number = kicks.trailing_zeros();
        kicks &= kicks - 1;
        run_on(number);
    }
}

/// Runs the queue of processor `number` if it has one and nobody holds the processor. Called below DISPATCH_LEVEL.
fn run_on(number: u32) {
    let processor = &all()[number as usize];
    if !processor.has_work() || !processor.try_take() {
        return;
    }
    let level = LOCAL.with(|local| {
        local.cpu.set(number);
        local.irql.replace(DISPATCH_LEVEL)
    });
    give_back(level);
}

/// Queues a DPC for its processor. Below DISPATCH_LEVEL it runs at once, on this thread; one that is bound to a
/// processor which another thread holds runs there.
pub(crate) fn queue(queued: Queued, target: Option<u32>) {
    let cpu = LOCAL.with(|local| local.cpu.get());
    match target.map(|target| target.min(count() - 1)) {
        None if cpu == NO_CPU => irql::at(DISPATCH_LEVEL, || push(queued, current())),
        None => push(queued, cpu),
        Some(number) => {
            push(queued, number);
            match cpu {
                NO_CPU => run_on(number),
                cpu if cpu == number => {}
                _ => LOCAL.with(|local| local.kicks.set(local.kicks.get() | 1 << number)),
            }
        }
    }
}

fn push(queued: Queued, number: u32) {
    let processor = &all()[number as usize];
    let mut queue = processor.queue.lock();
    queue.push_back(queued);
    processor.pending.fetch_add(1, Ordering::SeqCst);
}

/// Takes a DPC off whatever queue it is on.
pub(crate) fn unqueue(dpc: *mut KDPC) -> bool {
    all().iter().any(|processor| {
        let mut queue = processor.queue.lock();
        let Some(at) = queue.iter().position(|queued| queued.dpc == dpc) else { return false };
        queue.remove(at);
        processor.pending.fetch_sub(1, Ordering::SeqCst);
        // SAFETY: it was queued, so it is valid, and the queue's lock is held.
        unsafe { dpc::dequeued(dpc) };
        true
    })
}

/// Waits until each DPC queued before has run: passes over every processor in turn.
pub(crate) fn flush() {
    for number in 0..count() {
        wait_for(number, number..number + 1);
        LOCAL.with(|local| {
            local.cpu.set(number);
            local.irql.set(DISPATCH_LEVEL);
        });
        give_back(PASSIVE_LEVEL);
    }
}

/// The DPCs that are queued.
pub(crate) fn queued() -> Vec<Queued> {
    all().iter().flat_map(|processor| processor.queue.lock().iter().copied().collect::<Vec<_>>()).collect()
}

/// DPCs run so far.
pub(crate) fn runs() -> u64 {
    all().iter().map(|processor| processor.runs.load(Ordering::Relaxed)).sum()
}

/// # IRQL
/// Any
///
/// # Safety
/// `number` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeGetCurrentProcessorNumberEx(number: *mut PROCESSOR_NUMBER) -> u32 {
    let current = current();
    if !number.is_null() {
        // SAFETY: the caller passed a valid pointer.
        unsafe { number.write(PROCESSOR_NUMBER { Group: 0, Number: current as u8, Reserved: 0 }) };
    }
    current
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn KeQueryActiveProcessorCountEx(_group: u16) -> u32 {
    count()
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn KeQueryMaximumProcessorCountEx(_group: u16) -> u32 {
    count()
}

/// # IRQL
/// Any
///
/// # Safety
/// `number` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeGetProcessorNumberFromIndex(index: u32, number: *mut PROCESSOR_NUMBER) -> NtStatus {
    if index >= count() || number.is_null() {
        verifier::violation("parameter", format!("KeGetProcessorNumberFromIndex({index}): there are {}", count()));
        return NtStatus::INVALID_PARAMETER;
    }
    // SAFETY: the caller passed a valid pointer.
    unsafe { number.write(PROCESSOR_NUMBER { Group: 0, Number: index as u8, Reserved: 0 }) };
    irql::at_most("KeGetProcessorNumberFromIndex", nt_abi::HIGH_LEVEL);
    NtStatus::SUCCESS
}
