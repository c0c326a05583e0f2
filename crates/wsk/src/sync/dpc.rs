//! A deferred procedure call.
//!
//! Wraps [`KDPC`](https://learn.microsoft.com/windows-hardware/drivers/kernel/dpc-objects-and-dpcs).

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;

use allocator_api2::boxed::Box;
use wdk_sys::ntddk::{KeFlushQueuedDpcs, KeInitializeDpc, KeInsertQueueDpc};
use wdk_sys::{KDPC, PKDEFERRED_ROUTINE};

use super::{OutOfMemory, Passive, Pool, tag};

/// A DPC object.
///
/// # Invariants
/// The KDPC is initialised and does not move.
pub struct Dpc(Box<UnsafeCell<KDPC>, Pool<{ tag(b"WskD") }>>);

// SAFETY: the kernel's DPC functions may be called by any thread at any time.
unsafe impl Send for Dpc {}
// SAFETY: as above.
unsafe impl Sync for Dpc {}

impl Dpc {
    /// A DPC that calls `run` with `context`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # Safety
    /// `context` suits `run` whenever the DPC may run: from its first queueing to a [`flush_dpcs`] after its last.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub unsafe fn new(run: PKDEFERRED_ROUTINE, context: *mut c_void) -> Result<Self, OutOfMemory> {
        let dpc = Box::try_new_in(UnsafeCell::new(KDPC::default()), Pool)?;
        // SAFETY: the memory is ours and nonpaged.
        unsafe { KeInitializeDpc(dpc.get(), run, context) };
        // INVARIANT: initialised where it will stay.
        Ok(Self(dpc))
    }

    /// Whether this is the DPC of that object.
    ///
    /// # IRQL
    /// Any.
    pub fn is(&self, object: *const KDPC) -> bool {
        self.0.get().cast_const() == object
    }

    /// Queues it on this processor, unless it is queued already.
    ///
    /// # IRQL
    /// Any.
    pub fn queue(&self) {
        // SAFETY: initialised by the invariant.
        unsafe { KeInsertQueueDpc(self.0.get(), null_mut(), null_mut()) };
    }
}

/// A DPC object inside of what its routine is for.
#[repr(transparent)]
pub(crate) struct DpcCell(UnsafeCell<KDPC>);

impl DpcCell {
    /// One that is not initialised yet.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new(KDPC::default()))
    }

    /// Makes it a DPC that calls `run` with `context`.
    ///
    /// # Safety
    /// It is where it will stay, in nonpaged memory, and not initialised. `context` suits `run` whenever the DPC runs.
    ///
    /// # IRQL
    /// Any.
    pub(crate) unsafe fn initialize(&self, run: PKDEFERRED_ROUTINE, context: *mut c_void) {
        // SAFETY: as the caller promises.
        unsafe { KeInitializeDpc(self.0.get(), run, context) };
    }

    /// Queues it on this processor.
    ///
    /// # Safety
    /// It is initialised.
    ///
    /// # IRQL
    /// Any.
    #[inline]
    pub(crate) unsafe fn queue(&self) {
        // SAFETY: as the caller promises.
        unsafe { KeInsertQueueDpc(self.0.get(), null_mut(), null_mut()) };
    }
}

/// Waits until every DPC queued before has returned, also those of others.
///
/// # IRQL
/// `PASSIVE_LEVEL`, with no lock held.
pub fn flush_dpcs(_: Passive) {
    // SAFETY: no requirements beyond the IRQL.
    unsafe { KeFlushQueuedDpcs() };
}
