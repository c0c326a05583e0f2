//! An IRP of our own, for requests to WSK.
//!
//! See [Using IRPs with Winsock Kernel Functions](https://learn.microsoft.com/windows-hardware/drivers/network/using-irps-with-winsock-kernel-functions).
//! The functions that `wdm.h` has as inlines (IoGetNextIrpStackLocation, IoSetCompletionRoutine, IoSetNextIrpStackLocation) are
//! written here, for bindings have no inlines.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_sys::ntddk::{IoAllocateIrp, IoCancelIrp, IoFreeIrp, IoReuseIrp, IoSetCompletionRoutineEx, IofCompleteRequest};
use wdk_sys::{IO_STACK_LOCATION, IRP, PDEVICE_OBJECT, PIO_COMPLETION_ROUTINE};

use super::NtStatus;
use crate::sync::OutOfMemory;

const SL_INVOKE_ON_CANCEL: u8 = 0x20;
const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
const SL_INVOKE_ON_ERROR: u8 = 0x80;

/// The driver's control device, which keeps the image while a completion routine armed on it runs (L31).
///
/// # Invariants
/// The device object lives until the library's [`Client`](crate::Client) has been shut down.
#[derive(Clone, Copy, Debug)]
pub struct Device(PDEVICE_OBJECT);

// SAFETY: only handed to IoSetCompletionRoutineEx, which may be called on any thread.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Names the device.
    ///
    /// # Safety
    /// It is a device object of this driver, and stays until the [`Client`](crate::Client) that gets it has been shut down.
    pub unsafe fn new(device: PDEVICE_OBJECT) -> Self {
        // INVARIANT: as the caller promises.
        Self(device)
    }
}

/// An IRP.
///
/// # Invariants
/// It was allocated with one stack location and belongs to this value, whether it is in flight or not.
pub struct Irp(NonNull<IRP>);

// SAFETY: an IRP has no thread; who may touch it when is the operation's to say.
unsafe impl Send for Irp {}
// SAFETY: as above.
unsafe impl Sync for Irp {}

impl Irp {
    /// Allocates one.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        // SAFETY: no requirements beyond the IRQL.
        let irp = unsafe { IoAllocateIrp(1, 0) };
        // INVARIANT: new, with one stack location.
        NonNull::new(irp).map(Self).ok_or(OutOfMemory)
    }

    /// For handing it to a provider.
    pub fn as_ptr(&self) -> *mut IRP {
        self.0.as_ptr()
    }

    /// Has `routine` called, whatever the outcome.
    ///
    /// # Safety
    /// The IRP is not in flight, and `context` suits `routine` when it completes.
    pub unsafe fn arm(&self, routine: PIO_COMPLETION_ROUTINE, context: *mut c_void) {
        // SAFETY: not in flight, so the stack location is ours.
        let next = unsafe { &mut *self.next_location() };
        next.CompletionRoutine = routine;
        next.Context = context;
        next.Control = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
    }

    /// As [`arm`](Self::arm), with the device keeping the image until `routine` has returned (L31).
    ///
    /// # Errors
    /// STATUS_INSUFFICIENT_RESOURCES. After success the IRP has to complete, by the provider or by
    /// [`complete_unsent`](Self::complete_unsent): until then, the kernel holds memory and the device for it.
    ///
    /// # Safety
    /// As for [`arm`](Self::arm).
    pub unsafe fn arm_on(&self, device: Device, routine: PIO_COMPLETION_ROUTINE, context: *mut c_void) -> Result<(), NtStatus> {
        // SAFETY: the device lives by its invariant, and the rest is as the caller promises.
        NtStatus(unsafe { IoSetCompletionRoutineEx(device.0, self.as_ptr(), routine, context, 1, 1, 1) }).ok()
    }

    /// Completes an armed IRP that no provider will: its completion routine is called in here.
    ///
    /// # Safety
    /// The IRP is armed and nobody else will complete it. `self` may be gone when this returns.
    pub unsafe fn complete_unsent(irp: *mut IRP) {
        // SAFETY: not in flight any more, so the IRP is ours.
        let fields = unsafe { &mut *irp };
        fields.IoStatus.__bindgen_anon_1.Status = NtStatus::CANCELLED.0;
        fields.IoStatus.Information = 0;
        if fields.CurrentLocation > fields.StackCount {
            fields.CurrentLocation -= 1;
            // SAFETY: `CurrentStackLocation` is the member in use for an IRP that is not queued.
            let current = unsafe { &mut fields.Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation };
            // SAFETY: the location count says that there is one more.
            *current = unsafe { current.sub(1) };
        }
        // SAFETY: armed, and with its current location where a provider that had taken it would have it.
        unsafe { IofCompleteRequest(irp, 0) };
    }

    /// Makes it ready for the next request.
    pub fn reuse(&mut self) {
        // SAFETY: `&mut self`: the owner says that it is not in flight.
        unsafe { IoReuseIrp(self.as_ptr(), NtStatus::SUCCESS.0) };
    }

    /// Asks for cancellation. It completes in its own time, and not necessarily as cancelled (L37).
    pub fn cancel(&self) {
        // SAFETY: the IRP is live as long as `self` is, which the caller keeps meanwhile.
        unsafe { IoCancelIrp(self.as_ptr()) };
    }

    /// Status and information that it completed with.
    ///
    /// # Safety
    /// It has completed.
    pub unsafe fn outcome(&self) -> (NtStatus, usize) {
        // SAFETY: completed, so nobody writes it.
        let block = unsafe { &(*self.as_ptr()).IoStatus };
        // SAFETY: every completion sets the status member.
        (NtStatus(unsafe { block.__bindgen_anon_1.Status }), block.Information as usize)
    }

    /// IoGetNextIrpStackLocation.
    ///
    /// # Safety
    /// The IRP is not in flight.
    unsafe fn next_location(&self) -> *mut IO_STACK_LOCATION {
        // SAFETY: live by the invariant, and ours.
        let overlay = unsafe { &(*self.as_ptr()).Tail.Overlay };
        // SAFETY: the member in use for an IRP that is not queued.
        let current = unsafe { overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation };
        // SAFETY: an IRP not in flight has its current location behind the last of its locations.
        unsafe { current.sub(1) }
    }
}

impl Drop for Irp {
    fn drop(&mut self) {
        // SAFETY: ours by the invariant; operations and sockets drop it only when it is not in flight.
        unsafe { IoFreeIrp(self.as_ptr()) };
    }
}
