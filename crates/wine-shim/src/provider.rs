//! Wine's WSK as a provider of the registrar's, which can be told to leave and to come back.
//!
//! It registers when a driver is bound; `wish` is what the registry asks of it from then on.

#![allow(unsafe_code)] // Callbacks of the registrar's.

mod wish;

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use nt_abi::nmr::{
    MIT_GUID, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE,
};
use nt_abi::wsk::{NPI_WSK_INTERFACE_ID, WSK_PROVIDER_CHARACTERISTICS, WSK_VERSION_1_0};
use nt_abi::{GUID, NtStatus, UNICODE_STRING};

use crate::kernel::thread::pause;
use crate::print::say;
use crate::trace::violation;
use crate::wsk::{Binding, Block, FUNCTIONS, closer, out};

/// How long to wait for Wine, in milliseconds or a little more.
const MOST_PAUSES: u32 = 2000;

static INTERFACE: GUID = NPI_WSK_INTERFACE_ID;

static MODULE: NPI_MODULEID = NPI_MODULEID {
    Length: size_of::<NPI_MODULEID>() as u16,
    Type: MIT_GUID,
    Value: NPI_MODULEID_VALUE {
        Guid: GUID { Data1: 0x5c1f_86d2, Data2: 0x0b6e, Data3: 0x4b7a, Data4: [0xa3, 0x5d, 0x77, 0x69, 0x6e, 0x65, 0x2e, 0x01] },
    },
};

static VERSIONS: WSK_PROVIDER_CHARACTERISTICS =
    WSK_PROVIDER_CHARACTERISTICS { HighestVersion: WSK_VERSION_1_0, LowestVersion: WSK_VERSION_1_0 };

struct Characteristics(NPI_PROVIDER_CHARACTERISTICS);

// SAFETY: it holds addresses of statics and functions.
unsafe impl Sync for Characteristics {}

static CHARACTERISTICS: Characteristics = Characteristics(NPI_PROVIDER_CHARACTERISTICS {
    Version: 0,
    Length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
    ProviderAttachClient: Some(attach),
    ProviderDetachClient: Some(detach),
    ProviderCleanupBindingContext: Some(cleanup),
    ProviderRegistrationInstance: NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
        NpiId: &raw const INTERFACE,
        ModuleId: &raw const MODULE,
        Number: 0,
        NpiSpecificCharacteristics: (&raw const VERSIONS).cast(),
    },
});

/// The registration's handle; null while it is away.
static HANDLE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Begins to provide, for a driver with this path, and to do what the registry asks for.
///
/// # Errors
/// No thread to be had, or what the registrar answered.
///
/// # Safety
/// The path is a string.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe fn begin(path: *const UNICODE_STRING) -> Result<(), NtStatus> {
    closer::begin()?;
    // SAFETY: the caller's promise.
    unsafe { wish::begin(path) }
}

/// Leaves for good.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn end() {
    wish::end();
    leave();
    closer::end();
    // What was closed comes back soon.
    for _ in 0..MOST_PAUSES {
        if out() == 0 {
            return;
        }
        pause();
    }
    violation(format_args!("{} calls are still with Wine", out()));
}

/// Registers, unless it is here already.
///
/// # IRQL
/// PASSIVE_LEVEL
fn come() {
    if !HANDLE.load(Ordering::Acquire).is_null() {
        return;
    }
    let mut handle = null_mut();
    // SAFETY: the characteristics are a static.
    let status = unsafe { nmr::NmrRegisterProvider(&raw const CHARACTERISTICS.0, null_mut(), &mut handle) };
    match status.is_success() {
        true => HANDLE.store(handle, Ordering::Release),
        false => say!("the provider cannot register: {status}"),
    }
}

/// Deregisters, unless it is away already. Returns when the driver has let go of it.
///
/// # IRQL
/// PASSIVE_LEVEL
fn leave() {
    let handle = HANDLE.swap(null_mut(), Ordering::AcqRel);
    if handle.is_null() {
        return;
    }
    // SAFETY: registered, and deregistered once.
    let status = unsafe { nmr::NmrDeregisterProvider(handle) };
    if status == NtStatus::PENDING {
        // SAFETY: as above.
        let _ = unsafe { nmr::NmrWaitForProviderDeregisterComplete(handle) };
    }
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn attach(
    handle: *mut c_void,
    _context: *mut c_void,
    _client: *const NPI_REGISTRATION_INSTANCE,
    _client_context: *mut c_void,
    _client_dispatch: *const c_void,
    context: *mut *mut c_void,
    dispatch: *mut *const c_void,
) -> NtStatus {
    let binding = match Binding::new(handle) {
        Ok(binding) => binding,
        Err(status) => return status,
    };
    // SAFETY: the registrar's variables.
    unsafe { context.write(binding.into_raw().cast()) };
    // SAFETY: as above.
    unsafe { dispatch.write((&raw const FUNCTIONS).cast()) };
    NtStatus::SUCCESS
}

/// # IRQL
/// <= DISPATCH_LEVEL
unsafe extern "win64" fn detach(context: *mut c_void) -> NtStatus {
    // SAFETY: made by `attach`.
    unsafe { &*context.cast::<Binding>() }.detach()
}

/// # IRQL
/// <= DISPATCH_LEVEL
unsafe extern "win64" fn cleanup(context: *mut c_void) {
    // SAFETY: made by `attach`; both sides have detached.
    Binding::free(unsafe { Block::from_raw(context.cast()) });
}
