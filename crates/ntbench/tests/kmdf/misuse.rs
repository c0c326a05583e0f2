//! What a driver does wrong is said clearly and does no harm.

use std::ffi::c_void;
use std::process::Command;
use std::ptr;

use nt_abi::wdf::*;
use nt_abi::{DEVICE_OBJECT, NtStatus, UNICODE_STRING};

use crate::support::*;

unsafe extern "win64" fn ignore(_: WDFOBJECT, _: WDFOBJECT, _: usize, _: usize, _: u32) {}

#[test]
fn a_device_init_is_gone_once_it_was_consumed_or_freed() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    let consumed = init;
    make_device(&driver, &mut init, ptr::null()).unwrap();
    let freed = device_init(&driver, handle);
    call!(driver, WdfDeviceInitFree(freed => *mut c_void));
    for stale in [consumed, freed, ptr::null_mut(), handle] {
        call!(driver, WdfDeviceInitSetDeviceType(stale => *mut c_void, 1 => u32));
        call!(driver, WdfDeviceInitFree(stale => *mut c_void));
        let text = "this DeviceInit was freed, or consumed by WdfDeviceCreate, or never was one";
        assert_eq!(violations(), [text; 2]);
    }
}

#[test]
fn handles_of_the_wrong_type_or_of_nothing_are_told_apart() {
    let (driver, handle) = Driver::created();
    let get = |device: WDFOBJECT| call!(driver, WdfDeviceWdmGetDeviceObject(device => WDFOBJECT) -> *mut DEVICE_OBJECT);
    assert!(get(handle).is_null());
    assert!(get(ptr::null_mut()).is_null());
    assert!(get(0x1234_5678 as WDFOBJECT).is_null());
    assert_eq!(
        violations(),
        [
            "the handle is of another type than Device",
            "the handle is null",
            "the handle is of an object that was deleted, or of none",
        ]
    );
}

#[test]
fn some_objects_are_not_the_drivers_to_delete() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    let device = make_device(&driver, &mut init, ptr::null()).unwrap();
    let queue = make_queue(&driver, device, &queue_config(ignore), ptr::null()).unwrap();
    call!(driver, WdfObjectDelete(handle => WDFOBJECT));
    call!(driver, WdfObjectDelete(queue => WDFOBJECT));
    assert_eq!(violations().len(), 2);
    call!(driver, WdfObjectDelete(device => WDFOBJECT));
    call!(driver, WdfObjectDelete(device => WDFOBJECT));
    assert_eq!(violations(), ["the handle is of an object that was deleted, or of none"]);
}

#[test]
fn queue_configs_that_make_no_sense_are_refused() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    let device = make_device(&driver, &mut init, ptr::null()).unwrap();
    let spoils: [fn(&mut WDF_IO_QUEUE_CONFIG); 5] = [
        |c| c.Size = 0,
        |c| c.DefaultQueue = 0,
        |c| c.DispatchType = 0,
        |c| c.DispatchType = WdfIoQueueDispatchManual,
        |c| c.NumberOfPresentedRequests = 0,
    ];
    for spoil in spoils {
        let mut config = queue_config(ignore);
        spoil(&mut config);
        assert!(make_queue(&driver, device, &config, ptr::null()).is_err());
        assert_eq!(violations().len(), 1);
    }
    make_queue(&driver, device, &queue_config(ignore), ptr::null()).unwrap();
    assert!(make_queue(&driver, device, &queue_config(ignore), ptr::null()).is_err());
    assert_eq!(violations(), ["the device has a default queue already"]);
}

#[test]
fn a_device_is_named_linked_and_finished_once() {
    let (driver, handle) = Driver::created();
    let sddl = text("no security");
    let init = call!(driver, WdfControlDeviceInitAllocate(
        handle => WDFOBJECT, sddl.string() => *const UNICODE_STRING) -> *mut c_void);
    assert!(init.is_null());
    assert_eq!(violations(), ["the SDDL string is missing or has no DACL in front"]);
    let mut init = device_init(&driver, handle);
    let none = ptr::null::<UNICODE_STRING>();
    let unnamed = call!(driver, WdfDeviceInitAssignName(init => *mut c_void, none => *const UNICODE_STRING) -> NtStatus);
    assert_eq!(unnamed, NtStatus::SUCCESS);
    let device = make_device(&driver, &mut init, ptr::null()).unwrap();
    assert_eq!(link(&driver, device), NtStatus::INVALID_DEVICE_STATE);
    assert_eq!(violations(), ["the device has no name"]);
    finish(&driver, device);
    finish(&driver, device);
    assert_eq!(violations(), ["called twice for this device"]);
}

#[test]
fn calls_at_too_high_an_irql_are_refused() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    // SAFETY: raised and lowered here.
    let old = unsafe { nt_abi::kernel::KfRaiseIrql(nt_abi::DISPATCH_LEVEL) };
    let made = make_device(&driver, &mut init, ptr::null());
    // SAFETY: as above.
    unsafe { nt_abi::kernel::KeLowerIrql(old) };
    assert_eq!(made, Err(NtStatus::INVALID_DEVICE_STATE));
    assert_eq!(violations(), ["called at too high an IRQL"]);
    call!(driver, WdfDeviceInitFree(init => *mut c_void));
}

#[test]
fn globals_that_are_not_bound_are_refused() {
    let (driver, _) = Driver::created();
    let mut lock = ptr::null_mut();
    // SAFETY: the function of that number has this signature.
    let create: unsafe extern "win64" fn(*mut c_void, *const c_void, *mut WDFOBJECT) -> NtStatus =
        unsafe { std::mem::transmute(driver.function(kmdf_lite::number::WdfSpinLockCreate)) };
    // SAFETY: wrong globals are answered.
    assert_eq!(unsafe { create(ptr::null_mut(), ptr::null(), &mut lock) }, NtStatus::INVALID_PARAMETER);
    assert_eq!(violations(), ["called with driver globals that are not bound"]);
}

/// Runs in a process of its own, for it does not come back.
#[test]
fn a_function_that_is_not_there_stops_with_its_name() {
    const CHILD: &str = "KMDF_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let driver = Driver::bound();
        kmdf_lite::observe(|event| eprintln!("{:?}", event.kind));
        call!(driver, WdfWorkItemEnqueue(ptr::null_mut() => WDFOBJECT));
        unreachable!("came back from a function that is not there");
    }
    let this = std::env::current_exe().unwrap();
    let name = "misuse::a_function_that_is_not_there_stops_with_its_name";
    let output = Command::new(this).args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("NotThere { function: \"WdfWorkItemEnqueue\" }"), "{said}");
}
