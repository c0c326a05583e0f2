//! Entry and unload of a driver made by [`driver!`](crate::driver): a device to arm completion routines on (L31), the
//! executor, the registration. Unload is the entry from its end.
//!
//! With KMDF the driver is one of the framework's, of the kind that is not Plug and Play: only so the framework's library is
//! let go at unload. Device and settings are plain NT, the same in both driver models.
//!
//! # IRQL
//! `PASSIVE_LEVEL` for everything here.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use allocator_api2::boxed::Box;
use wdk_sys::ntddk::{IoCreateDevice, IoDeleteDevice};
use wdk_sys::{DRIVER_OBJECT, FILE_DEVICE_SECURE_OPEN, FILE_DEVICE_UNKNOWN, GUID, NTSTATUS, PDEVICE_OBJECT, UNICODE_STRING};

use super::{Device, NtStatus, parameters};
use crate::sync::{Pool, tag};
use crate::{Client, Handler, Passive, Runtime};

type RunningBox = Box<Running, Pool<{ tag(b"WskN") }>>;

/// What [`start`] made, until [`stop`] takes it. An image is one driver, so there is one.
static RUNNING: AtomicPtr<Running> = AtomicPtr::new(null_mut());

/// All that a driver has, in the order in which it goes. The unload routine drops it, at PASSIVE_LEVEL.
struct Running {
    client: Client,
    _runtime: Runtime,
    _device: OwnDevice,
}

/// `DriverEntry`. [`DRIVER_INITIALIZE`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nc-wdm-driver_initialize)
///
/// # Safety
/// The pointers are the arguments of `DriverEntry`, which is called once.
pub unsafe fn start(
    object: *mut DRIVER_OBJECT,
    registry_path: *const UNICODE_STRING,
    name: &str,
    module: u128,
    handler: &'static dyn Handler,
) -> NTSTATUS {
    // SAFETY: `DriverEntry` is called at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: as the caller promises.
    unsafe { parameters::remember(registry_path) };
    // SAFETY: as the caller promises.
    let started = unsafe { model::create_driver(object, registry_path) }
        // SAFETY: as the caller promises.
        .and_then(|()| unsafe { OwnDevice::create(object) })
        .and_then(|device| Running::start(passive, device, guid(module), handler));
    match started {
        Ok(()) => NtStatus::SUCCESS.0,
        Err(status) => {
            wdk::println!("{name}: not loaded: {status}");
            status.0
        }
    }
}

/// The GUID that is written as these 32 hexadecimal digits.
const fn guid(digits: u128) -> GUID {
    GUID {
        Data1: (digits >> 96) as _,
        Data2: (digits >> 80) as u16,
        Data3: (digits >> 64) as u16,
        Data4: (digits as u64).to_be_bytes(),
    }
}

/// Ends everything. When it returns, nothing of the image runs (L31).
fn stop() {
    let running = RUNNING.swap(null_mut(), Ordering::AcqRel);
    if !running.is_null() {
        // SAFETY: stored by `start`, and taken by this one swap.
        drop(unsafe { RunningBox::from_raw_in(running, Pool) });
    }
}

impl Running {
    /// Brings everything up; whatever fails, what came before it is taken down (L04).
    fn start(passive: Passive, device: OwnDevice, module: GUID, handler: &'static dyn Handler) -> Result<(), NtStatus> {
        let runtime = Runtime::start(passive)?;
        let client = Client::new(passive, module, handler, runtime.executor(), device.name())?;
        // In their place before anything can be called, for they stay where they are from the registration on.
        let running = RunningBox::try_new_in(Self { client, _runtime: runtime, _device: device }, Pool)
            .map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        running.client.register(passive)?;
        RUNNING.store(RunningBox::into_raw(running), Ordering::Release);
        Ok(())
    }
}

/// A device object without a name, which nobody can open.
///
/// # Invariants
/// It is there.
struct OwnDevice(PDEVICE_OBJECT);

impl OwnDevice {
    /// [`IoCreateDevice`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocreatedevice)
    ///
    /// # Safety
    /// `driver` is the driver's object.
    unsafe fn create(driver: *mut DRIVER_OBJECT) -> Result<Self, NtStatus> {
        let mut device = null_mut();
        // SAFETY: as the caller promises; there is no name, and `device` receives the object.
        let status = unsafe {
            IoCreateDevice(driver, 0, null_mut(), FILE_DEVICE_UNKNOWN as _, FILE_DEVICE_SECURE_OPEN as _, 0, &raw mut device)
        };
        // INVARIANT: just made.
        NtStatus(status).ok().map(|()| Self(device))
    }

    fn name(&self) -> Device {
        // SAFETY: a device of this driver; `Running` drops it after the client.
        unsafe { Device::new(self.0) }
    }
}

impl Drop for OwnDevice {
    fn drop(&mut self) {
        // SAFETY: there by the invariant, and deleted here alone.
        unsafe { IoDeleteDevice(self.0) };
    }
}

/// How the driver gets its unload routine from the framework.
#[cfg(driver_model__driver_type = "KMDF")]
mod model {
    use core::ptr::null_mut;

    use wdk_sys::{
        _WDF_DRIVER_INIT_FLAGS, DRIVER_OBJECT, ULONG, UNICODE_STRING, WDF_DRIVER_CONFIG, WDF_NO_OBJECT_ATTRIBUTES, WDFDRIVER,
        call_unsafe_wdf_function_binding,
    };

    use super::NtStatus;

    /// [`WdfDriverCreate`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfdriver/nf-wdfdriver-wdfdrivercreate)
    ///
    /// # Safety
    /// The arguments are those of `DriverEntry`.
    pub(super) unsafe fn create_driver(driver: *mut DRIVER_OBJECT, registry_path: *const UNICODE_STRING) -> Result<(), NtStatus> {
        let mut config = WDF_DRIVER_CONFIG {
            Size: size_of::<WDF_DRIVER_CONFIG>() as ULONG,
            EvtDriverUnload: Some(unload),
            DriverInitFlags: _WDF_DRIVER_INIT_FLAGS::WdfDriverInitNonPnpDriver as ULONG,
            ..WDF_DRIVER_CONFIG::default()
        };
        let mut created: WDFDRIVER = null_mut();
        // SAFETY: as the caller promises; the rest lives during the call.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(
                WdfDriverCreate,
                driver,
                registry_path,
                WDF_NO_OBJECT_ATTRIBUTES,
                &raw mut config,
                &raw mut created,
            )
        };
        NtStatus(status).ok()
    }

    /// `EvtDriverUnload`.
    ///
    /// # Safety
    /// Called by the framework, once, after a successful start.
    unsafe extern "C" fn unload(_framework: WDFDRIVER) {
        super::stop();
    }
}

/// How the driver gets its unload routine from the I/O manager.
#[cfg(not(driver_model__driver_type = "KMDF"))]
mod model {
    use wdk_sys::{DRIVER_OBJECT, UNICODE_STRING};

    use super::NtStatus;

    /// Names the unload routine; it cannot fail.
    ///
    /// # Safety
    /// `driver` is the driver's object, in `DriverEntry`.
    pub(super) unsafe fn create_driver(
        driver: *mut DRIVER_OBJECT,
        _registry_path: *const UNICODE_STRING,
    ) -> Result<(), NtStatus> {
        // SAFETY: as the caller promises.
        unsafe { (*driver).DriverUnload = Some(unload) };
        Ok(())
    }

    /// `DriverUnload`.
    ///
    /// # Safety
    /// Called by the I/O manager, once, after a successful start.
    unsafe extern "C" fn unload(_driver: *mut DRIVER_OBJECT) {
        super::stop();
    }
}
