//! The registry, as drivers write it.

use std::ffi::c_void;

use nt_abi::{
    HANDLE, NtStatus, OBJECT_ATTRIBUTES, PASSIVE_LEVEL, REG_DWORD, REG_MULTI_SZ, REG_QWORD, REG_SZ, UNICODE_STRING, export_table,
};

use super::{Open, REGISTRY, Value, path_of};
use crate::ke::irql;
use crate::{fault, image, rtl};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [ZwCreateKey, ZwDeleteKey, ZwSetValueKey]);

const CREATED_NEW_KEY: u32 = 1;
const OPENED_EXISTING_KEY: u32 = 2;

/// The value that a driver wrote; what is not as its type says is kept as bytes.
fn value_of(kind: u32, bytes: &[u8]) -> Value {
    let text = || {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match (kind, bytes.len()) {
        (REG_DWORD, 4) => Value::Dword(u32::from_le_bytes(bytes.try_into().unwrap_or_default())),
        (REG_QWORD, 8) => Value::Qword(u64::from_le_bytes(bytes.try_into().unwrap_or_default())),
        (REG_SZ, _) => Value::Sz(text().trim_end_matches('\0').to_owned()),
        (REG_MULTI_SZ, _) => Value::MultiSz(text().split('\0').filter(|one| !one.is_empty()).map(str::to_owned).collect()),
        _ => Value::Binary(bytes.to_vec()),
    }
}

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// `handle` is valid for a write, `disposition` null or that, `attributes` valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ZwCreateKey(
    handle: *mut HANDLE,
    _access: u32,
    attributes: *const OBJECT_ATTRIBUTES,
    _title: u32,
    _class: *const UNICODE_STRING,
    _options: u32,
    disposition: *mut u32,
) -> NtStatus {
    irql::at_most("ZwCreateKey", PASSIVE_LEVEL);
    if fault::hit("ZwCreateKey") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passed valid attributes.
    let (root, name) = unsafe { ((*attributes).RootDirectory, rtl::string((*attributes).ObjectName)) };
    let mut registry = REGISTRY.lock();
    let path = match path_of(&registry, root, &name.unwrap_or_default()) {
        Ok(path) => path,
        Err(status) => return status,
    };
    // A key is made below one that is there, and only one at a time.
    let parent = path.to_lowercase().rsplit_once('\\').map(|(parent, _)| parent.to_owned());
    if !parent.is_some_and(|parent| registry.keys.contains_key(&parent)) {
        return NtStatus::OBJECT_NAME_NOT_FOUND;
    }
    let is_new = !registry.keys.contains_key(&path.to_lowercase());
    registry.key(&path);
    registry.last += 4;
    let opened = registry.last;
    registry.open.insert(opened, Open { path: path.to_lowercase(), site: image::caller() });
    // SAFETY: the caller passed a valid pointer.
    unsafe { handle.write(opened as HANDLE) };
    // SAFETY: null, or valid.
    if let Some(disposition) = unsafe { disposition.as_mut() } {
        *disposition = if is_new { CREATED_NEW_KEY } else { OPENED_EXISTING_KEY };
    }
    NtStatus::SUCCESS
}

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// `name` is valid, and `data` for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ZwSetValueKey(
    key: HANDLE,
    name: *const UNICODE_STRING,
    _title: u32,
    kind: u32,
    data: *const c_void,
    length: u32,
) -> NtStatus {
    irql::at_most("ZwSetValueKey", PASSIVE_LEVEL);
    if fault::hit("ZwSetValueKey") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passed a valid string.
    let name = unsafe { rtl::string(name) }.unwrap_or_default();
    // SAFETY: so many bytes are there.
    let bytes = if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length as usize) } };
    let mut registry = REGISTRY.lock();
    let Some(path) = registry.open.get(&(key as usize)).map(|open| open.path.clone()) else { return NtStatus::INVALID_HANDLE };
    let Some(key) = registry.keys.get_mut(&path) else { return NtStatus::INVALID_HANDLE };
    key.values.insert(name.to_lowercase(), value_of(kind, bytes));
    NtStatus::SUCCESS
}

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// None but that of its ABI.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ZwDeleteKey(key: HANDLE) -> NtStatus {
    irql::at_most("ZwDeleteKey", PASSIVE_LEVEL);
    if fault::hit("ZwDeleteKey") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    let mut registry = REGISTRY.lock();
    let Some(path) = registry.open.get(&(key as usize)).map(|open| open.path.clone()) else { return NtStatus::INVALID_HANDLE };
    let below = format!(r"{path}\");
    if registry.keys.keys().any(|other| other.starts_with(&below)) {
        // STATUS_CANNOT_DELETE
        return NtStatus(0xc000_0121_u32 as i32);
    }
    registry.keys.remove(&path);
    NtStatus::SUCCESS
}
