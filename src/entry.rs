//! Start-up and unload: each reads as a list, and the second is the first from its end.
#![allow(unsafe_code)] // called by the kernel; owns the one `Driver` through a pointer

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, WDFDRIVER};
use wsk::NtStatus;
use wsk::sync::{Pool, tag};

use crate::control::ControlDevice;
use crate::driver::Driver;
use crate::log;
use crate::parameters::Parameters;
use crate::wdf;

type DriverBox = allocator_api2::boxed::Box<Driver, Pool<{ tag(b"WskV") }>>;

/// The driver's state, from the end of a successful [`start`] to [`unload`].
static DRIVER: AtomicPtr<Driver> = AtomicPtr::new(null_mut());

/// Called by FxDriverEntry. [`DRIVER_INITIALIZE`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nc-wdm-driver_initialize)
///
/// # Safety
/// The arguments are those of the I/O manager.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: *mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let created = unsafe { wdf::create_driver(driver, registry_path, on_unload) };
    match created.and_then(start) {
        Ok(()) => NtStatus::SUCCESS.0,
        Err(status) => {
            log!("not loaded: {status}");
            status.0
        }
    }
}

/// Brings everything up, the device's admission of requests last; whatever fails, what came before it is taken down (L04).
///
/// # IRQL
/// `PASSIVE_LEVEL`.
fn start(framework: WDFDRIVER) -> Result<(), NtStatus> {
    let parameters = Parameters::read(framework);
    let device = ControlDevice::create(framework)?;
    let driver = match Driver::new(parameters, device.wdm()) {
        Ok(driver) => driver,
        Err(status) => return Err(device.delete_after(status)),
    };
    let driver = match DriverBox::try_new_in(driver, Pool) {
        Ok(boxed) => DriverBox::into_raw(boxed),
        Err(_) => return Err(device.delete_after(NtStatus::INSUFFICIENT_RESOURCES)),
    };
    DRIVER.store(driver, Ordering::Release);
    // SAFETY: just made; freed by `take_down` only.
    if let Err(status) = unsafe { &*driver }.start(device.wdm()) {
        take_down();
        return Err(device.delete_after(status));
    }
    device.open_for_requests();
    log!("loaded");
    Ok(())
}

/// `EvtDriverUnload`. When the framework's stub around it has returned, nothing of this image runs (L31).
///
/// # Safety
/// Called by the framework, once, after a successful start.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe extern "C" fn on_unload(_framework: WDFDRIVER) {
    take_down();
    log!("unloaded");
}

/// Ends everything that [`start`] began, but for the device, which the framework deletes.
///
/// # IRQL
/// `PASSIVE_LEVEL`, with no lock held.
fn take_down() {
    let driver = DRIVER.swap(null_mut(), Ordering::AcqRel);
    if driver.is_null() {
        return;
    }
    // SAFETY: freed below only.
    unsafe { &*driver }.stop();
    // SAFETY: the driver has stopped: no callback, task or thread refers to it, and requests come no more.
    drop(unsafe { DriverBox::from_raw_in(driver, Pool) });
}

/// The driver, for callbacks of the device, which come only while it exists.
///
/// # IRQL
/// Any.
pub(crate) fn driver() -> Option<&'static Driver> {
    // SAFETY: stored by `start` before the device admits requests; freed when it does no more.
    unsafe { DRIVER.load(Ordering::Acquire).as_ref() }
}
