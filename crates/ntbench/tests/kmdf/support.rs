//! A driver without an image: what its entry stub and its DriverEntry would have.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, MutexGuard, OnceLock};

use kmdf_lite::{Event, Kind};
use nt_abi::wdf::*;
use nt_abi::{DRIVER_OBJECT, IO_TYPE_DRIVER, NtStatus, UNICODE_STRING};
use ntbench::Bench;

/// Calls a function of the table: `call!(driver, WdfObjectDelete(object: WDFOBJECT))`.
macro_rules! call {
    ($driver:expr, $name:ident($($value:expr => $type:ty),* $(,)?) $(-> $result:ty)?) => {{
        let globals = $driver.globals();
        // SAFETY: the function of that number has this signature; what it is given is the test's to answer for.
        unsafe {
            let function = $driver.function(kmdf_lite::number::$name);
            let function: unsafe extern "win64" fn(*mut nt_abi::wdf::WDF_DRIVER_GLOBALS, $($type),*) $(-> $result)? =
                std::mem::transmute(function);
            function(globals, $($value),*)
        }
    }};
}
pub(crate) use call;

static SERIAL: Mutex<()> = Mutex::new(());
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());
static FAULT: Mutex<Option<(&'static str, NtStatus)>> = Mutex::new(None);

pub fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    let config = ntbench::Config { provider: false, on_violation: ntbench::OnViolation::Record, ..Default::default() };
    BENCH.get_or_init(|| Bench::new(config).expect("a bench"))
}

pub fn events() -> Vec<Event> {
    EVENTS.lock().unwrap().clone()
}

/// What the framework said was wrong so far, and forgets it.
pub fn violations() -> Vec<&'static str> {
    let mut events = EVENTS.lock().unwrap();
    let found = events.iter().filter_map(|event| match event.kind {
        Kind::Violation { text, .. } => Some(text),
        _ => None,
    });
    let found = found.collect();
    events.retain(|event| !matches!(event.kind, Kind::Violation { .. }));
    found
}

/// Lets the next calls of a function fail, until `no_fault`.
pub fn fault(name: &'static str, status: NtStatus) {
    *FAULT.lock().unwrap() = Some((name, status));
}

pub fn no_fault() {
    *FAULT.lock().unwrap() = None;
}

/// A counted string and its buffer.
pub struct Text(#[allow(dead_code)] Vec<u16>, UNICODE_STRING);

pub fn text(text: &str) -> Text {
    let mut units: Vec<u16> = text.encode_utf16().collect();
    let length = (units.len() * 2) as u16;
    let string = UNICODE_STRING { Length: length, MaximumLength: length, Buffer: units.as_mut_ptr() };
    Text(units, string)
}

impl Text {
    pub fn string(&self) -> *mut UNICODE_STRING {
        (&raw const self.1).cast_mut()
    }
}

/// A bound driver. Its drop ends it as the stub would: unload if there is a routine, then unbind.
pub struct Driver {
    pub object: Box<UnsafeCell<DRIVER_OBJECT>>,
    path: Text,
    pub info: Box<UnsafeCell<WDF_BIND_INFO>>,
    functions: Box<UnsafeCell<*const WDFFUNC>>,
    globals: *mut WDF_DRIVER_GLOBALS,
    component: Vec<u16>,
    _serial: MutexGuard<'static, ()>,
}

pub const SERVICE: &str = "kmdftest";

impl Driver {
    /// A driver that is not bound yet.
    pub fn unbound() -> Driver {
        let serial = SERIAL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        bench();
        crate::watchdog::begin();
        kmdf_lite::observe(|event| EVENTS.lock().unwrap().push(*event));
        kmdf_lite::faults(|name| FAULT.lock().unwrap().filter(|fault| fault.0 == name).map(|fault| fault.1));
        EVENTS.lock().unwrap().clear();
        no_fault();
        // SAFETY: a driver object is plain data, and null is good everywhere.
        let mut object: DRIVER_OBJECT = unsafe { std::mem::zeroed() };
        object.Type = IO_TYPE_DRIVER;
        let functions = Box::new(UnsafeCell::new(ptr::null()));
        let component: Vec<u16> = "KmdfLibrary\0".encode_utf16().collect();
        let info = WDF_BIND_INFO {
            Size: size_of::<WDF_BIND_INFO>() as u32,
            Component: component.as_ptr(),
            Version: WDF_VERSION { Major: 1, Minor: 31, Build: 0 },
            FuncCount: 458,
            FuncTable: functions.get(),
            Module: ptr::null_mut(),
        };
        Driver {
            object: Box::new(UnsafeCell::new(object)),
            path: text(&format!(r"\Registry\Machine\System\CurrentControlSet\Services\{SERVICE}")),
            info: Box::new(UnsafeCell::new(info)),
            functions,
            globals: ptr::null_mut(),
            component,
            _serial: serial,
        }
    }

    pub fn bind(&mut self) -> NtStatus {
        let _ = &self.component;
        // SAFETY: all of it lives as long as this driver.
        unsafe { kmdf_lite::WdfVersionBind(self.object.get(), self.path.string(), self.info.get(), &mut self.globals) }
    }

    /// A bound driver without a WDFDRIVER.
    pub fn bound() -> Driver {
        let mut driver = Driver::unbound();
        assert_eq!(driver.bind(), NtStatus::SUCCESS);
        driver
    }

    /// A bound driver with a WDFDRIVER.
    pub fn created() -> (Driver, WDFOBJECT) {
        let driver = Driver::bound();
        let handle = driver.create(&driver_config()).expect("a WDFDRIVER");
        (driver, handle)
    }

    pub fn create(&self, config: &WDF_DRIVER_CONFIG) -> Result<WDFOBJECT, NtStatus> {
        self.create_with(config, ptr::null())
    }

    pub fn create_with(
        &self,
        config: &WDF_DRIVER_CONFIG,
        attributes: *const WDF_OBJECT_ATTRIBUTES,
    ) -> Result<WDFOBJECT, NtStatus> {
        let mut handle = ptr::null_mut();
        let status = call!(self, WdfDriverCreate(
            self.object.get() => *mut DRIVER_OBJECT, self.path.string() => *const UNICODE_STRING,
            attributes => *const WDF_OBJECT_ATTRIBUTES, config => *const WDF_DRIVER_CONFIG,
            &mut handle => *mut WDFOBJECT) -> NtStatus);
        if status == NtStatus::SUCCESS { Ok(handle) } else { Err(status) }
    }

    pub fn globals(&self) -> *mut WDF_DRIVER_GLOBALS {
        self.globals
    }

    pub fn function(&self, number: usize) -> WDFFUNC {
        // SAFETY: bound, so the pointer leads to a table of 458 functions.
        unsafe { *(*self.functions.get()).add(number) }
    }

    /// The unload routine, as the I/O manager calls it.
    pub fn unload(&self) {
        // SAFETY: the driver object is ours.
        if let Some(unload) = unsafe { (*self.object.get()).DriverUnload } {
            // SAFETY: the framework's routine, with the driver object that it was bound with.
            unsafe { unload(self.object.get()) };
        }
    }

    pub fn unbind(&mut self) -> NtStatus {
        let globals = std::mem::replace(&mut self.globals, ptr::null_mut());
        // SAFETY: what `bind` was given and gave.
        unsafe { kmdf_lite::WdfVersionUnbind(self.path.string(), self.info.get(), globals) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        crate::watchdog::end();
        if self.globals.is_null() {
            return;
        }
        self.unload();
        let status = self.unbind();
        if !std::thread::panicking() {
            assert_eq!(status, NtStatus::SUCCESS);
            assert!(violations().is_empty(), "violations that the test did not look at");
            // SAFETY: ours.
            assert!(unsafe { (*self.object.get()).DeviceObject }.is_null(), "a device was left");
            let made = count(|kind| matches!(kind, Kind::Create { .. }));
            assert_eq!(count(|kind| matches!(kind, Kind::Delete { .. })), made, "objects were left");
            assert!(bench().verdict().is_clean(), "{}", bench().verdict());
            assert_eq!(bench().links(), Vec::<String>::new());
        }
    }
}

/// How many events there were of a kind.
pub fn count(is: impl Fn(&Kind) -> bool) -> usize {
    events().iter().filter(|event| is(&event.kind)).count()
}

pub unsafe extern "win64" fn no_unload(_driver: WDFOBJECT) {}

pub fn driver_config() -> WDF_DRIVER_CONFIG {
    WDF_DRIVER_CONFIG {
        Size: size_of::<WDF_DRIVER_CONFIG>() as u32,
        EvtDriverDeviceAdd: None,
        EvtDriverUnload: Some(no_unload),
        DriverInitFlags: WdfDriverInitNonPnpDriver,
        DriverPoolTag: u32::from_le_bytes(*b"Test"),
    }
}

pub fn attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        Size: size_of::<WDF_OBJECT_ATTRIBUTES>() as u32,
        EvtCleanupCallback: None,
        EvtDestroyCallback: None,
        ExecutionLevel: WdfExecutionLevelInheritFromParent,
        SynchronizationScope: WdfSynchronizationScopeInheritFromParent,
        ParentObject: ptr::null_mut(),
        ContextSizeOverride: 0,
        ContextTypeInfo: ptr::null(),
    }
}

pub fn queue_config(callback: EVT_WDF_IO_QUEUE_IO_DEVICE_CONTROL) -> WDF_IO_QUEUE_CONFIG {
    WDF_IO_QUEUE_CONFIG {
        Size: size_of::<WDF_IO_QUEUE_CONFIG>() as u32,
        DispatchType: WdfIoQueueDispatchParallel,
        PowerManaged: 2,
        AllowZeroLengthRequests: 0,
        DefaultQueue: 1,
        EvtIoDefault: None,
        EvtIoRead: None,
        EvtIoWrite: None,
        EvtIoDeviceControl: Some(callback),
        EvtIoInternalDeviceControl: None,
        EvtIoStop: None,
        EvtIoResume: None,
        EvtIoCanceledOnQueue: None,
        NumberOfPresentedRequests: u32::MAX,
        Driver: ptr::null_mut(),
    }
}

pub const NAME: &str = r"\Device\KmdfTest";
pub const LINK: &str = r"\DosDevices\KmdfTest";
pub const SDDL: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";

/// Begins a device with a name.
pub fn device_init(driver: &Driver, handle: WDFOBJECT) -> *mut c_void {
    let (sddl, name) = (text(SDDL), text(NAME));
    let init = call!(driver, WdfControlDeviceInitAllocate(
        handle => WDFOBJECT, sddl.string() => *const UNICODE_STRING) -> *mut c_void);
    assert!(!init.is_null());
    let status = call!(driver, WdfDeviceInitAssignName(
        init => *mut c_void, name.string() => *const UNICODE_STRING) -> NtStatus);
    assert_eq!(status, NtStatus::SUCCESS);
    init
}

/// Makes a device of a DeviceInit.
pub fn make_device(
    driver: &Driver,
    init: &mut *mut c_void,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
) -> Result<WDFOBJECT, NtStatus> {
    let mut device = ptr::null_mut();
    let status = call!(driver, WdfDeviceCreate(
        init => *mut *mut c_void, attributes => *const WDF_OBJECT_ATTRIBUTES,
        &mut device => *mut WDFOBJECT) -> NtStatus);
    if status == NtStatus::SUCCESS { Ok(device) } else { Err(status) }
}

pub fn link(driver: &Driver, device: WDFOBJECT) -> NtStatus {
    let name = text(LINK);
    call!(driver, WdfDeviceCreateSymbolicLink(
        device => WDFOBJECT, name.string() => *const UNICODE_STRING) -> NtStatus)
}

pub fn make_queue(
    driver: &Driver,
    device: WDFOBJECT,
    config: &WDF_IO_QUEUE_CONFIG,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
) -> Result<WDFOBJECT, NtStatus> {
    let mut queue = ptr::null_mut();
    let status = call!(driver, WdfIoQueueCreate(
        device => WDFOBJECT, config => *const WDF_IO_QUEUE_CONFIG, attributes => *const WDF_OBJECT_ATTRIBUTES,
        &mut queue => *mut WDFOBJECT) -> NtStatus);
    if status == NtStatus::SUCCESS { Ok(queue) } else { Err(status) }
}

pub fn finish(driver: &Driver, device: WDFOBJECT) {
    call!(driver, WdfControlFinishInitializing(device => WDFOBJECT));
}

/// A device with a link and a queue, ready for requests.
pub fn ready(driver: &Driver, handle: WDFOBJECT, config: &WDF_IO_QUEUE_CONFIG) -> WDFOBJECT {
    let mut init = device_init(driver, handle);
    let device = make_device(driver, &mut init, ptr::null()).expect("a device");
    assert_eq!(link(driver, device), NtStatus::SUCCESS);
    let passive = WDF_OBJECT_ATTRIBUTES { ExecutionLevel: WdfExecutionLevelPassive, ..attributes() };
    make_queue(driver, device, config, &passive).expect("a queue");
    finish(driver, device);
    device
}
