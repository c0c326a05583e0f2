//! Registry keys, open for writing.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.
#![allow(unsafe_code)] // calls the registry, which takes pointers

use core::ptr::null_mut;

use wdk_sys::ntddk::{ZwClose, ZwCreateKey, ZwDeleteKey, ZwSetValueKey};
use wdk_sys::{HANDLE, KEY_READ, KEY_WRITE, OBJECT_ATTRIBUTES, REG_DWORD, REG_SZ, ULONG, UNICODE_STRING};
use wsk::NtStatus;

use crate::wdf::{Key, Wide};

/// OBJ_CASE_INSENSITIVE and OBJ_KERNEL_HANDLE.
const ATTRIBUTES: ULONG = 0x40 | 0x200;
/// DELETE of the standard access rights.
const DELETE: u32 = 0x1_0000;
/// REG_OPTION_NON_VOLATILE.
const STAYS: ULONG = 0;
/// REG_CREATED_NEW_KEY.
const IS_NEW: ULONG = 1;
/// The longest text that is written.
pub(crate) const MOST_TEXT: usize = 512;

/// A key, open for writing.
///
/// # Invariants
/// The handle is open, and nobody else's.
pub(crate) struct WritableKey(HANDLE);

impl WritableKey {
    /// The key of that name below another, which is made if it is not there: the second value says whether it was.
    /// [`ZwCreateKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwcreatekey)
    ///
    /// # Errors
    /// The registry's status.
    pub(crate) fn below(parent: &Key, name: &UNICODE_STRING) -> Result<(Self, bool), NtStatus> {
        Self::create(parent.handle(), name)
    }

    /// The same, below this one.
    ///
    /// # Errors
    /// The registry's status.
    pub(crate) fn child(&self, name: &UNICODE_STRING) -> Result<Self, NtStatus> {
        Self::create(self.0, name).map(|(key, _)| key)
    }

    fn create(parent: HANDLE, name: &UNICODE_STRING) -> Result<(Self, bool), NtStatus> {
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: size_of::<OBJECT_ATTRIBUTES>() as ULONG,
            RootDirectory: parent,
            ObjectName: (&raw const *name).cast_mut(),
            Attributes: ATTRIBUTES,
            SecurityDescriptor: null_mut(),
            SecurityQualityOfService: null_mut(),
        };
        let (mut handle, mut made): (HANDLE, ULONG) = (null_mut(), 0);
        let access = KEY_READ | KEY_WRITE | DELETE;
        // SAFETY: everything lives during the call.
        let status = NtStatus(unsafe {
            ZwCreateKey(&raw mut handle, access, &raw mut attributes, 0, null_mut(), STAYS, &raw mut made)
        });
        // INVARIANT: just opened.
        status.ok().map(|()| (Self(handle), made == IS_NEW))
    }

    /// Writes a REG_DWORD.
    ///
    /// # Errors
    /// The registry's status.
    pub(crate) fn number(&self, name: &str, value: u32) -> Result<(), NtStatus> {
        let bytes = value.to_le_bytes();
        self.value(name, REG_DWORD, bytes.as_ptr().cast(), bytes.len())
    }

    /// Writes a REG_SZ, of ASCII.
    ///
    /// # Errors
    /// The registry's status.
    pub(crate) fn text(&self, name: &str, text: &str) -> Result<(), NtStatus> {
        // One more than is used, so that there is a zero behind it.
        let wide = Wide::<{ MOST_TEXT + 1 }>::new(text.get(..MOST_TEXT.min(text.len())).unwrap_or_default());
        let units = wide.as_unicode();
        self.value(name, REG_SZ, units.Buffer.cast_const().cast(), usize::from(units.Length) + size_of::<u16>())
    }

    /// [`ZwSetValueKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwsetvaluekey)
    fn value(&self, name: &str, kind: ULONG, data: *const u8, length: usize) -> Result<(), NtStatus> {
        let name = Wide::<64>::new(name);
        let mut name = name.as_unicode();
        // SAFETY: open by the invariant; name and data live during the call, and nothing is written to the data.
        NtStatus(unsafe { ZwSetValueKey(self.0, &raw mut name, 0, kind, data.cast_mut().cast(), length as ULONG) }).ok()
    }

    /// Deletes the key. [`ZwDeleteKey`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwdeletekey)
    ///
    /// # Errors
    /// The registry's status.
    pub(crate) fn delete(self) -> Result<(), NtStatus> {
        // SAFETY: open by the invariant; the handle is closed as any other.
        NtStatus(unsafe { ZwDeleteKey(self.0) }).ok()
    }
}

impl Drop for WritableKey {
    fn drop(&mut self) {
        // SAFETY: open by the invariant, and not used again.
        let _ = unsafe { ZwClose(self.0) };
    }
}
