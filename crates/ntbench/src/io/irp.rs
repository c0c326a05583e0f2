//! I/O request packets: allocation, reuse, sending, and what became of each.
//!
//! Every IRP is the bench's, with a `Header` before it: its state, its last steps, who allocated it. On the path of
//! data nothing else is touched; the table of live IRPs is for leaks and is used by allocation and freeing alone.
#![allow(unsafe_code)] // IRPs are shared with drivers.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use nt_abi::{
    DISPATCH_LEVEL, DRIVER_CANCEL, IO_STACK_LOCATION, IO_TYPE_IRP, IRP, NtStatus, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR,
    SL_INVOKE_ON_SUCCESS, export_table,
};
use parking_lot::Mutex;

use crate::ke::irql;
use crate::{fault, image, trace, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [IoAllocateIrp, IoFreeIrp, IoReuseIrp]);

/// Where an IRP is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Allocated or reused: ready to be sent.
    Fresh = 1,
    /// With whoever it was sent to.
    Sent = 2,
    /// Completed, and not reused since.
    Done = 3,
    /// Freed; the memory is kept for a while.
    Freed = 4,
}

/// A step in an IRP's history.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Step {
    Allocated = 1,
    Reused = 2,
    Sent = 3,
    Completed = 4,
    CancelRequested = 5,
    Armed = 6,
    Freed = 7,
}

const STEPS: [&str; 8] = ["", "allocated", "reused", "sent", "completed", "cancel requested", "armed", "freed"];
const MAGIC: u64 = 0x3152_5049_4b53_5769;

/// What the bench keeps before each IRP.
#[repr(C, align(16))]
pub(crate) struct Header {
    magic: u64,
    state: AtomicU8,
    /// The last eight steps, one a byte.
    history: AtomicU64,
    /// Context of `IoSetCompletionRoutineEx`, if armed and not run.
    pub armed: AtomicUsize,
    /// Calls of `IoCancelIrp` that have not returned.
    pub cancelling: AtomicUsize,
    site: usize,
    size: usize,
}

const SHARDS: usize = 16;
static LIVE: [Mutex<Option<HashSet<usize>>>; SHARDS] = [const { Mutex::new(None) }; SHARDS];
static TOTAL: AtomicU64 = AtomicU64::new(0);
/// Freed IRPs whose memory is kept, oldest first.
static FREED: Mutex<VecDeque<usize>> = Mutex::new(VecDeque::new());
const KEPT: usize = 1024;

fn shard(irp: usize) -> &'static Mutex<Option<HashSet<usize>>> {
    &LIVE[(irp >> 6) % SHARDS]
}

impl Header {
    /// Its state.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            1 => State::Fresh,
            2 => State::Sent,
            3 => State::Done,
            _ => State::Freed,
        }
    }

    /// Goes from one state to another, if it is in the first.
    pub fn change(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sets the state.
    pub fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Notes a step.
    pub fn note(&self, step: Step) {
        self.history.store(self.history.load(Ordering::Relaxed) << 8 | step as u64, Ordering::Relaxed);
    }

    /// Its last steps and who allocated it.
    pub fn story(&self) -> Vec<String> {
        let steps = self.history.load(Ordering::Relaxed).to_be_bytes();
        let steps: Vec<_> =
            steps.iter().filter_map(|&step| STEPS.get(usize::from(step))).filter(|s| !s.is_empty()).copied().collect();
        vec![steps.join(", "), format!("allocated in {}", allocator(self.site))]
    }
}

fn allocator(site: usize) -> String {
    if site == 0 { "the bench".to_owned() } else { image::describe(site - 1) }
}

/// The header of an IRP; reports what is none.
pub(crate) fn header<'a>(function: &str, irp: *mut IRP) -> Option<&'a Header> {
    let header = (irp as usize).wrapping_sub(size_of::<Header>()) as *const Header;
    // SAFETY: every IRP of the bench's is preceded by a header; for anything else the fault handler speaks.
    let header = unsafe { header.as_ref() }.filter(|header| header.magic == MAGIC);
    if header.is_none() {
        verifier::violation("irp", format!("{function}: {irp:p} is no IRP that IoAllocateIrp made"));
    }
    header
}

/// Reports an IRP that its owner is done with while somebody cancels it: nobody held it for that time.
fn check_held(irp: *mut IRP, header: &Header, done: &str) {
    if header.cancelling.load(Ordering::Acquire) != 0 {
        misused("L37", irp, header, &format!("is {done} while IoCancelIrp works on it"));
    }
}

/// Reports what an IRP was used for wrongly, with its history.
#[cold]
pub(crate) fn misused(rule: &'static str, irp: *mut IRP, header: &Header, what: &str) {
    verifier::violation_about(rule, format!("IRP {irp:p} {what}"), header.story());
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap_or(Layout::new::<u128>())
}

/// Allocates an IRP; `site` is who asked, zero for the bench.
pub(crate) fn allocate(stack_size: i8, site: usize) -> *mut IRP {
    let size = size_of::<Header>() + size_of::<IRP>() + usize::from(stack_size.unsigned_abs()) * size_of::<IO_STACK_LOCATION>();
    // SAFETY: the size is not zero.
    let start = unsafe { alloc_zeroed(layout(size)) };
    if start.is_null() {
        return null_mut();
    }
    let header = Header {
        magic: MAGIC,
        state: AtomicU8::new(State::Fresh as u8),
        history: AtomicU64::new(Step::Allocated as u64),
        armed: AtomicUsize::new(0),
        cancelling: AtomicUsize::new(0),
        site,
        size,
    };
    // SAFETY: the memory is new and large enough for both.
    let irp = unsafe {
        start.cast::<Header>().write(header);
        start.add(size_of::<Header>()).cast::<IRP>()
    };
    // SAFETY: as above; it is zeroed.
    unsafe { initialize(irp, stack_size) };
    shard(irp as usize).lock().get_or_insert_default().insert(irp as usize);
    TOTAL.fetch_add(1, Ordering::Relaxed);
    irp
}

/// # Safety
/// `irp` is zeroed memory for an IRP with `stack_size` stack locations.
unsafe fn initialize(irp: *mut IRP, stack_size: i8) {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        (*irp).Type = IO_TYPE_IRP;
        (*irp).Size = (size_of::<IRP>() + stack_size as usize * size_of::<IO_STACK_LOCATION>()) as u16;
        (*irp).StackCount = stack_size;
        (*irp).CurrentLocation = stack_size + 1;
        (*irp).CurrentStackLocation = irp.add(1).cast::<IO_STACK_LOCATION>().add(stack_size as usize);
        let list = &raw mut (*irp).ThreadListEntry;
        (*irp).ThreadListEntry.Flink = list;
        (*irp).ThreadListEntry.Blink = list;
    }
}

/// Takes an IRP that a driver sends: checks that it may be sent, and moves to the stack location that is the
/// receiver's. False if it may not, which has been reported then.
///
/// # Safety
/// `irp` is a valid pointer or one that the driver passed.
pub unsafe fn accept(irp: *mut IRP) -> bool {
    let Some(header) = header("accept", irp) else { return false };
    if !header.change(State::Fresh, State::Sent) {
        let what = match header.state() {
            State::Sent => "is sent while it is pending",
            State::Done => "is sent again without IoReuseIrp",
            _ => "is sent after it was freed",
        };
        misused("irp-state", irp, header, what);
        return false;
    }
    header.note(Step::Sent);
    // SAFETY: an IRP of the bench's, not freed.
    let location = unsafe { next_location(irp) };
    let Some(location) = location else {
        misused("irp-stack", irp, header, "has no stack location left");
        return false;
    };
    // SAFETY: the location is the IRP's.
    let (control, routine) = unsafe { ((*location).Control, (*location).CompletionRoutine) };
    let all = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
    if routine.is_none() || control & all != all {
        misused("irp-completion-routine", irp, header, "is sent without a completion routine for success, error and cancel");
    }
    if trace::io() {
        trace::emit(trace::Kind::Io { what: "IrpSent", object: irp as usize, detail: String::new() });
    }
    true
}

/// Moves to the next stack location, which becomes the current one.
///
/// # Safety
/// `irp` is valid.
pub(crate) unsafe fn next_location(irp: *mut IRP) -> Option<*mut IO_STACK_LOCATION> {
    // SAFETY: the caller vouches for the IRP; the new location is in its array.
    unsafe {
        if (*irp).CurrentLocation <= 1 {
            return None;
        }
        (*irp).CurrentLocation -= 1;
        (*irp).CurrentStackLocation = (*irp).CurrentStackLocation.sub(1);
        Some((*irp).CurrentStackLocation)
    }
}

/// Completes an IRP with a status: its owner's completion routine runs on this thread, at its IRQL. Touch it no more.
///
/// # Safety
/// `irp` was taken by [`accept`] and not completed since.
pub unsafe fn complete(irp: *mut IRP, status: NtStatus, information: usize) {
    // SAFETY: the caller vouches for the IRP.
    unsafe {
        (*irp).IoStatus.Status = status;
        (*irp).IoStatus.Information = information;
        crate::io::complete::IofCompleteRequest(irp, 0);
    }
}

/// Exchanges the cancel routine.
///
/// # Safety
/// `irp` is valid.
pub unsafe fn set_cancel_routine(irp: *mut IRP, routine: Option<DRIVER_CANCEL>) -> Option<DRIVER_CANCEL> {
    // SAFETY: the caller vouches for the IRP; an optional function is as large as a pointer, and null is none.
    unsafe {
        let word = AtomicUsize::from_ptr((&raw mut (*irp).CancelRoutine).cast());
        let new = routine.map_or(0, |routine| routine as usize);
        std::mem::transmute::<usize, Option<DRIVER_CANCEL>>(word.swap(new, Ordering::AcqRel))
    }
}

/// Whether cancelling has been asked for.
///
/// # Safety
/// `irp` is valid.
pub unsafe fn is_cancelled(irp: *mut IRP) -> bool {
    // SAFETY: the caller vouches for the IRP; the flag is only used atomically.
    unsafe { AtomicU8::from_ptr(&raw mut (*irp).Cancel) }.load(Ordering::Acquire) != 0
}

/// Live IRPs, and all there ever were.
pub(crate) fn counts() -> (u64, u64) {
    let live = LIVE.iter().map(|shard| shard.lock().as_ref().map_or(0, HashSet::len)).sum::<usize>();
    (live as u64, TOTAL.load(Ordering::Relaxed))
}

/// Live IRPs that code at addresses of `range` allocated, with their histories.
pub(crate) fn leaks_of(range: &Range<usize>) -> Vec<(usize, Vec<String>)> {
    let live = LIVE.iter().flat_map(|shard| shard.lock().iter().flatten().copied().collect::<Vec<_>>());
    let owned = live.filter_map(|irp| {
        let header = header("leak check", irp as *mut IRP)?;
        range.contains(&header.site).then(|| (irp, header.story()))
    });
    owned.collect()
}

/// Frees an IRP; its memory is kept for a while, so that late uses are found.
pub(crate) fn free(irp: *mut IRP) {
    let Some(header) = header("IoFreeIrp", irp) else { return };
    match header.state() {
        State::Freed => return misused("irp-double-free", irp, header, "is freed again"),
        State::Sent => return misused("irp-free-pending", irp, header, "is freed while it is pending"),
        State::Fresh | State::Done => {}
    }
    if header.armed.load(Ordering::Acquire) != 0 {
        misused("L31", irp, header, "is freed while armed by IoSetCompletionRoutineEx: its memory and reference are lost");
    }
    check_held(irp, header, "freed");
    header.set(State::Freed);
    header.note(Step::Freed);
    if let Some(live) = shard(irp as usize).lock().as_mut() {
        live.remove(&(irp as usize));
    }
    let mut freed = FREED.lock();
    freed.push_back(irp as usize);
    if freed.len() > KEPT
        && let Some(old) = freed.pop_front()
    {
        let start = old - size_of::<Header>();
        // SAFETY: the oldest freed IRP, in no list any more, with the size it was allocated with.
        unsafe { dealloc(start as *mut u8, layout((*(start as *const Header)).size)) };
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn IoAllocateIrp(stack_size: i8, _charge_quota: u8) -> *mut IRP {
    irql::at_most("IoAllocateIrp", DISPATCH_LEVEL);
    if stack_size < 1 {
        verifier::violation("irp", format!("IoAllocateIrp with {stack_size} stack locations"));
        return null_mut();
    }
    if fault::hit("IoAllocateIrp") {
        return null_mut();
    }
    allocate(stack_size, image::caller())
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `irp` came from `IoAllocateIrp`.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoFreeIrp(irp: *mut IRP) {
    irql::at_most("IoFreeIrp", DISPATCH_LEVEL);
    free(irp);
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `irp` came from `IoAllocateIrp`.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoReuseIrp(irp: *mut IRP, status: NtStatus) {
    irql::at_most("IoReuseIrp", DISPATCH_LEVEL);
    let Some(header) = header("IoReuseIrp", irp) else { return };
    match header.state() {
        State::Sent => return misused("irp-state", irp, header, "is reused while it is pending"),
        State::Freed => return misused("irp-state", irp, header, "is reused after it was freed"),
        State::Fresh | State::Done => {}
    }
    if header.armed.load(Ordering::Acquire) != 0 {
        misused("L31", irp, header, "is reused while armed by IoSetCompletionRoutineEx: its memory and reference are lost");
    }
    check_held(irp, header, "reused");
    // SAFETY: the IRP is the driver's and not in use; its stack locations follow it.
    unsafe {
        let stack_size = (*irp).StackCount;
        let bytes = size_of::<IRP>() + stack_size as usize * size_of::<IO_STACK_LOCATION>();
        irp.cast::<u8>().write_bytes(0, bytes);
        initialize(irp, stack_size);
        (*irp).IoStatus.Status = status;
    }
    header.set(State::Fresh);
    header.note(Step::Reused);
}
