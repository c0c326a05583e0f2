//! Start-up and unload: each reads as a list, and the second is the first from its end.
//!
//! # IRQL
//! Any, where a function does not say otherwise.
#![allow(unsafe_code)] // called by the kernel; owns the one `Driver` through a pointer

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, WDFDRIVER};
use wsk::rundown::{Acquired, BeginEnd, Released, Right, Rundown};
use wsk::sync::{Pool, tag};
use wsk::{NtStatus, Passive};

use crate::control::ControlDevice;
use crate::driver::Driver;
use crate::log;
use crate::parameters::Parameters;
use crate::trace::{self, Event, tell};
use crate::wdf;

type DriverBox = allocator_api2::boxed::Box<Driver, Pool<{ tag(b"WskV") }>>;

/// The driver's state, from the middle of [`start`] to [`take_down`].
static DRIVER: AtomicPtr<Driver> = AtomicPtr::new(null_mut());

/// Who is in a callback of the device. Requests end before unload begins (L38), but the shutdown notification knows no such
/// order: the device gets it until it is deleted, which is after `EvtDriverUnload`.
static CALLBACKS: Rundown = Rundown::new();

/// The driver, for one callback of the device.
pub(crate) struct InCallback(&'static Driver);

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
    // SAFETY: DriverEntry is called at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    trace::register(passive);
    match created.and_then(|framework| start(passive, framework)) {
        Ok(()) => NtStatus::SUCCESS.0,
        Err(status) => {
            tell(Event::Fault { what: "not loaded", status });
            trace::unregister(passive);
            status.0
        }
    }
}

/// Brings everything up, the device's admission of requests last; whatever fails, what came before it is taken down (L04).
///
/// # IRQL
/// `PASSIVE_LEVEL`.
fn start(passive: Passive, framework: WDFDRIVER) -> Result<(), NtStatus> {
    let parameters = Parameters::read(framework)?;
    let device = ControlDevice::create(framework)?;
    let driver = match prepare(framework, &parameters) {
        Ok(driver) => driver,
        Err(status) => return Err(device.delete_after(status)),
    };
    // SAFETY: just made; freed by `take_down` only.
    if let Err(status) = unsafe { &*driver }.start(passive, device.wdm()) {
        take_down(passive);
        return Err(device.delete_after(status));
    }
    // An image that was unloaded is loaded anew with its statics, so it is never opened twice.
    let _ = CALLBACKS.open();
    device.open_for_requests();
    log!("loaded");
    Ok(())
}

/// Makes what exists once per load; nothing runs yet.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
fn prepare(framework: WDFDRIVER, parameters: &Parameters) -> Result<*const Driver, NtStatus> {
    trace::begin()?;
    let made = Driver::new(framework, parameters)
        .and_then(|driver| DriverBox::try_new_in(driver, Pool).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES))
        .map(DriverBox::into_raw)
        .inspect_err(|_| trace::end())?;
    DRIVER.store(made, Ordering::Release);
    Ok(made)
}

/// `EvtDriverUnload`. When the framework's stub around it has returned, nothing of this image runs (L31).
///
/// # Safety
/// Called by the framework, once, after a successful start.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe extern "C" fn on_unload(_framework: WDFDRIVER) {
    // SAFETY: the framework calls this at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    take_down(passive);
    log!("unloaded");
    trace::unregister(passive);
}

/// Ends everything that [`start`] began, but for the device, which the framework deletes.
///
/// # IRQL
/// `PASSIVE_LEVEL`, with no lock held.
fn take_down(passive: Passive) {
    let driver = DRIVER.load(Ordering::Acquire);
    // SAFETY: freed below only, and then null.
    let Some(running) = (unsafe { driver.as_ref() }) else { return };
    if CALLBACKS.begin_end() == BeginEnd::Busy && CALLBACKS.release(Right::Enter) == Released::Held {
        running.left.wait(passive);
    }
    running.stop(passive);
    DRIVER.store(null_mut(), Ordering::Release);
    // SAFETY: the driver has stopped: no callback, task or thread refers to it, and no callback is admitted.
    drop(unsafe { DriverBox::from_raw_in(driver, Pool) });
    trace::end();
}

/// The driver, for a callback of the device; `None` while it is not up.
///
/// # IRQL
/// Any.
pub(crate) fn driver() -> Option<InCallback> {
    match CALLBACKS.acquire() {
        // SAFETY: stored before callbacks were admitted, and not freed before this one has left.
        Acquired::Granted => Some(InCallback(unsafe { &*DRIVER.load(Ordering::Acquire) })),
        Acquired::Refused => None,
        Acquired::RefusedLast => {
            // SAFETY: `take_down` waits for the one who was last, which this attempt turned out to be.
            unsafe { &*DRIVER.load(Ordering::Acquire) }.left.set();
            None
        }
    }
}

impl InCallback {
    /// The driver for what outlives the callback: tasks, which end before it goes.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn lasting(&self) -> &'static Driver {
        self.0
    }
}

impl core::ops::Deref for InCallback {
    type Target = Driver;

    fn deref(&self) -> &Driver {
        self.0
    }
}

impl Drop for InCallback {
    fn drop(&mut self) {
        let driver = self.0;
        if CALLBACKS.release(Right::Enter) == Released::Last {
            driver.left.set();
        }
    }
}
