//! What a driver's entry stub calls: bind and unbind. And this image's own entry point.

#![allow(unsafe_code)] // Exported functions, with the pointers of a driver's entry stub.
#![allow(non_snake_case)] // The exported names.

use core::ffi::c_void;

use nt_abi::wdf::{WDF_BIND_INFO, WDF_DRIVER_GLOBALS};
use nt_abi::{DRIVER_OBJECT, NtStatus, UNICODE_STRING};

use crate::print::say;
use crate::wine::GetModuleHandleExA;
use crate::{imports, kernel, provider, trace};

/// Wine takes an image that imports ntdll or kernel32 for an ordinary DLL, and calls its entry point as one. The image stays in the
/// process for good: a thread of Wine's may be on its way out of a completion here when the driver has gone.
#[unsafe(no_mangle)]
extern "win64" fn ShimEntry(module: *mut c_void, reason: u32, _reserved: *mut c_void) -> i32 {
    const PROCESS_ATTACH: u32 = 1;
    const FROM_ADDRESS_AND_PIN: u32 = 4 | 1;
    if reason == PROCESS_ATTACH {
        let mut pinned = core::ptr::null_mut();
        // SAFETY: an address in this image, and a local.
        unsafe { GetModuleHandleExA(FROM_ADDRESS_AND_PIN, module.cast(), &mut pinned) };
    }
    1
}

/// Binds a driver: to the framework, to the registrar, and to what Wine's kernel lacks.
///
/// # Safety
/// All pointers are those of a driver's entry stub.
///
/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn WdfVersionBind(
    driver: *mut DRIVER_OBJECT,
    registry_path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    globals: *mut *mut WDF_DRIVER_GLOBALS,
) -> NtStatus {
    trace::install();
    // SAFETY: the stub's pointers.
    match unsafe { bind(driver, registry_path, info, globals) } {
        Ok(()) => NtStatus::SUCCESS,
        Err(status) => status,
    }
}

unsafe fn bind(
    driver: *mut DRIVER_OBJECT,
    registry_path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    globals: *mut *mut WDF_DRIVER_GLOBALS,
) -> Result<(), NtStatus> {
    // SAFETY: the stub's path, or null.
    unsafe { trace::load(registry_path) };
    kernel::begin()?;
    // SAFETY: the driver has just been mapped, and its stub calls this before anything else of it runs.
    unsafe { imports::rewrite(driver) }?;
    // SAFETY: the stub's pointers.
    let status = unsafe { kmdf_lite::WdfVersionBind(driver, registry_path, info, globals) };
    if status.is_failure() {
        return Err(status);
    }
    // SAFETY: bound, so the path is good.
    if let Err(status) = unsafe { provider::begin(registry_path) } {
        say!("no provider: {status}");
    }
    Ok(())
}

/// Takes a driver from all of it, and says what the driver has not given back.
///
/// # Safety
/// All pointers are those of a driver's entry stub.
///
/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn WdfVersionUnbind(
    registry_path: *mut UNICODE_STRING,
    info: *mut WDF_BIND_INFO,
    globals: *mut WDF_DRIVER_GLOBALS,
) -> NtStatus {
    // SAFETY: the stub's pointers.
    let status = unsafe { kmdf_lite::WdfVersionUnbind(registry_path, info, globals) };
    provider::end();
    trace::verdict();
    kernel::end();
    status
}

/// What the compiler wants to see where there are floating-point numbers.
#[unsafe(no_mangle)]
static _fltused: i32 = 0;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("panic: {info}");
    // SAFETY: ends the process of the driver.
    unsafe { crate::wine::ExitProcess(101) }
}
