//! WskRegister and its companions, for drivers that do not speak to the NMR themselves: a client module of the bench's that
//! does it for them.
//!
//! A captured NPI keeps the binding: its detach, and with it WskDeregister or the provider's departure, waits until it
//! is released. The provider itself waits for sockets and calls, as for every client.
//!
//! Not simulated: a provider that arrives while the NPI of one that departs is still captured is declined.

#![allow(non_snake_case)] // The names that drivers import.
#![allow(unsafe_code)] // The edge to drivers and to the NMR: everything comes by pointer.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nt_abi::nmr::{MIT_GUID, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_REGISTRATION_INSTANCE};
use nt_abi::wsk::{
    NPI_WSK_INTERFACE_ID, WSK_CLIENT_NPI, WSK_INFINITE_WAIT, WSK_NO_WAIT, WSK_PROVIDER_CHARACTERISTICS, WSK_PROVIDER_NPI,
    WSK_REGISTRATION,
};
use nt_abi::{DISPATCH_LEVEL, GUID, NtStatus, PASSIVE_LEVEL, export_table};

use crate::ke::irql;
use crate::verifier::violation;

export_table!(pub(crate) EXPORTS, "netio.sys", [
    WskRegister, WskDeregister, WskCaptureProviderNPI, WskReleaseProviderNPI, WskQueryProviderCharacteristics,
]);

const OPEN: u64 = 0x6e65_706f;
const CLOSED: u64 = 0x6465_736f_6c63;

/// What marks our registrations for the provider: it waits for the sockets of such a client, the driver need not.
static MARK: u8 = 0;

/// One WskRegister, kept for the life of the process: it may be asked after its end.
struct Registration {
    module: NPI_MODULEID,
    characteristics: NPI_CLIENT_CHARACTERISTICS,
    dispatch: usize,
    handle: Mutex<usize>,
    state: Mutex<State>,
    changed: Condvar,
}

// SAFETY: the pointers inside lead to the registration itself and to statics.
unsafe impl Send for Registration {}
// SAFETY: as above; what changes is under locks.
unsafe impl Sync for Registration {}

#[derive(Default)]
struct State {
    /// NMR handle of the binding.
    binding: Option<usize>,
    /// The provider's client object and table, while new captures are granted.
    npi: Option<(usize, usize)>,
    captures: u32,
    /// The detach callback answered STATUS_PENDING.
    detaching: bool,
    /// Versions that the last provider offered.
    offered: Option<(u16, u16)>,
    refused: Option<NtStatus>,
    over: bool,
}

impl Registration {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until the NPI is there, the registration is over, or for so long.
    fn capture(&self, wait: u32) -> Result<(usize, usize), NtStatus> {
        let end = (wait != WSK_INFINITE_WAIT).then(|| Instant::now() + Duration::from_millis(wait.into()));
        let mut state = self.lock();
        loop {
            if let Some(npi) = state.npi {
                state.captures += 1;
                return Ok(npi);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if let Some(status) = state.refused {
                return Err(status);
            }
            if state.over || left.is_some_and(|left| left.is_zero()) {
                return Err(NtStatus::DEVICE_NOT_READY);
            }
            let most = left.unwrap_or(Duration::from_secs(3600));
            state = self.changed.wait_timeout(state, most).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// Gives one capture back; the binding whose detach waited for it.
    fn release(&self) -> Option<usize> {
        let mut state = self.lock();
        let Some(left) = state.captures.checked_sub(1) else {
            violation("WSK-ARG", "WskReleaseProviderNPI was called without a captured NPI");
            return None;
        };
        state.captures = left;
        if left > 0 || !std::mem::take(&mut state.detaching) { None } else { state.binding }
    }
}

/// The registration behind a driver's WSK_REGISTRATION.
///
/// # Safety
/// `at` is null or points to such a structure.
unsafe fn find(at: *mut WSK_REGISTRATION, function: &str) -> Option<&'static Registration> {
    // SAFETY: as the caller promises.
    let block = unsafe { at.as_ref() };
    let block = block.filter(|block| matches!(block.ReservedRegistrationState, OPEN | CLOSED));
    let Some(block) = block else {
        violation("WSK-ARG", format!("{function} was given {at:p}, which WskRegister has not initialised"));
        return None;
    };
    // SAFETY: written by WskRegister; registrations stay.
    Some(unsafe { &*block.ReservedRegistrationContext.cast::<Registration>() })
}

fn make(dispatch: usize) -> &'static mut Registration {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let guid = GUID { Data1: number, Data2: 0x71c3, Data3: 0x4f0e, Data4: [0x9d, 0x10, 0x5a, 0x6b, 0x0c, 0x88, 0xe2, 0x37] };
    let instance = NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
        NpiId: &raw const NPI_WSK,
        ModuleId: std::ptr::null(),
        Number: 0,
        NpiSpecificCharacteristics: (&raw const MARK).cast(),
    };
    let registration = Box::leak(Box::new(Registration {
        module: NPI_MODULEID {
            Length: size_of::<NPI_MODULEID>() as u16,
            Type: MIT_GUID,
            Value: NPI_MODULEID_VALUE { Guid: guid },
        },
        characteristics: NPI_CLIENT_CHARACTERISTICS {
            Version: 0,
            Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
            ClientAttachProvider: Some(attach),
            ClientDetachProvider: Some(detach),
            ClientCleanupBindingContext: Some(cleanup),
            ClientRegistrationInstance: instance,
        },
        dispatch,
        handle: Mutex::new(0),
        state: Mutex::default(),
        changed: Condvar::new(),
    }));
    registration.characteristics.ClientRegistrationInstance.ModuleId = &raw const registration.module;
    registration
}

static NPI_WSK: GUID = NPI_WSK_INTERFACE_ID;

/// Whether a client of the provider's is one of ours.
pub(super) fn is_ours(instance: *const NPI_REGISTRATION_INSTANCE) -> bool {
    // SAFETY: the NMR gives the client's instance, or null.
    unsafe { instance.as_ref() }.is_some_and(|client| client.NpiSpecificCharacteristics == (&raw const MARK).cast())
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn WskRegister(npi: *const WSK_CLIENT_NPI, at: *mut WSK_REGISTRATION) -> NtStatus {
    irql::at_most("WskRegister", PASSIVE_LEVEL);
    // SAFETY: what the driver gave.
    let dispatch = unsafe { npi.as_ref() }.map_or(std::ptr::null(), |npi| npi.Dispatch);
    if dispatch.is_null() || at.is_null() {
        return NtStatus::INVALID_PARAMETER;
    }
    let registration: &'static Registration = make(dispatch as usize);
    let mut handle = null_mut();
    let context = std::ptr::from_ref(registration).cast_mut().cast();
    // SAFETY: characteristics and context stay.
    let status = unsafe { nmr::NmrRegisterClient(&raw const registration.characteristics, context, &raw mut handle) };
    if status.is_failure() {
        return status;
    }
    *registration.handle.lock().unwrap() = handle as usize;
    let block =
        WSK_REGISTRATION { ReservedRegistrationState: OPEN, ReservedRegistrationContext: context, ReservedRegistrationLock: 0 };
    // SAFETY: what the driver gave for it.
    unsafe { at.write(block) };
    NtStatus::SUCCESS
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn WskDeregister(at: *mut WSK_REGISTRATION) {
    irql::at_most("WskDeregister", PASSIVE_LEVEL);
    // SAFETY: what the driver gave.
    let Some(registration) = (unsafe { find(at, "WskDeregister") }) else { return };
    let handle = std::mem::take(&mut *registration.handle.lock().unwrap());
    if handle == 0 {
        return violation("WSK-ARG", "WskDeregister was called twice for a registration");
    }
    // SAFETY: found, so it is the driver's block.
    unsafe { (*at).ReservedRegistrationState = CLOSED };
    let mut state = registration.lock();
    (state.over, state.npi) = (true, None);
    drop(state);
    registration.changed.notify_all();
    // SAFETY: the handle of our registration, used for this once.
    if unsafe { nmr::NmrDeregisterClient(handle as *mut c_void) } == NtStatus::PENDING {
        // SAFETY: as above.
        let _ = unsafe { nmr::NmrWaitForClientDeregisterComplete(handle as *mut c_void) };
    }
}

/// # IRQL
/// PASSIVE_LEVEL; <= DISPATCH_LEVEL with WSK_NO_WAIT
unsafe extern "win64" fn WskCaptureProviderNPI(at: *mut WSK_REGISTRATION, wait: u32, npi: *mut WSK_PROVIDER_NPI) -> NtStatus {
    irql::at_most("WskCaptureProviderNPI", if wait == WSK_NO_WAIT { DISPATCH_LEVEL } else { PASSIVE_LEVEL });
    // SAFETY: what the driver gave.
    let Some(registration) = (unsafe { find(at, "WskCaptureProviderNPI") }) else { return NtStatus::INVALID_PARAMETER };
    if npi.is_null() {
        return NtStatus::INVALID_PARAMETER;
    }
    match registration.capture(wait) {
        Err(status) => status,
        Ok((client, dispatch)) => {
            let captured = WSK_PROVIDER_NPI { Client: client as *mut c_void, Dispatch: dispatch as *const _ };
            // SAFETY: what the driver gave for it.
            unsafe { npi.write(captured) };
            NtStatus::SUCCESS
        }
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
unsafe extern "win64" fn WskReleaseProviderNPI(at: *mut WSK_REGISTRATION) {
    irql::at_most("WskReleaseProviderNPI", DISPATCH_LEVEL);
    // SAFETY: what the driver gave.
    let Some(registration) = (unsafe { find(at, "WskReleaseProviderNPI") }) else { return };
    if let Some(binding) = registration.release() {
        // SAFETY: the detach callback of this binding answered STATUS_PENDING, and this is its one completion.
        unsafe { nmr::NmrClientDetachProviderComplete(binding as *mut c_void) };
    }
}

/// # IRQL
/// <= DISPATCH_LEVEL
unsafe extern "win64" fn WskQueryProviderCharacteristics(
    at: *mut WSK_REGISTRATION,
    characteristics: *mut WSK_PROVIDER_CHARACTERISTICS,
) -> NtStatus {
    irql::at_most("WskQueryProviderCharacteristics", DISPATCH_LEVEL);
    // SAFETY: what the driver gave.
    let registration = unsafe { find(at, "WskQueryProviderCharacteristics") };
    let Some(registration) = registration.filter(|_| !characteristics.is_null()) else { return NtStatus::INVALID_PARAMETER };
    let Some((lowest, highest)) = registration.lock().offered else { return NtStatus::DEVICE_NOT_READY };
    // SAFETY: what the driver gave for it.
    unsafe { characteristics.write(WSK_PROVIDER_CHARACTERISTICS { HighestVersion: highest, LowestVersion: lowest }) };
    NtStatus::SUCCESS
}

/// `ClientAttachProvider`.
///
/// # Safety
/// As the NMR calls it; `context` is a [`Registration`].
unsafe extern "win64" fn attach(
    handle: *mut c_void,
    context: *mut c_void,
    provider: *const NPI_REGISTRATION_INSTANCE,
) -> NtStatus {
    // SAFETY: as registered; registrations stay.
    let registration = unsafe { &*context.cast::<Registration>() };
    // SAFETY: a provider of WSK's interface says its versions there.
    let versions = unsafe { (*provider).NpiSpecificCharacteristics.cast::<WSK_PROVIDER_CHARACTERISTICS>().as_ref() };
    {
        let mut state = registration.lock();
        if state.binding.is_some() || state.over {
            return NtStatus::NOINTERFACE;
        }
        state.offered = versions.map(|offered| (offered.LowestVersion, offered.HighestVersion));
    }
    let (mut client, mut table) = (null_mut(), std::ptr::null());
    let dispatch = registration.dispatch as *const c_void;
    // SAFETY: in the attach callback, with its handle; what is given stays.
    let status = unsafe { nmr::NmrClientAttachProvider(handle, context, dispatch, &raw mut client, &raw mut table) };
    let mut state = registration.lock();
    if status == NtStatus::SUCCESS {
        state.binding = Some(handle as usize);
        state.npi = (!state.over).then_some((client as usize, table as usize));
        state.refused = None;
    } else {
        state.refused = Some(status);
    }
    drop(state);
    registration.changed.notify_all();
    status
}

/// `ClientDetachProvider`.
///
/// # Safety
/// As the NMR calls it; `context` is a [`Registration`].
unsafe extern "win64" fn detach(context: *mut c_void) -> NtStatus {
    // SAFETY: as given to NmrClientAttachProvider; registrations stay.
    let registration = unsafe { &*context.cast::<Registration>() };
    let mut state = registration.lock();
    (state.npi, state.offered) = (None, None);
    state.detaching = state.captures > 0;
    if state.detaching { NtStatus::PENDING } else { NtStatus::SUCCESS }
}

/// `ClientCleanupBindingContext`.
///
/// # Safety
/// As the NMR calls it; `context` is a [`Registration`].
unsafe extern "win64" fn cleanup(context: *mut c_void) {
    // SAFETY: as above.
    unsafe { &*context.cast::<Registration>() }.lock().binding = None;
}
