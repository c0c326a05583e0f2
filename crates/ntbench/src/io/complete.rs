//! Completing IRPs: the walk up the stack locations, completion routines, and the ones that keep an image loaded.
#![allow(unsafe_code)] // IRPs are shared with drivers.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use nt_abi::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IO_COMPLETION_ROUTINE, IO_STACK_LOCATION, IRP, NtStatus, SL_INVOKE_ON_CANCEL,
    SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS, SL_PENDING_RETURNED, export_table,
};

use crate::callout::{self, Kind};
use crate::io::irp::{self, State, Step, header, misused};
use crate::ke::{event, irql};
use crate::{fault, ob, trace, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [IofCompleteRequest, IofCallDriver, IoSetCompletionRoutineEx]);

/// What `IoSetCompletionRoutineEx` keeps until the routine has run.
struct Keeper {
    device: *mut DEVICE_OBJECT,
    routine: IO_COMPLETION_ROUTINE,
    context: *mut c_void,
}

/// What stands in a stack location for a routine that keeps its device; [`invoke`] knows it and never calls it.
unsafe extern "win64" fn keeper(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, _context: *mut c_void) -> NtStatus {
    verifier::violation("irp", "a completion routine of IoSetCompletionRoutineEx's was called directly");
    NtStatus::MORE_PROCESSING_REQUIRED
}

fn is_keeper(routine: IO_COMPLETION_ROUTINE) -> bool {
    routine as usize == keeper as *const () as usize
}

/// Calls one completion routine; the IRP may be gone afterwards.
fn invoke(routine: IO_COMPLETION_ROUTINE, device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NtStatus {
    if !is_keeper(routine) {
        // SAFETY: the routine is the driver's, called as the I/O manager calls it.
        return callout::call(Kind::Completion, "completion routine", routine as usize, || unsafe {
            routine(device, irp, context)
        });
    }
    // SAFETY: the context of a keeper is the box that was made for it, and this is the one time it is taken back.
    let keeper = unsafe { Box::from_raw(context.cast::<Keeper>()) };
    if let Some(header) = header("completion", irp) {
        header.armed.store(0, Ordering::Release);
    }
    let routine = keeper.routine;
    // SAFETY: as above.
    let call = || unsafe { routine(device, irp, keeper.context) };
    let status = callout::call_kept(Kind::Completion, "completion routine (Ex)", routine as usize, call);
    // The image is kept until here: this thread has left it.
    ob::dereference(keeper.device.cast());
    status
}

fn wants(control: u8, status: NtStatus, cancelled: bool) -> bool {
    status.is_success() && control & SL_INVOKE_ON_SUCCESS != 0
        || status.is_failure() && control & SL_INVOKE_ON_ERROR != 0
        || cancelled && control & SL_INVOKE_ON_CANCEL != 0
}

/// Reports what cannot be completed.
fn check(irp: *mut IRP, header: &irp::Header) -> bool {
    // SAFETY: an IRP of the bench's; freed ones are kept for a while.
    let (location, count, status) = unsafe { ((*irp).CurrentLocation, (*irp).StackCount, (*irp).IoStatus.Status) };
    if header.state() == State::Freed {
        misused("irp-use-after-free", irp, header, "is completed after it was freed");
        return false;
    }
    if location > count {
        misused(
            "irp-double-completion",
            irp,
            header,
            "is completed while it is with its owner: twice, or without having been sent",
        );
        return false;
    }
    if status == NtStatus::PENDING {
        misused("irp-status-pending", irp, header, "is completed with STATUS_PENDING");
    }
    // SAFETY: as above.
    if unsafe { (*irp).CancelRoutine }.is_some() {
        misused("irp-cancel-routine", irp, header, "is completed with a cancel routine set");
    }
    true
}

/// Pops the current stack location and answers its copy; it is emptied.
unsafe fn pop(irp: *mut IRP) -> IO_STACK_LOCATION {
    // SAFETY: the caller has seen that the current location is one of the IRP's.
    unsafe {
        let location = (*irp).CurrentStackLocation;
        (*irp).CurrentStackLocation = location.add(1);
        (*irp).CurrentLocation += 1;
        (*irp).PendingReturned = location.read().Control & SL_PENDING_RETURNED;
        location.replace(IO_STACK_LOCATION::EMPTY)
    }
}

/// Walks up an IRP's stack locations; true if a routine has kept it.
unsafe fn walk(irp: *mut IRP, header: &irp::Header) -> bool {
    // SAFETY: the IRP is valid until a routine keeps it.
    unsafe {
        while (*irp).CurrentLocation <= (*irp).StackCount {
            let (status, cancelled) = ((*irp).IoStatus.Status, (*irp).Cancel != 0);
            let location = pop(irp);
            let owners = (*irp).CurrentLocation > (*irp).StackCount;
            if owners {
                header.set(State::Done);
            }
            let routine = location.CompletionRoutine.filter(|_| wants(location.Control, status, cancelled));
            let Some(routine) = routine else {
                if (*irp).PendingReturned != 0 && !owners {
                    (*(*irp).CurrentStackLocation).Control |= SL_PENDING_RETURNED;
                }
                continue;
            };
            let device = if owners { null_mut() } else { (*(*irp).CurrentStackLocation).DeviceObject };
            if invoke(routine, device, irp, location.Context) == NtStatus::MORE_PROCESSING_REQUIRED {
                return true;
            }
        }
    }
    false
}

/// Ends a request of the bench's own: hands its status over and signals its event.
unsafe fn finish(irp: *mut IRP, header: &irp::Header) {
    // SAFETY: no routine has kept the IRP; it is valid.
    unsafe {
        if (*irp).UserIosb.is_null() {
            misused(
                "irp-not-kept",
                irp,
                header,
                "was allocated by the driver, and its completion routine did not keep it (STATUS_MORE_PROCESSING_REQUIRED)",
            );
            return;
        }
        (*irp).UserIosb.write((*irp).IoStatus);
        let done = (*irp).UserEvent;
        event::signal(&raw mut (*done).Header);
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `irp` is with its caller, who gives it up.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IofCompleteRequest(irp: *mut IRP, _boost: i8) {
    irql::at_most("IofCompleteRequest", DISPATCH_LEVEL);
    let Some(header) = header("IofCompleteRequest", irp) else { return };
    if !check(irp, header) {
        return;
    }
    header.note(Step::Completed);
    if trace::io() {
        // SAFETY: the IRP is valid, as checked.
        let status = unsafe { (*irp).IoStatus };
        let detail = format!("{} {}", status.Status, status.Information);
        trace::emit(trace::Kind::Io { what: "IrpCompleted", object: irp as usize, detail });
    }
    // SAFETY: checked above.
    unsafe {
        if !walk(irp, header) {
            finish(irp, header);
        }
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `device` is a device object, `irp` ready to be sent.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NtStatus {
    irql::at_most("IofCallDriver", DISPATCH_LEVEL);
    let Some(header) = header("IofCallDriver", irp) else { return NtStatus::INVALID_PARAMETER };
    header.change(State::Fresh, State::Sent);
    header.note(Step::Sent);
    // SAFETY: the caller vouches for both; the location is the IRP's.
    let routine = unsafe {
        let Some(location) = irp::next_location(irp) else {
            misused("irp-stack", irp, header, "has no stack location left");
            return NtStatus::INVALID_PARAMETER;
        };
        (*location).DeviceObject = device;
        let driver = (*device).DriverObject;
        (*driver).MajorFunction[usize::from((*location).MajorFunction)]
    };
    let Some(routine) = routine else {
        // SAFETY: the IRP is ours now.
        unsafe { irp::complete(irp, NtStatus::INVALID_DEVICE_REQUEST, 0) };
        return NtStatus::INVALID_DEVICE_REQUEST;
    };
    // SAFETY: a dispatch routine of the driver's, called as the I/O manager calls it.
    callout::call(Kind::Dispatch, "dispatch routine", routine as usize, || unsafe { routine(device, irp) })
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `device` is a device object, `irp` has a next stack location.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoSetCompletionRoutineEx(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    routine: Option<IO_COMPLETION_ROUTINE>,
    context: *mut c_void,
    on_success: u8,
    on_error: u8,
    on_cancel: u8,
) -> NtStatus {
    irql::at_most("IoSetCompletionRoutineEx", DISPATCH_LEVEL);
    let Some(header) = header("IoSetCompletionRoutineEx", irp) else { return NtStatus::INVALID_PARAMETER };
    let Some(routine) = routine else { return NtStatus::INVALID_PARAMETER };
    if header.armed.load(Ordering::Acquire) != 0 {
        misused("L31", irp, header, "is armed again by IoSetCompletionRoutineEx: what the first one allocated is lost");
    }
    if fault::hit("IoSetCompletionRoutineEx") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    ob::reference(device.cast());
    let keeper_box = Box::into_raw(Box::new(Keeper { device, routine, context }));
    header.armed.store(keeper_box as usize, Ordering::Release);
    header.note(Step::Armed);
    let flag = |wanted: u8, flag: u8| if wanted == 0 { 0 } else { flag };
    // SAFETY: the caller vouches for the next stack location.
    unsafe {
        let next = (*irp).CurrentStackLocation.sub(1);
        (*next).CompletionRoutine = Some(keeper);
        (*next).Context = keeper_box.cast();
        (*next).Control =
            flag(on_success, SL_INVOKE_ON_SUCCESS) | flag(on_error, SL_INVOKE_ON_ERROR) | flag(on_cancel, SL_INVOKE_ON_CANCEL);
    }
    NtStatus::SUCCESS
}
