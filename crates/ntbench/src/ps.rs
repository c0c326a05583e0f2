//! System threads: host threads that a driver starts and that end in the bench.
#![allow(unsafe_code)] // Threads enter the driver's code and leave it from anywhere.
#![allow(non_upper_case_globals)] // Exported names.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::null_mut;

use nt_abi::{
    CLIENT_ID, DISPATCHER_HEADER, HANDLE, KOBJECT_PROCESS, KOBJECT_THREAD, KSTART_ROUTINE, NtStatus, OBJECT_ATTRIBUTES,
    PASSIVE_LEVEL, export_table,
};
use parking_lot::Mutex;

use crate::callout::Kind;
use crate::ke::{event, irql};
use crate::thread::{self, LOCAL};
use crate::{fault, image, ob, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    PsCreateSystemThread, PsTerminateSystemThread, PsGetCurrentThreadId, PsGetCurrentProcess, IoGetCurrentProcess,
    KeGetCurrentThread, PsGetCurrentProcessId,
]);

/// The body of a thread object.
#[repr(C)]
struct Thread {
    header: DISPATCHER_HEADER,
    routine: KSTART_ROUTINE,
    context: *mut c_void,
}

/// The thread objects whose routine has not ended: object, routine.
static RUNNING: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());
static PROCESS: Mutex<usize> = Mutex::new(0);

/// System threads that run.
pub(crate) fn count() -> usize {
    RUNNING.lock().len()
}

/// Routines of system threads that run and began in `range`.
pub(crate) fn running_in(range: &Range<usize>) -> Vec<String> {
    let running = RUNNING.lock();
    running.iter().filter(|(_, routine)| range.contains(routine)).map(|(_, routine)| image::describe(*routine)).collect()
}

fn destroy(_thread: *mut c_void) {}

/// Calls `routine(context)` with the stack pointer saved, so that [`leave`] can come back from anywhere in it.
#[unsafe(naked)]
unsafe extern "C" fn enter(routine: KSTART_ROUTINE, context: *mut c_void, saved: *mut usize) {
    core::arch::naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 40", // The callee's home area, and alignment.
        "mov [rdx], rsp",
        "mov rcx, rsi",
        "call rdi",
        "add rsp, 40",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Goes on after the call in [`enter`] that saved this stack pointer.
#[unsafe(naked)]
unsafe extern "C" fn leave(saved: usize) -> ! {
    core::arch::naked_asm!("mov rsp, rdi", "add rsp, 40", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret",)
}

/// What a system thread does on its host thread.
fn run(object: usize) {
    let thread = object as *mut Thread;
    // SAFETY: the thread holds a reference to its object.
    let (routine, context) = unsafe { ((*thread).routine, (*thread).context) };
    let slot = thread::slot();
    let mut saved = 0;
    LOCAL.with(|local| {
        local.object.set(object);
        local.exit.set(&raw mut saved as usize);
    });
    slot.push(Kind::Thread, routine as usize);
    // SAFETY: the driver's routine, entered as the kernel does; it comes back by returning or through `leave`.
    unsafe { enter(routine, context, &raw mut saved) };
    slot.clear();
    check_end(routine);
    RUNNING.lock().retain(|(running, _)| *running != object);
    // SAFETY: as above, until the reference is dropped.
    unsafe { event::signal(&raw mut (*thread).header) };
    ob::dereference(thread.cast());
}

fn check_end(routine: KSTART_ROUTINE) {
    let (level, locks) = LOCAL.with(|local| (local.irql.get(), local.locks.get()));
    if level != PASSIVE_LEVEL || locks != 0 {
        let name = image::describe(routine as usize);
        verifier::violation("thread", format!("system thread {name} ended at IRQL {level} with {locks} spin locks held"));
        irql::force(PASSIVE_LEVEL);
    }
}

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// `handle` and `client` are null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn PsCreateSystemThread(
    handle: *mut HANDLE,
    _access: u32,
    _attributes: *const OBJECT_ATTRIBUTES,
    _process: HANDLE,
    client: *mut CLIENT_ID,
    routine: Option<KSTART_ROUTINE>,
    context: *mut c_void,
) -> NtStatus {
    irql::at_most("PsCreateSystemThread", PASSIVE_LEVEL);
    let Some(routine) = routine else { return NtStatus::INVALID_PARAMETER };
    if fault::hit("PsCreateSystemThread") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    let object = ob::create(ob::Kind::Thread, size_of::<Thread>(), destroy);
    let thread = object.cast::<Thread>();
    // SAFETY: the body is new and zeroed.
    unsafe {
        event::initialize(&raw mut (*thread).header, KOBJECT_THREAD, size_of::<Thread>(), false);
        (&raw mut (*thread).routine).write(routine);
        (*thread).context = context;
    }
    if !start(object, routine) {
        ob::dereference(object);
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passed valid pointers or null.
    unsafe {
        if !client.is_null() {
            client.write(CLIENT_ID { UniqueProcess: PROCESS_ID, UniqueThread: object });
        }
        if handle.is_null() {
            ob::dereference(object);
        } else {
            handle.write(ob::open(object, image::caller()))
        }
    }
    NtStatus::SUCCESS
}

/// Starts the host thread of a thread object, which gets a reference of its own.
fn start(object: *mut c_void, routine: KSTART_ROUTINE) -> bool {
    ob::reference(object);
    let address = object as usize;
    RUNNING.lock().push((address, routine as usize));
    let started = std::thread::Builder::new().name("system".into()).spawn(move || run(address)).is_ok();
    if !started {
        RUNNING.lock().retain(|(running, _)| *running != address);
        ob::dereference(object);
    }
    started
}

/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn PsTerminateSystemThread(_status: NtStatus) -> NtStatus {
    let saved = LOCAL.with(|local| local.exit.replace(0)) as *const usize;
    if saved.is_null() {
        verifier::violation("thread", "PsTerminateSystemThread outside a system thread");
        return NtStatus::INVALID_PARAMETER;
    }
    // SAFETY: this is the thread that `run` entered the driver on, and it has not come back; nothing between needs to
    // be dropped.
    unsafe { leave(*saved) }
}

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn PsGetCurrentThreadId() -> HANDLE {
    (thread::slot().id as usize * 4) as HANDLE
}

const PROCESS_ID: HANDLE = 4 as HANDLE;

/// # IRQL
/// <= DISPATCH_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn PsGetCurrentProcessId() -> HANDLE {
    PROCESS_ID
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn IoGetCurrentProcess() -> *mut c_void {
    let mut process = PROCESS.lock();
    if *process == 0 {
        let object = ob::create(ob::Kind::Process, 4096, destroy);
        // SAFETY: the body is new and large enough.
        unsafe { event::initialize(object.cast(), KOBJECT_PROCESS, size_of::<DISPATCHER_HEADER>(), false) };
        *process = object as usize;
    }
    *process as *mut c_void
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn PsGetCurrentProcess() -> *mut c_void {
    IoGetCurrentProcess()
}

/// The thread object of a system thread; null on other host threads.
///
/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn KeGetCurrentThread() -> *mut c_void {
    match LOCAL.with(|local| local.object.get()) {
        0 => null_mut(),
        object => object as *mut c_void,
    }
}
