//! Binding, the function table, WDFDRIVER, the order of the end.

use std::sync::Mutex;

use kmdf_lite::{COUNT, Kind, NAMES, PRESENT};
use nt_abi::NtStatus;
use nt_abi::wdf::*;

use crate::support::*;

#[test]
fn the_table_has_each_function_at_its_number() {
    let driver = Driver::bound();
    let missing = driver.function(kmdf_lite::number::WdfChildListCreate);
    assert_ne!(missing, driver.function(kmdf_lite::number::WdfChildListGetDevice), "each stand-in knows its name");
    for name in PRESENT {
        let number = NAMES.iter().position(|other| other == name).expect("a name of the framework's");
        let function = driver.function(number);
        let same = (0..COUNT).filter(|other| driver.function(*other) == function).count();
        assert_eq!(same, 1, "{name} is in the table once");
    }
    // From the published header of 1.31, written down a second time by hand.
    let known = [
        (25, "WdfControlDeviceInitAllocate"),
        (75, "WdfDeviceCreate"),
        (116, "WdfDriverCreate"),
        (152, "WdfIoQueueCreate"),
        (202, "WdfObjectGetTypedContextWorker"),
        (208, "WdfObjectDelete"),
        (263, "WdfRequestComplete"),
        (265, "WdfRequestCompleteWithInformation"),
        (457, "WdfDeviceSetDeviceInterfaceStateEx"),
    ];
    known.iter().for_each(|(number, name)| assert_eq!(NAMES[*number], *name));
}

#[test]
fn the_numbers_agree_with_the_kits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/Include/wdf/kmdf/1.31/wdffuncenum.h");
    let header = std::fs::read_to_string(path).expect("the kit's header");
    let mut compared = 0;
    for line in header.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(" = ")) {
        let (name, Ok(number)) = (line.0, line.1.parse::<usize>()) else { continue };
        if let Some(name) = name.strip_suffix("TableIndex") {
            assert_eq!(NAMES[number], name);
            compared += 1;
        } else if name == "WdfFunctionTableNumEntries" {
            assert_eq!(number, COUNT);
        }
    }
    assert!(compared >= 34, "only {compared} numbers were found in the kit's header");
}

#[test]
fn a_bind_info_that_makes_no_sense_is_refused() {
    let spoils: [fn(&mut WDF_BIND_INFO); 8] = [
        |info| info.Size -= 8,
        |info| info.Component = [b'W' as u16, 0].as_ptr(),
        |info| info.Component = std::ptr::null(),
        |info| info.Version.Major = 2,
        |info| info.Version.Minor = 33,
        |info| info.FuncCount = 457,
        |info| info.FuncCount = 459,
        |info| info.FuncTable = std::ptr::null_mut(),
    ];
    for spoil in spoils {
        let mut driver = Driver::unbound();
        spoil(driver.info.get_mut());
        assert!(driver.bind().is_failure());
        assert_eq!(violations().len(), 1);
        assert!(driver.globals().is_null());
    }
}

#[test]
fn a_driver_is_created_once() {
    let (driver, handle) = Driver::created();
    // SAFETY: bound.
    let globals = unsafe { &*driver.globals() };
    assert_eq!(globals.Driver, handle);
    assert_eq!(globals.DriverTag, u32::from_le_bytes(*b"Test"));
    assert_eq!(globals.DisplaceDriverUnload, 1);
    assert!(globals.DriverName.starts_with(b"kmdftest\0"));
    let object = call!(driver, WdfDriverWdmGetDriverObject(handle => WDFOBJECT) -> *mut nt_abi::DRIVER_OBJECT);
    assert_eq!(object, driver.object.get());
    let path = call!(driver, WdfDriverGetRegistryPath(handle => WDFOBJECT) -> *const u16);
    // SAFETY: zero-terminated.
    let units: Vec<u16> = (0..).map(|at| unsafe { *path.add(at) }).take_while(|unit| *unit != 0).collect();
    assert!(String::from_utf16(&units).unwrap().ends_with(r"Services\kmdftest"));
    assert!(driver.create(&driver_config()).is_err());
    assert_eq!(violations(), ["called twice, or for another driver object"]);
}

#[test]
fn a_driver_config_that_makes_no_sense_is_refused() {
    unsafe extern "win64" fn add(_: WDFOBJECT, _: *mut std::ffi::c_void) -> NtStatus {
        NtStatus::SUCCESS
    }
    let driver = Driver::bound();
    let spoils: [fn(&mut WDF_DRIVER_CONFIG); 3] =
        [|c| c.Size = 0, |c| c.EvtDriverDeviceAdd = Some(add), |c| c.DriverInitFlags = 0];
    for spoil in spoils {
        let mut config = driver_config();
        spoil(&mut config);
        assert!(driver.create(&config).is_err());
        assert_eq!(violations().len(), 1);
    }
    // SAFETY: ours.
    assert!(unsafe { (*driver.object.get()).DriverUnload }.is_none(), "a failed creation took the driver object over");
}

#[test]
fn a_fault_makes_the_creation_fail() {
    let driver = Driver::bound();
    fault("WdfDriverCreate", NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(driver.create(&driver_config()), Err(NtStatus::INSUFFICIENT_RESOURCES));
    no_fault();
    assert!(driver.create(&driver_config()).is_ok());
}

static STEPS: Mutex<Vec<&str>> = Mutex::new(Vec::new());

fn step(text: &'static str) {
    STEPS.lock().unwrap().push(text);
}

unsafe extern "win64" fn unload(_: WDFOBJECT) {
    step("EvtDriverUnload");
}

unsafe extern "win64" fn driver_cleanup(_: WDFOBJECT) {
    step("driver cleanup");
}

unsafe extern "win64" fn driver_destroy(_: WDFOBJECT) {
    step("driver destroy");
}

unsafe extern "win64" fn device_cleanup(_: WDFOBJECT) {
    step(if bench().links().is_empty() { "device cleanup" } else { "device cleanup with its link there" });
}

unsafe extern "win64" fn device_destroy(_: WDFOBJECT) {
    step("device destroy");
}

fn driver_with_device(steps: &Driver) -> WDFOBJECT {
    STEPS.lock().unwrap().clear();
    let own = WDF_OBJECT_ATTRIBUTES {
        EvtCleanupCallback: Some(driver_cleanup),
        EvtDestroyCallback: Some(driver_destroy),
        ..attributes()
    };
    let config = WDF_DRIVER_CONFIG { EvtDriverUnload: Some(unload), ..driver_config() };
    let handle = steps.create_with(&config, &own).unwrap();
    let own = WDF_OBJECT_ATTRIBUTES {
        EvtCleanupCallback: Some(device_cleanup),
        EvtDestroyCallback: Some(device_destroy),
        ..attributes()
    };
    let mut init = device_init(steps, handle);
    let device = make_device(steps, &mut init, &own).unwrap();
    assert_eq!(link(steps, device), NtStatus::SUCCESS);
    finish(steps, device);
    handle
}

const END: [&str; 4] = ["device cleanup", "driver cleanup", "device destroy", "driver destroy"];

#[test]
fn unload_calls_the_driver_first_and_then_deletes_its_objects() {
    let mut driver = Driver::bound();
    driver_with_device(&driver);
    driver.unload();
    assert_eq!(*STEPS.lock().unwrap(), [&["EvtDriverUnload"][..], &END].concat());
    // SAFETY: ours.
    assert!(unsafe { (*driver.object.get()).DeviceObject }.is_null());
    let story: Vec<_> = events()
        .iter()
        .filter_map(|event| match event.kind {
            Kind::UnloadCall => Some("call"),
            Kind::UnloadReturn => Some("return"),
            Kind::Delete { kind } => Some(kind),
            Kind::UnloadDone => Some("done"),
            _ => None,
        })
        .collect();
    assert_eq!(story, ["call", "return", "WDFDEVICE", "WDFDRIVER", "done"]);
    assert_eq!(driver.unbind(), NtStatus::SUCCESS);
}

#[test]
fn unbinding_after_a_failed_driver_entry_deletes_what_there_is() {
    let mut driver = Driver::bound();
    driver_with_device(&driver);
    assert_eq!(driver.unbind(), NtStatus::SUCCESS);
    assert_eq!(*STEPS.lock().unwrap(), END, "EvtDriverUnload is not called");
    // SAFETY: ours.
    assert!(unsafe { (*driver.object.get()).DeviceObject }.is_null());
    assert!(violations().is_empty());
}
