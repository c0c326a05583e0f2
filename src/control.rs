//! The control device: what tools talk to, and what keeps the image while completion routines run (L31).
//!
//! Requests come at PASSIVE_LEVEL, several at a time, so that the state can be asked for while a deactivation waits. While
//! a handle is open the I/O manager does not unload the driver (L38).
//!
//! # IRQL
//! `PASSIVE_LEVEL`, where a function does not say otherwise.
#![allow(unsafe_code)] // a device and its callbacks are the framework's

use core::ptr::null_mut;

use control_abi::{DEVICE_NAME, HeaderError, LINK_NAME, Request, RequestHeader, State};
use wdk_sys::{
    _WDF_DEVICE_SHUTDOWN_FLAGS, _WDF_EXECUTION_LEVEL, _WDF_IO_QUEUE_DISPATCH_TYPE, _WDF_SYNCHRONIZATION_SCOPE, _WDF_TRI_STATE,
    FILE_DEVICE_SECURE_OPEN, PVOID, PWDFDEVICE_INIT, ULONG, WDF_IO_QUEUE_CONFIG, WDF_NO_OBJECT_ATTRIBUTES, WDF_OBJECT_ATTRIBUTES,
    WDFDEVICE, WDFDRIVER, WDFQUEUE, WDFREQUEST, call_unsafe_wdf_function_binding,
};
use wsk::{Device, NtStatus, Passive};
use zerocopy::IntoBytes;

use crate::driver::Driver;
use crate::entry;
use crate::log;
use crate::wdf::Wide;

/// SYSTEM and administrators, nobody else.
const SECURITY: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";

/// The device, before it admits requests.
///
/// # Invariants
/// The handle is that of a live device object.
pub(crate) struct ControlDevice(WDFDEVICE);

impl ControlDevice {
    /// Makes the device, its link and its queue. Requests are not admitted yet.
    ///
    /// # Errors
    /// The framework's status; nothing is left then.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn create(driver: WDFDRIVER) -> Result<Self, NtStatus> {
        let device = create_device(driver)?;
        if let Err(status) = create_link(device).and_then(|()| create_queue(device)) {
            return Err(Self(device).delete_after(status));
        }
        Ok(Self(device))
    }

    /// The device object, which lives until the framework deletes it after `EvtDriverUnload`.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn wdm(&self) -> Device {
        // SAFETY: live by the invariant.
        let object = unsafe { call_unsafe_wdf_function_binding!(WdfDeviceWdmGetDeviceObject, self.0) };
        // SAFETY: ours; the registration that gets it ends in `EvtDriverUnload`, or before the device is deleted.
        unsafe { Device::new(object) }
    }

    /// Admits requests. [`WdfControlFinishInitializing`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfcontrol/nf-wdfcontrol-wdfcontrolfinishinitializing)
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn open_for_requests(&self) {
        // SAFETY: live by the invariant, and not finished before.
        unsafe { call_unsafe_wdf_function_binding!(WdfControlFinishInitializing, self.0) };
    }

    /// Deletes the device of a load that failed with `status`.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn delete_after(self, status: NtStatus) -> NtStatus {
        // SAFETY: live by the invariant, and not used again.
        unsafe { call_unsafe_wdf_function_binding!(WdfObjectDelete, self.0.cast()) };
        status
    }
}

fn create_device(driver: WDFDRIVER) -> Result<WDFDEVICE, NtStatus> {
    let security = Wide::<64>::new(SECURITY);
    let security = security.as_unicode();
    // SAFETY: the driver's handle, and a string that lives during the call.
    let init = unsafe { call_unsafe_wdf_function_binding!(WdfControlDeviceInitAllocate, driver, &raw const security) };
    if init.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    let mut init = init;
    let made = describe_device(init).and_then(|()| {
        let (mut attributes, mut device) = (object_attributes(), null_mut());
        // SAFETY: `init` is complete; on success the framework takes it and clears the pointer.
        NtStatus(unsafe {
            call_unsafe_wdf_function_binding!(WdfDeviceCreate, &raw mut init, &raw mut attributes, &raw mut device)
        })
        .ok()
        .map(|()| device)
    });
    if made.is_err() && !init.is_null() {
        // SAFETY: the framework has not taken it.
        unsafe { call_unsafe_wdf_function_binding!(WdfDeviceInitFree, init) };
    }
    made
}

fn describe_device(init: PWDFDEVICE_INIT) -> Result<(), NtStatus> {
    let name = Wide::<64>::new(DEVICE_NAME);
    let name = name.as_unicode();
    // SAFETY: `init` is the framework's, and the name lives during the call.
    NtStatus(unsafe { call_unsafe_wdf_function_binding!(WdfDeviceInitAssignName, init, &raw const name) }).ok()?;
    // SAFETY: as above.
    unsafe { call_unsafe_wdf_function_binding!(WdfDeviceInitSetCharacteristics, init, FILE_DEVICE_SECURE_OPEN, 1) };
    // SAFETY: as above.
    unsafe {
        call_unsafe_wdf_function_binding!(
            WdfControlDeviceInitSetShutdownNotification,
            init,
            Some(on_shutdown),
            _WDF_DEVICE_SHUTDOWN_FLAGS::WdfDeviceShutdown as _,
        );
    };
    Ok(())
}

/// WDF_OBJECT_ATTRIBUTES_INIT, with callbacks at PASSIVE_LEVEL.
fn object_attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        Size: size_of::<WDF_OBJECT_ATTRIBUTES>() as ULONG,
        ExecutionLevel: _WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive,
        SynchronizationScope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeNone,
        ..WDF_OBJECT_ATTRIBUTES::default()
    }
}

fn create_link(device: WDFDEVICE) -> Result<(), NtStatus> {
    let link = Wide::<64>::new(LINK_NAME);
    let link = link.as_unicode();
    // SAFETY: a live device, and a string that lives during the call.
    NtStatus(unsafe { call_unsafe_wdf_function_binding!(WdfDeviceCreateSymbolicLink, device, &raw const link) }).ok()
}

fn create_queue(device: WDFDEVICE) -> Result<(), NtStatus> {
    let mut config = WDF_IO_QUEUE_CONFIG {
        Size: size_of::<WDF_IO_QUEUE_CONFIG>() as ULONG,
        DispatchType: _WDF_IO_QUEUE_DISPATCH_TYPE::WdfIoQueueDispatchParallel,
        PowerManaged: _WDF_TRI_STATE::WdfFalse,
        DefaultQueue: 1,
        EvtIoDeviceControl: Some(on_device_control),
        ..WDF_IO_QUEUE_CONFIG::default()
    };
    config.Settings.Parallel.NumberOfPresentedRequests = ULONG::MAX;
    let mut queue: WDFQUEUE = null_mut();
    // SAFETY: a live device; the rest lives during the call.
    NtStatus(unsafe {
        call_unsafe_wdf_function_binding!(WdfIoQueueCreate, device, &raw mut config, WDF_NO_OBJECT_ATTRIBUTES, &raw mut queue)
    })
    .ok()
}

/// `EvtDeviceShutdownNotification`: the system is going down.
///
/// # Safety
/// Called by the framework.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe extern "C" fn on_shutdown(_device: WDFDEVICE) {
    if let Some(driver) = entry::driver() {
        // SAFETY: the device's attributes ask for PASSIVE_LEVEL.
        driver.system_shutdown(unsafe { Passive::assume() });
    }
}

/// [`EvtIoDeviceControl`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfio/nc-wdfio-evt_wdf_io_queue_io_device_control)
///
/// # Safety
/// Called by the framework; the request is this function's to complete.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe extern "C" fn on_device_control(_queue: WDFQUEUE, request: WDFREQUEST, _out: usize, input_length: usize, code: ULONG) {
    // SAFETY: as the caller promises.
    let (status, information) = match unsafe { handle(request, input_length, code) } {
        Ok(length) => (NtStatus::SUCCESS, length),
        Err((status, length)) => (status, length),
    };
    // SAFETY: the request is ours, and completed here alone.
    unsafe { call_unsafe_wdf_function_binding!(WdfRequestCompleteWithInformation, request, status.0, information as _) };
}

/// Does what is asked: the length of the answer, or a status with the length that would have been needed.
///
/// # Safety
/// The request is being handled, and not completed yet.
unsafe fn handle(request: WDFREQUEST, input_length: usize, code: ULONG) -> Result<usize, (NtStatus, usize)> {
    let asked = Request::from_code(code).ok_or((NtStatus::INVALID_DEVICE_REQUEST, 0))?;
    let driver = entry::driver().ok_or((NtStatus::INVALID_DEVICE_STATE, 0))?;
    // SAFETY: as the caller promises.
    let input = unsafe { input_of(request, input_length) }?;
    // SAFETY: the device's attributes ask for PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    RequestHeader::check(input).map_err(|error| (header_status(error), 0))?;
    match asked {
        // SAFETY: as the caller promises; the input is not used any more.
        Request::State => unsafe { answer_state(request, &driver) },
        Request::Deactivate => driver.deactivate(passive).map(|()| 0).map_err(|status| (status, 0)),
        Request::Activate => driver.activate(passive).map(|()| 0).map_err(|status| (status, 0)),
    }
}

fn header_status(error: HeaderError) -> NtStatus {
    match error {
        HeaderError::TooShort => NtStatus::BUFFER_TOO_SMALL,
        HeaderError::Version(version) => {
            log!("control: a request of version {version}, but this driver has {}", control_abi::VERSION);
            NtStatus::REVISION_MISMATCH
        }
        HeaderError::TooLong | HeaderError::Reserved => NtStatus::INVALID_PARAMETER,
    }
}

/// # Safety
/// As for [`handle`]; input and output share their memory, so the input must not be used after the output was asked for.
unsafe fn input_of<'a>(request: WDFREQUEST, length: usize) -> Result<&'a [u8], (NtStatus, usize)> {
    const NEEDED: usize = size_of::<RequestHeader>();
    if length < NEEDED {
        return Err((NtStatus::BUFFER_TOO_SMALL, NEEDED));
    }
    let (mut buffer, mut available): (PVOID, usize) = (null_mut(), 0);
    // SAFETY: as the caller promises; the rest lives during the call.
    NtStatus(unsafe {
        call_unsafe_wdf_function_binding!(
            WdfRequestRetrieveInputBuffer,
            request,
            NEEDED as _,
            &raw mut buffer,
            (&raw mut available).cast(),
        )
    })
    .ok()
    .map_err(|status| (status, NEEDED))?;
    // SAFETY: the system's buffer, of that length, until the request is completed.
    Ok(unsafe { core::slice::from_raw_parts(buffer.cast_const().cast(), available) })
}

/// # Safety
/// As for [`handle`].
unsafe fn answer_state(request: WDFREQUEST, driver: &Driver) -> Result<usize, (NtStatus, usize)> {
    const NEEDED: usize = size_of::<State>();
    let mut buffer: PVOID = null_mut();
    // SAFETY: as the caller promises; the rest lives during the call.
    let status = NtStatus(unsafe {
        call_unsafe_wdf_function_binding!(WdfRequestRetrieveOutputBuffer, request, NEEDED as _, &raw mut buffer, null_mut())
    });
    status.ok().map_err(|status| (status, NEEDED))?;
    let state = driver.state();
    // SAFETY: the framework says that the buffer has at least so many bytes.
    unsafe { core::ptr::copy_nonoverlapping(state.as_bytes().as_ptr(), buffer.cast(), NEEDED) };
    Ok(NEEDED)
}
