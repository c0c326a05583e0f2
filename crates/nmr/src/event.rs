//! What the registrar tells whoever watches: each step as a typed event, each broken rule as a violation.

#![allow(unsafe_code)] // The observer and the fault hook are function pointers kept in atomics.

use core::sync::atomic::{AtomicPtr, Ordering};

use nt_abi::NtStatus;

use crate::Side;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// To which side.
    pub side: Side,
    /// The handle of that side's registration; 0 if it has none.
    pub registration: usize,
    /// The binding handle; 0 where no binding is concerned.
    pub binding: usize,
    /// The registration's or binding's context, as that side gave it.
    pub context: usize,
    /// Address of the characteristics that the side registered with: it tells which image the module belongs to.
    pub characteristics: usize,
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A registration was made (before its attaches), or failed.
    Register {
        /** The answer. */
        status: NtStatus,
    },
    /// The attach callback of a side is being called.
    AttachCall,
    /// The attach callback of a side has returned.
    AttachReturn {
        /** What it returned. */
        status: NtStatus,
    },
    /// A deregistration has begun: no new binding from here on.
    DeregisterCall,
    /// A deregistration call is about to return.
    Deregister {
        /** The answer. */
        status: NtStatus,
    },
    /// The detach callback of a side is being called.
    DetachCall,
    /// The detach callback of a side has returned.
    DetachReturn {
        /** What it returned. */
        status: NtStatus,
    },
    /// A side has reported its detaching complete.
    DetachComplete,
    /// The cleanup callback of a side is being called (or would be, had it one).
    Cleanup,
    /// A wait for a deregistration begins.
    WaitBegin,
    /// A wait for a deregistration returns.
    WaitReturn {
        /** The answer. */
        status: NtStatus,
    },
    /// A module broke a rule.
    Violation {
        /** Which rule. */
        rule: &'static str,
        /** What the module did. */
        text: &'static str,
    },
}

/// Sets the function that is told every event, at any IRQL up to DISPATCH_LEVEL and without the registrar's lock.
pub fn observe(observer: fn(&Event)) {
    OBSERVER.store(observer as *mut (), Ordering::Release);
}

/// Sets the function that is asked, by the name of the exported function, whether a call is to fail, and how.
pub fn faults(hook: fn(&'static str) -> Option<NtStatus>) {
    FAULTS.store(hook as *mut (), Ordering::Release);
}

/// Reports a broken rule on behalf of a provider (rule N8: what a client got from it and did not give back).
pub fn report(rule: &'static str, text: &'static str, side: Side, binding: usize) {
    let kind = Kind::Violation { rule, text };
    emit(&Event { kind, side, registration: 0, binding, context: 0, characteristics: 0 });
}

static OBSERVER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static FAULTS: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

pub(crate) fn emit(event: &Event) {
    let observer = OBSERVER.load(Ordering::Acquire);
    if observer.is_null() {
        return;
    }
    // SAFETY: `observe` is the only writer and stores a `fn(&Event)`.
    let observer = unsafe { core::mem::transmute::<*mut (), fn(&Event)>(observer) };
    observer(event);
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
