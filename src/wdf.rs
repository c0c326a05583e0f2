//! The calls into the framework, and the strings that it wants.
//!
//! # IRQL
//! `PASSIVE_LEVEL` unless said otherwise.
#![allow(unsafe_code)] // WDF functions take pointers

use core::mem::{MaybeUninit, offset_of};
use core::ptr::null_mut;

use wdk_sys::ntddk::ZwEnumerateKey;
use wdk_sys::{
    _KEY_INFORMATION_CLASS, _WDF_DRIVER_INIT_FLAGS, DRIVER_OBJECT, HANDLE, KEY_BASIC_INFORMATION, KEY_READ, KEY_WRITE, PCUNICODE_STRING, ULONG,
    UNICODE_STRING, WDF_DRIVER_CONFIG, WDF_NO_OBJECT_ATTRIBUTES, WDFDRIVER, WDFKEY, call_unsafe_wdf_function_binding,
};
use wsk::NtStatus;

/// STATUS_BUFFER_OVERFLOW: a warning, which is no success.
const BUFFER_OVERFLOW: NtStatus = NtStatus(0x8000_0005_u32 as i32);

/// STATUS_NO_MORE_ENTRIES: another.
const NO_MORE_ENTRIES: NtStatus = NtStatus(0x8000_001a_u32 as i32);

/// Makes the framework's driver object for a driver that is not Plug and Play.
/// [`WdfDriverCreate`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfdriver/nf-wdfdriver-wdfdrivercreate)
///
/// # Errors
/// The framework's status.
///
/// # Safety
/// The arguments are those of `DriverEntry`.
pub(crate) unsafe fn create_driver(
    driver: *mut DRIVER_OBJECT,
    registry_path: PCUNICODE_STRING,
    unload: unsafe extern "C" fn(WDFDRIVER),
) -> Result<WDFDRIVER, NtStatus> {
    let mut config = WDF_DRIVER_CONFIG {
        Size: size_of::<WDF_DRIVER_CONFIG>() as ULONG,
        EvtDriverUnload: Some(unload),
        DriverInitFlags: _WDF_DRIVER_INIT_FLAGS::WdfDriverInitNonPnpDriver as ULONG,
        ..WDF_DRIVER_CONFIG::default()
    };
    let mut created: WDFDRIVER = null_mut();
    // SAFETY: as the caller promises; the rest lives during the call.
    let status = unsafe {
        call_unsafe_wdf_function_binding!(
            WdfDriverCreate,
            driver,
            registry_path,
            WDF_NO_OBJECT_ATTRIBUTES,
            &raw mut config,
            &raw mut created,
        )
    };
    NtStatus(status).ok().map(|()| created)
}

/// A string as the kernel takes it, made of ASCII at most `N` long.
pub(crate) struct Wide<const N: usize> {
    units: [u16; N],
    length: usize,
}

impl<const N: usize> Wide<N> {
    /// Widens `text`; what does not fit is cut off.
    pub(crate) fn new(text: &str) -> Self {
        let mut wide = Self { units: [0; N], length: text.len().min(N) };
        for (unit, byte) in wide.units.iter_mut().zip(text.bytes()) {
            *unit = byte.into();
        }
        wide
    }

    /// A counted string that points into this one.
    pub(crate) fn as_unicode(&self) -> UNICODE_STRING {
        let bytes = (2 * self.length) as u16;
        UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: self.units.as_ptr().cast_mut() }
    }
}

/// Why a value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// It is not there.
    Missing,
    /// It has so many bytes, more than there was room for.
    TooLong(u32),
    /// The registry's answer.
    Status(NtStatus),
}

/// A registry key, open for reading.
///
/// # Invariants
/// The handle is open.
pub(crate) struct Key(WDFKEY);

/// The name of a key below another.
pub(crate) struct KeyName {
    units: [u16; MOST_NAME],
    length: usize,
}

/// The longest name of a key, in UTF-16 units: the registry has none that are longer.
const MOST_NAME: usize = 256;

/// KEY_BASIC_INFORMATION with room for the longest name.
#[repr(C)]
struct BasicInformation {
    head: KEY_BASIC_INFORMATION,
    rest: [u16; MOST_NAME],
}

impl Key {
    /// The driver's `Parameters`. [`WdfDriverOpenParametersRegistryKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfdriver/nf-wdfdriver-wdfdriveropenparametersregistrykey)
    ///
    /// # Errors
    /// The framework's status.
    pub(crate) fn parameters(driver: WDFDRIVER) -> Result<Self, NtStatus> {
        Self::parameters_for(driver, KEY_READ)
    }

    /// The same, so that keys can be made below it.
    ///
    /// # Errors
    /// The framework's status.
    pub(crate) fn parameters_to_write(driver: WDFDRIVER) -> Result<Self, NtStatus> {
        Self::parameters_for(driver, KEY_READ | KEY_WRITE)
    }

    fn parameters_for(driver: WDFDRIVER, access: u32) -> Result<Self, NtStatus> {
        let mut key: WDFKEY = null_mut();
        // SAFETY: the handle is the one that WdfDriverCreate gave.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(
                WdfDriverOpenParametersRegistryKey,
                driver,
                access,
                WDF_NO_OBJECT_ATTRIBUTES,
                &raw mut key,
            )
        };
        // INVARIANT: just opened.
        NtStatus(status).ok().map(|()| Self(key))
    }

    /// The key of that name below this one. [`WdfRegistryOpenKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfregistry/nf-wdfregistry-wdfregistryopenkey)
    ///
    /// # Errors
    /// The framework's status.
    pub(crate) fn open(&self, name: &UNICODE_STRING) -> Result<Self, NtStatus> {
        let mut key: WDFKEY = null_mut();
        // SAFETY: the handle is open by the invariant, and the name lives during the call.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRegistryOpenKey,
                self.0,
                &raw const *name,
                KEY_READ,
                WDF_NO_OBJECT_ATTRIBUTES,
                &raw mut key,
            )
        };
        // INVARIANT: just opened.
        NtStatus(status).ok().map(|()| Self(key))
    }

    /// The kernel's handle, which stays the framework's.
    pub(crate) fn handle(&self) -> HANDLE {
        // SAFETY: open by the invariant.
        unsafe { call_unsafe_wdf_function_binding!(WdfRegistryWdmGetHandle, self.0) }
    }

    /// The name of the key below this one that has this number; `None` after the last.
    /// [`ZwEnumerateKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwenumeratekey)
    ///
    /// # Errors
    /// The registry's status.
    pub(crate) fn child(&self, number: u32) -> Result<Option<KeyName>, NtStatus> {
        let mut information = BasicInformation { head: KEY_BASIC_INFORMATION::default(), rest: [0; MOST_NAME] };
        let mut needed = 0;
        let handle = self.handle();
        // SAFETY: the handle is open, and the rest lives during the call, which writes no more than the length says.
        let status = NtStatus(unsafe {
            ZwEnumerateKey(
                handle,
                number,
                _KEY_INFORMATION_CLASS::KeyBasicInformation,
                (&raw mut information).cast(),
                size_of::<BasicInformation>() as ULONG,
                &raw mut needed,
            )
        });
        match status {
            NO_MORE_ENTRIES => Ok(None),
            status => status.ok().map(|()| Some(KeyName::of(&information))),
        }
    }

    /// Type and length of a value, whose bytes are put into `bytes`.
    /// [`WdfRegistryQueryValue`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfregistry/nf-wdfregistry-wdfregistryqueryvalue)
    ///
    /// # Errors
    /// See [`ValueError`].
    pub(crate) fn value(&self, name: &str, bytes: &mut [u8]) -> Result<(u32, u32), ValueError> {
        let name = Wide::<64>::new(name);
        let name = name.as_unicode();
        let (mut length, mut kind) = (MaybeUninit::<ULONG>::zeroed(), MaybeUninit::<ULONG>::zeroed());
        // SAFETY: the handle is open by the invariant, and the rest lives during the call.
        let status = NtStatus(unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRegistryQueryValue,
                self.0,
                &raw const name,
                bytes.len() as ULONG,
                bytes.as_mut_ptr().cast(),
                length.as_mut_ptr(),
                kind.as_mut_ptr(),
            )
        });
        // SAFETY: zeroed, and perhaps written.
        let (length, kind) = unsafe { (length.assume_init(), kind.assume_init()) };
        match status {
            NtStatus::OBJECT_NAME_NOT_FOUND => Err(ValueError::Missing),
            BUFFER_OVERFLOW => Err(ValueError::TooLong(length)),
            status if !status.is_success() => Err(ValueError::Status(status)),
            _ => Ok((kind, length)),
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: open by the invariant, and not used again.
        unsafe { call_unsafe_wdf_function_binding!(WdfRegistryClose, self.0) };
    }
}

impl KeyName {
    fn of(information: &BasicInformation) -> Self {
        // The name begins with the head's last field, and goes on behind it.
        let start = (&raw const *information).cast::<u16>().wrapping_byte_add(offset_of!(KEY_BASIC_INFORMATION, Name));
        let length = (information.head.NameLength as usize / 2).min(MOST_NAME);
        let mut name = Self { units: [0; MOST_NAME], length };
        for (at, unit) in name.units.iter_mut().take(length).enumerate() {
            // SAFETY: the structure has room for so many units from there on, and all of it is initialised.
            *unit = unsafe { start.wrapping_add(at).read() };
        }
        name
    }

    /// The units of the name.
    pub(crate) fn units(&self) -> &[u16] {
        self.units.get(..self.length).unwrap_or_default()
    }

    /// A counted string that points into this name.
    pub(crate) fn as_unicode(&self) -> UNICODE_STRING {
        let bytes = (2 * self.length) as u16;
        UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: self.units.as_ptr().cast_mut() }
    }
}
