//! The calls into the framework, and the strings that it wants.
//!
//! # IRQL
//! `PASSIVE_LEVEL` unless said otherwise.
#![allow(unsafe_code)] // WDF functions take pointers

use core::mem::MaybeUninit;
use core::ptr::null_mut;

use wdk_sys::{
    _WDF_DRIVER_INIT_FLAGS, DRIVER_OBJECT, KEY_READ, PCUNICODE_STRING, ULONG, UNICODE_STRING, WDF_DRIVER_CONFIG,
    WDF_NO_OBJECT_ATTRIBUTES, WDFDRIVER, WDFKEY, call_unsafe_wdf_function_binding,
};
use wsk::NtStatus;

/// STATUS_BUFFER_OVERFLOW: a warning, which is no success.
const BUFFER_OVERFLOW: NtStatus = NtStatus(0x8000_0005_u32 as i32);

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

/// The service's `Parameters` key, open for reading.
///
/// # Invariants
/// The handle is open.
pub(crate) struct ParametersKey(WDFKEY);

impl ParametersKey {
    /// [`WdfDriverOpenParametersRegistryKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfdriver/nf-wdfdriver-wdfdriveropenparametersregistrykey)
    ///
    /// # Errors
    /// The framework's status.
    pub(crate) fn open(driver: WDFDRIVER) -> Result<Self, NtStatus> {
        let mut key: WDFKEY = null_mut();
        // SAFETY: the handle is the one that WdfDriverCreate gave.
        let status = unsafe {
            call_unsafe_wdf_function_binding!(
                WdfDriverOpenParametersRegistryKey,
                driver,
                KEY_READ,
                WDF_NO_OBJECT_ATTRIBUTES,
                &raw mut key,
            )
        };
        // INVARIANT: just opened.
        NtStatus(status).ok().map(|()| Self(key))
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

impl Drop for ParametersKey {
    fn drop(&mut self) {
        // SAFETY: open by the invariant, and not used again.
        unsafe { call_unsafe_wdf_function_binding!(WdfRegistryClose, self.0) };
    }
}
