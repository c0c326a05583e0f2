//! WDFKEY: registry keys and their values.

#![allow(unsafe_code)] // Called by drivers through the function table.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nt_abi::kernel::{ZwClose, ZwOpenKey, ZwQueryValueKey};
use nt_abi::wdf::{WDF_DRIVER_GLOBALS, WDF_OBJECT_ATTRIBUTES, WDFOBJECT};
use nt_abi::{
    HANDLE, KEY_VALUE_PARTIAL_INFORMATION, KEY_VALUE_PARTIAL_INFORMATION_CLASS, NtStatus, OBJ_CASE_INSENSITIVE,
    OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES, PASSIVE_LEVEL, REG_DWORD, UNICODE_STRING,
};

use crate::bind::globals;
use crate::device::parent_or_driver;
use crate::event::{enter, level, status};
use crate::kernel::{Text, allocate_bytes, free_bytes};
use crate::object::{Attributes, Body, Object, body, create, delete, refuse, resolve};

/// What a WDFKEY has of its own. Dropping it closes the key.
pub(crate) struct KeyBody {
    handle: HANDLE,
}

// SAFETY: a kernel handle is good in every thread.
unsafe impl Sync for KeyBody {}

impl Drop for KeyBody {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, and closed nowhere else.
        let _ = unsafe { ZwClose(self.handle) };
    }
}

fn open(root: HANDLE, name: *mut UNICODE_STRING, access: u32) -> Result<KeyBody, NtStatus> {
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: root,
        ObjectName: name,
        Attributes: OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: ptr::null_mut(),
        SecurityQualityOfService: ptr::null_mut(),
    };
    let mut handle = ptr::null_mut();
    // SAFETY: attributes and handle are locals; the name is the caller's and valid.
    let status = unsafe { ZwOpenKey(&mut handle, access, &attributes) };
    if status.is_failure() { Err(status) } else { Ok(KeyBody { handle }) }
}

/// Opens the `Parameters` key below the driver's service key.
///
/// # Safety
/// `attributes` is null or valid; `key` is null or may be written.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe fn open_parameters(
    function: &'static str,
    driver: &'static Object,
    access: u32,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    key: *mut WDFOBJECT,
) -> Result<(), NtStatus> {
    /// `\Parameters`.
    const PARAMETERS: [u16; 11] = {
        let (text, mut units, mut at) = (b"\\Parameters", [0; 11], 0);
        while at < 11 {
            units[at] = text[at] as u16;
            at += 1;
        }
        units
    };
    // SAFETY: an object's globals stay while it is there.
    let path = unsafe { driver.globals.as_ref() }.registry_path.units();
    let path = Text::join(&[path, &PARAMETERS]).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    // SAFETY: the caller's promise.
    unsafe { publish(function, driver, attributes, key, || open(ptr::null_mut(), path.string(), access)) }
}

/// # Safety
/// `attributes` is null or valid; `key` is null or may be written.
unsafe fn publish(
    function: &'static str,
    of: &Object,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    key: *mut WDFOBJECT,
    open: impl FnOnce() -> Result<KeyBody, NtStatus>,
) -> Result<(), NtStatus> {
    // SAFETY: the caller's promise.
    let Some(key) = (unsafe { key.as_mut() }) else {
        return refuse(function, "there is nowhere to put the key", ptr::null_mut(), NtStatus::INVALID_PARAMETER);
    };
    // SAFETY: the caller's promise.
    let attributes = unsafe { Attributes::read(function, attributes, true) }?;
    let parent = parent_or_driver(function, &attributes, of)?;
    let made = create(of.globals, Some(parent), &attributes, Body::Key(open()?))?;
    *key = made.handle();
    Ok(())
}

/// Opens a key by its path, or by its name below another.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfRegistryOpenKey(
    public: *mut WDF_DRIVER_GLOBALS,
    parent: WDFOBJECT,
    name: *mut UNICODE_STRING,
    access: u32,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
    key: *mut WDFOBJECT,
) -> NtStatus {
    const NAME: &str = "WdfRegistryOpenKey";
    let run = || {
        enter(NAME, PASSIVE_LEVEL)?;
        if name.is_null() {
            return refuse(NAME, "the key's name is null", parent, NtStatus::INVALID_PARAMETER);
        }
        let (of, root) = if parent.is_null() {
            // SAFETY: bound, for the call came through its table.
            let driver = unsafe { globals(NAME, public)?.as_ref() }.public.Driver;
            (resolve(NAME, driver)?, ptr::null_mut())
        } else {
            let (object, body) = body!(NAME, parent, Key)?;
            (object, body.handle)
        };
        // SAFETY: the driver's pointers.
        unsafe { publish(NAME, of, attributes, key, || open(root, name, access)) }
    };
    status(run())
}

/// Closes a key.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfRegistryClose(_globals: *mut WDF_DRIVER_GLOBALS, key: WDFOBJECT) {
    const NAME: &str = "WdfRegistryClose";
    let close = || {
        level(NAME, PASSIVE_LEVEL)?;
        let (object, _) = body!(NAME, key, Key)?;
        delete(object)
    };
    let _: Result<(), NtStatus> = close();
}

/// The kernel's handle of a key, which stays the framework's.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfRegistryWdmGetHandle(_globals: *mut WDF_DRIVER_GLOBALS, key: WDFOBJECT) -> HANDLE {
    const NAME: &str = "WdfRegistryWdmGetHandle";
    let find = || -> Result<HANDLE, NtStatus> {
        level(NAME, PASSIVE_LEVEL)?;
        let (_, body) = body!(NAME, key, Key)?;
        Ok(body.handle)
    };
    find().unwrap_or(ptr::null_mut())
}

/// A pool block that holds a value as ZwQueryValueKey gives it.
struct Partial {
    block: NonNull<u8>,
}

const DATA: usize = core::mem::offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data);

impl Partial {
    fn query(key: &KeyBody, name: *mut UNICODE_STRING, room: usize) -> Result<(Partial, NtStatus), NtStatus> {
        let bytes = (DATA + room).max(size_of::<KEY_VALUE_PARTIAL_INFORMATION>());
        let length = u32::try_from(bytes).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        let block = allocate_bytes(bytes).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        let partial = Partial { block };
        let (information, mut needed) = (block.as_ptr().cast(), 0);
        // SAFETY: the block has `length` bytes; the name is the driver's.
        let status =
            unsafe { ZwQueryValueKey(key.handle, name, KEY_VALUE_PARTIAL_INFORMATION_CLASS, information, length, &mut needed) };
        // Warnings come with the fixed part filled in: the block always has room for that.
        if status.is_failure() && status != NtStatus::BUFFER_OVERFLOW { Err(status) } else { Ok((partial, status)) }
    }

    fn head(&self) -> &KEY_VALUE_PARTIAL_INFORMATION {
        // SAFETY: the block is at least that large, aligned, and filled in.
        unsafe { self.block.cast().as_ref() }
    }

    fn data(&self) -> *const u8 {
        // SAFETY: inside the block.
        unsafe { self.block.as_ptr().add(DATA) }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // SAFETY: allocated by `query`.
        unsafe { free_bytes(self.block) };
    }
}

/// Reads a value. What does not fit is answered by STATUS_BUFFER_OVERFLOW, with the length that is needed and the type.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfRegistryQueryValue(
    _globals: *mut WDF_DRIVER_GLOBALS,
    key: WDFOBJECT,
    name: *mut UNICODE_STRING,
    room: u32,
    value: *mut c_void,
    needed: *mut u32,
    kind: *mut u32,
) -> NtStatus {
    const NAME: &str = "WdfRegistryQueryValue";
    let run = || {
        enter(NAME, PASSIVE_LEVEL)?;
        let (_, body) = body!(NAME, key, Key)?;
        if name.is_null() || (value.is_null() && room != 0) {
            return refuse(NAME, "called with a null pointer", key, NtStatus::INVALID_PARAMETER);
        }
        let (partial, _) = Partial::query(body, name, room as usize)?;
        let head = partial.head();
        // SAFETY: null or the driver's variables.
        let (needed, kind) = unsafe { (needed.as_mut(), kind.as_mut()) };
        if let Some(needed) = needed {
            *needed = head.DataLength;
        }
        if let Some(kind) = kind {
            *kind = head.ValueType;
        }
        if head.DataLength > room {
            return Err(NtStatus::BUFFER_OVERFLOW);
        }
        // SAFETY: the value fits, and the driver's buffer has that room.
        unsafe { ptr::copy_nonoverlapping(partial.data(), value.cast::<u8>(), head.DataLength as usize) };
        Ok(())
    };
    status(run())
}

/// Reads a REG_DWORD value.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe extern "win64" fn WdfRegistryQueryULong(
    _globals: *mut WDF_DRIVER_GLOBALS,
    key: WDFOBJECT,
    name: *mut UNICODE_STRING,
    value: *mut u32,
) -> NtStatus {
    const NAME: &str = "WdfRegistryQueryULong";
    let run = || {
        enter(NAME, PASSIVE_LEVEL)?;
        let (_, body) = body!(NAME, key, Key)?;
        if name.is_null() || value.is_null() {
            return refuse(NAME, "called with a null pointer", key, NtStatus::INVALID_PARAMETER);
        }
        let (partial, status) = Partial::query(body, name, size_of::<u32>())?;
        if partial.head().ValueType != REG_DWORD {
            return Err(NtStatus::OBJECT_TYPE_MISMATCH);
        }
        if status.is_failure() {
            return Err(status);
        }
        // SAFETY: not null; the block has four bytes of data, unaligned or not.
        unsafe { value.write(partial.data().cast::<u32>().read_unaligned()) };
        Ok(())
    };
    status(run())
}
