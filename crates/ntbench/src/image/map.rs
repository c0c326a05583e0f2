//! Mapping an image: its own protections per section, a base from the seed, relocated and bound.
#![allow(unsafe_code)] // Memory is mapped, filled and protected.

use std::ffi::c_void;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::image::parse::{ImageError, Plan, Section, parse};
use crate::image::{self, Image};
use crate::{exports, rng};

/// Why an image could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MapError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("imports that the bench does not have: {}", .0.join(", "))]
    Imports(Vec<String>),
}

/// Maps the image at `path`, ready to run.
pub(crate) fn map(path: &Path) -> Result<Arc<Image>, MapError> {
    let data = std::fs::read(path).map_err(ImageError::Read)?;
    let plan = parse(&data)?;
    let addresses = bind(&plan)?;
    let area = Area::reserve(plan.size).map_err(ImageError::Map)?;
    // SAFETY: the area is ours, writable and of the plan's size.
    unsafe {
        fill(&area, &plan, &data);
        relocate(&area, &plan);
        addresses.iter().zip(&plan.imports).for_each(|(address, wanted)| area.write(wanted.slot, *address));
    }
    area.protect(&plan).map_err(ImageError::Map)?;
    let code = plan.sections.iter().filter(|s| s.executable).map(|s| area.absolute(&s.range)).collect();
    let range = area.base..area.base + area.size;
    let entry = area.base + plan.entry;
    let image = image::register(path.to_owned(), range, code, entry)
        .ok_or_else(|| ImageError::Layout("this process has loaded as many images as it can".into()))?;
    std::mem::forget(area);
    Ok(image)
}

/// The address of each import, or the names of all that are missing.
fn bind(plan: &Plan) -> Result<Vec<usize>, MapError> {
    let mut missing = Vec::new();
    let mut addresses = Vec::new();
    for wanted in &plan.imports {
        match exports::find(&wanted.module, &wanted.name) {
            Some(address) => addresses.push(address),
            None => missing.push(format!("{}!{}", wanted.module, wanted.name)),
        }
    }
    if missing.is_empty() { Ok(addresses) } else { Err(MapError::Imports(missing)) }
}

/// Address space for an image; given back when dropped.
struct Area {
    base: usize,
    size: usize,
}

impl Area {
    /// Reserves writable memory at an address from the seed, far from everything else.
    fn reserve(size: usize) -> rustix::io::Result<Area> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        for _ in 0..64 {
            let hint = (0x1000_0000_0000 + rng::below(1 << 28) as usize * 0x1_0000) as *mut c_void;
            // SAFETY: a new mapping that replaces none.
            let mapped = unsafe { mmap_anonymous(hint, size, protection, MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE) };
            if let Ok(base) = mapped {
                return Ok(Area { base: base as usize, size });
            }
        }
        // SAFETY: a new mapping, wherever there is room.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), size, protection, MapFlags::PRIVATE)? };
        Ok(Area { base: base as usize, size })
    }

    fn absolute(&self, range: &Range<usize>) -> Range<usize> {
        self.base + range.start..self.base + range.end
    }

    /// Writes a word at an offset.
    ///
    /// # Safety
    /// Eight bytes at `offset` lie in the area, which is writable.
    unsafe fn write(&self, offset: usize, value: usize) {
        // SAFETY: see above.
        unsafe { ((self.base + offset) as *mut usize).write_unaligned(value) };
    }

    /// Gives each section its protection; what lies between them becomes inaccessible.
    fn protect(&self, plan: &Plan) -> rustix::io::Result<()> {
        protect(self.base, self.size, MprotectFlags::empty())?;
        protect(self.base, plan.headers, MprotectFlags::READ)?;
        plan.sections.iter().try_for_each(|section| protect(self.base + section.range.start, section.range.len(), flags(section)))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the area is ours and nothing refers to it.
        let _ = unsafe { munmap(self.base as *mut c_void, self.size) };
    }
}

fn flags(section: &Section) -> MprotectFlags {
    let mut flags = MprotectFlags::READ;
    flags.set(MprotectFlags::WRITE, section.writable);
    flags.set(MprotectFlags::EXEC, section.executable);
    flags
}

fn protect(base: usize, size: usize, flags: MprotectFlags) -> rustix::io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    // SAFETY: the range belongs to an image's area.
    unsafe { mprotect(base as *mut c_void, size, flags) }
}

/// Copies headers and sections.
///
/// # Safety
/// The area is writable and as large as the plan says.
unsafe fn fill(area: &Area, plan: &Plan, data: &[u8]) {
    let copy = |from: &[u8], to: usize| {
        // SAFETY: the plan's ranges lie in the area.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), (area.base + to) as *mut u8, from.len()) };
    };
    copy(&data[..plan.headers], 0);
    for section in plan.sections.iter().filter(|section| !section.file.is_empty()) {
        copy(&data[section.file.clone()], section.range.start);
    }
}

/// Adds the distance from the preferred base to each address that has to move.
///
/// # Safety
/// As for [`fill`].
unsafe fn relocate(area: &Area, plan: &Plan) {
    let distance = (area.base as u64).wrapping_sub(plan.preferred_base);
    for at in &plan.relocations {
        let place = (area.base + at) as *mut u64;
        // SAFETY: the plan's relocations lie in its sections.
        unsafe { place.write_unaligned(place.read_unaligned().wrapping_add(distance)) };
    }
}

/// Makes an image's pages inaccessible; its addresses stay reserved, so that code which runs late is caught.
pub(crate) fn unmap(image: &Image) {
    image.gone.store(true, Ordering::Release);
    if let Err(error) = protect(image.range.start, image.range.len(), MprotectFlags::empty()) {
        crate::verifier::fatal("bench", format!("pages of {} cannot be protected: {error}", image.name));
    }
}
