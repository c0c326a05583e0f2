//! Event Tracing for Windows: Wine's kernel has none, and says so. A driver traces to its other channels then.

#![allow(unsafe_code)] // Functions that drivers call.
#![allow(non_snake_case)] // Their names are what drivers import.

use core::ffi::c_void;

use nt_abi::{GUID, NtStatus};

nt_abi::export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [EtwRegister, EtwUnregister, EtwSetInformation, EtwWriteTransfer]);

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn EtwRegister(
    _provider: *const GUID,
    _enable: *const c_void,
    _context: *mut c_void,
    handle: *mut u64,
) -> NtStatus {
    // SAFETY: null or the driver's variable.
    if let Some(handle) = unsafe { handle.as_mut() } {
        *handle = 0;
    }
    NtStatus::NOT_SUPPORTED
}

/// Nothing was registered.
///
/// # IRQL
/// PASSIVE_LEVEL
extern "win64" fn EtwUnregister(_handle: u64) -> NtStatus {
    NtStatus::INVALID_HANDLE
}

/// As [`EtwUnregister`].
///
/// # IRQL
/// PASSIVE_LEVEL
extern "win64" fn EtwSetInformation(_handle: u64, _class: u32, _information: *const c_void, _length: u32) -> NtStatus {
    NtStatus::INVALID_HANDLE
}

/// As [`EtwUnregister`].
///
/// # IRQL
/// Any
extern "win64" fn EtwWriteTransfer(
    _handle: u64,
    _descriptor: *const c_void,
    _activity: *const GUID,
    _related: *const GUID,
    _count: u32,
    _data: *const c_void,
) -> NtStatus {
    NtStatus::INVALID_HANDLE
}
