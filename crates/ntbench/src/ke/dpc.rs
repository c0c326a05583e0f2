//! Deferred procedure calls: routines at DISPATCH_LEVEL, each object queued at most once.
#![allow(unsafe_code)] // Exports with the kernel's ABI over the driver's KDPCs.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use nt_abi::{
    DISPATCH_LEVEL, HIGH_LEVEL, KDEFERRED_ROUTINE, KDPC, KOBJECT_DPC, NtStatus, PASSIVE_LEVEL, PROCESSOR_NUMBER, export_table,
};

use crate::ke::irql;
use crate::ke::processor::{self, Queued};
use crate::{callout, trace, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    KeInitializeDpc, KeSetTargetProcessorDpcEx, KeSetImportanceDpc, KeInsertQueueDpc, KeRemoveQueueDpc, KeFlushQueuedDpcs,
]);

/// What `DpcData` holds while a DPC is queued.
const QUEUED: *mut c_void = std::ptr::dangling_mut::<u64>().cast();

fn data<'a>(dpc: *mut KDPC) -> &'a AtomicPtr<c_void> {
    // SAFETY: callers pass a valid KDPC, and this field is only used atomically.
    unsafe { AtomicPtr::from_ptr(&raw mut (*dpc).DpcData) }
}

/// Marks a DPC as not queued.
///
/// # Safety
/// `dpc` is valid, and the lock of its queue is held.
pub(crate) unsafe fn dequeued(dpc: *mut KDPC) {
    data(dpc).store(null_mut(), Ordering::Release);
}

/// Runs a DPC that has just been taken off its queue, at DISPATCH_LEVEL.
pub(crate) fn run(queued: Queued) {
    let dpc = queued.dpc;
    // SAFETY: its owner keeps it valid until the routine is entered; the routine may free it.
    let (routine, context) = unsafe { ((*dpc).DeferredRoutine, (*dpc).DeferredContext) };
    let Some(routine) = routine else {
        verifier::violation("dpc", format!("DPC {dpc:p} has no routine"));
        return;
    };
    if trace::io() {
        trace::emit(trace::Kind::Io { what: "Dpc", object: dpc as usize, detail: crate::image::describe(routine as usize) });
    }
    callout::call(callout::Kind::Dpc, "DPC", routine as usize, || {
        // SAFETY: the routine is the driver's, called as the kernel calls it.
        unsafe { routine(dpc, context, queued.arguments[0], queued.arguments[1]) }
    });
}

/// Queues a DPC with two arguments; false if it is queued already.
///
/// # Safety
/// `dpc` is an initialized KDPC.
pub(crate) unsafe fn insert(dpc: *mut KDPC, arguments: [*mut c_void; 2]) -> bool {
    if data(dpc).compare_exchange(null_mut(), QUEUED, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return false;
    }
    // SAFETY: the DPC is valid, and nobody else writes these fields while it is not queued.
    let target = unsafe {
        (*dpc).SystemArgument1 = arguments[0];
        (*dpc).SystemArgument2 = arguments[1];
        (*dpc).Number
    };
    processor::queue(Queued { dpc, arguments }, (target != 0).then(|| u32::from(target) - 1));
    true
}

/// # IRQL
/// Any
///
/// # Safety
/// `dpc` is valid for writes and not queued.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInitializeDpc(dpc: *mut KDPC, routine: Option<KDEFERRED_ROUTINE>, context: *mut c_void) {
    let fresh = KDPC {
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
    // SAFETY: the caller passed memory for a KDPC.
    unsafe { dpc.write(fresh) };
}

/// # IRQL
/// Any
///
/// # Safety
/// Both pointers are valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetTargetProcessorDpcEx(dpc: *mut KDPC, number: *mut PROCESSOR_NUMBER) -> NtStatus {
    // SAFETY: the caller passed valid pointers.
    let number = unsafe { *number };
    if number.Group != 0 || u32::from(number.Number) >= processor::count() || number.Reserved != 0 {
        return NtStatus::INVALID_PARAMETER;
    }
    // SAFETY: as above.
    unsafe { (*dpc).Number = u16::from(number.Number) + 1 };
    NtStatus::SUCCESS
}

/// # IRQL
/// Any
///
/// # Safety
/// `dpc` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeSetImportanceDpc(dpc: *mut KDPC, importance: u32) {
    // SAFETY: the caller passed a valid pointer.
    unsafe { (*dpc).Importance = importance as u8 };
}

/// # IRQL
/// Any
///
/// # Safety
/// `dpc` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeInsertQueueDpc(dpc: *mut KDPC, argument1: *mut c_void, argument2: *mut c_void) -> u8 {
    irql::at_most("KeInsertQueueDpc", HIGH_LEVEL);
    // SAFETY: the caller passed a KDPC.
    if unsafe { (*dpc).Type } != KOBJECT_DPC {
        verifier::violation("dpc", format!("KeInsertQueueDpc: {dpc:p} is not an initialized DPC"));
        return 0;
    }
    // SAFETY: it is initialized, as seen.
    u8::from(unsafe { insert(dpc, [argument1, argument2]) })
}

/// # IRQL
/// Any
///
/// # Safety
/// `dpc` is initialized.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRemoveQueueDpc(dpc: *mut KDPC) -> u8 {
    u8::from(!data(dpc).load(Ordering::Acquire).is_null() && processor::unqueue(dpc))
}

/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn KeFlushQueuedDpcs() {
    irql::at_most("KeFlushQueuedDpcs", PASSIVE_LEVEL);
    if irql::current() < DISPATCH_LEVEL {
        processor::flush();
    }
}
