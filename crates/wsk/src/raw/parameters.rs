//! The settings of a driver: values of the key `Parameters` under its service key.
//!
//! # IRQL
//! `PASSIVE_LEVEL` for everything here.

use core::cell::UnsafeCell;
use core::fmt;
use core::net::SocketAddr;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdk_sys::_KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation;
use wdk_sys::ntddk::{ZwClose, ZwOpenKey, ZwQueryValueKey};
use wdk_sys::{HANDLE, KEY_READ, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES, REG_DWORD, REG_SZ, UNICODE_STRING};

use super::NtStatus;
use crate::Passive;

/// The longest path of a key that is remembered, in UTF-16 units. Those of services have about 80.
const MOST_PATH: usize = 512;
/// The longest name of a value, in characters.
const MOST_NAME: usize = 64;
/// The longest value that is read, in UTF-16 units; as many bytes of text come of it.
const MOST_VALUE: usize = 256;
/// The longest text of an address with its port: `[`, eight groups with a scope, `]:65535`.
const MOST_ADDRESS: usize = 64;
/// What the path of the service key is followed by.
const BELOW: &str = r"\Parameters";

/// The path of the `Parameters` key.
///
/// # Invariants
/// `units` is written before `length` is made other than 0, which happens once, and only read afterwards.
struct Path {
    units: UnsafeCell<[u16; MOST_PATH]>,
    length: AtomicUsize,
}

// SAFETY: as the invariant says.
unsafe impl Sync for Path {}

static PATH: Path = Path { units: UnsafeCell::new([0; MOST_PATH]), length: AtomicUsize::new(0) };

/// Remembers where the settings are.
///
/// # Safety
/// `registry_path` is null or the argument of `DriverEntry`, from which this is called, once.
pub(super) unsafe fn remember(registry_path: *const UNICODE_STRING) {
    // SAFETY: as the caller promises.
    let Some(path) = (unsafe { registry_path.as_ref() }) else { return };
    // SAFETY: a counted string has `Length` bytes at `Buffer`.
    let path = unsafe { core::slice::from_raw_parts(path.Buffer, path.Length as usize / 2) };
    let length = path.len() + BELOW.len();
    if length > MOST_PATH {
        return;
    }
    // SAFETY: in `DriverEntry`, before anything else of the driver runs: nobody reads it yet.
    let units = unsafe { &mut *PATH.units.get() };
    for (place, unit) in units.iter_mut().zip(path.iter().copied().chain(BELOW.bytes().map(u16::from))) {
        *place = unit;
    }
    PATH.length.store(length, Ordering::Release);
}

/// Why there is no value to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// There is none of that name.
    Missing,
    /// It is of another type.
    OtherType(u32),
    /// It is longer than anything that is read here, or its name is, or it is text outside of ASCII, or not of the form that
    /// was asked for.
    NotReadable,
    /// The registry's answer.
    Status(NtStatus),
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::OtherType(kind) => write!(f, "of type {kind}"),
            Self::NotReadable => f.write_str("not of the form that is read"),
            Self::Status(status) => write!(f, "not read: status {status}"),
        }
    }
}

impl From<NtStatus> for ValueError {
    fn from(status: NtStatus) -> Self {
        match status {
            NtStatus::OBJECT_NAME_NOT_FOUND => Self::Missing,
            other => Self::Status(other),
        }
    }
}

/// The key `Parameters` under the driver's service key, open for reading.
///
/// A key cannot leave the passive thread: it is read and closed at PASSIVE_LEVEL.
///
/// # Invariants
/// The handle is open.
pub struct Parameters(HANDLE);

impl Parameters {
    /// Opens it, in a driver made by [`driver!`](crate::driver).
    /// [`ZwOpenKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwopenkey)
    ///
    /// # Errors
    /// The registry's status; [`ValueError::Missing`] also if the service has no settings.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn open(_: Passive) -> Result<Self, ValueError> {
        let length = PATH.length.load(Ordering::Acquire);
        if length == 0 {
            return Err(ValueError::Missing);
        }
        let mut path = counted(PATH.units.get().cast(), length);
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: size_of::<OBJECT_ATTRIBUTES>() as _,
            ObjectName: &raw mut path,
            Attributes: (OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE) as _,
            ..OBJECT_ATTRIBUTES::default()
        };
        let mut handle = null_mut();
        // SAFETY: the arguments live during the call; the path is not written any more.
        let status = unsafe { ZwOpenKey(&raw mut handle, KEY_READ, &raw mut attributes) };
        NtStatus(status).ok()?;
        // INVARIANT: just opened.
        Ok(Self(handle))
    }

    /// A value of type REG_SZ, as ASCII in `room`.
    ///
    /// # Errors
    /// [`ValueError`].
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn text<'a>(&self, name: &str, room: &'a mut [u8]) -> Result<&'a str, ValueError> {
        let mut value = Value::default();
        let mut length = 0;
        for unit in self.value(name, REG_SZ, &mut value)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])) {
            match (u8::try_from(unit), room.get_mut(length)) {
                (Ok(0), _) => break,
                (Ok(byte), Some(place)) if byte.is_ascii() => *place = byte,
                _ => return Err(ValueError::NotReadable),
            }
            length += 1;
        }
        room.get(..length).and_then(|text| core::str::from_utf8(text).ok()).ok_or(ValueError::NotReadable)
    }

    /// A value of type REG_SZ that is an address and a port, such as `127.0.0.1:7` or `[::1]:7`.
    ///
    /// # Errors
    /// [`ValueError`].
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn address(&self, name: &str) -> Result<SocketAddr, ValueError> {
        self.text(name, &mut [0; MOST_ADDRESS])?.parse().map_err(|_| ValueError::NotReadable)
    }

    /// A value of type REG_DWORD.
    ///
    /// # Errors
    /// [`ValueError`].
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn number(&self, name: &str) -> Result<u32, ValueError> {
        let mut value = Value::default();
        let bytes = self.value(name, REG_DWORD, &mut value)?;
        bytes.try_into().map(u32::from_le_bytes).map_err(|_| ValueError::NotReadable)
    }

    /// [`ZwQueryValueKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwqueryvaluekey)
    fn value<'a>(&self, name: &str, kind: u32, value: &'a mut Value) -> Result<&'a [u8], ValueError> {
        let mut units = [0_u16; MOST_NAME];
        if name.len() > MOST_NAME {
            return Err(ValueError::NotReadable);
        }
        for (place, byte) in units.iter_mut().zip(name.bytes()) {
            *place = byte.into();
        }
        let mut name = counted(units.as_mut_ptr(), name.len());
        let (information, room, mut needed) = ((&raw mut *value).cast(), size_of::<Value>() as u32, 0);
        // SAFETY: the key is open; the rest lives during the call, and `information` has `room` bytes.
        let status =
            unsafe { ZwQueryValueKey(self.0, &raw mut name, KeyValuePartialInformation, information, room, &raw mut needed) };
        // A value that does not fit is answered with a warning, which is no success.
        NtStatus(status).ok()?;
        if value.kind != kind {
            return Err(ValueError::OtherType(value.kind));
        }
        value.data.get(..value.length as usize).ok_or(ValueError::NotReadable)
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: open by the invariant, and closed here alone.
        let _ = unsafe { ZwClose(self.0) };
    }
}

/// KEY_VALUE_PARTIAL_INFORMATION, with room for the data.
#[repr(C)]
struct Value {
    index: u32,
    kind: u32,
    length: u32,
    data: [u8; 2 * MOST_VALUE],
}

impl Default for Value {
    fn default() -> Self {
        Self { index: 0, kind: 0, length: 0, data: [0; 2 * MOST_VALUE] }
    }
}

/// A counted string of so many units.
fn counted(units: *mut u16, length: usize) -> UNICODE_STRING {
    let bytes = (2 * length) as u16;
    UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: units }
}
