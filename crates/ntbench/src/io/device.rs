//! Device objects, symbolic links, shutdown notification.
#![allow(unsafe_code)] // Devices are shared with drivers.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::null_mut;

use nt_abi::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DO_EXCLUSIVE, DRIVER_OBJECT, IO_TYPE_DEVICE, NtStatus, PASSIVE_LEVEL, UNICODE_STRING,
    export_table,
};
use parking_lot::Mutex;

use crate::ke::irql;
use crate::rtl;
use crate::{fault, ob, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [
    IoCreateDevice, IoDeleteDevice, IoCreateSymbolicLink, IoDeleteSymbolicLink, IoRegisterShutdownNotification,
    IoRegisterLastChanceShutdownNotification, IoUnregisterShutdownNotification,
]);

/// A device object that exists, deleted or not.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// The object.
    pub object: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its driver object.
    pub driver: usize,
    /// Whether it has been deleted, and lives on by references.
    pub deleted: bool,
}

#[derive(Default)]
struct Table {
    devices: Vec<Device>,
    /// Lower-case link to lower-case device name.
    links: BTreeMap<String, String>,
    shutdown: Vec<usize>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { devices: Vec::new(), links: BTreeMap::new(), shutdown: Vec::new() });

/// The extension follows the object at this offset.
const EXTENSION: usize = size_of::<DEVICE_OBJECT>();

fn destroy(object: *mut c_void) {
    TABLE.lock().devices.retain(|device| device.object != object as usize);
}

/// The devices of a driver.
pub(crate) fn of_driver(driver: *mut DRIVER_OBJECT) -> Vec<Device> {
    TABLE.lock().devices.iter().filter(|device| device.driver == driver as usize).cloned().collect()
}

/// Names of links whose device is one of `devices`.
pub(crate) fn links_to(devices: &[Device]) -> Vec<String> {
    let table = TABLE.lock();
    let named: Vec<_> = devices.iter().filter_map(|d| d.name.as_deref()).collect();
    table.links.iter().filter(|(_, to)| named.contains(&to.as_str())).map(|(link, _)| link.clone()).collect()
}

/// Forgets links that a driver left, after they were reported.
pub(crate) fn forget_links(links: &[String]) {
    TABLE.lock().links.retain(|link, _| !links.contains(link));
}

/// All symbolic links.
pub(crate) fn links() -> Vec<String> {
    TABLE.lock().links.keys().cloned().collect()
}

/// The devices that asked to be told of a shutdown, the last one first.
pub(crate) fn for_shutdown() -> Vec<*mut DEVICE_OBJECT> {
    TABLE.lock().shutdown.iter().rev().map(|device| *device as *mut DEVICE_OBJECT).collect()
}

/// The device that a path names: `\\.\Name`, `\??\Name`, `\DosDevices\Name` or `\Device\Name`.
pub(crate) fn find(path: &str) -> Option<*mut DEVICE_OBJECT> {
    let path = normal(path);
    let table = TABLE.lock();
    let name = table.links.get(&path).unwrap_or(&path);
    let device = table.devices.iter().find(|device| !device.deleted && device.name.as_ref() == Some(name))?;
    Some(device.object as *mut DEVICE_OBJECT)
}

/// A path in lower case, with one spelling for the directory of links.
fn normal(path: &str) -> String {
    let path = path.to_lowercase();
    for prefix in [r"\\.\", r"\\?\", r"\dosdevices\global\", r"\dosdevices\", r"\global??\", r"\??\"] {
        if let Some(rest) = path.strip_prefix(prefix) {
            return format!(r"\??\{rest}");
        }
    }
    path
}

/// # IRQL
/// <= APC_LEVEL
///
/// # Safety
/// `driver` is a driver object, `name` null or valid, `device` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoCreateDevice(
    driver: *mut DRIVER_OBJECT,
    extension_size: u32,
    name: *const UNICODE_STRING,
    kind: u32,
    characteristics: u32,
    exclusive: u8,
    device: *mut *mut DEVICE_OBJECT,
) -> NtStatus {
    irql::at_most("IoCreateDevice", nt_abi::APC_LEVEL);
    if fault::hit("IoCreateDevice") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passed null or a valid string.
    let name = unsafe { rtl::string(name) }.map(|name| normal(&name));
    if name.is_some() && TABLE.lock().devices.iter().any(|d| d.name == name && !d.deleted) {
        return NtStatus::OBJECT_NAME_COLLISION;
    }
    let object = ob::create(ob::Kind::Device, EXTENSION + extension_size as usize, destroy);
    let new = object.cast::<DEVICE_OBJECT>();
    // SAFETY: the body is new, zeroed and large enough; the driver object is the caller's.
    unsafe {
        (*new).Type = IO_TYPE_DEVICE;
        (*new).Size = (EXTENSION + extension_size as usize) as u16;
        (*new).DriverObject = driver;
        (*new).NextDevice = (*driver).DeviceObject;
        (*new).Flags = DO_DEVICE_INITIALIZING | if exclusive == 0 { 0 } else { DO_EXCLUSIVE };
        (*new).Characteristics = characteristics;
        (*new).DeviceType = kind;
        (*new).StackSize = 1;
        if extension_size > 0 {
            (*new).DeviceExtension = object.cast::<u8>().add(EXTENSION).cast();
        }
        (*driver).DeviceObject = new;
        device.write(new);
    }
    TABLE.lock().devices.push(Device { object: object as usize, name, driver: driver as usize, deleted: false });
    NtStatus::SUCCESS
}

/// Takes a device out of its driver's list.
unsafe fn unlink(device: *mut DEVICE_OBJECT) {
    // SAFETY: the driver's list consists of its devices.
    unsafe {
        let mut place = &raw mut (*(*device).DriverObject).DeviceObject;
        while !(*place).is_null() && *place != device {
            place = &raw mut (**place).NextDevice;
        }
        if !(*place).is_null() {
            *place = (*device).NextDevice;
        }
        (*device).NextDevice = null_mut();
    }
}

/// # IRQL
/// <= APC_LEVEL
///
/// # Safety
/// `device` came from `IoCreateDevice` and has not been deleted.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoDeleteDevice(device: *mut DEVICE_OBJECT) {
    irql::at_most("IoDeleteDevice", nt_abi::APC_LEVEL);
    let deletes = {
        let mut table = TABLE.lock();
        table.shutdown.retain(|other| *other != device as usize);
        let known = table.devices.iter_mut().find(|d| d.object == device as usize && !d.deleted);
        known.map(|known| known.deleted = true).is_some()
    };
    if !deletes {
        verifier::violation("device", format!("IoDeleteDevice: {device:p} is no device, or was deleted"));
        return;
    }
    // SAFETY: the device exists.
    unsafe { unlink(device) };
    ob::dereference(device.cast());
}

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// Both strings are valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoCreateSymbolicLink(link: *const UNICODE_STRING, device: *const UNICODE_STRING) -> NtStatus {
    irql::at_most("IoCreateSymbolicLink", PASSIVE_LEVEL);
    if fault::hit("IoCreateSymbolicLink") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passed valid strings.
    let (Some(link), Some(device)) = (unsafe { rtl::string(link) }, unsafe { rtl::string(device) }) else {
        return NtStatus::INVALID_PARAMETER;
    };
    let mut table = TABLE.lock();
    if table.links.contains_key(&normal(&link)) {
        return NtStatus::OBJECT_NAME_COLLISION;
    }
    table.links.insert(normal(&link), normal(&device));
    NtStatus::SUCCESS
}

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// `link` is a valid string.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn IoDeleteSymbolicLink(link: *const UNICODE_STRING) -> NtStatus {
    irql::at_most("IoDeleteSymbolicLink", PASSIVE_LEVEL);
    // SAFETY: the caller passed a valid string.
    let Some(link) = (unsafe { rtl::string(link) }) else { return NtStatus::INVALID_PARAMETER };
    match TABLE.lock().links.remove(&normal(&link)) {
        Some(_) => NtStatus::SUCCESS,
        None => NtStatus::OBJECT_NAME_NOT_FOUND,
    }
}

/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn IoRegisterShutdownNotification(device: *mut DEVICE_OBJECT) -> NtStatus {
    irql::at_most("IoRegisterShutdownNotification", PASSIVE_LEVEL);
    if fault::hit("IoRegisterShutdownNotification") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    TABLE.lock().shutdown.push(device as usize);
    NtStatus::SUCCESS
}

/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn IoRegisterLastChanceShutdownNotification(device: *mut DEVICE_OBJECT) -> NtStatus {
    IoRegisterShutdownNotification(device)
}

/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn IoUnregisterShutdownNotification(device: *mut DEVICE_OBJECT) {
    irql::at_most("IoUnregisterShutdownNotification", PASSIVE_LEVEL);
    TABLE.lock().shutdown.retain(|other| *other != device as usize);
}
