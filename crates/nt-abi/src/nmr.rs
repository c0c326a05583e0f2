//! Network Module Registrar: the structures and callbacks of `netioddk.h`, as the API pages describe them.
//!
//! Neighbours: the `nmr` crate implements the registrar over them; a WSK provider and every driver that registers
//! as a WSK client share them with it. Names and fields are the header's, so that a page and this file can be read
//! side by side.

#![allow(non_camel_case_types, non_snake_case)]

use core::ffi::c_void;

use crate::{GUID, NtStatus, layout};

/// Identifies a Network Programming Interface.
pub type NPIID = GUID;

/// A locally unique identifier (the other form of a module's identity).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LUID {
    /// Low half.
    pub LowPart: u32,
    /// High half.
    pub HighPart: i32,
}

/// `NPI_MODULEID_TYPE`: the module is identified by a GUID.
pub const MIT_GUID: i32 = 1;
/// `NPI_MODULEID_TYPE`: the module is identified by an interface LUID.
pub const MIT_IF_LUID: i32 = 2;

/// The identity itself, of the kind that [`NPI_MODULEID::Type`] names.
#[repr(C)]
#[derive(Clone, Copy)]
pub union NPI_MODULEID_VALUE {
    /// With [`MIT_GUID`].
    pub Guid: GUID,
    /// With [`MIT_IF_LUID`].
    pub IfLuid: LUID,
}

/// Identifies a network module.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_MODULEID {
    /// Size of this structure.
    pub Length: u16,
    /// [`MIT_GUID`] or [`MIT_IF_LUID`].
    pub Type: i32,
    /// The identity.
    pub Value: NPI_MODULEID_VALUE,
}
layout!(NPI_MODULEID, 24, Length @ 0, Type @ 4, Value @ 8);

/// What a module says of itself, seen by the modules it may be attached to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_REGISTRATION_INSTANCE {
    /// Version of the registrar: 0.
    pub Version: u16,
    /// Size of this structure.
    pub Size: u16,
    /// The interface that the module speaks.
    pub NpiId: *const NPIID,
    /// Who the module is.
    pub ModuleId: *const NPI_MODULEID,
    /// Which implementation of the interface.
    pub Number: u32,
    /// Defined by the interface; may be null.
    pub NpiSpecificCharacteristics: *const c_void,
}
layout!(NPI_REGISTRATION_INSTANCE, 40, Version @ 0, Size @ 2, NpiId @ 8, ModuleId @ 16, Number @ 24,
    NpiSpecificCharacteristics @ 32);

/// `ClientAttachProvider(NmrBindingHandle, ClientContext, ProviderRegistrationInstance)`, PASSIVE_LEVEL.
pub type NPI_CLIENT_ATTACH_PROVIDER_FN =
    unsafe extern "win64" fn(*mut c_void, *mut c_void, *const NPI_REGISTRATION_INSTANCE) -> NtStatus;
/// `ClientDetachProvider(ClientBindingContext)`, <= DISPATCH_LEVEL.
pub type NPI_CLIENT_DETACH_PROVIDER_FN = unsafe extern "win64" fn(*mut c_void) -> NtStatus;
/// `ClientCleanupBindingContext(ClientBindingContext)`, <= DISPATCH_LEVEL.
pub type NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN = unsafe extern "win64" fn(*mut c_void);
/// `ProviderAttachClient(NmrBindingHandle, ProviderContext, ClientRegistrationInstance, ClientBindingContext,
/// ClientDispatch, ProviderBindingContext, ProviderDispatch)`, PASSIVE_LEVEL.
pub type NPI_PROVIDER_ATTACH_CLIENT_FN = unsafe extern "win64" fn(
    *mut c_void,
    *mut c_void,
    *const NPI_REGISTRATION_INSTANCE,
    *mut c_void,
    *const c_void,
    *mut *mut c_void,
    *mut *const c_void,
) -> NtStatus;
/// `ProviderDetachClient(ProviderBindingContext)`, <= DISPATCH_LEVEL.
pub type NPI_PROVIDER_DETACH_CLIENT_FN = unsafe extern "win64" fn(*mut c_void) -> NtStatus;
/// `ProviderCleanupBindingContext(ProviderBindingContext)`, <= DISPATCH_LEVEL.
pub type NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN = unsafe extern "win64" fn(*mut c_void);

/// What a client registers with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_CLIENT_CHARACTERISTICS {
    /// Version of the registrar: 0.
    pub Version: u16,
    /// Size of this structure.
    pub Length: u16,
    /// Offers a provider.
    pub ClientAttachProvider: Option<NPI_CLIENT_ATTACH_PROVIDER_FN>,
    /// Ends a binding.
    pub ClientDetachProvider: Option<NPI_CLIENT_DETACH_PROVIDER_FN>,
    /// Gives the binding context back; may be null.
    pub ClientCleanupBindingContext: Option<NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN>,
    /// The registration, seen by providers.
    pub ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE,
}
layout!(NPI_CLIENT_CHARACTERISTICS, 72, Version @ 0, Length @ 2, ClientAttachProvider @ 8,
    ClientDetachProvider @ 16, ClientCleanupBindingContext @ 24, ClientRegistrationInstance @ 32);

/// What a provider registers with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_PROVIDER_CHARACTERISTICS {
    /// Version of the registrar: 0.
    pub Version: u16,
    /// Size of this structure.
    pub Length: u16,
    /// Takes a client.
    pub ProviderAttachClient: Option<NPI_PROVIDER_ATTACH_CLIENT_FN>,
    /// Ends a binding.
    pub ProviderDetachClient: Option<NPI_PROVIDER_DETACH_CLIENT_FN>,
    /// Gives the binding context back; may be null.
    pub ProviderCleanupBindingContext: Option<NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN>,
    /// The registration, seen by clients.
    pub ProviderRegistrationInstance: NPI_REGISTRATION_INSTANCE,
}
layout!(NPI_PROVIDER_CHARACTERISTICS, 72, Version @ 0, Length @ 2, ProviderAttachClient @ 8,
    ProviderDetachClient @ 16, ProviderCleanupBindingContext @ 24, ProviderRegistrationInstance @ 32);
