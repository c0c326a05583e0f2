//! IRPs and MDLs, counted; `IoSetCompletionRoutineEx`, which is a stub of Wine's.

#![allow(unsafe_code)] // Functions that drivers call.

use core::ffi::c_void;

use nt_abi::{
    DEVICE_OBJECT, Export, IO_COMPLETION_ROUTINE, IRP, MDL, NtStatus, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS,
};

use super::held;
use crate::ledger::Kind;
use crate::wine::ExAllocatePoolWithTag;

/// For a driver.
pub(crate) const EXPORTS: &[Export] = &[
    Export::new("ntoskrnl.exe", "IoAllocateIrp", allocate_irp as *const ()),
    Export::new("ntoskrnl.exe", "IoFreeIrp", free_irp as *const ()),
    Export::new("ntoskrnl.exe", "IoAllocateMdl", allocate_mdl as *const ()),
    Export::new("ntoskrnl.exe", "IoFreeMdl", free_mdl as *const ()),
    Export::new("ntoskrnl.exe", "IoSetCompletionRoutineEx", set_completion_routine_ex as *const ()),
];

const TAG: u32 = u32::from_le_bytes(*b"Shim");

unsafe extern "win64" fn allocate_irp(stack_size: i8, charge_quota: u8) -> *mut IRP {
    // SAFETY: the driver's arguments.
    let irp = unsafe { nt_abi::kernel::IoAllocateIrp(stack_size, charge_quota) };
    if !irp.is_null() {
        held::take(Kind::Irp, irp.addr(), 0, 0);
    }
    irp
}

unsafe extern "win64" fn free_irp(irp: *mut IRP) {
    held::give(Kind::Irp, irp.addr());
    // SAFETY: the driver's IRP.
    unsafe { nt_abi::kernel::IoFreeIrp(irp) };
}

unsafe extern "win64" fn allocate_mdl(address: *mut c_void, length: u32, secondary: u8, quota: u8, irp: *mut IRP) -> *mut MDL {
    // SAFETY: the driver's arguments.
    let mdl = unsafe { nt_abi::kernel::IoAllocateMdl(address, length, secondary, quota, irp) };
    if !mdl.is_null() {
        held::take(Kind::Mdl, mdl.addr(), 0, 0);
    }
    mdl
}

unsafe extern "win64" fn free_mdl(mdl: *mut MDL) {
    held::give(Kind::Mdl, mdl.addr());
    // SAFETY: the driver's MDL.
    unsafe { nt_abi::kernel::IoFreeMdl(mdl) };
}

/// A completion routine that keeps a device.
struct Armed {
    routine: IO_COMPLETION_ROUTINE,
    context: *mut c_void,
    device: *mut DEVICE_OBJECT,
}

unsafe extern "win64" fn set_completion_routine_ex(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    routine: IO_COMPLETION_ROUTINE,
    context: *mut c_void,
    on_success: u8,
    on_error: u8,
    on_cancel: u8,
) -> NtStatus {
    // SAFETY: no requirements.
    let armed = unsafe { ExAllocatePoolWithTag(0, size_of::<Armed>(), TAG) }.cast::<Armed>();
    if armed.is_null() {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: new, and large enough.
    unsafe { armed.write(Armed { routine, context, device }) };
    held::take(Kind::Armed, armed.addr(), 0, 0);
    let flag = |wanted: u8, flag: u8| if wanted != 0 { flag } else { 0 };
    // SAFETY: the driver's IRP, which it has not sent yet.
    let next = unsafe { (*irp).CurrentStackLocation.sub(1) };
    // SAFETY: an IRP that was not sent has its next location before the current one.
    let next = unsafe { &mut *next };
    next.CompletionRoutine = Some(completed);
    next.Context = armed.cast();
    next.Control = flag(on_success, SL_INVOKE_ON_SUCCESS) | flag(on_error, SL_INVOKE_ON_ERROR) | flag(on_cancel, SL_INVOKE_ON_CANCEL);
    NtStatus::SUCCESS
}

/// # IRQL
/// <= DISPATCH_LEVEL
unsafe extern "win64" fn completed(device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NtStatus {
    let armed = context.cast::<Armed>();
    // SAFETY: made when the routine was set, which is called once.
    let Armed { routine, context, device: kept } = unsafe { armed.read() };
    // SAFETY: the driver's routine, with what the page says: the device of the location, or the one that was given.
    let status = unsafe { routine(if device.is_null() { kept } else { device }, irp, context) };
    held::give(Kind::Armed, armed.addr());
    // SAFETY: read, and nobody else's.
    unsafe { nt_abi::kernel::ExFreePoolWithTag(armed.cast(), TAG) };
    status
}
