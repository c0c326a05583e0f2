//! Events, and the state word that every dispatcher object has.
//!
//! The word is 1 when the object is signalled, 0 when not; beside it a flag says that somebody sleeps on it. Setting is
//! one exchange, and a wake after it touches no memory: who waited may have freed the object by then.
#![allow(unsafe_code)] // Exports with the kernel's ABI over the driver's objects.

use std::sync::atomic::{AtomicU32, Ordering};

use nt_abi::{
    DISPATCH_LEVEL, DISPATCHER_HEADER, KEVENT, KOBJECT_NOTIFICATION_EVENT, KOBJECT_SYNCHRONIZATION_EVENT, LIST_ENTRY,
    PASSIVE_LEVEL, SYNCHRONIZATION_EVENT, export_table,
};

use crate::ke::irql;
use crate::{futex, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    KeInitializeEvent, KeSetEvent, KeClearEvent, KeResetEvent, KeReadStateEvent,
]);

/// Signalled.
pub(crate) const SIGNALLED: u32 = 1;
/// Somebody sleeps on the word.
pub(crate) const AWAITED: u32 = 1 << 8;

/// The state word of a dispatcher object.
///
/// # Safety
/// `header` is valid for as long as the result is used.
pub(crate) unsafe fn state<'a>(header: *mut DISPATCHER_HEADER) -> &'a AtomicU32 {
    // SAFETY: the caller vouches for the pointer; the word is only used atomically.
    unsafe { AtomicU32::from_ptr((&raw mut (*header).SignalState).cast()) }
}

/// Initializes a dispatcher object's header.
///
/// # Safety
/// `header` is valid for writes.
pub(crate) unsafe fn initialize(header: *mut DISPATCHER_HEADER, kind: u8, size: usize, signalled: bool) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let list = &raw mut (*header).WaitListHead;
        header.write(DISPATCHER_HEADER {
            Type: kind,
            Signalling: 0,
            Size: (size / 4) as u8,
            Reserved: 0,
            SignalState: i32::from(signalled),
            WaitListHead: LIST_ENTRY { Flink: list, Blink: list },
        });
    }
}

/// Signals a dispatcher object and wakes those who wait; answers whether it was signalled before.
///
/// # Safety
/// `header` is valid until the object is signalled.
pub(crate) unsafe fn signal(header: *mut DISPATCHER_HEADER) -> bool {
    // SAFETY: the caller vouches for the pointer.
    let word: *const AtomicU32 = unsafe { state(header) };
    // SAFETY: the object is valid until this exchange lets a waiter go.
    let old = unsafe { &*word }.swap(SIGNALLED, Ordering::AcqRel);
    if old & AWAITED != 0 {
        futex::wake(word, i32::MAX);
    }
    old & SIGNALLED != 0
}

/// Makes a dispatcher object not signalled; answers whether it was.
///
/// # Safety
/// `header` is valid.
pub(crate) unsafe fn clear(header: *mut DISPATCHER_HEADER) -> bool {
    // SAFETY: the caller vouches for the pointer.
    unsafe { state(header) }.fetch_and(!SIGNALLED, Ordering::AcqRel) & SIGNALLED != 0
}

/// Reports an object that is not an initialized event.
unsafe fn check(function: &str, event: *mut KEVENT) {
    // SAFETY: the driver passed an event.
    let header = unsafe { (*event).Header };
    // SAFETY: only an address is taken.
    let list = unsafe { &raw mut (*event).Header.WaitListHead };
    if header.Type > KOBJECT_SYNCHRONIZATION_EVENT || header.WaitListHead.Flink != list {
        verifier::violation("event", format!("{function}: {event:p} is not an initialized event, or was moved"));
    }
}

/// # IRQL
/// Any
///
/// # Safety
/// `event` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeEvent(event: *mut KEVENT, kind: u32, signalled: u8) {
    let kind = if kind == SYNCHRONIZATION_EVENT { KOBJECT_SYNCHRONIZATION_EVENT } else { KOBJECT_NOTIFICATION_EVENT };
    // SAFETY: the caller passed memory for an event.
    unsafe { initialize(&raw mut (*event).Header, kind, size_of::<KEVENT>(), signalled != 0) };
}

/// # IRQL
/// <= DISPATCH_LEVEL; <= APC_LEVEL with `wait`
///
/// # Safety
/// `event` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetEvent(event: *mut KEVENT, _increment: i32, wait: u8) -> i32 {
    irql::at_most("KeSetEvent", if wait == 0 { DISPATCH_LEVEL } else { PASSIVE_LEVEL });
    // SAFETY: the caller passed an event.
    unsafe {
        check("KeSetEvent", event);
        i32::from(signal(&raw mut (*event).Header))
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `event` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeClearEvent(event: *mut KEVENT) {
    irql::at_most("KeClearEvent", DISPATCH_LEVEL);
    // SAFETY: the caller passed an event.
    unsafe {
        check("KeClearEvent", event);
        clear(&raw mut (*event).Header);
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `event` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeResetEvent(event: *mut KEVENT) -> i32 {
    irql::at_most("KeResetEvent", DISPATCH_LEVEL);
    // SAFETY: the caller passed an event.
    unsafe {
        check("KeResetEvent", event);
        i32::from(clear(&raw mut (*event).Header))
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `event` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeReadStateEvent(event: *mut KEVENT) -> i32 {
    irql::at_most("KeReadStateEvent", DISPATCH_LEVEL);
    // SAFETY: the caller passed an event.
    unsafe {
        check("KeReadStateEvent", event);
        (state(&raw mut (*event).Header).load(Ordering::Acquire) & SIGNALLED) as i32
    }
}
