//! The driver's IRPs: taken from it, and completed.

#![allow(unsafe_code)] // Reads and writes IRPs.

use nt_abi::kernel::IofCompleteRequest;
use nt_abi::{IO_STACK_LOCATION, IRP, NtStatus, SL_PENDING_RETURNED};

/// An IRP that is ours to complete.
///
/// # Invariants
/// The driver has handed it over, its current location is the one that the driver has armed, and it has not been completed.
#[derive(Clone, Copy)]
pub(super) struct Taken(*mut IRP);

impl Taken {
    /// Takes an IRP: what a driver below does with IoSetNextIrpStackLocation and IoMarkIrpPending.
    ///
    /// # Safety
    /// It was handed over with this call, armed.
    pub unsafe fn new(irp: *mut IRP) -> Taken {
        // SAFETY: the caller's promise.
        let fields = unsafe { &mut *irp };
        fields.CurrentLocation -= 1;
        // SAFETY: an IRP comes with a location for whom it is sent to.
        fields.CurrentStackLocation = unsafe { fields.CurrentStackLocation.sub(1) };
        let taken = Taken(irp);
        taken.location().Control |= SL_PENDING_RETURNED;
        taken
    }

    /// An IRP that is known to be taken.
    ///
    /// # Safety
    /// It is.
    pub unsafe fn known(irp: *mut IRP) -> Taken {
        Taken(irp)
    }

    pub fn as_ptr(self) -> *mut IRP {
        self.0
    }

    /// Its current location, whose parameters are ours to use.
    pub fn location(self) -> &'static mut IO_STACK_LOCATION {
        // SAFETY: by the invariant; the reference is used at once by those who own the IRP.
        unsafe { &mut *(*self.0).CurrentStackLocation }
    }

    /// Completes it. It may be gone when this returns.
    ///
    /// # IRQL
    /// <= DISPATCH_LEVEL
    pub fn complete(self, status: NtStatus, information: usize) {
        // SAFETY: by the invariant.
        let fields = unsafe { &mut (*self.0).IoStatus };
        fields.Status = status;
        fields.Information = information;
        // SAFETY: by the invariant.
        unsafe { IofCompleteRequest(self.0, 0) };
    }
}
