//! The loader's interface: binding a driver to the framework, and the function table it gets.

#![allow(unsafe_code)] // Called by the driver's entry stub, with pointers into the driver.
#![allow(non_snake_case)] // The exported names.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nt_abi::wdf::{WDF_BIND_INFO, WDF_DRIVER_GLOBALS, WDFFUNC};
use nt_abi::{DRIVER_OBJECT, NtStatus, PASSIVE_LEVEL, UNICODE_STRING};

use crate::event::{Kind, emit, enter, level, status};
use crate::kernel::{Locked, Text, allocate_bytes, free_bytes, units};
use crate::names::{COUNT, MISSING, number};
use crate::object::{Object, delete, refuse};
use crate::{device, device_init, driver, object, queue, registry, request, sync, timer};

nt_abi::export_table!(pub EXPORTS, "wdfldr.sys", [WdfVersionBind, WdfVersionUnbind]);

/// The table that every driver's `WdfFunctions` points to.
#[repr(transparent)]
struct Table([WDFFUNC; COUNT]);

// SAFETY: addresses of functions.
unsafe impl Sync for Table {}

static TABLE: Table = Table(table());

macro_rules! fill {
    ($($module:ident :: { $($name:ident),* $(,)? })*) => {
        const fn table() -> [WDFFUNC; COUNT] {
            let mut table = MISSING;
            $($(table[number::$name] = $module::$name as WDFFUNC;)*)*
            table
        }

        /// The functions that are here, by name.
        pub const PRESENT: &[&str] = &[$($(stringify!($name)),*),*];
    };
}

fill! {
    driver::{
        WdfDriverCreate, WdfDriverGetRegistryPath, WdfDriverWdmGetDriverObject, WdfDriverOpenParametersRegistryKey,
    }
    device_init::{
        WdfControlDeviceInitAllocate, WdfControlDeviceInitSetShutdownNotification, WdfDeviceInitFree,
        WdfDeviceInitAssignName, WdfDeviceInitSetDeviceType, WdfDeviceInitSetCharacteristics,
        WdfDeviceInitSetExclusive, WdfDeviceInitSetIoType,
    }
    device::{
        WdfDeviceCreate, WdfDeviceCreateSymbolicLink, WdfDeviceWdmGetDeviceObject, WdfControlFinishInitializing,
    }
    queue::{ WdfIoQueueCreate }
    object::{ WdfObjectDelete, WdfObjectGetTypedContextWorker }
    request::{
        WdfRequestIsCanceled, WdfRequestRetrieveInputBuffer, WdfRequestRetrieveOutputBuffer, WdfRequestComplete,
        WdfRequestCompleteWithInformation,
    }
    registry::{ WdfRegistryOpenKey, WdfRegistryQueryValue, WdfRegistryQueryULong, WdfRegistryWdmGetHandle, WdfRegistryClose }
    sync::{ WdfSpinLockCreate, WdfSpinLockAcquire, WdfSpinLockRelease }
    timer::{ WdfTimerCreate, WdfTimerStart, WdfTimerStop, WdfTimerGetParentObject }
}

/// A bound driver. The driver sees the public part, which comes first.
#[repr(C)]
pub(crate) struct Globals {
    pub public: WDF_DRIVER_GLOBALS,
    next: *mut Globals,
    pub driver_object: *mut DRIVER_OBJECT,
    pub registry_path: Text,
}

struct Bound(*mut Globals);

static BOUND: Locked<Bound> = Locked::new(Bound(ptr::null_mut()));

impl Bound {
    fn find(&self, wanted: impl Fn(&Globals) -> bool) -> Option<NonNull<Globals>> {
        let mut at = self.0;
        // SAFETY: the list consists of bound drivers' globals, and the lock is held.
        while let Some(globals) = unsafe { at.as_ref() } {
            if wanted(globals) {
                return NonNull::new(at);
            }
            at = globals.next;
        }
        None
    }
}

/// Checks the globals that a call came with.
pub(crate) fn globals(function: &'static str, public: *const WDF_DRIVER_GLOBALS) -> Result<NonNull<Globals>, NtStatus> {
    let found = BOUND.lock().find(|globals| ptr::eq(&globals.public, public));
    match found {
        Some(globals) => Ok(globals),
        None => {
            let text = "called with driver globals that are not bound";
            refuse(function, text, public.cast_mut().cast(), NtStatus::INVALID_PARAMETER)
        }
    }
}

/// The bound driver of a driver object.
pub(crate) fn globals_of(driver: *const DRIVER_OBJECT) -> Option<NonNull<Globals>> {
    BOUND.lock().find(|globals| ptr::eq(globals.driver_object, driver))
}

/// Binds a driver to the framework and gives it the function table.
///
/// # Safety
/// All pointers are those of a driver's entry stub.
///
/// # IRQL
/// PASSIVE_LEVEL
pub unsafe extern "win64" fn WdfVersionBind(
    driver: *mut DRIVER_OBJECT,
    registry_path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    component_globals: *mut *mut WDF_DRIVER_GLOBALS,
) -> NtStatus {
    // SAFETY: the caller's promise.
    status(unsafe { bind(driver, registry_path, info, component_globals) })
}

unsafe fn bind(
    driver: *mut DRIVER_OBJECT,
    registry_path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    component_globals: *mut *mut WDF_DRIVER_GLOBALS,
) -> Result<(), NtStatus> {
    const NAME: &str = "WdfVersionBind";
    enter(NAME, PASSIVE_LEVEL)?;
    // SAFETY: null or the stub's.
    let (Some(path), Some(info)) = (unsafe { registry_path.as_ref() }, unsafe { info.as_mut() }) else {
        return refuse(NAME, "the registry path or the bind info is null", ptr::null_mut(), NtStatus::INVALID_PARAMETER);
    };
    if driver.is_null() || component_globals.is_null() {
        return refuse(NAME, "the driver object or the globals pointer is null", ptr::null_mut(), NtStatus::INVALID_PARAMETER);
    }
    // SAFETY: the component's name is a zero-terminated string of the stub's.
    unsafe { check(info) }?;
    // SAFETY: the caller's promise.
    let path = Text::join(&[unsafe { units(path) }]).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    let globals = enlist(driver, path)?;
    // SAFETY: `check` found the address of the driver's table pointer set.
    unsafe { info.FuncTable.write(TABLE.0.as_ptr()) };
    info.Module = ptr::from_ref(&TABLE).cast_mut().cast();
    // SAFETY: not null; the caller's promise.
    unsafe { component_globals.write(globals.as_ptr().cast()) };
    emit(Kind::Bind, globals.as_ptr() as usize);
    Ok(())
}

/// # Safety
/// The component is null or a zero-terminated string.
unsafe fn check(info: &WDF_BIND_INFO) -> Result<(), NtStatus> {
    const NAME: &str = "WdfVersionBind";
    /// The later form of the structure embeds the first and adds five pointers.
    const SIZES: [usize; 2] = [size_of::<WDF_BIND_INFO>(), size_of::<WDF_BIND_INFO>() + 5 * size_of::<*mut c_void>()];
    let bad = |text, status| refuse(NAME, text, ptr::null_mut(), status);
    if !SIZES.contains(&(info.Size as usize)) {
        return bad("WDF_BIND_INFO.Size is wrong", NtStatus::INFO_LENGTH_MISMATCH);
    }
    // SAFETY: the caller's promise.
    if !unsafe { is_kmdf_library(info.Component) } {
        return bad("WDF_BIND_INFO.Component is not KmdfLibrary", NtStatus::OBJECT_NAME_NOT_FOUND);
    }
    if info.Version.Major != 1 || !(15..=31).contains(&info.Version.Minor) {
        return bad("the driver wants another version than KMDF 1.15 to 1.31", NtStatus::REVISION_MISMATCH);
    }
    let count = info.FuncCount as usize;
    if count > COUNT || (info.Version.Minor == 31 && count != COUNT) {
        return bad("WDF_BIND_INFO.FuncCount is not that of the version", NtStatus::REVISION_MISMATCH);
    }
    if info.FuncTable.is_null() {
        return bad("WDF_BIND_INFO.FuncTable is null", NtStatus::INVALID_PARAMETER);
    }
    Ok(())
}

/// # Safety
/// `name` is null or zero-terminated.
unsafe fn is_kmdf_library(name: *const u16) -> bool {
    !name.is_null()
        && b"KmdfLibrary\0".iter().enumerate().all(|(at, &wanted)| {
            // SAFETY: every unit before was not the terminator.
            unsafe { name.add(at).read() == u16::from(wanted) }
        })
}

fn enlist(driver_object: *mut DRIVER_OBJECT, registry_path: Text) -> Result<NonNull<Globals>, NtStatus> {
    let block = allocate_bytes(size_of::<Globals>()).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?.cast::<Globals>();
    let public = WDF_DRIVER_GLOBALS {
        Driver: ptr::null_mut(),
        DriverFlags: 0,
        DriverTag: crate::kernel::TAG,
        DriverName: service_name(registry_path.units()),
        DisplaceDriverUnload: 0,
    };
    let mut bound = BOUND.lock();
    let globals = Globals { public, next: bound.0, driver_object, registry_path };
    // SAFETY: fresh and large enough.
    unsafe { block.write(globals) };
    bound.0 = block.as_ptr();
    Ok(block)
}

/// The last part of the registry path, as far as there is room for it.
fn service_name(path: &[u16]) -> [u8; 32] {
    let start = path.iter().rposition(|&unit| unit == u16::from(b'\\')).map_or(0, |at| at + 1);
    let mut name = [0; 32];
    for (to, &from) in name[..31].iter_mut().zip(&path[start..]) {
        *to = u8::try_from(from).unwrap_or(b'?');
    }
    name
}

/// Takes a driver from the framework, with everything that it still has there.
///
/// # Safety
/// All pointers are those that were given to [`WdfVersionBind`] or came from it.
///
/// # IRQL
/// PASSIVE_LEVEL
pub unsafe extern "win64" fn WdfVersionUnbind(
    _registry_path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    component_globals: *mut WDF_DRIVER_GLOBALS,
) -> NtStatus {
    let result = unbind(component_globals);
    // SAFETY: null or the stub's.
    if let (Ok(()), Some(info)) = (result, unsafe { info.as_mut() }) {
        info.Module = ptr::null_mut();
    }
    status(result)
}

fn unbind(public: *mut WDF_DRIVER_GLOBALS) -> Result<(), NtStatus> {
    const NAME: &str = "WdfVersionUnbind";
    level(NAME, PASSIVE_LEVEL)?;
    let globals = globals(NAME, public)?;
    delete_driver(globals)?;
    device_init::free_left(globals);
    remove(globals);
    emit(Kind::Unbind, globals.as_ptr() as usize);
    // SAFETY: off the list; the driver is on its way out and calls no more.
    unsafe { globals.drop_in_place() };
    // SAFETY: as above.
    unsafe { free_bytes(globals.cast()) };
    Ok(())
}

/// Deletes the WDFDRIVER, if there is one, and with it everything below.
pub(crate) fn delete_driver(mut globals: NonNull<Globals>) -> Result<(), NtStatus> {
    // SAFETY: bound; drivers are created and deleted at PASSIVE_LEVEL by one thread.
    let public = unsafe { &mut globals.as_mut().public };
    if public.Driver.is_null() {
        return Ok(());
    }
    let driver: &'static Object = object::resolve("WdfVersionUnbind", public.Driver)?;
    delete(driver)?;
    public.Driver = ptr::null_mut();
    Ok(())
}

fn remove(globals: NonNull<Globals>) {
    let mut bound = BOUND.lock();
    let mut link = &raw mut bound.0;
    // SAFETY: the list consists of bound drivers' globals, this one among them, and the lock is held.
    unsafe {
        while *link != globals.as_ptr() {
            link = &raw mut (**link).next;
        }
        *link = (*globals.as_ptr()).next;
    }
}
