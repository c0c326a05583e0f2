//! Faults: what touched what, in the driver's terms.
//!
//! A fault in a driver's code, in code of the bench that a driver called with a bad pointer, or at an address of an
//! image that is gone ends the run as a violation. Every other fault goes to whoever handled it before.
//!
//! The handler itself only notes the fault and lets the thread go on in `report`, on a stack of its own: naming the
//! place reads the PDB, which takes more than a signal stack has.
#![allow(unsafe_code)] // A signal handler.

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::image;
use crate::ke::{irql, time};
use crate::thread;
use crate::verifier::{self, Violation};

static PREVIOUS: OnceLock<[(i32, libc::sigaction); 4]> = OnceLock::new();
static BREAKPOINTS: AtomicU32 = AtomicU32::new(0);
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Installs the handler for SIGSEGV, SIGBUS, SIGILL and SIGTRAP, on the alternate stacks that threads have.
pub(crate) fn install() {
    report_stack();
    PREVIOUS.get_or_init(|| [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP].map(|signal| (signal, replace(signal))));
}

fn replace(signal: i32) -> libc::sigaction {
    // SAFETY: a zeroed sigaction is valid, and the handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut previous: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigaction(signal, &raw const action, &raw mut previous);
        previous
    }
}

/// Breakpoints that drivers have run into since this was last asked.
pub(crate) fn take_breakpoints() -> u32 {
    BREAKPOINTS.swap(0, Ordering::Relaxed)
}

/// The registers that matter.
#[derive(Clone, Copy)]
struct Fault {
    signal: i32,
    instruction: usize,
    stack: usize,
    address: usize,
}

/// The stack that a fault is reported on.
const STACK: usize = 8 << 20;

static FAULT: OnceLock<Fault> = OnceLock::new();
static REPORT_STACK: OnceLock<usize> = OnceLock::new();

/// The top of the stack for reports, made in time.
fn report_stack() -> usize {
    *REPORT_STACK.get_or_init(|| Box::leak(vec![0u128; STACK / 16].into_boxed_slice()).as_ptr() as usize + STACK)
}

unsafe extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo and a ucontext, which is this handler's to change.
    let (registers, address) = unsafe { (&mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs, (*info).si_addr()) };
    let instruction = registers[libc::REG_RIP as usize] as usize;
    let stack = registers[libc::REG_RSP as usize] as usize;
    let in_image = image::index_of(instruction).is_some();
    if in_image && signal == libc::SIGTRAP {
        // The thread goes on after the breakpoint: what follows (a panic's bug check) says more.
        BREAKPOINTS.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if !in_image && thread::slot().depth() == 0 || ENTERED.swap(true, Ordering::SeqCst) {
        // SAFETY: called in the handler for this signal.
        unsafe { give_up(signal) };
        return;
    }
    let _ = FAULT.set(Fault { signal, instruction, stack, address: address as usize });
    registers[libc::REG_RIP as usize] = report as *const () as i64;
    registers[libc::REG_RSP as usize] = (report_stack() - 4096 - 8) as i64;
}

/// Restores who handled the signal before; the instruction faults again when the handler returns.
unsafe fn give_up(signal: i32) {
    let previous = PREVIOUS.get().and_then(|all| all.iter().find(|(number, _)| *number == signal));
    if let Some((_, action)) = previous {
        // SAFETY: the action is one that the system gave us.
        unsafe { libc::sigaction(signal, &raw const *action, std::ptr::null_mut()) };
    }
}

/// Where a thread goes on that has faulted.
unsafe extern "C" fn report() -> ! {
    // Describing it allocates, which may hang if the fault was in the allocator: not for ever.
    // SAFETY: an alarm ends the process.
    unsafe { libc::alarm(10) };
    let Some(fault) = FAULT.get() else { std::process::abort() };
    eprintln!("ntbench: a fault at instruction {:#x}, memory {:#x}", fault.instruction, fault.address);
    let in_image = image::index_of(fault.instruction).is_some();
    let (rule, what) = explain(fault, in_image);
    let mut place = Vec::new();
    if in_image {
        place.push(image::describe(fault.instruction));
    }
    place.extend(image::stack_places_from(fault.stack, 8));
    let violation = Violation {
        rule,
        what,
        place,
        irql: irql::current(),
        thread: thread::slot().id,
        time_ms: time::since_start().as_secs_f64() * 1e3,
        history: Vec::new(),
    };
    verifier::end(&violation)
}

fn explain(fault: &Fault, in_image: bool) -> (&'static str, String) {
    let address = fault.address;
    if let Some(image) = image::of(fault.instruction).filter(|image| image.is_gone()) {
        let text = format!("code of {} runs after its unload has returned: {}", image.name, image.describe(fault.instruction));
        return ("L31", text);
    }
    if let Some(image) = image::of(address).filter(|image| image.is_gone()) {
        return ("L31", format!("data of {} is used after its unload has returned: {}", image.name, image.describe(address)));
    }
    if fault.signal == libc::SIGILL {
        return ("instruction", "an instruction that this processor does not have, or a trap of the compiler's".into());
    }
    if in_image && let Some(what) = instruction(fault.instruction) {
        return ("instruction", what);
    }
    if address < 0x1_0000 {
        return ("null", format!("memory at {address:#x} is used: a null pointer"));
    }
    if let Some(text) = crate::ex::pool::explain(address) {
        return ("pool", text);
    }
    let how = if in_image { "the driver" } else { "the bench, called by the driver with this pointer," };
    ("access", format!("{how} uses memory at {address:#x}, which is not there or is protected"))
}

/// What is special about an instruction that faulted, if something is.
fn instruction(address: usize) -> Option<String> {
    let mut bytes = [0u8; 4];
    let mapped = image::index_of(address + 3).is_some();
    if mapped {
        // SAFETY: the instruction was fetched from here, and its page or the next of the image is readable.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), 4) };
    }
    Some(match bytes {
        [0x65, ..] => "memory relative to GS (the processor block) is used: the bench has none".into(),
        [0x44 | 0x0f, 0x0f | 0x20 | 0x22, ..] if is_control_register(bytes) => {
            "a control register (CR8 is the IRQL) is used: call KeGetCurrentIrql, KfRaiseIrql or KeLowerIrql".into()
        }
        [0xf4, ..] => "HLT is executed".into(),
        [0xfa | 0xfb, ..] => "interrupts are switched off or on".into(),
        [0x0f, 0x30 | 0x32, ..] => "a model-specific register is used".into(),
        [0xcd, 0x29, ..] => "__fastfail was called".into(),
        _ => return None,
    })
}

fn is_control_register(bytes: [u8; 4]) -> bool {
    matches!(bytes, [0x0f, 0x20 | 0x22, ..] | [0x44, 0x0f, 0x20 | 0x22, _])
}
