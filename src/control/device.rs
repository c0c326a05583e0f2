//! The device object: its name, who may open it, its queue, and its end.
//!
//! # IRQL
//! `PASSIVE_LEVEL`, where a function does not say otherwise.
#![allow(unsafe_code)] // a device and its callbacks are the framework's

use core::ptr::null_mut;

use control_abi::{DEVICE_NAME, LINK_NAME};
use wdk_sys::{
    _WDF_DEVICE_SHUTDOWN_FLAGS, _WDF_EXECUTION_LEVEL, _WDF_IO_QUEUE_DISPATCH_TYPE, _WDF_SYNCHRONIZATION_SCOPE, _WDF_TRI_STATE,
    FILE_DEVICE_SECURE_OPEN, PWDFDEVICE_INIT, ULONG, WDF_IO_QUEUE_CONFIG, WDF_NO_OBJECT_ATTRIBUTES, WDF_OBJECT_ATTRIBUTES,
    WDFDEVICE, WDFDRIVER, WDFQUEUE, call_unsafe_wdf_function_binding,
};
use wsk::{Device, NtStatus, Passive};

use super::on_device_control;
use crate::entry;
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
