//! Work items: routines at PASSIVE_LEVEL on the bench's worker threads, each keeping its device while it is queued or
//! runs.
#![allow(unsafe_code)] // Work items are shared with drivers.

use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::Once;

use nt_abi::{DEVICE_OBJECT, DISPATCH_LEVEL, IO_WORKITEM_ROUTINE, IO_WORKITEM_ROUTINE_EX, export_table};
use parking_lot::{Condvar, Mutex};

use crate::callout::{self, Kind};
use crate::ke::irql;
use crate::{fault, image, ob, trace, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    IoAllocateWorkItem, IoQueueWorkItem, IoQueueWorkItemEx, IoFreeWorkItem,
]);

/// A routine in one of its two forms.
#[derive(Clone, Copy)]
enum Routine {
    Plain(IO_WORKITEM_ROUTINE),
    Extended(IO_WORKITEM_ROUTINE_EX),
}

struct Item {
    device: usize,
    site: usize,
    queued: bool,
}

struct Job {
    item: usize,
    device: usize,
    routine: Routine,
    context: usize,
}

#[derive(Default)]
struct Table {
    items: HashMap<usize, Item>,
    last: usize,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);
static JOBS: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());
static POSTED: Condvar = Condvar::new();
static WORKERS: Once = Once::new();
const WORKER_COUNT: usize = 4;
/// Work items are opaque: their addresses are never accessible.
const FIRST: usize = 0x7f00_0000_0000_0000;

fn start_workers() {
    WORKERS.call_once(|| {
        for n in 0..WORKER_COUNT {
            let spawned = std::thread::Builder::new().name(format!("worker {n}")).spawn(work);
            assert!(spawned.is_ok(), "worker threads cannot be started");
        }
    });
}

fn work() {
    loop {
        let job = {
            let mut jobs = JOBS.lock();
            loop {
                match jobs.pop_front() {
                    Some(job) => break job,
                    None => POSTED.wait(&mut jobs),
                }
            }
        };
        run(&job);
    }
}

fn run(job: &Job) {
    if let Some(item) = TABLE.lock().get_or_insert_default().items.get_mut(&job.item) {
        item.queued = false;
    }
    let device = job.device as *mut DEVICE_OBJECT;
    let context = job.context as *mut c_void;
    if trace::io() {
        trace::emit(trace::Kind::Io { what: "WorkItem", object: job.item, detail: String::new() });
    }
    let address = match job.routine {
        Routine::Plain(routine) => routine as usize,
        Routine::Extended(routine) => routine as usize,
    };
    callout::call_kept(Kind::WorkItem, "work item", address, || match job.routine {
        // SAFETY: the driver's routine, called as the kernel calls it; the device is kept until after it.
        Routine::Plain(routine) => unsafe { routine(device, context) },
        // SAFETY: as above.
        Routine::Extended(routine) => unsafe { routine(device.cast(), context, job.item as *mut c_void) },
    });
    ob::dereference(device.cast());
}

fn queue(item: usize, routine: Routine, context: *mut c_void) {
    start_workers();
    let device = {
        let mut table = TABLE.lock();
        match table.get_or_insert_default().items.get_mut(&item) {
            Some(known) if !known.queued => {
                known.queued = true;
                known.device
            }
            known => {
                let what = if known.is_some() { "is queued already" } else { "does not exist" };
                drop(table);
                verifier::violation("workitem", format!("work item {item:#x} is queued, but it {what}"));
                return;
            }
        }
    };
    ob::reference(device as *mut c_void);
    JOBS.lock().push_back(Job { item, device, routine, context: context as usize });
    POSTED.notify_one();
}

/// Work items that code at addresses of `range` allocated and has not freed.
pub(crate) fn leaks_of(range: &Range<usize>) -> Vec<String> {
    let table = TABLE.lock();
    let items = table.iter().flat_map(|table| table.items.values());
    items
        .filter(|item| range.contains(&item.site))
        .map(|item| format!("allocated in {}", image::describe(item.site - 1)))
        .collect()
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `device` is a device object.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoAllocateWorkItem(device: *mut DEVICE_OBJECT) -> *mut c_void {
    irql::at_most("IoAllocateWorkItem", DISPATCH_LEVEL);
    if fault::hit("IoAllocateWorkItem") {
        return null_mut();
    }
    let site = image::caller();
    let mut table = TABLE.lock();
    let table = table.get_or_insert_default();
    table.last += 0x40;
    let item = FIRST + table.last;
    table.items.insert(item, Item { device: device as usize, site, queued: false });
    item as *mut c_void
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `item` came from `IoAllocateWorkItem` and is not queued.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoQueueWorkItem(
    item: *mut c_void,
    routine: Option<IO_WORKITEM_ROUTINE>,
    _queue: u32,
    context: *mut c_void,
) {
    irql::at_most("IoQueueWorkItem", DISPATCH_LEVEL);
    if let Some(routine) = routine {
        queue(item as usize, Routine::Plain(routine), context);
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `item` came from `IoAllocateWorkItem` and is not queued.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoQueueWorkItemEx(
    item: *mut c_void,
    routine: Option<IO_WORKITEM_ROUTINE_EX>,
    _queue: u32,
    context: *mut c_void,
) {
    irql::at_most("IoQueueWorkItemEx", DISPATCH_LEVEL);
    if let Some(routine) = routine {
        queue(item as usize, Routine::Extended(routine), context);
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `item` came from `IoAllocateWorkItem` and is not queued.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoFreeWorkItem(item: *mut c_void) {
    irql::at_most("IoFreeWorkItem", DISPATCH_LEVEL);
    let removed = TABLE.lock().get_or_insert_default().items.remove(&(item as usize));
    match removed {
        None => verifier::violation("workitem", format!("{item:p} is freed, which is no work item")),
        Some(item) if item.queued => verifier::violation("workitem", "a work item is freed while it is queued"),
        Some(_) => {}
    }
}
