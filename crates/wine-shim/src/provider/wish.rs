//! What the registry asks of the provider: a thread looks at the service's key `WineShim`, and has the provider leave or come
//! back.
//!
//! `reg add HKLM\System\CurrentControlSet\Services\wskclient\WineShim /v Provider /d away` sends it away; any other value, or none,
//! has it here.

#![allow(unsafe_code)] // Reads the registry.

use core::ffi::c_void;
use core::ptr::null_mut;

use nt_abi::kernel::{ZwClose, ZwOpenKey, ZwQueryValueKey};
use nt_abi::{
    HANDLE, KEY_VALUE_PARTIAL_INFORMATION_CLASS, NtStatus, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES, REG_SZ,
    UNICODE_STRING,
};

use crate::kernel::lock::Locked;
use crate::kernel::thread::Thread;

/// How often it is looked at, in milliseconds.
const LOOK_MS: i64 = 25;
const KEY_READ: u32 = 0x2_0019;
/// Units that a path has room for.
const LONGEST: usize = 256;

static SUFFIX: [u16; 9] = units(b"\\WineShim");
static VALUE: [u16; 8] = units(b"Provider");
static AWAY: [u16; 4] = units(b"away");

const fn units<const N: usize>(text: &[u8; N]) -> [u16; N] {
    let (mut units, mut at) = ([0; N], 0);
    while at < N {
        units[at] = text[at] as u16;
        at += 1;
    }
    units
}

/// The path of the key.
struct Path {
    units: [u16; LONGEST],
    length: usize,
}

static PATH: Locked<Path> = Locked::new(Path { units: [0; LONGEST], length: 0 });
static THREAD: Thread = Thread::new(run);

/// Begins to look, for the service with this path.
///
/// # Errors
/// STATUS_INSUFFICIENT_RESOURCES for a path that is too long; what making a thread answered.
///
/// # Safety
/// The path is a string.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(super) unsafe fn begin(path: *const UNICODE_STRING) -> Result<(), NtStatus> {
    // SAFETY: the caller's promise.
    let service = unsafe { core::slice::from_raw_parts((*path).Buffer, usize::from((*path).Length) / 2) };
    {
        let mut key = PATH.lock();
        let length = service.len() + SUFFIX.len();
        let Some(place) = key.units.get_mut(..length) else { return Err(NtStatus::INSUFFICIENT_RESOURCES) };
        let (first, last) = place.split_at_mut(service.len());
        first.copy_from_slice(service);
        last.copy_from_slice(&SUFFIX);
        key.length = length;
    }
    obey();
    THREAD.start()
}

/// Looks no more.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(super) fn end() {
    THREAD.stop();
}

/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn run(_: *mut c_void) {
    while !THREAD.wait(Some(LOOK_MS)) {
        obey();
    }
}

fn obey() {
    if is_away() {
        super::leave();
    } else {
        super::come();
    }
}

/// Whether the provider is asked to be away.
fn is_away() -> bool {
    let Some(key) = open() else { return false };
    let mut value = Value::default();
    let (name, mut length) = (string(&VALUE), 0);
    let (place, room) = ((&raw mut value).cast(), size_of::<Value>() as u32);
    // SAFETY: the key is open; name and room are locals.
    let status = unsafe { ZwQueryValueKey(key, &name, KEY_VALUE_PARTIAL_INFORMATION_CLASS, place, room, &mut length) };
    // SAFETY: opened above.
    let _ = unsafe { ZwClose(key) };
    status.is_success() && value.kind == REG_SZ && value.length >= 2 * AWAY.len() as u32 && value.data.starts_with(&AWAY)
}

/// A KEY_VALUE_PARTIAL_INFORMATION with room for a word.
#[repr(C)]
#[derive(Default)]
struct Value {
    title: u32,
    kind: u32,
    length: u32,
    data: [u16; 16],
}

fn open() -> Option<HANDLE> {
    // A copy: the registry is asked without the lock.
    let (units, length) = {
        let path = PATH.lock();
        (path.units, path.length)
    };
    let name = string(units.get(..length)?);
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: null_mut(),
        ObjectName: (&raw const name).cast_mut(),
        Attributes: OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null_mut(),
        SecurityQualityOfService: null_mut(),
    };
    let mut key = null_mut();
    // SAFETY: attributes, name and handle are locals.
    unsafe { ZwOpenKey(&mut key, KEY_READ, &attributes) }.is_success().then_some(key)
}

fn string(units: &[u16]) -> UNICODE_STRING {
    let bytes = size_of_val(units) as u16;
    UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: units.as_ptr().cast_mut() }
}
