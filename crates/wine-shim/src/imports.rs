//! Which of the driver's import slots are pointed at this image, and how.

#![allow(unsafe_code)] // Writes the slots of a mapped image.

use core::ffi::c_void;
use core::ptr;

use nt_abi::{DRIVER_OBJECT, Export, NtStatus};

use crate::image::Image;
use crate::kernel;
use crate::print::say;
use crate::wine::NtProtectVirtualMemory;

const PAGE_READWRITE: u32 = 4;
const CURRENT_PROCESS: *mut c_void = usize::MAX as *mut c_void;

/// What is here for a driver: the registrar, and the kernel's functions.
fn replacement(name: &str) -> Option<&'static Export> {
    kernel::EXPORTS.into_iter().chain([nmr::EXPORTS]).flatten().find(|export| export.name == name)
}

/// Points every slot of the driver that has a replacement at it.
///
/// # Errors
/// STATUS_INVALID_IMAGE_FORMAT if the driver's image is not to be read; what changing the protection of a slot answered.
///
/// # Safety
/// The driver object is that of a driver whose image is mapped and which runs nothing else now.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe fn rewrite(driver: *const DRIVER_OBJECT) -> Result<(), NtStatus> {
    // SAFETY: the caller's promise.
    let (base, size) = unsafe { ((*driver).DriverStart.cast::<u8>(), (*driver).DriverSize as usize) };
    // SAFETY: the image is mapped and that large.
    let bytes = unsafe { core::slice::from_raw_parts(base, size) };
    let image = Image::new(bytes).ok_or(NtStatus::INVALID_IMAGE_FORMAT)?;
    let mut rewritten = 0;
    for import in image.imports() {
        let Some(export) = replacement(import.name) else { continue };
        if import.slot.checked_add(8).is_none_or(|end| end > size) {
            return Err(NtStatus::INVALID_IMAGE_FORMAT);
        }
        // SAFETY: the slot is inside the image.
        unsafe { write(base.wrapping_add(import.slot).cast(), export.address.addr()) }?;
        rewritten += 1;
    }
    say!("{rewritten} imports point here");
    Ok(())
}

/// # Safety
/// The slot is inside an image that is mapped.
unsafe fn write(slot: *mut usize, address: usize) -> Result<(), NtStatus> {
    let protect = |protection: u32| {
        let (mut base, mut size, mut before) = (slot.cast::<c_void>(), size_of::<usize>(), 0);
        // SAFETY: the arguments are locals; the pages are the image's.
        let status = unsafe { NtProtectVirtualMemory(CURRENT_PROCESS, &mut base, &mut size, protection, &mut before) };
        if status.is_failure() { Err(status) } else { Ok(before) }
    };
    let before = protect(PAGE_READWRITE)?;
    // SAFETY: writable now; slots are aligned, and the driver's code that reads them does not run yet.
    unsafe { ptr::write_volatile(slot, address) };
    protect(before).map(drop)
}
