//! DPCs and timers: Wine has them as stubs, so that all of it is here. DPCs run one after the other on a thread at DISPATCH_LEVEL; a
//! timer that is due queues its DPC.
//!
//! # Invariants
//! A DPC is queued exactly while its `DpcData` is not null. A timer is set exactly while its header says so, and then
//! it is linked.

#![allow(unsafe_code)] // Functions that drivers call, on their DPCs and timers.
#![allow(non_snake_case)] // Their names are what drivers import.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU64, Ordering};

use nt_abi::{
    DISPATCHER_HEADER, KDEFERRED_ROUTINE, KDPC, KEVENT, KOBJECT_DPC, KOBJECT_NOTIFICATION_TIMER, KTIMER, LARGE_INTEGER, LIST_ENTRY,
    NtStatus,
};

use super::clock::{now, system_time};
use super::lock::Locked;
use super::thread::Thread;
use super::{at_dispatch, thread::pause};

nt_abi::export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    KeInitializeDpc, KeInsertQueueDpc, KeFlushQueuedDpcs, KeInitializeTimer, KeInitializeTimerEx, KeSetTimer, KeSetTimerEx,
    KeCancelTimer,
]);

/// The queues. DPCs are linked by `DpcListEntry`, timers by their list entry, in no order.
struct Queues {
    first: *mut KDPC,
    last: *mut KDPC,
    timers: *mut KTIMER,
}

// SAFETY: what it points to belongs to whoever has the lock.
unsafe impl Send for Queues {}

static QUEUES: Locked<Queues> = Locked::new(Queues { first: null_mut(), last: null_mut(), timers: null_mut() });

/// How many DPCs were queued, and how many of them have returned.
static QUEUED: AtomicU64 = AtomicU64::new(0);
static RETURNED: AtomicU64 = AtomicU64::new(0);

static THREAD: Thread = Thread::new(run);

/// Not null: what a queued DPC has for its `DpcData`.
const IN_QUEUE: *mut c_void = 1 as *mut c_void;
/// What a timer that is set has in its header.
const SET: u8 = 1;
/// How many DPCs are called before the timers are looked at again.
const AT_ONCE: usize = 64;
const UNITS_PER_MILLISECOND: u64 = 10_000;

/// Starts the thread.
pub(super) fn begin() -> Result<(), NtStatus> {
    THREAD.start()
}

/// Ends it.
pub(super) fn end() {
    THREAD.stop();
}

/// What a DPC is called with.
struct Call {
    dpc: *mut KDPC,
    routine: Option<KDEFERRED_ROUTINE>,
    context: *mut c_void,
    arguments: [*mut c_void; 2],
}

impl Queues {
    /// Queues a DPC, unless it is queued already.
    ///
    /// # Safety
    /// It is an initialized DPC.
    unsafe fn insert(&mut self, dpc: *mut KDPC, arguments: [*mut c_void; 2]) -> bool {
        // SAFETY: the caller's promise, and the lock is held.
        let it = unsafe { &mut *dpc };
        if !it.DpcData.is_null() {
            return false;
        }
        it.DpcData = IN_QUEUE;
        it.DpcListEntry = null_mut();
        [it.SystemArgument1, it.SystemArgument2] = arguments;
        match self.last.is_null() {
            true => self.first = dpc,
            // SAFETY: a queued DPC stays.
            false => unsafe { (*self.last).DpcListEntry = dpc.cast() },
        }
        self.last = dpc;
        QUEUED.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Takes the first one. From here on it may be queued again, or freed by its routine.
    fn take(&mut self) -> Option<Call> {
        // SAFETY: a queued DPC stays.
        let it = unsafe { self.first.as_mut() }?;
        let dpc = self.first;
        self.first = it.DpcListEntry.cast();
        if self.first.is_null() {
            self.last = null_mut();
        }
        it.DpcData = null_mut();
        let arguments = [it.SystemArgument1, it.SystemArgument2];
        Some(Call { dpc, routine: it.DeferredRoutine, context: it.DeferredContext, arguments })
    }

    /// Takes a timer out. False if it is not set.
    ///
    /// # Safety
    /// It is an initialized timer.
    unsafe fn unset(&mut self, timer: *mut KTIMER) -> bool {
        // SAFETY: the caller's promise, and the lock is held.
        let it = unsafe { &mut *timer };
        if it.Header.Reserved != SET {
            return false;
        }
        it.Header.Reserved = 0;
        let (next, before) = (it.TimerListEntry.Flink.cast::<KTIMER>(), it.TimerListEntry.Blink.cast::<KTIMER>());
        // SAFETY: a timer that is set stays.
        match unsafe { before.as_mut() } {
            Some(before) => before.TimerListEntry.Flink = next.cast(),
            None => self.timers = next,
        }
        // SAFETY: as above.
        if let Some(next) = unsafe { next.as_mut() } {
            next.TimerListEntry.Blink = before.cast();
        }
        true
    }

    /// # Safety
    /// It is an initialized timer that is not set.
    unsafe fn set(&mut self, timer: *mut KTIMER) {
        // SAFETY: the caller's promise, and the lock is held.
        let it = unsafe { &mut *timer };
        it.Header.Reserved = SET;
        it.TimerListEntry = LIST_ENTRY { Flink: self.timers.cast(), Blink: null_mut() };
        // SAFETY: a timer that is set stays.
        if let Some(next) = unsafe { self.timers.as_mut() } {
            next.TimerListEntry.Blink = timer.cast();
        }
        self.timers = timer;
    }

    /// Queues the DPCs of timers that are due, and says when the next one will be.
    fn ring(&mut self, now: u64) -> Option<u64> {
        let (mut at, mut next) = (self.timers, None);
        // SAFETY: a timer that is set stays.
        while let Some(it) = unsafe { at.as_mut() } {
            let timer = at;
            at = it.TimerListEntry.Flink.cast();
            if it.DueTime > now {
                next = Some(next.map_or(it.DueTime, |next: u64| next.min(it.DueTime)));
                continue;
            }
            // SAFETY: as above.
            unsafe { self.unset(timer) };
            if !it.Dpc.is_null() {
                // SAFETY: a timer's DPC stays while the timer is set.
                unsafe { self.insert(it.Dpc, [null_mut(); 2]) };
            }
            if it.Period > 0 {
                it.DueTime = now + u64::from(it.Period) * UNITS_PER_MILLISECOND;
                // SAFETY: just taken out.
                unsafe { self.set(timer) };
            }
        }
        next
    }
}

/// The thread: timers that are due, and then DPCs.
///
/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn run(_: *mut c_void) {
    loop {
        let next = QUEUES.lock().ring(now());
        let mut any = false;
        // No more than so many, for one that is queued again and again must not keep timers from ringing.
        for _ in 0..AT_ONCE {
            let call = QUEUES.lock().take();
            let Some(call) = call else { break };
            any = true;
            if let Some(routine) = call.routine {
                let [one, two] = call.arguments;
                // SAFETY: the driver's routine with its context.
                at_dispatch(|| unsafe { routine(call.dpc, call.context, one, two) });
            }
            RETURNED.fetch_add(1, Ordering::AcqRel);
        }
        if any {
            continue;
        }
        let wait = next.map(|next| (next.saturating_sub(now()) / UNITS_PER_MILLISECOND + 1) as i64);
        if THREAD.wait(wait) {
            return;
        }
    }
}

/// How many DPCs are queued or run.
pub(super) fn count() -> usize {
    QUEUED.load(Ordering::Acquire).wrapping_sub(RETURNED.load(Ordering::Acquire)) as usize
}

/// How many timers are set.
pub(super) fn timers() -> usize {
    let queues = QUEUES.lock();
    let (mut at, mut count) = (queues.timers, 0);
    // SAFETY: a timer that is set stays.
    while let Some(it) = unsafe { at.as_ref() } {
        count += 1;
        at = it.TimerListEntry.Flink.cast();
    }
    count
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeInitializeDpc(dpc: *mut KDPC, routine: Option<KDEFERRED_ROUTINE>, context: *mut c_void) {
    let made = KDPC {
        Type: KOBJECT_DPC,
        Importance: 1,
        Number: 0,
        DpcListEntry: null_mut(),
        ProcessorHistory: 0,
        DeferredRoutine: routine,
        DeferredContext: context,
        SystemArgument1: null_mut(),
        SystemArgument2: null_mut(),
        DpcData: null_mut(),
    };
    // SAFETY: the caller's memory for a DPC.
    unsafe { dpc.write(made) };
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeInsertQueueDpc(dpc: *mut KDPC, one: *mut c_void, two: *mut c_void) -> u8 {
    // SAFETY: the caller's DPC.
    let inserted = unsafe { QUEUES.lock().insert(dpc, [one, two]) };
    if inserted {
        THREAD.wake();
    }
    inserted.into()
}

/// Waits until every DPC that was queued before has returned.
///
/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
extern "win64" fn KeFlushQueuedDpcs() {
    let queued = QUEUED.load(Ordering::Acquire);
    while RETURNED.load(Ordering::Acquire) < queued {
        pause();
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeInitializeTimer(timer: *mut KTIMER) {
    // SAFETY: the caller's memory for a timer.
    unsafe { KeInitializeTimerEx(timer, 0) };
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeInitializeTimerEx(timer: *mut KTIMER, kind: u32) {
    let header = KEVENT::UNINITIALIZED.Header;
    let made = KTIMER {
        Header: DISPATCHER_HEADER { Type: KOBJECT_NOTIFICATION_TIMER + kind as u8, ..header },
        DueTime: 0,
        TimerListEntry: LIST_ENTRY::UNLINKED,
        Dpc: null_mut(),
        Processor: 0,
        TimerType: kind as u16,
        Period: 0,
    };
    // SAFETY: the caller's memory for a timer.
    unsafe { timer.write(made) };
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeSetTimer(timer: *mut KTIMER, due: LARGE_INTEGER, dpc: *mut KDPC) -> u8 {
    // SAFETY: the caller's timer and DPC.
    unsafe { KeSetTimerEx(timer, due, 0, dpc) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeSetTimerEx(timer: *mut KTIMER, due: LARGE_INTEGER, period: i32, dpc: *mut KDPC) -> u8 {
    // A time that is not negative is one of the system's clock.
    let ahead = if due < 0 { due.unsigned_abs() } else { (due as u64).saturating_sub(system_time()) };
    let was_set = {
        let mut queues = QUEUES.lock();
        // SAFETY: the caller's timer.
        let was_set = unsafe { queues.unset(timer) };
        // SAFETY: as above, and not set.
        let it = unsafe { &mut *timer };
        it.DueTime = now().saturating_add(ahead);
        it.Period = period.max(0) as u32;
        it.Dpc = dpc;
        // SAFETY: as above.
        unsafe { queues.set(timer) };
        was_set
    };
    THREAD.wake();
    was_set.into()
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
unsafe extern "win64" fn KeCancelTimer(timer: *mut KTIMER) -> u8 {
    // SAFETY: the caller's timer.
    unsafe { QUEUES.lock().unset(timer) }.into()
}
