//! What modules import from `netio.sys`. Each function checks its IRQL and pointers and hands on.

#![allow(unsafe_code)] // The functions are called by drivers, with the pointers that the pages describe.
#![allow(non_snake_case)] // Their names are what drivers import.

use core::ffi::c_void;

use nt_abi::nmr::{NPI_CLIENT_CHARACTERISTICS, NPI_PROVIDER_CHARACTERISTICS};
use nt_abi::{APC_LEVEL, DISPATCH_LEVEL, KIRQL, NtStatus, PASSIVE_LEVEL};

use crate::attach::{Request, attach_provider};
use crate::characteristics::Characteristics;
use crate::event::report;
use crate::kernel::irql;
use crate::register::{deregister, register, wait_for_deregister};
use crate::{Side, detach};

nt_abi::export_table!(pub EXPORTS, "netio.sys", [
    NmrRegisterClient,
    NmrDeregisterClient,
    NmrWaitForClientDeregisterComplete,
    NmrClientAttachProvider,
    NmrClientDetachProviderComplete,
    NmrRegisterProvider,
    NmrDeregisterProvider,
    NmrWaitForProviderDeregisterComplete,
    NmrProviderDetachClientComplete,
]);

fn level_is(highest: KIRQL, side: Side, text: &'static str) -> bool {
    let good = irql() <= highest;
    if !good {
        report("IRQL", text, side, 0);
    }
    good
}

/// Registers a client module.
///
/// # Safety
/// The characteristics are valid, resident and unchanged until the deregistration is complete (L03).
///
/// # IRQL
/// PASSIVE_LEVEL
pub unsafe extern "win64" fn NmrRegisterClient(
    characteristics: *const NPI_CLIENT_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut *mut c_void,
) -> NtStatus {
    if !level_is(PASSIVE_LEVEL, Side::Client, "NmrRegisterClient called above PASSIVE_LEVEL") {
        return NtStatus::INVALID_DEVICE_STATE;
    }
    if characteristics.is_null() || handle.is_null() {
        report("N1", "NmrRegisterClient called with a null pointer", Side::Client, 0);
        return NtStatus::INVALID_PARAMETER;
    }
    // SAFETY: not null; the rest is the caller's promise.
    let copy = Characteristics::Client(unsafe { *characteristics }, characteristics);
    // SAFETY: as above.
    unsafe { register("NmrRegisterClient", copy, context, handle) }
}

/// Registers a provider module.
///
/// # Safety
/// The characteristics are valid, resident and unchanged until the deregistration is complete.
///
/// # IRQL
/// PASSIVE_LEVEL
pub unsafe extern "win64" fn NmrRegisterProvider(
    characteristics: *const NPI_PROVIDER_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut *mut c_void,
) -> NtStatus {
    if !level_is(PASSIVE_LEVEL, Side::Provider, "NmrRegisterProvider called above PASSIVE_LEVEL") {
        return NtStatus::INVALID_DEVICE_STATE;
    }
    if characteristics.is_null() || handle.is_null() {
        report("N1", "NmrRegisterProvider called with a null pointer", Side::Provider, 0);
        return NtStatus::INVALID_PARAMETER;
    }
    // SAFETY: not null; the rest is the caller's promise.
    let copy = Characteristics::Provider(unsafe { *characteristics }, characteristics);
    // SAFETY: as above.
    unsafe { register("NmrRegisterProvider", copy, context, handle) }
}

/// Deregisters a client module.
///
/// # Safety
/// None: every handle is answered.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub unsafe extern "win64" fn NmrDeregisterClient(handle: *mut c_void) -> NtStatus {
    let _ = level_is(DISPATCH_LEVEL, Side::Client, "NmrDeregisterClient called above DISPATCH_LEVEL");
    deregister("NmrDeregisterClient", Side::Client, handle as usize)
}

/// Deregisters a provider module.
///
/// # Safety
/// None: every handle is answered.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub unsafe extern "win64" fn NmrDeregisterProvider(handle: *mut c_void) -> NtStatus {
    let _ = level_is(DISPATCH_LEVEL, Side::Provider, "NmrDeregisterProvider called above DISPATCH_LEVEL");
    deregister("NmrDeregisterProvider", Side::Provider, handle as usize)
}

/// Waits until a client's deregistration is complete.
///
/// # Safety
/// None: every handle is answered.
///
/// # IRQL
/// < DISPATCH_LEVEL
pub unsafe extern "win64" fn NmrWaitForClientDeregisterComplete(handle: *mut c_void) -> NtStatus {
    if !level_is(APC_LEVEL, Side::Client, "NmrWaitForClientDeregisterComplete called at DISPATCH_LEVEL or above") {
        return NtStatus::INVALID_DEVICE_STATE;
    }
    wait_for_deregister("NmrWaitForClientDeregisterComplete", Side::Client, handle as usize)
}

/// Waits until a provider's deregistration is complete.
///
/// # Safety
/// None: every handle is answered.
///
/// # IRQL
/// < DISPATCH_LEVEL
pub unsafe extern "win64" fn NmrWaitForProviderDeregisterComplete(handle: *mut c_void) -> NtStatus {
    if !level_is(APC_LEVEL, Side::Provider, "NmrWaitForProviderDeregisterComplete called at DISPATCH_LEVEL or above") {
        return NtStatus::INVALID_DEVICE_STATE;
    }
    wait_for_deregister("NmrWaitForProviderDeregisterComplete", Side::Provider, handle as usize)
}

/// Attaches a client to the provider that it has just been offered.
///
/// # Safety
/// `provider_context` and `provider_dispatch` may be written; context and dispatch stay until the cleanup callback.
///
/// # IRQL
/// PASSIVE_LEVEL
pub unsafe extern "win64" fn NmrClientAttachProvider(
    binding: *mut c_void,
    context: *mut c_void,
    dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NtStatus {
    let handle = binding as usize;
    if irql() > PASSIVE_LEVEL {
        report("IRQL", "NmrClientAttachProvider called above PASSIVE_LEVEL", Side::Client, handle);
        return NtStatus::INVALID_DEVICE_STATE;
    }
    if provider_context.is_null() || provider_dispatch.is_null() {
        report("N2", "NmrClientAttachProvider called with a null pointer", Side::Client, handle);
        return NtStatus::INVALID_PARAMETER;
    }
    match attach_provider(&Request { binding: handle, context, dispatch }) {
        Ok(answer) => {
            // SAFETY: not null; the rest is the caller's promise.
            unsafe { provider_context.write(answer.context) };
            // SAFETY: as above.
            unsafe { provider_dispatch.write(answer.dispatch) };
            NtStatus::SUCCESS
        }
        Err(status) => status,
    }
}

/// A client reports that it has detached from the provider.
///
/// # Safety
/// None: every handle is answered.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub unsafe extern "win64" fn NmrClientDetachProviderComplete(binding: *mut c_void) {
    let _ = level_is(DISPATCH_LEVEL, Side::Client, "NmrClientDetachProviderComplete called above DISPATCH_LEVEL");
    detach::complete(Side::Client, binding as usize);
}

/// A provider reports that it has detached from the client.
///
/// # Safety
/// None: every handle is answered.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub unsafe extern "win64" fn NmrProviderDetachClientComplete(binding: *mut c_void) {
    let _ = level_is(DISPATCH_LEVEL, Side::Provider, "NmrProviderDetachClientComplete called above DISPATCH_LEVEL");
    detach::complete(Side::Provider, binding as usize);
}
