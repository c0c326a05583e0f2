//! WDFREQUEST: the buffers of a device control, and its completion.

#![allow(unsafe_code)] // Called by drivers through the function table; reads and completes IRPs.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use nt_abi::kernel::IofCompleteRequest;
use nt_abi::wdf::{WDF_DRIVER_GLOBALS, WDFOBJECT};
use nt_abi::{DISPATCH_LEVEL, IRP, NtStatus};

use crate::event::{Kind, emit, enter, level, status, violation};
use crate::kernel::Locked;
use crate::object::{Body, Object, body, delete, refuse, release};
use crate::queue;

const METHOD_BUFFERED: u32 = 0;
const METHOD_NEITHER: u32 = 3;

/// What a WDFREQUEST has of its own.
pub(crate) struct RequestBody {
    /// Null once it has been completed.
    irp: AtomicPtr<IRP>,
    queue: &'static Object,
    /// The next in the queue.
    next: AtomicPtr<Object>,
}

impl RequestBody {
    /// A request that has no IRP yet, so that making it can fail.
    pub fn new(queue: &'static Object) -> RequestBody {
        RequestBody { irp: AtomicPtr::new(ptr::null_mut()), queue, next: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let irp = *self.irp.get_mut();
        if !irp.is_null() {
            violation("WdfObjectDelete", "the device was deleted with a request outstanding", irp as usize);
            complete_irp(irp, NtStatus::CANCELLED, 0);
        }
    }
}

/// Gives a request its IRP.
pub(crate) fn carry(request: &Object, irp: *mut IRP) {
    if let Body::Request(request) = &request.body {
        request.irp.store(irp, Ordering::Release);
    }
}

/// The link to the next request of a queue.
pub(crate) fn link(request: &Object) -> &AtomicPtr<Object> {
    match &request.body {
        Body::Request(request) => &request.next,
        _ => unreachable!(),
    }
}

/// What a device control says of itself.
pub(crate) struct IoControl {
    pub code: u32,
    pub input_length: usize,
    pub output_length: usize,
    buffer: *mut c_void,
}

/// The parameters of a request that has not been completed.
pub(crate) fn io_control(request: &Object) -> Option<IoControl> {
    let Body::Request(request) = &request.body else { return None };
    let irp = request.irp.load(Ordering::Acquire);
    // SAFETY: the IRP is the framework's until it is completed.
    let irp = unsafe { irp.as_ref() }?;
    // SAFETY: as above; an IRP that was dispatched has a current stack location.
    let parameters = unsafe { (*irp.CurrentStackLocation).Parameters };
    Some(IoControl {
        output_length: parameters[0] as u32 as usize,
        input_length: parameters[1] as u32 as usize,
        code: parameters[2] as u32,
        buffer: irp.AssociatedIrp,
    })
}

/// Which of the two buffers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Input,
    Output,
}

fn buffer(function: &'static str, request: WDFOBJECT, minimum: usize, which: Which) -> Result<(*mut c_void, usize), NtStatus> {
    enter(function, DISPATCH_LEVEL)?;
    let (object, _) = body!(function, request, Request)?;
    let Some(io) = io_control(object) else {
        return refuse(function, "the request has been completed", request, NtStatus::INTERNAL_ERROR);
    };
    let method = io.code & 3;
    if method == METHOD_NEITHER || (method != METHOD_BUFFERED && which == Which::Output) {
        let text = "buffers of direct and neither I/O are not in kmdf-lite";
        return refuse(function, text, request, NtStatus::INVALID_DEVICE_REQUEST);
    }
    let length = if which == Which::Input { io.input_length } else { io.output_length };
    if length == 0 || length < minimum {
        return Err(NtStatus::BUFFER_TOO_SMALL);
    }
    Ok((io.buffer, length))
}

/// # Safety
/// The pointers are null or the driver's variables.
unsafe fn answer(found: Result<(*mut c_void, usize), NtStatus>, buffer: *mut *mut c_void, length: *mut usize) -> NtStatus {
    let (address, bytes) = found.unwrap_or((ptr::null_mut(), 0));
    // SAFETY: the caller's promise.
    if let Some(buffer) = unsafe { buffer.as_mut() } {
        *buffer = address;
    }
    // SAFETY: the caller's promise.
    if let Some(length) = unsafe { length.as_mut() } {
        *length = bytes;
    }
    status(found.map(|_| ()))
}

/// The request's input.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfRequestRetrieveInputBuffer(
    _globals: *mut WDF_DRIVER_GLOBALS,
    request: WDFOBJECT,
    minimum: usize,
    address: *mut *mut c_void,
    length: *mut usize,
) -> NtStatus {
    let found = buffer("WdfRequestRetrieveInputBuffer", request, minimum, Which::Input);
    // SAFETY: the driver's variables.
    unsafe { answer(found, address, length) }
}

/// Where the request's output goes.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfRequestRetrieveOutputBuffer(
    _globals: *mut WDF_DRIVER_GLOBALS,
    request: WDFOBJECT,
    minimum: usize,
    address: *mut *mut c_void,
    length: *mut usize,
) -> NtStatus {
    let found = buffer("WdfRequestRetrieveOutputBuffer", request, minimum, Which::Output);
    // SAFETY: the driver's variables.
    unsafe { answer(found, address, length) }
}

/// Whether the request's IRP was cancelled. The request must not be cancelable, which nothing here can make it.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfRequestIsCanceled(_globals: *mut WDF_DRIVER_GLOBALS, request: WDFOBJECT) -> u8 {
    const NAME: &str = "WdfRequestIsCanceled";
    let look = || {
        level(NAME, DISPATCH_LEVEL)?;
        let (_, body) = body!(NAME, request, Request)?;
        let irp = body.irp.load(Ordering::Acquire);
        if irp.is_null() {
            return refuse(NAME, "the request has been completed", request, NtStatus::INTERNAL_ERROR);
        }
        // SAFETY: the framework's until it is completed; whoever cancels it writes this byte in one step.
        Ok(unsafe { AtomicU8::from_ptr(&raw mut (*irp).Cancel) }.load(Ordering::Acquire))
    };
    look().unwrap_or(0)
}

/// Completes a request without information.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfRequestComplete(_globals: *mut WDF_DRIVER_GLOBALS, request: WDFOBJECT, status: NtStatus) {
    let _ = complete("WdfRequestComplete", request, status, 0);
}

/// Completes a request.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfRequestCompleteWithInformation(
    _globals: *mut WDF_DRIVER_GLOBALS,
    request: WDFOBJECT,
    status: NtStatus,
    information: usize,
) {
    let _ = complete("WdfRequestCompleteWithInformation", request, status, information);
}

/// Completes a request: the WDFREQUEST goes, the IRP goes back, the queue presents the next.
pub(crate) fn complete(function: &'static str, handle: WDFOBJECT, status: NtStatus, information: usize) -> Result<(), NtStatus> {
    level(function, DISPATCH_LEVEL)?;
    let (object, body) = body!(function, handle, Request)?;
    if status == NtStatus::PENDING {
        violation(function, "a request cannot be completed with STATUS_PENDING", handle as usize);
    }
    // As the framework has it: a request that fails may say how much it would have needed.
    if status.is_success() && io_control(object).is_some_and(|io| io.output_length > 0 && information > io.output_length) {
        violation(function, "more information than the output buffer holds", handle as usize);
    }
    let irp = body.irp.swap(ptr::null_mut(), Ordering::AcqRel);
    if irp.is_null() {
        return refuse(function, "the request has been completed already", handle, NtStatus::INTERNAL_ERROR);
    }
    // The IRP keeps device and queue until it is completed; afterwards the reference keeps the queue's memory.
    let queue = body.queue.reference();
    COMPLETED.lock().push(handle as usize);
    delete(object)?;
    emit(Kind::Complete { status, information }, handle as usize);
    complete_irp(irp, status, information);
    queue::completed(queue);
    release(queue);
    Ok(())
}

/// Gives an IRP back to the I/O manager.
pub(crate) fn complete_irp(irp: *mut IRP, status: NtStatus, information: usize) {
    // SAFETY: the framework owns the IRP until the next line but one.
    let block = unsafe { &mut (*irp).IoStatus };
    (block.Status, block.Information) = (status, information);
    // SAFETY: as above; it is not touched afterwards.
    unsafe { IofCompleteRequest(irp, 0) };
}

/// The handles of the last requests completed, to tell a double completion from any other stale handle.
struct Completed {
    handles: [usize; 16],
    next: usize,
}

static COMPLETED: Locked<Completed> = Locked::new(Completed { handles: [0; 16], next: 0 });

impl Completed {
    fn push(&mut self, handle: usize) {
        self.handles[self.next % 16] = handle;
        self.next += 1;
    }
}

/// Whether a handle that is no more was that of a request that was completed.
pub(crate) fn was_completed(handle: WDFOBJECT) -> bool {
    COMPLETED.lock().handles.contains(&(handle as usize))
}
