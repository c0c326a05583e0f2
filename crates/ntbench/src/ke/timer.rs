//! Timers: one clock thread signals what is due and queues its DPC, at DISPATCH_LEVEL.
#![allow(unsafe_code)] // Exports with the kernel's ABI over the driver's KTIMERs.

use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::sync::Once;
use std::time::{Duration, Instant};

use nt_abi::{DISPATCH_LEVEL, KDPC, KOBJECT_NOTIFICATION_TIMER, KTIMER, LARGE_INTEGER, LIST_ENTRY, export_table};
use parking_lot::{Condvar, Mutex};

use crate::ke::{dpc, event, irql, time};
use crate::verifier;

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    KeInitializeTimer, KeInitializeTimerEx, KeSetTimer, KeSetTimerEx, KeCancelTimer, KeReadStateTimer,
]);

/// A timer that is set, by when it is due and its address.
#[derive(Clone, Copy)]
struct Armed {
    dpc: usize,
    period: Duration,
}

type Table = BTreeMap<(Instant, usize), Armed>;

static ARMED: Mutex<Table> = Mutex::new(Table::new());
static CHANGED: Condvar = Condvar::new();
static CLOCK: Once = Once::new();

fn start_clock() {
    CLOCK.call_once(|| {
        let spawned = std::thread::Builder::new().name("clock".into()).spawn(run);
        assert!(spawned.is_ok(), "the clock thread cannot be started");
    });
}

fn run() {
    loop {
        wait_for_due();
        // Raised before the table is locked: who holds a processor may be waiting for the lock.
        irql::at(DISPATCH_LEVEL, expire);
    }
}

/// Sleeps until a timer is due.
fn wait_for_due() {
    let mut table = ARMED.lock();
    loop {
        match table.first_key_value().map(|((due, _), _)| *due) {
            None => CHANGED.wait(&mut table),
            Some(due) if due <= Instant::now() => return,
            Some(due) => drop(CHANGED.wait_until(&mut table, due)),
        }
    }
}

/// Lets the first timer that is due expire, with the table locked: one that has been cancelled is touched no more. Its
/// DPC is queued, and runs when the IRQL is lowered.
fn expire() {
    let mut table = ARMED.lock();
    let Some((&(due, timer), &armed)) = table.first_key_value() else { return };
    if due > Instant::now() {
        return;
    }
    table.remove(&(due, timer));
    if !armed.period.is_zero() {
        table.insert((due + armed.period, timer), armed);
    }
    let timer = timer as *mut KTIMER;
    let dpc = armed.dpc as *mut KDPC;
    if !dpc.is_null() {
        // SAFETY: a timer's DPC is valid while the timer is in the table.
        unsafe { dpc::insert(dpc, [null_mut(); 2]) };
    }
    // SAFETY: a timer in the table is valid until it is cancelled or has expired.
    unsafe { event::signal(&raw mut (*timer).Header) };
}

fn remove(table: &mut Table, timer: *mut KTIMER) -> bool {
    let found = table.keys().find(|(_, address)| *address == timer as usize).copied();
    found.is_some_and(|key| table.remove(&key).is_some())
}

/// The timers that are set, with their DPCs' addresses.
pub(crate) fn armed() -> Vec<(usize, usize)> {
    ARMED.lock().iter().map(|((_, timer), armed)| (*timer, armed.dpc)).collect()
}

/// # IRQL
/// Any
///
/// # Safety
/// `timer` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeTimer(timer: *mut KTIMER) {
    // SAFETY: passed on.
    unsafe { KeInitializeTimerEx(timer, 0) };
}

/// # IRQL
/// Any
///
/// # Safety
/// `timer` is valid for writes and not set.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeTimerEx(timer: *mut KTIMER, kind: u32) {
    if remove(&mut ARMED.lock(), timer) {
        verifier::violation("timer", format!("timer {timer:p} is initialized while it is set"));
    }
    // SAFETY: the caller passed memory for a timer.
    unsafe {
        let list = &raw mut (*timer).TimerListEntry;
        list.write(LIST_ENTRY { Flink: null_mut(), Blink: null_mut() });
        (*timer).DueTime = 0;
        (*timer).Dpc = null_mut();
        (*timer).Processor = 0;
        (*timer).TimerType = 0;
        (*timer).Period = 0;
        let kind = KOBJECT_NOTIFICATION_TIMER + (kind & 1) as u8;
        event::initialize(&raw mut (*timer).Header, kind, size_of::<KTIMER>(), false);
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `timer` is initialized, `dpc` null or initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetTimer(timer: *mut KTIMER, due: LARGE_INTEGER, dpc: *mut KDPC) -> u8 {
    // SAFETY: passed on.
    unsafe { KeSetTimerEx(timer, due, 0, dpc) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `timer` is initialized, `dpc` null or initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetTimerEx(timer: *mut KTIMER, due: LARGE_INTEGER, period: i32, dpc: *mut KDPC) -> u8 {
    irql::at_most("KeSetTimerEx", DISPATCH_LEVEL);
    start_clock();
    let wait = time::until(due);
    let mut table = ARMED.lock();
    let was_set = remove(&mut table, timer);
    // SAFETY: the caller passed a timer.
    unsafe {
        event::clear(&raw mut (*timer).Header);
        (*timer).Dpc = dpc;
        (*timer).Period = period.max(0) as u32;
        (*timer).DueTime = time::interrupt_time() + (wait.as_nanos() / 100) as u64;
    }
    let armed = Armed { dpc: dpc as usize, period: Duration::from_millis(period.max(0) as u64) };
    table.insert((Instant::now() + wait, timer as usize), armed);
    CHANGED.notify_one();
    u8::from(was_set)
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `timer` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeCancelTimer(timer: *mut KTIMER) -> u8 {
    irql::at_most("KeCancelTimer", DISPATCH_LEVEL);
    u8::from(remove(&mut ARMED.lock(), timer))
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `timer` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReadStateTimer(timer: *mut KTIMER) -> u8 {
    // SAFETY: the caller passed a timer.
    let state = unsafe { event::state(&raw mut (*timer).Header) };
    (state.load(std::sync::atomic::Ordering::Acquire) & event::SIGNALLED) as u8
}
