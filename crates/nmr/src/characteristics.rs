//! What modules register with: copies, to be compared with what the module has (rule L03), and a check that it makes sense.

#![allow(unsafe_code)] // Reads structures that belong to modules.

use nt_abi::GUID;
use nt_abi::nmr::{
    MIT_GUID, MIT_IF_LUID, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE,
};

use crate::Side;

/// What a module registered with: a copy, and where the original is.
#[derive(Clone, Copy)]
pub(crate) enum Characteristics {
    Client(NPI_CLIENT_CHARACTERISTICS, *const NPI_CLIENT_CHARACTERISTICS),
    Provider(NPI_PROVIDER_CHARACTERISTICS, *const NPI_PROVIDER_CHARACTERISTICS),
}

impl Characteristics {
    pub fn side(&self) -> Side {
        match self {
            Characteristics::Client(..) => Side::Client,
            Characteristics::Provider(..) => Side::Provider,
        }
    }

    /// The registration instance, as copied.
    pub fn instance(&self) -> &NPI_REGISTRATION_INSTANCE {
        match self {
            Characteristics::Client(copy, _) => &copy.ClientRegistrationInstance,
            Characteristics::Provider(copy, _) => &copy.ProviderRegistrationInstance,
        }
    }

    /// The registration instance where the module keeps it: what the other side is shown.
    pub fn original_instance(&self) -> *const NPI_REGISTRATION_INSTANCE {
        match *self {
            // SAFETY: no access, an address inside the structure that stays with the module while it is registered.
            Characteristics::Client(_, original) => unsafe { &raw const (*original).ClientRegistrationInstance },
            // SAFETY: as above.
            Characteristics::Provider(_, original) => unsafe { &raw const (*original).ProviderRegistrationInstance },
        }
    }

    /// Where the module keeps its characteristics.
    pub fn address(&self) -> usize {
        match *self {
            Characteristics::Client(_, original) => original as usize,
            Characteristics::Provider(_, original) => original as usize,
        }
    }
}

/// Everything that a module promised to leave as it is while it is registered.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot {
    pub characteristics: Characteristics,
    /// The interface that the module speaks.
    pub npi: GUID,
    module: ModuleKey,
}

impl Snapshot {
    /// # Safety
    /// The characteristics passed [`check`], and what they point to is valid.
    pub unsafe fn take(characteristics: Characteristics) -> Snapshot {
        let instance = characteristics.instance();
        // SAFETY: the caller's promise.
        let (npi, module) = unsafe { (*instance.NpiId, module_key(&*instance.ModuleId)) };
        Snapshot { characteristics, npi, module }
    }

    /// Whether the module has changed something (L03). A module that has freed it is in for worse.
    ///
    /// # IRQL
    /// <= DISPATCH_LEVEL
    pub fn changed(&self) -> bool {
        let instance = self.characteristics.instance();
        // SAFETY: the module keeps these valid while it is registered; that is what is checked.
        let (npi, module) = unsafe { (*instance.NpiId, module_key(&*instance.ModuleId)) };
        self.characteristics.changed() || npi != self.npi || module != self.module
    }
}

type ModuleKey = (u16, i32, [u8; 16]);

/// Everything in a module's identity, to be compared.
fn module_key(id: &NPI_MODULEID) -> ModuleKey {
    let mut bytes = [0; 16];
    let length = if id.Type == MIT_GUID { 16 } else { 8 };
    // SAFETY: a GUID has sixteen bytes, a LUID eight, and the type says which it is.
    let value = unsafe { core::slice::from_raw_parts((&raw const id.Value).cast::<u8>(), length) };
    bytes[..length].copy_from_slice(value);
    (id.Length, id.Type, bytes)
}

impl Characteristics {
    /// Whether the module has changed them where it keeps them.
    fn changed(&self) -> bool {
        match self {
            // SAFETY: the module keeps its characteristics valid while it is registered; that is what is checked.
            Characteristics::Client(copy, original) => client_key(copy) != client_key(unsafe { &**original }),
            // SAFETY: as above.
            Characteristics::Provider(copy, original) => provider_key(copy) != provider_key(unsafe { &**original }),
        }
    }
}

/// Everything in a client's characteristics, to be compared.
fn client_key(c: &NPI_CLIENT_CHARACTERISTICS) -> ([usize; 5], [usize; 6]) {
    let attach = c.ClientAttachProvider.map_or(0, |f| f as usize);
    let detach = c.ClientDetachProvider.map_or(0, |f| f as usize);
    let cleanup = c.ClientCleanupBindingContext.map_or(0, |f| f as usize);
    ([c.Version.into(), c.Length.into(), attach, detach, cleanup], instance_key(&c.ClientRegistrationInstance))
}

/// Everything in a provider's characteristics, to be compared.
fn provider_key(p: &NPI_PROVIDER_CHARACTERISTICS) -> ([usize; 5], [usize; 6]) {
    let attach = p.ProviderAttachClient.map_or(0, |f| f as usize);
    let detach = p.ProviderDetachClient.map_or(0, |f| f as usize);
    let cleanup = p.ProviderCleanupBindingContext.map_or(0, |f| f as usize);
    ([p.Version.into(), p.Length.into(), attach, detach, cleanup], instance_key(&p.ProviderRegistrationInstance))
}

fn instance_key(i: &NPI_REGISTRATION_INSTANCE) -> [usize; 6] {
    let specific = i.NpiSpecificCharacteristics as usize;
    [i.Version.into(), i.Size.into(), i.Number as usize, i.NpiId as usize, i.ModuleId as usize, specific]
}

/// Whether characteristics make sense.
///
/// # Safety
/// The pointers inside the characteristics are null or valid.
pub(crate) unsafe fn check(characteristics: &Characteristics) -> Result<(), &'static str> {
    let (version, length, size, attach, detach) = match characteristics {
        Characteristics::Client(c, _) => {
            (c.Version, c.Length, size_of_val(c), c.ClientAttachProvider.is_some(), c.ClientDetachProvider.is_some())
        }
        Characteristics::Provider(c, _) => {
            (c.Version, c.Length, size_of_val(c), c.ProviderAttachClient.is_some(), c.ProviderDetachClient.is_some())
        }
    };
    if version != 0 {
        return Err("the characteristics' Version is not 0");
    }
    if usize::from(length) < size {
        return Err("the characteristics' Length is less than the structure's size");
    }
    if !attach || !detach {
        return Err("the attach or the detach callback is null");
    }
    // SAFETY: the caller's promise.
    unsafe { check_instance(characteristics.instance()) }
}

/// # Safety
/// The pointers inside the instance are null or valid.
unsafe fn check_instance(instance: &NPI_REGISTRATION_INSTANCE) -> Result<(), &'static str> {
    if instance.Version != 0 {
        return Err("the registration instance's Version is not 0");
    }
    if usize::from(instance.Size) < size_of::<NPI_REGISTRATION_INSTANCE>() {
        return Err("the registration instance's Size is less than the structure's size");
    }
    if instance.NpiId.is_null() {
        return Err("the registration instance's NpiId is null");
    }
    // SAFETY: the caller's promise.
    let Some(module) = (unsafe { instance.ModuleId.as_ref() }) else {
        return Err("the registration instance's ModuleId is null");
    };
    if usize::from(module.Length) != size_of::<NPI_MODULEID>() {
        return Err("the module id's Length is not the structure's size");
    }
    if module.Type != MIT_GUID && module.Type != MIT_IF_LUID {
        return Err("the module id's Type is neither MIT_GUID nor MIT_IF_LUID");
    }
    Ok(())
}
