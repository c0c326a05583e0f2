//! WDFDEVICE_INIT: what a control device is going to be, until `WdfDeviceCreate` consumes it.

#![allow(unsafe_code)] // Called by drivers through the function table.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nt_abi::wdf::{
    EVT_WDF_DEVICE_SHUTDOWN_NOTIFICATION, WDF_DRIVER_GLOBALS, WDFOBJECT, WdfDeviceIoBuffered, WdfDeviceIoDirect,
    WdfDeviceIoNeither, WdfDeviceShutdown,
};
use nt_abi::{DISPATCH_LEVEL, FILE_DEVICE_UNKNOWN, KIRQL, NtStatus, PASSIVE_LEVEL, UNICODE_STRING};

use crate::bind::Globals;
use crate::event::{enter, level, status, violation};
use crate::kernel::{Locked, Text, allocate_bytes, free_bytes, units};
use crate::object::{body, refuse};

/// FILE_DEVICE_SECURE_OPEN, which the framework sets by default.
const FILE_DEVICE_SECURE_OPEN: u32 = 0x100;

/// A WDFDEVICE_INIT.
pub(crate) struct DeviceInit {
    next: *mut DeviceInit,
    pub globals: NonNull<Globals>,
    pub sddl: Text,
    pub name: Option<Text>,
    pub device_type: u32,
    pub characteristics: u32,
    pub exclusive: bool,
    pub io_type: i32,
    pub shutdown: Option<EVT_WDF_DEVICE_SHUTDOWN_NOTIFICATION>,
}

struct Inits(*mut DeviceInit);

static INITS: Locked<Inits> = Locked::new(Inits(ptr::null_mut()));

impl Inits {
    fn find(&self, wanted: impl Fn(&DeviceInit) -> bool) -> Option<NonNull<DeviceInit>> {
        let mut at = self.0;
        // SAFETY: the list consists of live blocks, and the lock is held.
        while let Some(init) = unsafe { at.as_ref() } {
            if wanted(init) {
                return NonNull::new(at);
            }
            at = init.next;
        }
        None
    }

    fn remove(&mut self, init: NonNull<DeviceInit>) {
        let mut link = &raw mut self.0;
        // SAFETY: as in `find`; the block is on the list.
        unsafe {
            while *link != init.as_ptr() {
                link = &raw mut (**link).next;
            }
            *link = (*init.as_ptr()).next;
        }
    }
}

/// Looks up what a driver calls its DeviceInit. One thread at a time prepares a device.
pub(crate) fn find(function: &'static str, init: *mut c_void) -> Result<NonNull<DeviceInit>, NtStatus> {
    let found = INITS.lock().find(|it| ptr::eq(it, init.cast()));
    let text = "this DeviceInit was freed, or consumed by WdfDeviceCreate, or never was one";
    found.map_or_else(|| refuse(function, text, init, NtStatus::INVALID_PARAMETER), Ok)
}

/// Takes a DeviceInit off the list and gives its memory back.
pub(crate) fn release(init: NonNull<DeviceInit>) {
    INITS.lock().remove(init);
    // SAFETY: off the list; by the rules nobody uses it any more.
    unsafe { init.drop_in_place() };
    // SAFETY: as above.
    unsafe { free_bytes(init.cast()) };
}

/// Reports and frees what a driver that goes has left.
pub(crate) fn free_left(globals: NonNull<Globals>) {
    loop {
        let left = INITS.lock().find(|init| init.globals == globals);
        let Some(left) = left else { return };
        violation("WdfVersionUnbind", "a DeviceInit was neither consumed nor freed", left.as_ptr() as usize);
        release(left);
    }
}

/// Begins a control device.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfControlDeviceInitAllocate(
    _globals: *mut WDF_DRIVER_GLOBALS,
    driver: WDFOBJECT,
    sddl: *const UNICODE_STRING,
) -> *mut c_void {
    // SAFETY: the driver's string.
    match unsafe { allocate(driver, sddl) } {
        Ok(init) => init.as_ptr().cast(),
        Err(_) => ptr::null_mut(),
    }
}

unsafe fn allocate(driver: WDFOBJECT, sddl: *const UNICODE_STRING) -> Result<NonNull<DeviceInit>, NtStatus> {
    const NAME: &str = "WdfControlDeviceInitAllocate";
    enter(NAME, PASSIVE_LEVEL)?;
    let (object, _) = body!(NAME, driver, Driver)?;
    // SAFETY: null or the driver's string.
    let sddl = unsafe { sddl.as_ref().map(|sddl| units(sddl)) }.unwrap_or_default();
    if !sddl.starts_with(&[u16::from(b'D'), u16::from(b':')]) {
        return refuse(NAME, "the SDDL string is missing or has no DACL in front", driver, NtStatus::INVALID_PARAMETER);
    }
    let sddl = Text::join(&[sddl]).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    let block = allocate_bytes(size_of::<DeviceInit>()).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    let block = block.cast::<DeviceInit>();
    let mut inits = INITS.lock();
    let init = DeviceInit {
        next: inits.0,
        globals: object.globals,
        sddl,
        name: None,
        device_type: FILE_DEVICE_UNKNOWN,
        characteristics: FILE_DEVICE_SECURE_OPEN,
        exclusive: false,
        io_type: WdfDeviceIoBuffered,
        shutdown: None,
    };
    // SAFETY: fresh and large enough.
    unsafe { block.write(init) };
    inits.0 = block.as_ptr();
    Ok(block)
}

/// Gives a DeviceInit back that no device was made of.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceInitFree(_globals: *mut WDF_DRIVER_GLOBALS, init: *mut c_void) {
    const NAME: &str = "WdfDeviceInitFree";
    let _ = level(NAME, DISPATCH_LEVEL);
    if let Ok(init) = find(NAME, init) {
        release(init);
    }
}

/// Names the device.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceInitAssignName(
    _globals: *mut WDF_DRIVER_GLOBALS,
    init: *mut c_void,
    name: *const UNICODE_STRING,
) -> NtStatus {
    const NAME: &str = "WdfDeviceInitAssignName";
    let assign = || {
        enter(NAME, PASSIVE_LEVEL)?;
        let mut init = find(NAME, init)?;
        // SAFETY: null or the driver's string.
        let name = match unsafe { name.as_ref() } {
            // SAFETY: as above.
            Some(name) => Some(Text::join(&[unsafe { units(name) }]).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?),
            None => None,
        };
        // SAFETY: on the list; the driver prepares a device in one thread.
        unsafe { init.as_mut() }.name = name;
        Ok(())
    };
    status(assign())
}

/// Sets something in a DeviceInit.
fn set(function: &'static str, highest: KIRQL, init: *mut c_void, change: impl FnOnce(&mut DeviceInit)) {
    let _ = level(function, highest);
    if let Ok(mut init) = find(function, init) {
        // SAFETY: on the list; the driver prepares a device in one thread.
        change(unsafe { init.as_mut() });
    }
}

/// Sets the device's type.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceInitSetDeviceType(
    _globals: *mut WDF_DRIVER_GLOBALS,
    init: *mut c_void,
    device_type: u32,
) {
    set("WdfDeviceInitSetDeviceType", DISPATCH_LEVEL, init, |init| init.device_type = device_type);
}

/// Sets or adds to the device's characteristics.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceInitSetCharacteristics(
    _globals: *mut WDF_DRIVER_GLOBALS,
    init: *mut c_void,
    characteristics: u32,
    or_in: u8,
) {
    set("WdfDeviceInitSetCharacteristics", DISPATCH_LEVEL, init, |init| {
        let kept = if or_in != 0 { init.characteristics } else { 0 };
        init.characteristics = kept | characteristics;
    });
}

/// Sets whether one handle at a time may be open.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceInitSetExclusive(
    _globals: *mut WDF_DRIVER_GLOBALS,
    init: *mut c_void,
    exclusive: u8,
) {
    set("WdfDeviceInitSetExclusive", DISPATCH_LEVEL, init, |init| init.exclusive = exclusive != 0);
}

/// Sets how reads and writes carry their data.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfDeviceInitSetIoType(_globals: *mut WDF_DRIVER_GLOBALS, init: *mut c_void, io_type: i32) {
    const NAME: &str = "WdfDeviceInitSetIoType";
    if !(WdfDeviceIoNeither..=WdfDeviceIoDirect).contains(&io_type) {
        violation(NAME, "no such I/O type", init as usize);
        return;
    }
    set(NAME, DISPATCH_LEVEL, init, |init| init.io_type = io_type);
}

/// Asks for a notification at system shutdown.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfControlDeviceInitSetShutdownNotification(
    _globals: *mut WDF_DRIVER_GLOBALS,
    init: *mut c_void,
    notification: Option<EVT_WDF_DEVICE_SHUTDOWN_NOTIFICATION>,
    flags: u8,
) {
    const NAME: &str = "WdfControlDeviceInitSetShutdownNotification";
    if flags != WdfDeviceShutdown || notification.is_none() {
        violation(NAME, "flags other than WdfDeviceShutdown are not in kmdf-lite; a callback is needed", init as usize);
        return;
    }
    set(NAME, PASSIVE_LEVEL, init, |init| init.shutdown = notification);
}
