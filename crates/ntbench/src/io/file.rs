//! What a program does with a device: open, control, close; and what the system does at shutdown.
#![allow(unsafe_code)] // IRPs and file objects are shared with drivers.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

use nt_abi::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DO_EXCLUSIVE, FILE_OBJECT, IO_STACK_LOCATION, IO_STATUS_BLOCK, IO_TYPE_FILE, IRP,
    IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_SHUTDOWN, KEVENT, NtStatus, USER_MODE,
};
use parking_lot::Mutex;

use crate::io::{cancel, complete, device, irp};
use crate::ke::{event, wait};
use crate::ob;

/// A device that is open.
#[derive(Debug)]
pub struct Handle {
    file: *mut FILE_OBJECT,
    device: *mut DEVICE_OBJECT,
    /// The IRPs of its control requests that have not been completed.
    pending: Mutex<Vec<usize>>,
}

// SAFETY: the file object is only used by the kernel's functions, which serve any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// A device control request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} (information {information})")]
pub struct IoctlError {
    /// Its status.
    pub status: NtStatus,
    /// What it came with.
    pub information: usize,
}

/// What a request carries.
struct Request {
    major: u8,
    parameters: [usize; 4],
    buffer: *mut c_void,
}

impl Request {
    fn of(major: u8) -> Request {
        Request { major, parameters: [0; 4], buffer: null_mut() }
    }
}

/// Sends a request down to `device` and waits until it has been completed.
fn send(device: *mut DEVICE_OBJECT, file: *mut FILE_OBJECT, request: &Request) -> IO_STATUS_BLOCK {
    send_noted(device, file, request, |_| {}, |_| {})
}

/// The same; the IRP is told to `sending` before it goes down, and to `over` before it is freed.
fn send_noted(
    device: *mut DEVICE_OBJECT,
    file: *mut FILE_OBJECT,
    request: &Request,
    sending: impl FnOnce(*mut IRP),
    over: impl FnOnce(*mut IRP),
) -> IO_STATUS_BLOCK {
    let mut done = KEVENT::UNINITIALIZED;
    let mut result = IO_STATUS_BLOCK { Status: NtStatus::PENDING, Information: 0 };
    // SAFETY: the IRP is new; event and status block outlive it, for its completion is waited for.
    unsafe {
        event::KeInitializeEvent(&raw mut done, nt_abi::NOTIFICATION_EVENT, 0);
        let irp = irp::allocate((*device).StackSize, 0);
        if irp.is_null() {
            return IO_STATUS_BLOCK { Status: NtStatus::INSUFFICIENT_RESOURCES, Information: 0 };
        }
        (*irp).UserEvent = &raw mut done;
        (*irp).UserIosb = &raw mut result;
        (*irp).RequestorMode = USER_MODE;
        (*irp).AssociatedIrp = request.buffer;
        (*irp).OriginalFileObject = file;
        (*irp).CurrentStackLocation.sub(1).write(IO_STACK_LOCATION {
            MajorFunction: request.major,
            Parameters: request.parameters,
            FileObject: file,
            ..IO_STACK_LOCATION::EMPTY
        });
        sending(irp);
        let _ = complete::IofCallDriver(device, irp);
        wait::wait(&raw mut done.Header, None);
        over(irp);
        irp::free(irp);
    }
    result
}

fn destroy(_file: *mut c_void) {}

/// How many handles are open on a device that exists: programs open and close them on any thread.
pub(crate) fn handles<'a>(device: *mut DEVICE_OBJECT) -> &'a AtomicI32 {
    // SAFETY: the device exists, and its count is reached by this function alone.
    unsafe { AtomicI32::from_ptr(&raw mut (*device).ReferenceCount) }
}

/// Opens a device, as an administrator's program would.
pub(crate) fn open(path: &str) -> Result<Handle, NtStatus> {
    let device = device::find(path).ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
    // SAFETY: the device exists.
    let flags = unsafe { (*device).Flags };
    if flags & DO_DEVICE_INITIALIZING != 0 {
        return Err(NtStatus::NO_SUCH_DEVICE);
    }
    // Counted and looked at in one step: an exclusive device has one handle.
    if handles(device).fetch_add(1, Ordering::AcqRel) > 0 && flags & DO_EXCLUSIVE != 0 {
        handles(device).fetch_sub(1, Ordering::AcqRel);
        return Err(NtStatus::ACCESS_DENIED);
    }
    let file = ob::create(ob::Kind::File, size_of::<FILE_OBJECT>(), destroy).cast::<FILE_OBJECT>();
    // SAFETY: the body is new; the device exists.
    unsafe {
        (*file).Type = IO_TYPE_FILE;
        (*file).Size = size_of::<FILE_OBJECT>() as i16;
        (*file).DeviceObject = device;
    }
    let opened = send(device, file, &Request::of(IRP_MJ_CREATE));
    if opened.Status.is_failure() {
        handles(device).fetch_sub(1, Ordering::AcqRel);
        ob::dereference(file.cast());
        return Err(opened.Status);
    }
    Ok(Handle { file, device, pending: Mutex::default() })
}

/// `METHOD_BUFFERED` in a control code.
const METHOD_BUFFERED: u32 = 0;

impl Handle {
    /// What a request's buffer has behind the input before the driver writes there.
    pub const UNWRITTEN: u64 = 0x5bad_5bad_5bad_5bad;

    /// Sends a device control request with a buffer for `output_len` bytes; answers the bytes that came back.
    ///
    /// # Errors
    /// The status that the driver completed it with, if it is no success.
    pub fn ioctl(&self, code: u32, input: &[u8], output_len: usize) -> Result<Vec<u8>, IoctlError> {
        self.control(code, input, output_len, false)
    }

    /// The same request, cancelled before the driver sees it.
    ///
    /// # Errors
    /// As of [`ioctl`](Self::ioctl).
    pub fn ioctl_cancelled(&self, code: u32, input: &[u8], output_len: usize) -> Result<Vec<u8>, IoctlError> {
        self.control(code, input, output_len, true)
    }

    /// Cancels the control requests that have not been completed, as CancelIoEx does; how many there were.
    pub fn cancel_all(&self) -> usize {
        // An IRP is freed only after it was taken out, which waits for this.
        let pending = self.pending.lock();
        for irp in &*pending {
            // SAFETY: the IRP is there for as long as it is in the list.
            unsafe { cancel::IoCancelIrp(*irp as *mut IRP) };
        }
        pending.len()
    }

    fn control(&self, code: u32, input: &[u8], output_len: usize, cancelled: bool) -> Result<Vec<u8>, IoctlError> {
        if code & 3 != METHOD_BUFFERED {
            return Err(IoctlError { status: NtStatus::NOT_SUPPORTED, information: 0 });
        }
        let length = input.len().max(output_len);
        // A buffer of eightbytes: drivers expect it aligned. What is not input is not zero on Windows either.
        let mut buffer = vec![Self::UNWRITTEN; length.div_ceil(8).max(1)];
        // SAFETY: the buffer is at least as long as the input.
        unsafe { buffer.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(input.as_ptr(), input.len()) };
        let request = Request {
            major: IRP_MJ_DEVICE_CONTROL,
            parameters: [output_len, input.len(), code as usize, 0],
            buffer: if length == 0 { null_mut() } else { buffer.as_mut_ptr().cast() },
        };
        let sending = |irp: *mut IRP| {
            self.pending.lock().push(irp as usize);
            if cancelled {
                // SAFETY: the IRP is new, and no driver has it yet.
                unsafe { cancel::IoCancelIrp(irp) };
            }
        };
        let over = |irp: *mut IRP| self.pending.lock().retain(|other| *other != irp as usize);
        let result = send_noted(self.device, self.file, &request, sending, over);
        if result.Status.is_failure() {
            return Err(IoctlError { status: result.Status, information: result.Information });
        }
        let bytes = buffer.iter().flat_map(|word| word.to_ne_bytes());
        Ok(bytes.take(result.Information.min(output_len)).collect())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        send(self.device, self.file, &Request::of(IRP_MJ_CLEANUP));
        send(self.device, self.file, &Request::of(IRP_MJ_CLOSE));
        handles(self.device).fetch_sub(1, Ordering::AcqRel);
        ob::dereference(self.file.cast());
    }
}

/// Tells every device that asked for it that the system shuts down.
pub(crate) fn shutdown() {
    for device in device::for_shutdown() {
        send(device, null_mut(), &Request::of(IRP_MJ_SHUTDOWN));
    }
}
