//! The object manager: reference counts before each object's body, and handles.
#![allow(unsafe_code)] // Objects are shared with drivers.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};

use nt_abi::{APC_LEVEL, DISPATCH_LEVEL, HANDLE, NtStatus, PASSIVE_LEVEL, export_table};
use parking_lot::Mutex;

use crate::ke::irql;
use crate::{image, registry, verifier};

export_table!(FUNCTIONS, "ntoskrnl.exe", [ObReferenceObjectByHandle, ObfReferenceObject, ObfDereferenceObject, ZwClose]);

/// What this file exports.
pub(crate) const EXPORTS: &[nt_abi::Export] = &[
    FUNCTIONS[0],
    FUNCTIONS[1],
    FUNCTIONS[2],
    FUNCTIONS[3],
    nt_abi::Export::new("ntoskrnl.exe", "PsThreadType", (&raw const PsThreadType).cast()),
    nt_abi::Export::new("ntoskrnl.exe", "PsProcessType", (&raw const PsProcessType).cast()),
];

/// The kinds of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Device,
    Driver,
    File,
    Thread,
    Process,
}

const MAGIC: u32 = 0x4a42_4f4e;

/// What precedes an object's body.
#[repr(C, align(16))]
struct Header {
    magic: u32,
    kind: Kind,
    references: AtomicIsize,
    size: usize,
    destroy: fn(*mut c_void),
}

struct Open {
    object: usize,
    site: usize,
}

/// Exported data: a pointer to the type of threads.
#[unsafe(no_mangle)]
pub static PsThreadType: AtomicPtr<c_void> = AtomicPtr::new((&raw const THREAD_TYPE).cast_mut().cast());
/// Exported data: a pointer to the type of processes.
#[unsafe(no_mangle)]
pub static PsProcessType: AtomicPtr<c_void> = AtomicPtr::new((&raw const PROCESS_TYPE).cast_mut().cast());
static THREAD_TYPE: u64 = 6;
static PROCESS_TYPE: u64 = 3;

static HANDLES: Mutex<BTreeMap<usize, Open>> = Mutex::new(BTreeMap::new());

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size_of::<Header>() + size, 16).unwrap_or(Layout::new::<u128>())
}

/// A new object with one reference: a zeroed body of `size` bytes; `destroy` is called when the last reference goes.
pub(crate) fn create(kind: Kind, size: usize, destroy: fn(*mut c_void)) -> *mut c_void {
    // SAFETY: the size is not zero, and the header fits.
    unsafe {
        let start = alloc_zeroed(layout(size));
        if start.is_null() {
            return null_mut();
        }
        start.cast::<Header>().write(Header { magic: MAGIC, kind, references: AtomicIsize::new(1), size, destroy });
        start.add(size_of::<Header>()).cast()
    }
}

fn header<'a>(function: &str, object: *mut c_void) -> Option<&'a Header> {
    // SAFETY: every object of the bench's is preceded by a header; for anything else the fault handler speaks.
    let header = unsafe { ((object as usize).wrapping_sub(size_of::<Header>()) as *const Header).as_ref() };
    let header = header.filter(|header| header.magic == MAGIC);
    if header.is_none() {
        verifier::violation("object", format!("{function}: {object:p} is no object"));
    }
    header
}

/// References an object counts.
pub(crate) fn references(object: *mut c_void) -> isize {
    header("references", object).map_or(0, |header| header.references.load(Ordering::Acquire))
}

/// Takes a reference; answers their number.
pub(crate) fn reference(object: *mut c_void) -> isize {
    header("ObfReferenceObject", object).map_or(0, |header| header.references.fetch_add(1, Ordering::AcqRel) + 1)
}

/// Drops a reference; answers how many are left. The last one destroys the object.
pub(crate) fn dereference(object: *mut c_void) -> isize {
    let Some(header) = header("ObfDereferenceObject", object) else { return 0 };
    let left = header.references.fetch_sub(1, Ordering::AcqRel) - 1;
    if left < 0 {
        verifier::violation("object", format!("{:?} {object:p} is dereferenced more often than referenced", header.kind));
    }
    if left == 0 {
        (header.destroy)(object);
        let start = std::ptr::from_ref(header).cast_mut();
        // SAFETY: nobody refers to the object any more; the size is that of its allocation.
        unsafe {
            (*start).magic = 0;
            dealloc(start.cast(), layout((*start).size));
        }
    }
    left
}

/// Opens a handle to an object, which takes over a reference; `site` is who asked.
pub(crate) fn open(object: *mut c_void, site: usize) -> HANDLE {
    let mut handles = HANDLES.lock();
    let next = handles.last_key_value().map_or(0x8000_0004, |(last, _)| last + 4);
    handles.insert(next, Open { object: object as usize, site });
    next as HANDLE
}

/// Handles that code at addresses of `range` opened and has not closed.
pub(crate) fn leaks_of(range: &Range<usize>) -> Vec<String> {
    let handles = HANDLES.lock();
    let owned = handles.iter().filter(|(_, open)| range.contains(&open.site));
    owned.map(|(handle, open)| format!("handle {handle:#x}, opened in {}", image::describe(open.site - 1))).collect()
}

/// # IRQL
/// <= APC_LEVEL
///
/// # Safety
/// `object` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ObReferenceObjectByHandle(
    handle: HANDLE,
    _access: u32,
    kind: *mut c_void,
    _mode: i8,
    object: *mut *mut c_void,
    _information: *mut c_void,
) -> NtStatus {
    irql::at_most("ObReferenceObjectByHandle", APC_LEVEL);
    let found = HANDLES.lock().get(&(handle as usize)).map(|open| open.object as *mut c_void);
    let Some(found) = found else { return NtStatus::INVALID_HANDLE };
    let Some(header) = header("ObReferenceObjectByHandle", found) else { return NtStatus::INVALID_HANDLE };
    let wants_thread = kind == PsThreadType.load(Ordering::Relaxed);
    if !kind.is_null() && wants_thread != (header.kind == Kind::Thread) {
        return NtStatus::OBJECT_TYPE_MISMATCH;
    }
    reference(found);
    // SAFETY: the caller passed a valid pointer.
    unsafe { object.write(found) };
    NtStatus::SUCCESS
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `object` is an object.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ObfReferenceObject(object: *mut c_void) -> isize {
    irql::at_most("ObfReferenceObject", DISPATCH_LEVEL);
    reference(object)
}

/// # IRQL
/// <= DISPATCH_LEVEL
///
/// # Safety
/// `object` is an object, a reference to which the caller gives up.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ObfDereferenceObject(object: *mut c_void) -> isize {
    irql::at_most("ObfDereferenceObject", DISPATCH_LEVEL);
    dereference(object)
}

/// # IRQL
/// PASSIVE_LEVEL
#[unsafe(no_mangle)]
pub extern "win64" fn ZwClose(handle: HANDLE) -> NtStatus {
    irql::at_most("ZwClose", PASSIVE_LEVEL);
    if registry::close(handle) {
        return NtStatus::SUCCESS;
    }
    let closed = HANDLES.lock().remove(&(handle as usize));
    let Some(open) = closed else {
        verifier::violation("handle", format!("ZwClose: {handle:p} is no handle"));
        return NtStatus::INVALID_HANDLE;
    };
    dereference(open.object as *mut c_void);
    NtStatus::SUCCESS
}
