//! Security descriptors: WSK_CACHE_SD, WSK_RELEASE_SD, SO_WSK_SECURITY, and the argument of WskSocket.
//!
//! Each caching makes a self-relative copy of its own, which is what the client has to release. Whoever opens a socket here
//! may, so that nothing but their form is looked at.

#![allow(unsafe_code)] // Descriptors come by pointer.

use std::ffi::c_void;
use std::sync::Arc;

use nt_abi::NtStatus;

use super::client::Client;
use super::control::Control;
use super::faults::Function;
use super::socket::{Kind, Socket};
use super::state::Phase;

const REVISION: u8 = 1;
const SELF_RELATIVE: u16 = 0x8000;
/// The size of a self-relative SECURITY_DESCRIPTOR's head: revision, padding, control, four offsets.
const HEAD: usize = 20;

/// A self-relative copy.
pub(super) type Descriptor = Arc<[u8]>;

/// Where one of the four parts of a descriptor is, in the order owner, group, system list, discretionary list.
///
/// # Safety
/// `at` points to a SECURITY_DESCRIPTOR.
unsafe fn part(at: *const u8, relative: bool, index: usize) -> Option<*const u8> {
    let place = if relative {
        // SAFETY: as the caller promises: the offsets follow the first four bytes.
        let offset = unsafe { at.add(4).cast::<u32>().add(index).read_unaligned() };
        if offset == 0 { std::ptr::null() } else { at.wrapping_add(offset as usize) }
    } else {
        // SAFETY: as the caller promises: the pointers follow the first eight bytes.
        unsafe { at.add(8).cast::<*const u8>().add(index).read_unaligned() }
    };
    (!place.is_null()).then_some(place)
}

/// The bytes of a SID or of an ACL.
///
/// # Safety
/// `at` points to one, as `index` says.
unsafe fn bytes<'a>(at: *const u8, index: usize) -> &'a [u8] {
    let size = if index < 2 {
        // SAFETY: as the caller promises: the second byte of a SID counts its last parts.
        8 + 4 * usize::from(unsafe { at.add(1).read() })
    } else {
        // SAFETY: as the caller promises: the size of an ACL is at its third byte.
        usize::from(unsafe { at.add(2).cast::<u16>().read_unaligned() })
    };
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(at, size) }
}

/// Makes a self-relative copy.
///
/// # Safety
/// `at` is null or points to a SECURITY_DESCRIPTOR.
unsafe fn copy(at: *const u8) -> Result<Descriptor, NtStatus> {
    if at.is_null() {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    // SAFETY: as the caller promises.
    let (revision, sbz1) = unsafe { (at.read(), at.add(1).read()) };
    // SAFETY: as the caller promises.
    let control = unsafe { at.add(2).cast::<u16>().read_unaligned() };
    if revision != REVISION {
        return Err(NtStatus::UNKNOWN_REVISION);
    }
    let mut copy = vec![0; HEAD];
    copy[0] = revision;
    copy[1] = sbz1;
    copy[2..4].copy_from_slice(&(control | SELF_RELATIVE).to_le_bytes());
    for index in 0..4 {
        // SAFETY: as the caller promises.
        let Some(place) = (unsafe { part(at, control & SELF_RELATIVE != 0, index) }) else { continue };
        let offset = copy.len() as u32;
        copy[4 + 4 * index..8 + 4 * index].copy_from_slice(&offset.to_le_bytes());
        // SAFETY: as the caller promises.
        copy.extend_from_slice(unsafe { bytes(place, index) });
        copy.resize(copy.len().next_multiple_of(4), 0);
    }
    Ok(copy.into())
}

/// The descriptor of a socket that was given none: no owner, no group, no lists.
fn none() -> Descriptor {
    let mut bytes = [0; HEAD];
    bytes[0] = REVISION;
    bytes[2..4].copy_from_slice(&SELF_RELATIVE.to_le_bytes());
    Arc::new(bytes)
}

impl Client {
    /// Gives the client a copy of its own: the pointer that it has to release.
    fn hand_out(&self, copy: Descriptor) -> usize {
        let handle = copy.as_ptr() as usize;
        self.descriptors.lock().unwrap().push(copy);
        handle
    }

    /// WSK_CACHE_SD.
    pub(super) fn cache(&self, control: &Control) -> Result<(), NtStatus> {
        // SAFETY: the caller's buffer is as large as it says; any bytes are a pointer's.
        let descriptor = unsafe { control.read::<usize>()? };
        if control.output.0.is_null() || control.output.1 < size_of::<usize>() {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        // SAFETY: what the client gives is a security descriptor.
        let copy = unsafe { copy(descriptor as *const u8)? };
        control.write(self.hand_out(copy)).map(|_| ())
    }

    /// WSK_RELEASE_SD.
    pub(super) fn uncache(&self, control: &Control) -> Result<(), NtStatus> {
        // SAFETY: the caller's buffer is as large as it says; any bytes are a pointer's.
        let handle = unsafe { control.read::<usize>()? };
        let mut all = self.descriptors.lock().unwrap();
        let Some(at) = all.iter().position(|one| one.as_ptr() as usize == handle) else {
            drop(all);
            self.stray(Function::ControlClient, handle);
            return Err(NtStatus::INVALID_PARAMETER);
        };
        all.swap_remove(at);
        Ok(())
    }

    /// The descriptor that a client names for a socket, a cached one; None: the default.
    pub(super) fn cached(&self, function: Function, handle: *const c_void) -> Result<Option<Descriptor>, NtStatus> {
        if handle.is_null() {
            return Ok(None);
        }
        let all = self.descriptors.lock().unwrap();
        let found = all.iter().find(|one| one.as_ptr() as usize == handle as usize).cloned();
        drop(all);
        if found.is_none() {
            self.stray(function, handle as usize);
        }
        found.ok_or(NtStatus::INVALID_PARAMETER).map(Some)
    }

    fn stray(&self, function: Function, handle: usize) {
        let text = format!("{}: {handle:#x} is no security descriptor that this client has from WSK_CACHE_SD", function.name());
        crate::verifier::violation("WSK-SD", text);
    }
}

impl Socket {
    /// SO_WSK_SECURITY, to be set.
    pub(super) fn set_descriptor(&self, control: &Control) -> Result<(), NtStatus> {
        if self.kind == Kind::Basic {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        // SAFETY: the caller's buffer is as large as it says; any bytes are a pointer's.
        let handle = unsafe { control.read::<usize>()? };
        let descriptor = self.client.cached(Function::ControlSocket, handle as *const c_void)?;
        let mut inner = self.lock();
        if inner.phase != Phase::Fresh {
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        inner.descriptor = descriptor;
        Ok(())
    }

    /// SO_WSK_SECURITY, asked for: a cached copy, which the client has to release.
    pub(super) fn descriptor(&self, control: &Control) -> Result<usize, NtStatus> {
        if self.kind == Kind::Basic {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        if control.output.0.is_null() || control.output.1 < size_of::<usize>() {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        let own = self.lock().descriptor.clone();
        let copy = own.map_or_else(none, |own| Arc::from(&own[..]));
        control.write(self.client.hand_out(copy))
    }
}
