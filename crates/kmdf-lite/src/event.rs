//! What the framework tells whoever watches, and the hook that makes its functions fail.

#![allow(unsafe_code)] // The observer and the fault hook are function pointers kept in atomics.

use core::sync::atomic::{AtomicPtr, Ordering};

use nt_abi::kernel::KeGetCurrentIrql;
use nt_abi::{KIRQL, NtStatus};

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// The handle concerned; 0 if none is.
    pub object: usize,
}

/// The kinds of event.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A driver was bound to the framework; the object is its globals.
    Bind,
    /// A driver was unbound.
    Unbind,
    /// EvtDriverUnload is being called.
    UnloadCall,
    /// EvtDriverUnload has returned; framework objects are deleted next.
    UnloadReturn,
    /// The framework's unload routine is about to return.
    UnloadDone,
    /// An object was made.
    Create {
        /** Its type. */
        kind: &'static str,
    },
    /// An object was deleted.
    Delete {
        /** Its type. */
        kind: &'static str,
    },
    /// A device control is presented to the driver.
    Request {
        /** Its control code. */
        code: u32,
    },
    /// A request was completed.
    Complete {
        /** How. */
        status: NtStatus,
        /** With how many bytes. */
        information: usize,
    },
    /// The driver broke a rule of the framework.
    Violation {
        /** In which call. */
        function: &'static str,
        /** What it did. */
        text: &'static str,
    },
    /// The driver called what kmdf-lite does not have.
    NotThere {
        /** The function. */
        function: &'static str,
    },
}

/// Sets the function that is told every event, at any IRQL up to DISPATCH_LEVEL.
pub fn observe(observer: fn(&Event)) {
    OBSERVER.store(observer as *mut (), Ordering::Release);
}

/// Sets the function that is asked, by the name of the framework function, whether a call is to fail, and how.
pub fn faults(hook: fn(&'static str) -> Option<NtStatus>) {
    FAULTS.store(hook as *mut (), Ordering::Release);
}

static OBSERVER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static FAULTS: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

pub(crate) fn emit(kind: Kind, object: usize) {
    let observer = OBSERVER.load(Ordering::Acquire);
    if observer.is_null() {
        return;
    }
    // SAFETY: `observe` is the only writer and stores a `fn(&Event)`.
    let observer = unsafe { core::mem::transmute::<*mut (), fn(&Event)>(observer) };
    observer(&Event { kind, object });
}

pub(crate) fn violation(function: &'static str, text: &'static str, object: usize) {
    emit(Kind::Violation { function, text }, object);
}

pub(crate) fn fault(name: &'static str) -> Option<NtStatus> {
    let hook = FAULTS.load(Ordering::Acquire);
    if hook.is_null() {
        return None;
    }
    // SAFETY: `faults` is the only writer and stores a function of this type.
    let hook = unsafe { core::mem::transmute::<*mut (), fn(&'static str) -> Option<NtStatus>>(hook) };
    hook(name)
}

/// Begins a call that has a status: at most at this IRQL, and not if it is to fail.
pub(crate) fn enter(function: &'static str, highest: KIRQL) -> Result<(), NtStatus> {
    level(function, highest)?;
    fault(function).map_or(Ok(()), Err)
}

/// Checks the IRQL of a call.
pub(crate) fn level(function: &'static str, highest: KIRQL) -> Result<(), NtStatus> {
    // SAFETY: no precondition.
    if unsafe { KeGetCurrentIrql() } > highest {
        violation(function, "called at too high an IRQL", 0);
        return Err(NtStatus::INVALID_DEVICE_STATE);
    }
    Ok(())
}

/// `Ok(())` as STATUS_SUCCESS.
pub(crate) fn status(result: Result<(), NtStatus>) -> NtStatus {
    result.err().unwrap_or(NtStatus::SUCCESS)
}
