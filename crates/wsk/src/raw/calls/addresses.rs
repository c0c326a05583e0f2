//! The local addresses that a socket could be bound to, and their changes.
//!
//! # IRQL
//! `PASSIVE_LEVEL` for everything here.

use core::ptr::null_mut;

use allocator_api2::vec::Vec;
use wsk_sys::WSK_CONTROL_SOCKET_TYPE::WskIoctl;
use wsk_sys::{IOC_OUT, IOC_VOID, IOC_WS2};

use super::control::{Command, command};
use super::{Call, enter};
use crate::IoError;
use crate::raw::NtStatus;
use crate::raw::op::Pending;
use crate::sync::{OutOfMemory, Passive, Pool, tag};

/// SIO_ADDRESS_LIST_QUERY and SIO_ADDRESS_LIST_CHANGE. (Bindings have no macros with parameters.)
const QUERY: u32 = IOC_OUT | IOC_WS2 | 22;
const CHANGE: u32 = IOC_VOID | IOC_WS2 | 23;

/// How often the list may grow between the question for its size and that for itself.
const TRIES: usize = 8;
/// A longer list is not believed.
const MOST_BYTES: usize = 64 * 1024;

/// A SOCKET_ADDRESS_LIST as it came: what its pointers point to lies in it, or does not count.
pub(crate) type ListBytes = Vec<u8, Pool<{ tag(b"WskP") }>>;

/// [SIO_ADDRESS_LIST_QUERY](https://learn.microsoft.com/windows-hardware/drivers/network/sio-address-list-query), which takes no
/// IRP.
///
/// # Errors
/// No memory, or the provider's status.
pub(crate) fn list(_: Passive, call: &Call<'_>) -> Result<ListBytes, IoError> {
    let mut bytes = ListBytes::new_in(Pool);
    for _ in 0..TRIES {
        match query(call, &mut bytes) {
            Ok(()) => return Ok(bytes),
            Err((NtStatus::BUFFER_OVERFLOW, needed)) if needed <= MOST_BYTES => {
                bytes.try_reserve_exact(needed).map_err(OutOfMemory::from)?;
            }
            Err((status, _)) => return Err(status.into()),
        }
    }
    Err(IoError::Provider(NtStatus::BUFFER_OVERFLOW))
}

/// Asks for as much as there is room for; the error has the size that there is.
fn query(call: &Call<'_>, bytes: &mut ListBytes) -> Result<(), (NtStatus, usize)> {
    let (size, mut returned) = (bytes.capacity(), 0);
    let place = if size == 0 { null_mut() } else { bytes.as_mut_ptr() };
    let status = NtStatus(enter!(
        call.basic().WskControlSocket,
        call.socket.wsk(),
        WskIoctl,
        QUERY,
        0,
        0,
        null_mut(),
        size as _,
        place.cast(),
        &raw mut returned,
        null_mut(),
    ));
    status.ok().map_err(|status| (status, returned as usize))?;
    // SAFETY: the provider says that it has written so many, and there is room for no more.
    unsafe { bytes.set_len((returned as usize).min(bytes.capacity())) };
    Ok(())
}

/// [SIO_ADDRESS_LIST_CHANGE](https://learn.microsoft.com/windows-hardware/drivers/network/sio-address-list-change): it comes
/// back when an address has come or gone, or the socket is closed.
///
/// # Errors
/// No memory.
pub(crate) fn change(_: Passive, call: Call<'_>) -> Result<Pending<Command>, NtStatus> {
    command(call, CHANGE)
}
