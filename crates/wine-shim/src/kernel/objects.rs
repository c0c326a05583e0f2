//! Threads, references to objects, handles, keys.

#![allow(unsafe_code)] // Functions that drivers call.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use nt_abi::{CLIENT_ID, Export, HANDLE, KSTART_ROUTINE, NtStatus, OBJECT_ATTRIBUTES};

use super::held;
use crate::ledger::Kind;
use crate::wine::{ExAllocatePoolWithTag, NtEnumerateKey};

/// For a driver.
pub(crate) const EXPORTS: &[Export] = &[
    Export::new("ntoskrnl.exe", "PsCreateSystemThread", create_thread as *const ()),
    Export::new("ntoskrnl.exe", "ObReferenceObjectByHandle", reference_by_handle as *const ()),
    Export::new("ntoskrnl.exe", "ObfReferenceObject", reference as *const ()),
    Export::new("ntoskrnl.exe", "ObfDereferenceObject", dereference as *const ()),
    Export::new("ntoskrnl.exe", "ZwClose", close as *const ()),
    Export::new("ntoskrnl.exe", "ZwEnumerateKey", enumerate_key as *const ()),
];

const TAG: u32 = u32::from_le_bytes(*b"Shim");

/// A thread that is to start.
struct Start {
    routine: KSTART_ROUTINE,
    context: *mut c_void,
}

unsafe extern "win64" fn create_thread(
    handle: *mut HANDLE,
    access: u32,
    attributes: *const OBJECT_ATTRIBUTES,
    process: HANDLE,
    client: *mut CLIENT_ID,
    routine: KSTART_ROUTINE,
    context: *mut c_void,
) -> NtStatus {
    // SAFETY: no requirements.
    let start = unsafe { ExAllocatePoolWithTag(0, size_of::<Start>(), TAG) }.cast::<Start>();
    if start.is_null() {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: new, and large enough.
    unsafe { start.write(Start { routine, context }) };
    held::THREADS.fetch_add(1, Ordering::AcqRel);
    // SAFETY: the driver's arguments, but for the routine and its context.
    let status = unsafe {
        nt_abi::kernel::PsCreateSystemThread(handle, access, attributes, process, client, Some(run), start.cast())
    };
    if status.is_failure() {
        held::THREADS.fetch_sub(1, Ordering::AcqRel);
        // SAFETY: no thread has it.
        unsafe { nt_abi::kernel::ExFreePoolWithTag(start.cast(), TAG) };
        return status;
    }
    // SAFETY: success writes the handle.
    held::take(Kind::Handle, unsafe { *handle }.addr(), 0, 0);
    status
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn run(start: *mut c_void) {
    let start = start.cast::<Start>();
    // SAFETY: `create_thread` made it for this thread.
    let Start { routine, context } = unsafe { start.read() };
    // SAFETY: read, and nobody else's.
    unsafe { nt_abi::kernel::ExFreePoolWithTag(start.cast(), TAG) };
    // SAFETY: the driver's routine with its context.
    unsafe { routine(context) };
    held::THREADS.fetch_sub(1, Ordering::AcqRel);
}

unsafe extern "win64" fn reference_by_handle(
    handle: HANDLE,
    access: u32,
    kind: *mut c_void,
    mode: i8,
    object: *mut *mut c_void,
    information: *mut c_void,
) -> NtStatus {
    // SAFETY: the driver's arguments.
    let status = unsafe { nt_abi::kernel::ObReferenceObjectByHandle(handle, access, kind, mode, object, information) };
    if status.is_success() {
        // SAFETY: success writes the object.
        held::refer(unsafe { *object }.addr());
    }
    status
}

unsafe extern "win64" fn reference(object: *mut c_void) -> isize {
    held::refer(object.addr());
    // SAFETY: the driver's object.
    unsafe { nt_abi::kernel::ObfReferenceObject(object) }
}

unsafe extern "win64" fn dereference(object: *mut c_void) -> isize {
    held::unrefer(object.addr());
    // SAFETY: the driver's object.
    unsafe { nt_abi::kernel::ObfDereferenceObject(object) }
}

unsafe extern "win64" fn close(handle: HANDLE) -> NtStatus {
    held::forget(Kind::Handle, handle.addr());
    // SAFETY: the driver's handle.
    unsafe { nt_abi::kernel::ZwClose(handle) }
}

unsafe extern "win64" fn enumerate_key(
    key: HANDLE,
    index: u32,
    class: u32,
    information: *mut c_void,
    length: u32,
    result: *mut u32,
) -> NtStatus {
    // SAFETY: the driver's arguments.
    unsafe { NtEnumerateKey(key, index, class, information, length, result) }
}
