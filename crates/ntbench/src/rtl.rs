//! The run-time library: counted strings, memory, stack probes.
#![allow(unsafe_code)] // Exports with the kernel's ABI over the driver's memory.

use std::ffi::c_void;

use nt_abi::{Export, NtStatus, UNICODE_STRING, export_table};

use crate::{profile, verifier};

export_table!(NAMED, "ntoskrnl.exe", [RtlInitUnicodeString, RtlCopyUnicodeString, RtlEqualUnicodeString, RtlCompareMemory]);

/// What this file exports. The memory functions have other Rust names than exported ones: the host has its own.
pub(crate) const EXPORTS: &[Export] = &[
    NAMED[0],
    NAMED[1],
    NAMED[2],
    NAMED[3],
    Export::new("ntoskrnl.exe", "memcpy", copy as *const ()),
    Export::new("ntoskrnl.exe", "memmove", copy as *const ()),
    Export::new("ntoskrnl.exe", "RtlCopyMemory", copy as *const ()),
    Export::new("ntoskrnl.exe", "RtlMoveMemory", copy as *const ()),
    Export::new("ntoskrnl.exe", "memset", set as *const ()),
    Export::new("ntoskrnl.exe", "memcmp", compare as *const ()),
    Export::new("ntoskrnl.exe", "__chkstk", probe as *const ()),
    Export::new("ntoskrnl.exe", "__C_specific_handler", handler as *const ()),
];

/// The text of a counted string; none of a null pointer.
///
/// # Safety
/// `string` is null or valid.
pub(crate) unsafe fn string(string: *const UNICODE_STRING) -> Option<String> {
    // SAFETY: the caller vouches for it.
    let string = unsafe { string.as_ref() }?;
    if string.Length == 0 || string.Buffer.is_null() {
        return Some(String::new());
    }
    // SAFETY: as above.
    let units = unsafe { std::slice::from_raw_parts(string.Buffer, usize::from(string.Length) / 2) };
    Some(String::from_utf16_lossy(units))
}

/// A counted string over units that live as long as the process: drivers keep such pointers.
pub(crate) fn leak(text: &str) -> UNICODE_STRING {
    let mut units: Vec<u16> = text.encode_utf16().collect();
    let length = (units.len() * 2) as u16;
    units.push(0);
    UNICODE_STRING { Length: length, MaximumLength: length + 2, Buffer: Box::leak(units.into_boxed_slice()).as_mut_ptr() }
}

/// # IRQL
/// Any for resident strings
///
/// # Safety
/// `target` is valid for a write, `source` null or terminated.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlInitUnicodeString(target: *mut UNICODE_STRING, source: *const u16) {
    let mut units = 0usize;
    // SAFETY: the caller passed a terminated string.
    while !source.is_null() && unsafe { *source.add(units) } != 0 {
        units += 1;
    }
    let length = (units * 2).min(usize::from(u16::MAX) - 3) as u16;
    let maximum = if source.is_null() { 0 } else { length + 2 };
    // SAFETY: the caller passed a valid pointer.
    unsafe { target.write(UNICODE_STRING { Length: length, MaximumLength: maximum, Buffer: source.cast_mut() }) };
}

/// # IRQL
/// Any for resident strings
///
/// # Safety
/// Both strings are valid, `source` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlCopyUnicodeString(target: *mut UNICODE_STRING, source: *const UNICODE_STRING) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let length = if source.is_null() { 0 } else { (*source).Length.min((*target).MaximumLength) };
        if length > 0 {
            std::ptr::copy((*source).Buffer, (*target).Buffer, usize::from(length) / 2);
        }
        (*target).Length = length;
        if length + 2 <= (*target).MaximumLength {
            (*target).Buffer.add(usize::from(length) / 2).write(0);
        }
    }
}

/// # IRQL
/// PASSIVE_LEVEL when case is folded
///
/// # Safety
/// Both strings are valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlEqualUnicodeString(a: *const UNICODE_STRING, b: *const UNICODE_STRING, fold: u8) -> u8 {
    // SAFETY: the caller vouches for both.
    let (a, b) = unsafe { (string(a), string(b)) };
    u8::from(if fold == 0 { a == b } else { a.map(|a| a.to_lowercase()) == b.map(|b| b.to_lowercase()) })
}

/// # IRQL
/// Any for resident memory
///
/// # Safety
/// Both ranges are readable.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn RtlCompareMemory(a: *const u8, b: *const u8, length: usize) -> usize {
    // SAFETY: the caller vouches for both.
    (0..length).take_while(|&i| unsafe { *a.add(i) == *b.add(i) }).count()
}

unsafe extern "win64" fn copy(target: *mut c_void, source: *const c_void, length: usize) -> *mut c_void {
    // SAFETY: the caller vouches for both ranges.
    profile::for_image(|| unsafe { std::ptr::copy(source.cast::<u8>(), target.cast::<u8>(), length) });
    target
}

unsafe extern "win64" fn set(target: *mut c_void, value: i32, length: usize) -> *mut c_void {
    // SAFETY: the caller vouches for the range.
    profile::for_image(|| unsafe { target.cast::<u8>().write_bytes(value as u8, length) });
    target
}

unsafe extern "win64" fn compare(a: *const u8, b: *const u8, length: usize) -> i32 {
    // SAFETY: the caller vouches for both ranges.
    let (a, b) = unsafe { (std::slice::from_raw_parts(a, length), std::slice::from_raw_parts(b, length)) };
    profile::for_image(|| a.cmp(b)) as i32
}

/// The stack probe: it changes no register; the stacks here are committed by the host.
#[unsafe(naked)]
unsafe extern "win64" fn probe() {
    core::arch::naked_asm!("ret")
}

/// Structured exceptions are not there: a handler that is reached ends the run.
unsafe extern "win64" fn handler() -> NtStatus {
    verifier::fatal("exception", "__C_specific_handler: the bench has no structured exceptions")
}
