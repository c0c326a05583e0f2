//! WDFDRIVER: creation, the dispatch table of the driver object, unload.

#![allow(unsafe_code)] // Called by drivers through the function table.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::ptr;

use nt_abi::wdf::{
    EVT_WDF_DRIVER_UNLOAD, WDF_DRIVER_CONFIG, WDF_DRIVER_GLOBALS, WDF_OBJECT_ATTRIBUTES, WDFOBJECT,
    WdfDriverInitNoDispatchOverride, WdfDriverInitNonPnpDriver,
};
use nt_abi::{DISPATCH_LEVEL, DRIVER_OBJECT, NtStatus, PASSIVE_LEVEL, UNICODE_STRING};

use crate::bind::{delete_driver, globals, globals_of};
use crate::event::{Kind, emit, enter, level, status};
use crate::object::{Attributes, Body, Object, body, create, refuse, resolve};
use crate::{queue, registry};

/// STATUS_DRIVER_INTERNAL_ERROR.
const DRIVER_INTERNAL_ERROR: NtStatus = NtStatus(0xC000_0183_u32 as i32);

/// What a WDFDRIVER has of its own.
pub(crate) struct DriverBody {
    unload: Option<EVT_WDF_DRIVER_UNLOAD>,
}

/// Makes the WDFDRIVER of a driver, once.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfDriverCreate(
    public: *mut WDF_DRIVER_GLOBALS,
    driver_object: *mut DRIVER_OBJECT,
    registry_path: *const UNICODE_STRING,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    config: *const WDF_DRIVER_CONFIG,
    driver: *mut WDFOBJECT,
) -> NtStatus {
    // SAFETY: the driver's pointers, as the page describes them.
    match unsafe { make(public, driver_object, registry_path, attributes, config) } {
        Ok(made) => {
            if !driver.is_null() {
                // SAFETY: not null; the driver's own variable.
                unsafe { driver.write(made.handle()) };
            }
            NtStatus::SUCCESS
        }
        Err(status) => status,
    }
}

unsafe fn make(
    public: *mut WDF_DRIVER_GLOBALS,
    driver_object: *mut DRIVER_OBJECT,
    registry_path: *const UNICODE_STRING,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    config: *const WDF_DRIVER_CONFIG,
) -> Result<&'static Object, NtStatus> {
    const NAME: &str = "WdfDriverCreate";
    enter(NAME, PASSIVE_LEVEL)?;
    let mut globals = globals(NAME, public)?;
    let bad = |text| refuse(NAME, text, ptr::null_mut(), NtStatus::INVALID_PARAMETER);
    // SAFETY: null or the driver's structure.
    let Some(config) = (unsafe { config.as_ref() }) else { return bad("the driver config is null") };
    if config.Size as usize != size_of::<WDF_DRIVER_CONFIG>() {
        return refuse(NAME, "WDF_DRIVER_CONFIG.Size is wrong", ptr::null_mut(), NtStatus::INFO_LENGTH_MISMATCH);
    }
    if registry_path.is_null() {
        return bad("the registry path is null");
    }
    if config.DriverInitFlags & WdfDriverInitNonPnpDriver != 0 && config.EvtDriverDeviceAdd.is_some() {
        return bad("a non-PnP driver cannot have an EvtDriverDeviceAdd callback");
    }
    if config.DriverInitFlags & WdfDriverInitNonPnpDriver == 0 {
        return refuse(NAME, "PnP drivers are not in kmdf-lite", ptr::null_mut(), NtStatus::NOT_SUPPORTED);
    }
    // SAFETY: bound; drivers are created at PASSIVE_LEVEL by one thread.
    let it = unsafe { globals.as_mut() };
    if !it.public.Driver.is_null() || !ptr::eq(it.driver_object, driver_object) {
        return refuse(NAME, "called twice, or for another driver object", ptr::null_mut(), DRIVER_INTERNAL_ERROR);
    }
    // SAFETY: the driver's attributes.
    let attributes = unsafe { Attributes::read(NAME, attributes, false) }?;
    let body = Body::Driver(DriverBody { unload: config.EvtDriverUnload });
    let driver = create(globals, None, &attributes, body)?;
    it.public.Driver = driver.handle();
    it.public.DriverFlags |= config.DriverInitFlags;
    it.public.DisplaceDriverUnload = u8::from(config.EvtDriverUnload.is_some());
    if config.DriverPoolTag != 0 {
        it.public.DriverTag = config.DriverPoolTag;
    }
    // SAFETY: the I/O manager's driver object, whose routines its driver sets in DriverEntry.
    unsafe { take_over(&mut *driver_object, config) };
    Ok(driver)
}

/// Points the driver object's routines at the framework.
fn take_over(driver_object: &mut DRIVER_OBJECT, config: &WDF_DRIVER_CONFIG) {
    if config.EvtDriverUnload.is_some() {
        driver_object.DriverUnload = Some(unload);
    }
    if config.DriverInitFlags & WdfDriverInitNoDispatchOverride == 0 {
        driver_object.MajorFunction = [Some(queue::dispatch); nt_abi::IRP_MJ_COUNT];
    }
}

/// The framework's unload routine: the driver's callback first, then everything that the framework has of it. The
/// entry stub unbinds afterwards.
///
/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn unload(driver_object: *mut DRIVER_OBJECT) {
    let Some(globals) = globals_of(driver_object) else { return };
    // SAFETY: bound until the stub unbinds.
    let handle = unsafe { globals.as_ref() }.public.Driver;
    let Ok((driver, body)) = body!("DriverUnload", handle, Driver) else { return };
    let object = handle as usize;
    if let Some(callback) = body.unload {
        emit(Kind::UnloadCall, object);
        // SAFETY: the driver's own callback.
        unsafe { callback(driver.handle()) };
        emit(Kind::UnloadReturn, object);
    }
    let _ = delete_driver(globals);
    emit(Kind::UnloadDone, object);
}

/// The driver's registry path, zero-terminated.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfDriverGetRegistryPath(_globals: *mut WDF_DRIVER_GLOBALS, driver: WDFOBJECT) -> *const u16 {
    const NAME: &str = "WdfDriverGetRegistryPath";
    if level(NAME, PASSIVE_LEVEL).is_err() {
        return ptr::null();
    }
    match body!(NAME, driver, Driver) {
        // SAFETY: an object's globals stay while it is there.
        Ok((object, _)) => unsafe { object.globals.as_ref() }.registry_path.as_ptr(),
        Err(_) => ptr::null(),
    }
}

/// The driver object.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfDriverWdmGetDriverObject(
    _globals: *mut WDF_DRIVER_GLOBALS,
    driver: WDFOBJECT,
) -> *mut DRIVER_OBJECT {
    const NAME: &str = "WdfDriverWdmGetDriverObject";
    let _ = level(NAME, DISPATCH_LEVEL);
    match body!(NAME, driver, Driver) {
        // SAFETY: an object's globals stay while it is there.
        Ok((object, _)) => unsafe { object.globals.as_ref() }.driver_object,
        Err(_) => ptr::null_mut(),
    }
}

/// Opens the driver's `Parameters` key.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfDriverOpenParametersRegistryKey(
    _globals: *mut WDF_DRIVER_GLOBALS,
    driver: WDFOBJECT,
    access: u32,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    key: *mut WDFOBJECT,
) -> NtStatus {
    const NAME: &str = "WdfDriverOpenParametersRegistryKey";
    let open = || {
        enter(NAME, PASSIVE_LEVEL)?;
        let (object, _) = body!(NAME, driver, Driver)?;
        // SAFETY: the driver's attributes and variable.
        unsafe { registry::open_parameters(NAME, object, access, attributes, key) }
    };
    status(open())
}

/// The WDFDRIVER that an object belongs to.
pub(crate) fn driver_of(function: &'static str, object: &Object) -> Result<&'static Object, NtStatus> {
    // SAFETY: an object's globals stay while it is there.
    resolve(function, unsafe { object.globals.as_ref() }.public.Driver)
}
