//! WDFQUEUE: the default queue of a device, and the dispatch routine that feeds it.
//!
//! A request arrives as an IRP, becomes a WDFREQUEST and is queued; the queue presents requests to EvtIoDeviceControl, one
//! at a time (sequential) or up to a limit (parallel). A queue at passive level that has to present from DISPATCH_LEVEL
//! does so from a work item, which is allocated with the queue.

#![allow(unsafe_code)] // Called by drivers through the function table, and by the I/O manager.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use nt_abi::kernel::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem};
use nt_abi::wdf::{
    WDF_DRIVER_GLOBALS, WDF_IO_QUEUE_CONFIG, WDF_OBJECT_ATTRIBUTES, WDFOBJECT, WdfIoQueueDispatchManual,
    WdfIoQueueDispatchParallel, WdfIoQueueDispatchSequential,
};
use nt_abi::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IRP, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_SHUTDOWN,
    NtStatus, PASSIVE_LEVEL, SL_PENDING_RETURNED,
};

use crate::device::{DeviceBody, from_wdm};
use crate::event::{Kind, emit, enter};
use crate::kernel::{Locked, irql};
use crate::object::{Attributes, Body, Object, body, create, refuse, release};
use crate::request::{self, RequestBody};

const DELAYED_WORK_QUEUE: u32 = 1;

/// What a WDFQUEUE has of its own.
pub(crate) struct QueueBody {
    config: WDF_IO_QUEUE_CONFIG,
    limit: u32,
    passive: bool,
    work_item: NonNull<c_void>,
    state: Locked<State>,
}

struct State {
    head: *mut Object,
    tail: *mut Object,
    presented: u32,
    /// A thread presents; it will see what comes meanwhile.
    pumping: bool,
    /// The work item is queued.
    scheduled: bool,
}

impl Drop for QueueBody {
    fn drop(&mut self) {
        // SAFETY: allocated with the queue, and a queued item holds a reference to the queue.
        unsafe { IoFreeWorkItem(self.work_item.as_ptr()) };
    }
}

/// Makes a device's queue.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfIoQueueCreate(
    _globals: *mut WDF_DRIVER_GLOBALS,
    device: WDFOBJECT,
    config: *const WDF_IO_QUEUE_CONFIG,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    queue: *mut WDFOBJECT,
) -> NtStatus {
    // SAFETY: the driver's pointers, as the page describes them.
    match unsafe { make(device, config, attributes) } {
        Ok(made) => {
            if !queue.is_null() {
                // SAFETY: not null; the driver's own variable.
                unsafe { queue.write(made.handle()) };
            }
            NtStatus::SUCCESS
        }
        Err(status) => status,
    }
}

unsafe fn make(
    device: WDFOBJECT,
    config: *const WDF_IO_QUEUE_CONFIG,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
) -> Result<&'static Object, NtStatus> {
    const NAME: &str = "WdfIoQueueCreate";
    enter(NAME, DISPATCH_LEVEL)?;
    let (object, body) = body!(NAME, device, Device)?;
    // SAFETY: null or the driver's structure.
    let Some(config) = (unsafe { config.as_ref() }) else {
        return refuse(NAME, "the queue config is null", device, NtStatus::INVALID_PARAMETER);
    };
    let limit = check(config)?;
    if !body.default_queue.load(Ordering::Acquire).is_null() {
        return refuse(NAME, "the device has a default queue already", device, NtStatus::UNSUCCESSFUL);
    }
    // SAFETY: the driver's attributes.
    let attributes = unsafe { Attributes::read(NAME, attributes, true) }?;
    // SAFETY: the device object stays while the WDFDEVICE does.
    let item = unsafe { IoAllocateWorkItem(body.wdm.as_ptr()) };
    let work_item = NonNull::new(item).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    let state = State { head: ptr::null_mut(), tail: ptr::null_mut(), presented: 0, pumping: false, scheduled: false };
    let passive = attributes.passive(object);
    let queue = QueueBody { config: *config, limit, passive, work_item, state: Locked::new(state) };
    let made = create(object.globals, Some(object), &attributes, Body::Queue(queue))?;
    body.default_queue.store(made.handle(), Ordering::Release);
    Ok(made)
}

/// How many requests such a queue presents at once.
fn check(config: &WDF_IO_QUEUE_CONFIG) -> Result<u32, NtStatus> {
    const NAME: &str = "WdfIoQueueCreate";
    let refuse = |text, status| refuse(NAME, text, ptr::null_mut(), status);
    if config.Size as usize != size_of::<WDF_IO_QUEUE_CONFIG>() {
        return refuse("WDF_IO_QUEUE_CONFIG.Size is wrong", NtStatus::INFO_LENGTH_MISMATCH);
    }
    if config.DefaultQueue == 0 {
        return refuse("queues other than the default one are not in kmdf-lite", NtStatus::NOT_SUPPORTED);
    }
    match config.DispatchType {
        WdfIoQueueDispatchSequential => Ok(1),
        WdfIoQueueDispatchParallel if config.NumberOfPresentedRequests == 0 => {
            refuse("a parallel queue that presents no requests", NtStatus::INVALID_PARAMETER)
        }
        WdfIoQueueDispatchParallel => Ok(config.NumberOfPresentedRequests),
        WdfIoQueueDispatchManual => refuse("manual queues are not in kmdf-lite", NtStatus::NOT_SUPPORTED),
        _ => refuse("no such dispatch type: was WDF_IO_QUEUE_CONFIG_INIT called?", NtStatus::INVALID_PARAMETER),
    }
}

/// The dispatch routine of every major function of a driver's.
///
/// # IRQL
/// PASSIVE_LEVEL (device controls: <= DISPATCH_LEVEL)
pub(crate) unsafe extern "win64" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NtStatus {
    // SAFETY: the I/O manager hands in one of our driver's devices.
    let Some(object) = (unsafe { from_wdm(device) }) else { return finish(irp, NtStatus::NO_SUCH_DEVICE) };
    let Body::Device(body) = &object.body else { return finish(irp, NtStatus::NO_SUCH_DEVICE) };
    // SAFETY: the IRP is ours until it is completed, and has a current stack location.
    let major = unsafe { (*(*irp).CurrentStackLocation).MajorFunction };
    match major {
        IRP_MJ_CREATE if !body.is_finished() => finish(irp, NtStatus::NO_SUCH_DEVICE),
        IRP_MJ_CREATE | IRP_MJ_CLEANUP | IRP_MJ_CLOSE => finish(irp, NtStatus::SUCCESS),
        IRP_MJ_SHUTDOWN => {
            if let Some(notify) = body.shutdown {
                // SAFETY: the driver's own callback with its own device.
                unsafe { notify(object.handle()) };
            }
            finish(irp, NtStatus::SUCCESS)
        }
        IRP_MJ_DEVICE_CONTROL => deliver(body, irp),
        _ => finish(irp, NtStatus::INVALID_DEVICE_REQUEST),
    }
}

/// Completes an IRP that no driver callback sees.
fn finish(irp: *mut IRP, status: NtStatus) -> NtStatus {
    request::complete_irp(irp, status, 0);
    status
}

fn deliver(device: &DeviceBody, irp: *mut IRP) -> NtStatus {
    let handle = device.default_queue.load(Ordering::Acquire);
    if handle.is_null() {
        return finish(irp, NtStatus::INVALID_DEVICE_REQUEST);
    }
    let Ok((object, queue)) = body!("the dispatch routine", handle, Queue) else {
        return finish(irp, NtStatus::INVALID_DEVICE_REQUEST);
    };
    let body = Body::Request(RequestBody::new(object));
    let Ok(request) = create(object.globals, Some(object), &Attributes::default(), body) else {
        return finish(irp, NtStatus::INSUFFICIENT_RESOURCES);
    };
    // SAFETY: ours until it is completed. Marked before anybody can complete it.
    unsafe { (*(*irp).CurrentStackLocation).Control |= SL_PENDING_RETURNED };
    request::carry(request, irp);
    object.reference();
    queue.state.lock().push(request);
    pump(object, queue);
    release(object);
    NtStatus::PENDING
}

impl State {
    fn push(&mut self, request: &'static Object) {
        let request = ptr::from_ref(request).cast_mut();
        match NonNull::new(self.tail) {
            // SAFETY: a queued request exists until it is completed, which it is not before it was presented.
            Some(tail) => request::link(unsafe { tail.as_ref() }).store(request, Ordering::Relaxed),
            None => self.head = request,
        }
        self.tail = request;
    }

    fn pop(&mut self) -> Option<&'static Object> {
        // SAFETY: as in `push`.
        let first: &'static Object = unsafe { self.head.as_ref() }?;
        self.head = request::link(first).swap(ptr::null_mut(), Ordering::Relaxed);
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        Some(first)
    }

    /// The next request to be presented. Whoever gets one goes on until there is none.
    fn next(&mut self, limit: u32, continuing: bool) -> Option<&'static Object> {
        let serial = limit != u32::MAX;
        if self.pumping && serial && !continuing {
            return None;
        }
        let next = if self.presented < limit { self.pop() } else { None };
        self.pumping = serial && next.is_some();
        self.presented += u32::from(next.is_some());
        next
    }
}

/// Presents what may be presented. The caller holds a reference to the queue.
fn pump(object: &'static Object, queue: &QueueBody) {
    if queue.passive && irql() > PASSIVE_LEVEL {
        return schedule(object, queue);
    }
    let mut continuing = false;
    loop {
        let next = queue.state.lock().next(queue.limit, continuing);
        let Some(request) = next else { return };
        present(object, queue, request);
        continuing = true;
    }
}

fn schedule(object: &'static Object, queue: &QueueBody) {
    {
        let mut state = queue.state.lock();
        if state.scheduled || state.head.is_null() {
            return;
        }
        state.scheduled = true;
    }
    let context = ptr::from_ref(object.reference()).cast_mut().cast();
    // SAFETY: the item belongs to the queue, is not queued, and the reference keeps the queue until it has run.
    unsafe { IoQueueWorkItem(queue.work_item.as_ptr(), Some(work), DELAYED_WORK_QUEUE, context) };
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn work(_device: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: `schedule` referenced it.
    let object: &'static Object = unsafe { &*context.cast::<Object>() };
    if let Body::Queue(queue) = &object.body {
        queue.state.lock().scheduled = false;
        pump(object, queue);
    }
    release(object);
}

fn present(object: &Object, queue: &QueueBody, request: &'static Object) {
    let Some(io) = request::io_control(request) else { return };
    emit(Kind::Request { code: io.code }, request.handle() as usize);
    let (queue_handle, handle) = (object.handle(), request.handle());
    if let Some(callback) = queue.config.EvtIoDeviceControl {
        // SAFETY: the driver's own callback with its own queue and a request that it now owns.
        unsafe { callback(queue_handle, handle, io.output_length, io.input_length, io.code) };
    } else if let Some(callback) = queue.config.EvtIoDefault {
        // SAFETY: as above.
        unsafe { callback(queue_handle, handle) };
    } else {
        let _ = request::complete("WdfIoQueue", handle, NtStatus::INVALID_DEVICE_REQUEST, 0);
    }
}

/// A request that was presented has been completed: the next may come.
pub(crate) fn completed(object: &'static Object) {
    let Body::Queue(queue) = &object.body else { return };
    queue.state.lock().presented -= 1;
    pump(object, queue);
}
