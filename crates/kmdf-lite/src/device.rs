//! WDFDEVICE: control devices, their names and links, the shutdown notification.

#![allow(unsafe_code)] // Called by drivers through the function table.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use nt_abi::kernel::{
    IoCreateDevice, IoCreateSymbolicLink, IoDeleteDevice, IoDeleteSymbolicLink, IoRegisterShutdownNotification,
    IoUnregisterShutdownNotification,
};
use nt_abi::wdf::{
    EVT_WDF_DEVICE_SHUTDOWN_NOTIFICATION, WDF_DRIVER_GLOBALS, WDF_OBJECT_ATTRIBUTES, WDFOBJECT, WdfDeviceIoBuffered,
    WdfDeviceIoDirect,
};
use nt_abi::{DEVICE_OBJECT, DISPATCH_LEVEL, DO_BUFFERED_IO, DO_DEVICE_INITIALIZING, NtStatus, PASSIVE_LEVEL, UNICODE_STRING};

use crate::device_init::{self, DeviceInit, release};
use crate::driver::driver_of;
use crate::event::{enter, level, status, violation};
use crate::kernel::{Locked, Text, units};
use crate::object::{Attributes, Body, Object, body, create, delete, refuse, resolve};

const DO_DIRECT_IO: u32 = 0x10;

/// What a WDFDEVICE has of its own. Dropping it deletes the device object.
pub(crate) struct DeviceBody {
    pub wdm: NonNull<DEVICE_OBJECT>,
    name: Option<Text>,
    sddl: Text,
    link: Locked<Option<Text>>,
    pub shutdown: Option<EVT_WDF_DEVICE_SHUTDOWN_NOTIFICATION>,
    /// Handle of the queue that requests go to, or null.
    pub default_queue: AtomicPtr<c_void>,
    finished: AtomicBool,
}

/// What [`describe`] tells of a control device.
pub struct Device<'a> {
    /// The device object.
    pub object: usize,
    /// Its name, empty if it has none.
    pub name: &'a [u16],
    /// Who may open it, as the driver said.
    pub sddl: &'a [u16],
}

/// Tells what is known of the control device behind a device object; None if it is none of the framework's.
///
/// # Safety
/// The device object exists and belongs to a driver that the framework serves.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub unsafe fn describe<R>(device: *const DEVICE_OBJECT, tell: impl FnOnce(&Device<'_>) -> R) -> Option<R> {
    // SAFETY: the caller's promise.
    let object = unsafe { from_wdm(device) }?;
    let Body::Device(body) = &object.body else { return None };
    let name = body.name.as_ref().map_or(&[][..], Text::units);
    Some(tell(&Device { object: device as usize, name, sddl: body.sddl.units() }))
}

/// The WDFDEVICE behind a device object.
///
/// # Safety
/// The device object exists and was made by this framework: its extension holds a handle.
pub(crate) unsafe fn from_wdm(device: *const DEVICE_OBJECT) -> Option<&'static Object> {
    // SAFETY: the caller's promise.
    let extension = unsafe { (*device).DeviceExtension }.cast::<WDFOBJECT>();
    if extension.is_null() {
        return None;
    }
    // SAFETY: as above: `wdm_device` wrote it before anybody could see the device.
    resolve("the dispatch routine", unsafe { extension.read() }).ok()
}

impl DeviceBody {
    /// Whether requests are let in.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Takes back what is visible outside.
    pub fn dispose(&self) {
        if self.shutdown.is_some() {
            // SAFETY: registered when the device was made.
            unsafe { IoUnregisterShutdownNotification(self.wdm.as_ptr()) };
        }
        let link = self.link.lock().take();
        if let Some(link) = link {
            // SAFETY: the string stays until the end of the block.
            let _ = unsafe { IoDeleteSymbolicLink(link.string()) };
        }
    }
}

impl Drop for DeviceBody {
    fn drop(&mut self) {
        // SAFETY: the object is off the list; whoever still comes through the device object finds no WDFDEVICE.
        unsafe { IoDeleteDevice(self.wdm.as_ptr()) };
    }
}

/// Makes a control device and consumes its DeviceInit.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceCreate(
    _globals: *mut WDF_DRIVER_GLOBALS,
    init: *mut *mut c_void,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    device: *mut WDFOBJECT,
) -> NtStatus {
    // SAFETY: the driver's pointers, as the page describes them.
    status(unsafe { make(init, attributes, device) })
}

unsafe fn make(init: *mut *mut c_void, attributes: *const WDF_OBJECT_ATTRIBUTES, device: *mut WDFOBJECT) -> Result<(), NtStatus> {
    const NAME: &str = "WdfDeviceCreate";
    enter(NAME, PASSIVE_LEVEL)?;
    if init.is_null() || device.is_null() {
        return refuse(NAME, "called with a null pointer", ptr::null_mut(), NtStatus::INVALID_PARAMETER);
    }
    // SAFETY: not null; the driver's variable.
    let block = device_init::find(NAME, unsafe { *init })?;
    // SAFETY: on the list; the driver prepares a device in one thread.
    let it = unsafe { block.as_ref() };
    // SAFETY: the driver's attributes.
    let attributes = unsafe { Attributes::read(NAME, attributes, false) }?;
    // SAFETY: a DeviceInit's globals stay while it is there.
    let driver = resolve(NAME, unsafe { it.globals.as_ref() }.public.Driver)?;
    let made = assemble(driver, it, &attributes)?;
    release(block);
    // SAFETY: not null; the driver's variables.
    unsafe {
        *init = ptr::null_mut();
        *device = made.handle();
    }
    Ok(())
}

fn assemble(driver: &Object, init: &DeviceInit, attributes: &Attributes) -> Result<&'static Object, NtStatus> {
    let sddl = Text::join(&[init.sddl.units()]).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    let name = match &init.name {
        Some(name) => Some(Text::join(&[name.units()]).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?),
        None => None,
    };
    let wdm = wdm_device(driver, init)?;
    let body = DeviceBody {
        wdm,
        name,
        sddl,
        link: Locked::new(None),
        shutdown: init.shutdown,
        default_queue: AtomicPtr::new(ptr::null_mut()),
        finished: AtomicBool::new(false),
    };
    let object = create(driver.globals, Some(driver), attributes, Body::Device(body))?;
    // SAFETY: `wdm_device` asked for an extension that holds a handle. Until now it held null.
    unsafe { wdm.as_ref().DeviceExtension.cast::<WDFOBJECT>().write(object.handle()) };
    if init.shutdown.is_some() {
        // SAFETY: the device was just made.
        let status = unsafe { IoRegisterShutdownNotification(wdm.as_ptr()) };
        if status.is_failure() {
            delete(object)?;
            return Err(status);
        }
    }
    Ok(object)
}

fn wdm_device(driver: &Object, init: &DeviceInit) -> Result<NonNull<DEVICE_OBJECT>, NtStatus> {
    // SAFETY: an object's globals stay while it is there.
    let driver_object = unsafe { driver.globals.as_ref() }.driver_object;
    let name = init.name.as_ref().map_or(ptr::null_mut(), Text::string);
    let mut device = ptr::null_mut();
    // SAFETY: the driver object is the one that was bound, the name outlives the call.
    let status = unsafe {
        IoCreateDevice(
            driver_object,
            size_of::<WDFOBJECT>() as u32,
            name,
            init.device_type,
            init.characteristics,
            u8::from(init.exclusive),
            &mut device,
        )
    };
    let Some(mut made) = NonNull::new(device).filter(|_| status.is_success()) else { return Err(status) };
    let flags = match init.io_type {
        WdfDeviceIoBuffered => DO_BUFFERED_IO,
        WdfDeviceIoDirect => DO_DIRECT_IO,
        _ => 0,
    };
    // SAFETY: just made, not yet in use: the I/O manager sets DO_DEVICE_INITIALIZING.
    unsafe { made.as_mut() }.Flags |= flags;
    Ok(made)
}

/// Gives the device a name in user mode's name space.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceCreateSymbolicLink(
    _globals: *mut WDF_DRIVER_GLOBALS,
    device: WDFOBJECT,
    link: *const UNICODE_STRING,
) -> NtStatus {
    // SAFETY: the driver's string.
    status(unsafe { make_link(device, link) })
}

unsafe fn make_link(device: WDFOBJECT, link: *const UNICODE_STRING) -> Result<(), NtStatus> {
    const NAME: &str = "WdfDeviceCreateSymbolicLink";
    enter(NAME, PASSIVE_LEVEL)?;
    let (_, body) = body!(NAME, device, Device)?;
    let Some(name) = &body.name else {
        return refuse(NAME, "the device has no name", device, NtStatus::INVALID_DEVICE_STATE);
    };
    // SAFETY: null or the driver's string.
    let Some(link) = (unsafe { link.as_ref() }) else {
        return refuse(NAME, "the link's name is null", device, NtStatus::INVALID_PARAMETER);
    };
    if body.link.lock().is_some() {
        return refuse(NAME, "the device has a symbolic link already", device, NtStatus::UNSUCCESSFUL);
    }
    // SAFETY: as above.
    let link = Text::join(&[unsafe { units(link) }]).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    // SAFETY: both strings outlive the call.
    let status = unsafe { IoCreateSymbolicLink(link.string(), name.string()) };
    if status.is_failure() {
        return Err(status);
    }
    *body.link.lock() = Some(link);
    Ok(())
}

/// The device object.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceWdmGetDeviceObject(
    _globals: *mut WDF_DRIVER_GLOBALS,
    device: WDFOBJECT,
) -> *mut DEVICE_OBJECT {
    const NAME: &str = "WdfDeviceWdmGetDeviceObject";
    let _ = level(NAME, DISPATCH_LEVEL);
    body!(NAME, device, Device).map_or(ptr::null_mut(), |(_, body)| body.wdm.as_ptr())
}

/// Lets requests in.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfControlFinishInitializing(_globals: *mut WDF_DRIVER_GLOBALS, device: WDFOBJECT) {
    const NAME: &str = "WdfControlFinishInitializing";
    let _ = level(NAME, DISPATCH_LEVEL);
    let Ok((_, body)) = body!(NAME, device, Device) else { return };
    if body.finished.swap(true, Ordering::AcqRel) {
        violation(NAME, "called twice for this device", device as usize);
        return;
    }
    // SAFETY: the device object stays while the WDFDEVICE does; nobody else changes its flags now.
    unsafe { (*body.wdm.as_ptr()).Flags &= !DO_DEVICE_INITIALIZING };
}

/// The parent that an object gets when its attributes name none.
pub(crate) fn parent_or_driver(
    function: &'static str,
    attributes: &Attributes,
    of: &Object,
) -> Result<&'static Object, NtStatus> {
    attributes.parent.map_or_else(|| driver_of(function, of), Ok)
}
