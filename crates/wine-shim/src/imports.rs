//! Which of the driver's import slots are pointed at this image, and how.

#![allow(unsafe_code)] // Writes the slots of a mapped image.

use core::ffi::c_void;
use core::ptr;

use nt_abi::{DRIVER_OBJECT, Export, NtStatus};

use crate::image::{Image, Import};
use crate::kernel;
use crate::print::say;
use crate::wine::{GetModuleHandleA, GetProcAddress, NtProtectVirtualMemory};

const PAGE_READWRITE: u32 = 4;
const ENTRYPOINT_NOT_FOUND: NtStatus = NtStatus(0xC000_0139_u32 as i32);
const CURRENT_PROCESS: *mut c_void = usize::MAX as *mut c_void;

/// What is here for a driver: the registrar, and the kernel's functions.
fn replacement(name: &str) -> Option<&'static Export> {
    kernel::EXPORTS.into_iter().chain([nmr::EXPORTS]).flatten().find(|export| export.name == name)
}

/// Points every slot of the driver that has a replacement at it. An import that is nowhere is named: to call it would be the
/// driver's end.
///
/// # Errors
/// STATUS_ENTRYPOINT_NOT_FOUND if there are such imports; STATUS_INVALID_IMAGE_FORMAT if the driver's image is not to be read;
/// what changing the protection of a slot answered.
///
/// # Safety
/// The driver object is that of a driver whose image is mapped and which runs nothing else now.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe fn rewrite(driver: *const DRIVER_OBJECT) -> Result<(), NtStatus> {
    // SAFETY: the caller's promise.
    let (base, size) = unsafe { ((*driver).DriverStart.cast::<u8>(), (*driver).DriverSize as usize) };
    let (mut here, mut nowhere) = (0, 0);
    for number in 0.. {
        // Read anew each time: the slots that are written belong to the same bytes.
        // SAFETY: the image is mapped and that large.
        let bytes = unsafe { core::slice::from_raw_parts(base, size) };
        let image = Image::new(bytes).ok_or(NtStatus::INVALID_IMAGE_FORMAT)?;
        let Some(import) = image.imports().nth(number) else { break };
        let Some(export) = replacement(import.name) else {
            nowhere += usize::from(!is_exported(&import));
            continue;
        };
        let slot = import.slot;
        if slot.checked_add(size_of::<usize>()).is_none_or(|end| end > size) {
            return Err(NtStatus::INVALID_IMAGE_FORMAT);
        }
        // SAFETY: the slot is inside the image.
        unsafe { write(base.wrapping_add(slot).cast(), export.address.addr()) }?;
        here += 1;
    }
    say!("{here} imports point here");
    if nowhere == 0 { Ok(()) } else { Err(ENTRYPOINT_NOT_FOUND) }
}

/// Whether Wine has what is imported; says so if it has not.
fn is_exported(import: &Import<'_>) -> bool {
    // SAFETY: the image's names end with a zero.
    let module = unsafe { GetModuleHandleA(import.module.as_ptr()) };
    // SAFETY: as above; a module that is not there has no functions.
    let found = !module.is_null() && !unsafe { GetProcAddress(module, import.name.as_ptr()) }.is_null();
    if !found {
        say!("{} of {} is neither here nor in Wine", import.name, import.module);
    }
    found
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
