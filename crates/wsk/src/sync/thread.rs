//! A system thread that is always joined.
//!
//! Wraps [`PsCreateSystemThread`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-pscreatesystemthread).
//! The thread is joined by its object, so nothing of it is left in the image after [`Thread::join`] (L31).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdk_sys::_KWAIT_REASON::Executive;
use wdk_sys::_MODE::KernelMode;
use wdk_sys::ntddk::{KeWaitForSingleObject, ObReferenceObjectByHandle, ObfDereferenceObject, PsCreateSystemThread, ZwClose};
use wdk_sys::{HANDLE, NTSTATUS, THREAD_ALL_ACCESS};

use super::Passive;
use crate::raw::NtStatus;

/// A running thread, to be joined.
///
/// # Invariants
/// `object` is a referenced thread object.
pub struct Thread {
    object: *mut c_void,
}

// SAFETY: a thread object may be waited for by any thread.
unsafe impl Send for Thread {}
// SAFETY: as above.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts `run(context)` on a thread of its own. It ends by returning.
    ///
    /// # Errors
    /// The status of what failed; then nothing runs.
    ///
    /// # Safety
    /// `context` suits `run` until the thread has been joined.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub unsafe fn start(_: Passive, run: unsafe extern "C" fn(*mut c_void), context: *mut c_void) -> Result<Self, NtStatus> {
        let mut handle: HANDLE = null_mut();
        // SAFETY: `handle` receives a kernel handle; the optional arguments are absent.
        let status = unsafe {
            PsCreateSystemThread(&raw mut handle, THREAD_ALL_ACCESS, null_mut(), null_mut(), null_mut(), Some(run), context)
        };
        NtStatus(status).ok()?;
        let object = thread_object(handle);
        // SAFETY: the handle was made above and is not used again.
        let _: NTSTATUS = unsafe { ZwClose(handle) };
        // INVARIANT: the reference is the one that `thread_object` took.
        Ok(Self { object })
    }

    /// Waits until the thread has ended.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub fn join(self, _: Passive) {
        // SAFETY: a referenced thread object by the invariant; the caller may block.
        let _: NTSTATUS = unsafe { KeWaitForSingleObject(self.object, Executive, KernelMode as _, 0, null_mut()) };
        // SAFETY: the reference is ours and ends here.
        unsafe { ObfDereferenceObject(self.object) };
    }
}

/// The object behind a thread handle of ours. It cannot fail for a kernel handle that is open with all rights; if it
/// did, the thread could not be joined, and going on would end in unmapped code.
fn thread_object(handle: HANDLE) -> *mut c_void {
    let mut object = null_mut();
    // SAFETY: the handle is open, and a null type accepts any object for a kernel-mode caller.
    let status =
        unsafe { ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, null_mut(), KernelMode as _, &raw mut object, null_mut()) };
    if !NtStatus(status).is_success() {
        crate::raw::bugcheck(crate::raw::Bugcheck::ThreadLost, status as usize, handle as usize);
    }
    object
}
