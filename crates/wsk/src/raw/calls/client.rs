//! WskControlClient: transports, and security descriptors that the provider keeps.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::ffi::c_void;
use core::ptr::null_mut;

use allocator_api2::vec::Vec;
use wsk_sys::{WSK_CACHE_SD, WSK_RELEASE_SD, WSK_TRANSPORT, WSK_TRANSPORT_LIST_CHANGE, WSK_TRANSPORT_LIST_QUERY};

use super::{Provider, enter, start_client};
use crate::IoError;
use crate::raw::NtStatus;
use crate::raw::binding::{DrainRight, Enter, Shell};
use crate::raw::op::{Payload, Pending};
use crate::sync::{OutOfMemory, Pool, Shared, tag};

/// Transports as the provider describes them.
pub(crate) type TransportList = Vec<WSK_TRANSPORT, Pool<{ tag(b"WskP") }>>;

/// How often the list may grow between the question for its size and that for itself.
const TRIES: usize = 8;
/// More than that many transports are not believed.
const MOST_TRANSPORTS: usize = 4096;

/// [`WSK_TRANSPORT_LIST_QUERY`](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-transport-list-query)
///
/// # Errors
/// Detach has begun, no memory, or the provider's status.
pub(crate) fn transports(shell: &Shared<Shell>) -> Result<TransportList, IoError> {
    let enter = Enter::acquire(shell)?;
    let mut list = TransportList::new_in(Pool);
    for _ in 0..TRIES {
        match query(enter.provider(), &mut list) {
            Ok(()) => return Ok(list),
            Err((NtStatus::BUFFER_OVERFLOW, needed)) if needed <= MOST_TRANSPORTS => {
                list.try_reserve_exact(needed).map_err(OutOfMemory::from)?;
            }
            Err((status, _)) => return Err(status.into()),
        }
    }
    Err(IoError::Provider(NtStatus::BUFFER_OVERFLOW))
}

/// Asks for as many as there is room for; the error has the number that there are.
fn query((client, provider): Provider<'_>, list: &mut TransportList) -> Result<(), (NtStatus, usize)> {
    let size = list.capacity() * size_of::<WSK_TRANSPORT>();
    let place = if size == 0 { null_mut() } else { list.as_mut_ptr() };
    let mut returned = 0;
    let status = NtStatus(enter!(
        provider.WskControlClient,
        client.cast(),
        WSK_TRANSPORT_LIST_QUERY,
        0,
        null_mut(),
        size as _,
        place.cast(),
        &raw mut returned,
        null_mut(),
    ));
    // With a warning the size is what would be needed; a part of a transport would be none.
    let count = (returned as usize).div_ceil(size_of::<WSK_TRANSPORT>());
    status.ok().map_err(|status| (status, count))?;
    // SAFETY: the provider says that it has written so many, and there is room for no more.
    unsafe { list.set_len((returned as usize / size_of::<WSK_TRANSPORT>()).min(list.capacity())) };
    Ok(())
}

/// A wait for a change of the transports.
pub(crate) struct Change;

impl Payload for Change {
    type Owner = Shared<Shell>;

    fn completed(&mut self, _: NtStatus, _: usize) {}
}

/// [`WSK_TRANSPORT_LIST_CHANGE`](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-transport-list-change)
///
/// # Errors
/// Detach has begun, or there is no memory.
pub(crate) fn transport_change(shell: &Shared<Shell>) -> Result<Pending<Change>, IoError> {
    let call = |(client, provider): Provider<'_>, _: *mut Change, irp| {
        enter!(provider.WskControlClient, client.cast(), WSK_TRANSPORT_LIST_CHANGE, 0, null_mut(), 0, null_mut(), null_mut(), irp,)
    };
    // SAFETY: there is nothing to keep.
    unsafe { start_client(shell, Change, call) }
}

/// [`WSK_CACHE_SD`](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-cache-sd): gives the provider's copy.
///
/// # Errors
/// The provider's status.
///
/// # Safety
/// `descriptor` points to a valid security descriptor.
pub(in crate::raw) unsafe fn cache_descriptor(enter: &Enter, descriptor: *const u8) -> Result<*mut c_void, NtStatus> {
    let (client, provider) = enter.provider();
    let (mut theirs, mut ours) = (null_mut::<c_void>(), descriptor.cast_mut().cast::<c_void>());
    let status = NtStatus(enter!(
        provider.WskControlClient,
        client.cast(),
        WSK_CACHE_SD,
        size_of::<*mut c_void>() as _,
        (&raw mut ours).cast(),
        size_of::<*mut c_void>() as _,
        (&raw mut theirs).cast(),
        null_mut(),
        null_mut(),
    ));
    status.ok().map(|()| theirs)
}

/// [`WSK_RELEASE_SD`](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-release-sd)
///
/// # Safety
/// `descriptor` came from [`cache_descriptor`], was not released, and no operation uses it.
pub(in crate::raw) unsafe fn release_descriptor(right: &DrainRight, descriptor: *mut c_void) {
    let (client, provider) = right.provider();
    let mut descriptor = descriptor;
    // A provider that refuses it keeps it; there is nothing more to be done.
    let _ = enter!(
        provider.WskControlClient,
        client.cast(),
        WSK_RELEASE_SD,
        size_of::<*mut c_void>() as _,
        (&raw mut descriptor).cast(),
        0,
        null_mut(),
        null_mut(),
        null_mut(),
    );
}
