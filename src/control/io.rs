//! A request of the device's: its buffers, its answer, its completion.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.
#![allow(unsafe_code)] // requests and their buffers are the framework's

use core::ptr::null_mut;

use control_abi::page::PageHeader;
use control_abi::{Refusal, VERSION};
use wdk_sys::{PVOID, WDFREQUEST, call_unsafe_wdf_function_binding};
use wsk::NtStatus;
use zerocopy::{Immutable, IntoBytes};

/// How long an answer is, or how the request failed.
pub(crate) type Answer = Result<usize, Failed>;

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    status: NtStatus,
    /// The size that would have been needed, if that was it.
    needed: usize,
}

/// A request that has to be completed.
///
/// # Invariants
/// The handle is that of a request that this driver owns and has not completed.
pub(super) struct Io(WDFREQUEST);

/// Where the answer goes.
pub(crate) struct Output<'a>(&'a mut [u8]);

impl Io {
    /// # Safety
    /// The request was just given to this driver, and belongs to nobody else.
    pub(super) unsafe fn new(request: WDFREQUEST) -> Self {
        // INVARIANT: as the caller promises.
        Self(request)
    }

    /// What was sent with the request, of which the framework says that it has `length` bytes.
    ///
    /// # Errors
    /// The framework's status.
    pub(super) fn input(&mut self, length: usize) -> Result<&[u8], Failed> {
        if length == 0 {
            return Ok(&[]);
        }
        let (mut buffer, mut available): (PVOID, usize) = (null_mut(), 0);
        // SAFETY: owned by the invariant; the rest lives during the call.
        let status = NtStatus(unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRequestRetrieveInputBuffer,
                self.0,
                1,
                &raw mut buffer,
                (&raw mut available).cast()
            )
        });
        status.ok()?;
        // SAFETY: the system's buffer, of that length, until the request is completed; `self` is borrowed, so nobody gets the
        // output meanwhile, which is the same memory.
        Ok(unsafe { core::slice::from_raw_parts(buffer.cast_const().cast(), available) })
    }

    /// Room for the answer, of which the framework says that it has `length` bytes.
    ///
    /// # Errors
    /// The framework's status.
    pub(super) fn output(&mut self, length: usize) -> Result<Output<'_>, Failed> {
        if length == 0 {
            return Ok(Output(&mut []));
        }
        let (mut buffer, mut available): (PVOID, usize) = (null_mut(), 0);
        // SAFETY: owned by the invariant; the rest lives during the call.
        let status = NtStatus(unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRequestRetrieveOutputBuffer,
                self.0,
                1,
                &raw mut buffer,
                (&raw mut available).cast()
            )
        });
        status.ok()?;
        // SAFETY: as in `input`.
        Ok(Output(unsafe { core::slice::from_raw_parts_mut(buffer.cast(), available) }))
    }

    /// Whether nobody waits for the answer any more.
    /// [`WdfRequestIsCanceled`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfrequest/nf-wdfrequest-wdfrequestiscanceled)
    pub(super) fn is_cancelled(&self) -> bool {
        // SAFETY: owned by the invariant, and never marked cancelable.
        unsafe { call_unsafe_wdf_function_binding!(WdfRequestIsCanceled, self.0) != 0 }
    }

    /// Gives the request back. [`WdfRequestCompleteWithInformation`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfrequest/nf-wdfrequest-wdfrequestcompletewithinformation)
    pub(super) fn complete(self, answer: Answer) {
        let (status, information) = match answer {
            Ok(length) => (NtStatus::SUCCESS, length),
            Err(failed) => (failed.status, failed.needed),
        };
        // SAFETY: owned by the invariant, and not used any more.
        unsafe { call_unsafe_wdf_function_binding!(WdfRequestCompleteWithInformation, self.0, status.0, information as _) };
    }
}

impl Output<'_> {
    /// How many bytes there is room for.
    pub(crate) fn room(&self) -> usize {
        self.0.len()
    }

    /// Writes an answer of one structure.
    ///
    /// # Errors
    /// There is not room enough for it, which [`parse`](fn@control_abi::parse) has seen to.
    pub(crate) fn one(&mut self, answer: &(impl IntoBytes + Immutable)) -> Answer {
        self.write(0, answer.as_bytes())
    }

    /// Writes an entry of a page.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn entry<T: IntoBytes + Immutable>(&mut self, place: usize, entry: &T) -> Answer {
        self.write(size_of::<PageHeader>() + place * size_of::<T>(), entry.as_bytes())
    }

    /// Writes the beginning of a page whose entries have been written.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn page<T>(&mut self, header: PageHeader) -> Answer {
        let header = PageHeader { version: VERSION, ..header };
        self.write(0, header.as_bytes())?;
        Ok(control_abi::page::room::<T>(header.count as usize))
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Answer {
        let end = at + bytes.len();
        let place = self.0.get_mut(at..end).ok_or(Failed { status: NtStatus::BUFFER_TOO_SMALL, needed: end })?;
        place.copy_from_slice(bytes);
        Ok(end)
    }
}

impl From<NtStatus> for Failed {
    fn from(status: NtStatus) -> Self {
        Self { status, needed: 0 }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self { status: NtStatus(refusal.status()), needed: refusal.needed() }
    }
}
