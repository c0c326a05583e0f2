//! Control devices: DeviceInit, names, links, shutdown.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use nt_abi::wdf::*;
use nt_abi::{DEVICE_OBJECT, DO_BUFFERED_IO, DO_DEVICE_INITIALIZING, NtStatus, UNICODE_STRING};

use crate::support::*;

fn wdm(driver: &Driver, device: WDFOBJECT) -> *mut DEVICE_OBJECT {
    call!(driver, WdfDeviceWdmGetDeviceObject(device => WDFOBJECT) -> *mut DEVICE_OBJECT)
}

#[test]
fn a_control_device_opens_when_it_is_finished() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    call!(driver, WdfDeviceInitSetDeviceType(init => *mut c_void, 0x12 => u32));
    call!(driver, WdfDeviceInitSetCharacteristics(init => *mut c_void, 0x1 => u32, 1 => u8));
    let device = make_device(&driver, &mut init, ptr::null()).unwrap();
    assert!(init.is_null(), "WdfDeviceCreate consumes the DeviceInit");
    assert_eq!(link(&driver, device), NtStatus::SUCCESS);
    let object = wdm(&driver, device);
    // SAFETY: the device exists.
    let flags = || unsafe { (*object).Flags };
    assert_eq!(flags() & (DO_DEVICE_INITIALIZING | DO_BUFFERED_IO), DO_DEVICE_INITIALIZING | DO_BUFFERED_IO);
    // SAFETY: as above.
    assert_eq!(unsafe { ((*object).DeviceType, (*object).Characteristics) }, (0x12, 0x101));
    assert!(bench().open(r"\\.\KmdfTest").is_err(), "opened before it was finished");
    finish(&driver, device);
    assert_eq!(flags() & DO_DEVICE_INITIALIZING, 0);
    drop(bench().open(r"\\.\KmdfTest").unwrap());
    // SAFETY: a device of this driver.
    let told = unsafe { kmdf_lite::describe(object, |it| String::from_utf16(it.sddl).unwrap()) };
    assert_eq!(told.as_deref(), Some(SDDL));
}

#[test]
fn a_device_that_the_driver_deletes_takes_its_link_with_it() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    let device = make_device(&driver, &mut init, ptr::null()).unwrap();
    assert_eq!(link(&driver, device), NtStatus::SUCCESS);
    assert_eq!(bench().links().len(), 1);
    call!(driver, WdfObjectDelete(device => WDFOBJECT));
    assert!(bench().links().is_empty());
    // SAFETY: ours.
    assert!(unsafe { (*driver.object.get()).DeviceObject }.is_null());
    assert!(bench().open(NAME).is_err());
}

#[test]
fn a_device_init_that_is_not_used_is_freed_by_the_driver_or_reported() {
    let (mut driver, handle) = Driver::created();
    let init = device_init(&driver, handle);
    call!(driver, WdfDeviceInitFree(init => *mut c_void));
    assert!(violations().is_empty());
    device_init(&driver, handle);
    driver.unload();
    assert_eq!(driver.unbind(), NtStatus::SUCCESS);
    assert_eq!(violations(), ["a DeviceInit was neither consumed nor freed"]);
}

#[test]
fn a_failed_creation_leaves_the_device_init_with_the_driver() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    fault("WdfDeviceCreate", NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(make_device(&driver, &mut init, ptr::null()), Err(NtStatus::INSUFFICIENT_RESOURCES));
    no_fault();
    assert!(!init.is_null());
    bench().fail("IoCreateDevice", ntbench::When::From(1));
    assert_eq!(make_device(&driver, &mut init, ptr::null()), Err(NtStatus::INSUFFICIENT_RESOURCES));
    bench().no_faults();
    call!(driver, WdfDeviceInitFree(init => *mut c_void));
}

#[test]
fn each_step_of_making_a_device_can_fail() {
    let (driver, handle) = Driver::created();
    let sddl = text(SDDL);
    fault("WdfControlDeviceInitAllocate", NtStatus::INSUFFICIENT_RESOURCES);
    let init = call!(driver, WdfControlDeviceInitAllocate(
        handle => WDFOBJECT, sddl.string() => *const UNICODE_STRING) -> *mut c_void);
    assert!(init.is_null());
    no_fault();
    let mut init = device_init(&driver, handle);
    let device = make_device(&driver, &mut init, ptr::null()).unwrap();
    fault("WdfDeviceCreateSymbolicLink", NtStatus::OBJECT_NAME_COLLISION);
    assert_eq!(link(&driver, device), NtStatus::OBJECT_NAME_COLLISION);
    fault("WdfIoQueueCreate", NtStatus::INSUFFICIENT_RESOURCES);
    let made = make_queue(&driver, device, &queue_config(ignore), ptr::null());
    assert_eq!(made, Err(NtStatus::INSUFFICIENT_RESOURCES));
    no_fault();
    bench().fail("IoRegisterShutdownNotification", ntbench::When::From(1));
    let second = device_named(&driver, handle, r"\Device\Second", true);
    bench().no_faults();
    assert_eq!(second, Err(NtStatus::INSUFFICIENT_RESOURCES));
    assert!(bench().open(r"\Device\Second").is_err(), "a device that could not be made is there");
    assert!(violations().is_empty());
}

unsafe extern "win64" fn ignore(_: WDFOBJECT, _: WDFOBJECT, _: usize, _: usize, _: u32) {}

/// A shutdown that comes while the device is being deleted.
unsafe extern "win64" fn shut_down_now(_: WDFOBJECT) {
    bench().shutdown();
}

fn device_named(driver: &Driver, handle: WDFOBJECT, name: &str, shutdown: bool) -> Result<WDFOBJECT, NtStatus> {
    let mut init = device_init(driver, handle);
    let name = text(name);
    let named = call!(driver, WdfDeviceInitAssignName(
        init => *mut c_void, name.string() => *const UNICODE_STRING) -> NtStatus);
    assert_eq!(named, NtStatus::SUCCESS);
    if shutdown {
        call!(driver, WdfControlDeviceInitSetShutdownNotification(
            init => *mut c_void, shut => EVT_WDF_DEVICE_SHUTDOWN_NOTIFICATION, WdfDeviceShutdown => u8));
    }
    let with = WDF_OBJECT_ATTRIBUTES { EvtCleanupCallback: Some(shut_down_now), ..attributes() };
    let made = make_device(driver, &mut init, &with);
    if made.is_err() {
        call!(driver, WdfDeviceInitFree(init => *mut c_void));
    }
    made
}

static SHUT: AtomicUsize = AtomicUsize::new(0);

unsafe extern "win64" fn shut(device: WDFOBJECT) {
    SHUT.store(device as usize, Ordering::SeqCst);
}

#[test]
fn a_device_is_told_of_the_shutdown_while_it_is_there() {
    let (driver, handle) = Driver::created();
    let device = device_named(&driver, handle, NAME, true).unwrap();
    finish(&driver, device);
    bench().shutdown();
    assert_eq!(SHUT.swap(0, Ordering::SeqCst), device as usize);
    call!(driver, WdfObjectDelete(device => WDFOBJECT));
    assert_eq!(SHUT.load(Ordering::SeqCst), 0, "told while it was being deleted");
    bench().shutdown();
    assert_eq!(SHUT.load(Ordering::SeqCst), 0);
}

#[test]
fn an_exclusive_device_opens_once() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    call!(driver, WdfDeviceInitSetExclusive(init => *mut c_void, 1 => u8));
    call!(driver, WdfDeviceInitSetIoType(init => *mut c_void, WdfDeviceIoNeither => i32));
    let device = make_device(&driver, &mut init, ptr::null()).unwrap();
    finish(&driver, device);
    // SAFETY: the device exists.
    assert_eq!(unsafe { (*wdm(&driver, device)).Flags } & DO_BUFFERED_IO, 0);
    let first = bench().open(NAME).unwrap();
    assert!(bench().open(NAME).is_err());
    drop(first);
    drop(bench().open(NAME).unwrap());
}
