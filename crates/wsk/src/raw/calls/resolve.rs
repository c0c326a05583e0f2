//! Names and addresses.
//!
//! # IRQL
//! `PASSIVE_LEVEL`, where a function does not say otherwise.

use core::ptr::{NonNull, null_mut};

use wsk_sys::{ADDRINFOEXW, NS_ALL, SOCKADDR};

use super::{enter, start_client};
use crate::IoError;
use crate::raw::NtStatus;
use crate::raw::address::RawAddress;
use crate::raw::binding::{DrainRight, Shell};
use crate::raw::given::{GivenList, Place};
use crate::raw::op::{Payload, Pending};
use crate::raw::wide::{Text, Wide, string_of};
use crate::sync::{OutOfMemory, Passive, Shared};

/// A question for addresses.
pub(crate) struct Question {
    host: Option<Wide>,
    service: Option<Wide>,
    hints: ADDRINFOEXW,
    result: *mut ADDRINFOEXW,
    place: Option<Place>,
    shell: Shared<Shell>,
    list: Option<GivenList>,
}

// SAFETY: `hints` has no pointers, and `result` is the provider's until the list is taken out.
unsafe impl Send for Question {}

/// What is asked for: flags and the numbers of family, socket type and protocol, each 0 for any.
pub(crate) struct Wanted {
    pub(crate) flags: u32,
    pub(crate) family: u16,
    pub(crate) socket_type: u32,
    pub(crate) protocol: u32,
}

impl Question {
    pub(crate) fn new(
        shell: &Shared<Shell>,
        host: Option<Wide>,
        service: Option<Wide>,
        wanted: &Wanted,
    ) -> Result<Self, OutOfMemory> {
        let hints = ADDRINFOEXW {
            ai_flags: wanted.flags as _,
            ai_family: wanted.family.into(),
            ai_socktype: wanted.socket_type as _,
            ai_protocol: wanted.protocol as _,
            ..ADDRINFOEXW::default()
        };
        let place = Some(Place::new()?);
        Ok(Self { host, service, hints, result: null_mut(), place, shell: shell.clone(), list: None })
    }

    /// What came of it.
    pub(crate) fn into_list(self) -> Option<GivenList> {
        self.list
    }
}

impl Payload for Question {
    type Owner = Shared<Shell>;

    fn completed(&mut self, status: NtStatus, _: usize) {
        if status.is_success()
            && let Some(list) = NonNull::new(self.result)
            && let Some(place) = self.place.take()
        {
            self.list = place.take(list, &self.shell);
        }
    }
}

/// [`WskGetAddressInfo`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_address_info)
///
/// # Errors
/// Detach has begun, or there is no memory.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub(crate) fn addresses(_: Passive, shell: &Shared<Shell>, question: Question) -> Result<Pending<Question>, IoError> {
    let call = |(client, provider): super::Provider<'_>, question: *mut Question, irp| {
        // SAFETY: the payload stays until the IRP is back.
        let host = unsafe { string_of(&raw mut (*question).host) };
        // SAFETY: as above.
        let service = unsafe { string_of(&raw mut (*question).service) };
        // SAFETY: as above; no reference is formed.
        let hints = unsafe { &raw mut (*question).hints };
        // SAFETY: as above.
        let result = unsafe { &raw mut (*question).result };
        enter!(
            provider.WskGetAddressInfo,
            client.cast(),
            host.cast(),
            service.cast(),
            NS_ALL,
            null_mut(),
            hints,
            result,
            null_mut(),
            null_mut(),
            irp,
        )
    };
    // SAFETY: strings, hints and result are in the payload, or owned by it.
    unsafe { start_client(shell, question, call) }
}

/// [`WskFreeAddressInfo`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_free_address_info)
///
/// # Safety
/// The provider made the list, does not have it back, and nobody uses it any more.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub(in crate::raw) unsafe fn free(right: &DrainRight, list: *mut ADDRINFOEXW) {
    let (client, provider) = right.provider();
    if let Some(function) = provider.WskFreeAddressInfo {
        // SAFETY: with a right to give back, and the rest is as the caller promises.
        unsafe { function(client.cast(), list) };
    }
}

/// A question for a name.
pub(crate) struct Reverse {
    address: RawAddress,
    host: Option<Wide>,
    service: Option<Wide>,
}

impl Reverse {
    pub(crate) fn new(address: RawAddress, host: Wide, service: Wide) -> Self {
        Self { address, host: Some(host), service: Some(service) }
    }

    /// What was filled in: host and service.
    pub(crate) fn texts(&self) -> Result<(Text, Text), OutOfMemory> {
        let text = |wide: &Option<Wide>| wide.as_ref().ok_or(OutOfMemory).and_then(Wide::text);
        Ok((text(&self.host)?, text(&self.service)?))
    }
}

impl Payload for Reverse {
    type Owner = Shared<Shell>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WskGetNameInfo`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_name_info)
///
/// # Errors
/// Detach has begun, or there is no memory.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub(crate) fn name(
    _: Passive,
    shell: &Shared<Shell>,
    reverse: Reverse,
    length: usize,
    flags: u32,
) -> Result<Pending<Reverse>, IoError> {
    let call = |(client, provider): super::Provider<'_>, reverse: *mut Reverse, irp| {
        // SAFETY: the payload stays until the IRP is back; no reference is formed.
        let address = unsafe { &raw mut (*reverse).address }.cast::<SOCKADDR>();
        // SAFETY: as above.
        let host = unsafe { string_of(&raw mut (*reverse).host) };
        // SAFETY: as above.
        let service = unsafe { string_of(&raw mut (*reverse).service) };
        enter!(
            provider.WskGetNameInfo,
            client.cast(),
            address,
            length as _,
            host.cast(),
            service.cast(),
            flags,
            null_mut(),
            null_mut(),
            irp,
        )
    };
    // SAFETY: address and strings are in the payload, or owned by it.
    unsafe { start_client(shell, reverse, call) }
}
