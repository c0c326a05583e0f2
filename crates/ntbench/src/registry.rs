//! The registry, as far as drivers' parameters go: keys with values, read through handles, and [written](write).
#![allow(unsafe_code)] // Exports with the kernel's ABI.

pub(crate) mod write;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ops::Range;

use nt_abi::{
    HANDLE, KEY_BASIC_INFORMATION_CLASS, KEY_VALUE_PARTIAL_INFORMATION_CLASS, NtStatus, OBJECT_ATTRIBUTES, PASSIVE_LEVEL,
    REG_BINARY, REG_DWORD, REG_MULTI_SZ, REG_QWORD, REG_SZ, UNICODE_STRING, export_table,
};
use parking_lot::Mutex;

use crate::ke::irql;
use crate::{fault, image, rtl, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [ZwOpenKey, ZwQueryValueKey, ZwEnumerateKey]);

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `REG_DWORD`.
    Dword(u32),
    /// `REG_QWORD`.
    Qword(u64),
    /// `REG_SZ`.
    Sz(String),
    /// `REG_MULTI_SZ`.
    MultiSz(Vec<String>),
    /// `REG_BINARY`.
    Binary(Vec<u8>),
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

impl Value {
    fn kind(&self) -> u32 {
        match self {
            Value::Dword(_) => REG_DWORD,
            Value::Qword(_) => REG_QWORD,
            Value::Sz(_) => REG_SZ,
            Value::MultiSz(_) => REG_MULTI_SZ,
            Value::Binary(_) => REG_BINARY,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Value::Dword(value) => value.to_le_bytes().into(),
            Value::Qword(value) => value.to_le_bytes().into(),
            Value::Sz(text) => utf16(text),
            Value::MultiSz(texts) => texts.iter().flat_map(|text| utf16(text)).chain([0, 0]).collect(),
            Value::Binary(bytes) => bytes.clone(),
        }
    }
}

/// A key: its last name as it was written, and its values, by their names in lower case, for those compare without case.
#[derive(Default)]
struct Key {
    name: String,
    values: BTreeMap<String, Value>,
}

/// An open key.
struct Open {
    path: String,
    site: usize,
}

struct Registry {
    keys: BTreeMap<String, Key>,
    open: BTreeMap<usize, Open>,
    last: usize,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { keys: BTreeMap::new(), open: BTreeMap::new(), last: 0x4000_0000 });

/// The path of a service's key.
pub(crate) fn service_key(service: &str) -> String {
    format!(r"\Registry\Machine\System\CurrentControlSet\Services\{service}")
}

impl Registry {
    /// The key at a path, which is made if it is not there.
    fn key(&mut self, path: &str) -> &mut Key {
        let name = path.rsplit('\\').next().unwrap_or_default();
        self.keys.entry(path.to_lowercase()).or_insert_with(|| Key { name: name.to_owned(), ..Key::default() })
    }
}

/// Makes a service's key and its `Parameters`.
pub(crate) fn create_service(service: &str) {
    let mut registry = REGISTRY.lock();
    registry.key(&service_key(service));
    registry.key(&parameters_key(service, ""));
}

fn parameters_key(service: &str, below: &str) -> String {
    let separator = if below.is_empty() { "" } else { r"\" };
    format!(r"{}\Parameters{separator}{below}", service_key(service))
}

/// Makes a key `below` a service's `Parameters`, and those on the way to it.
pub(crate) fn create_below_parameters(service: &str, below: &str) {
    create_service(service);
    let mut registry = REGISTRY.lock();
    let ends = below.match_indices('\\').map(|(at, _)| at).chain([below.len()]);
    ends.for_each(|end| _ = registry.key(&parameters_key(service, &below[..end])));
}

/// Takes a key `below` a service's `Parameters` away, with all that is below it.
pub(crate) fn remove_below_parameters(service: &str, below: &str) {
    let path = parameters_key(service, below).to_lowercase();
    let lower = format!(r"{path}\");
    REGISTRY.lock().keys.retain(|other, _| *other != path && !other.starts_with(&lower));
}

/// Sets a value of the key `below` a service's `Parameters`, or of that itself; none takes it away.
pub(crate) fn set_parameter(service: &str, below: &str, name: &str, value: Option<Value>) {
    create_below_parameters(service, below);
    let mut registry = REGISTRY.lock();
    let values = &mut registry.key(&parameters_key(service, below)).values;
    match value {
        Some(value) => values.insert(name.to_lowercase(), value),
        None => values.remove(&name.to_lowercase()),
    };
}

/// Closes a key's handle, if it is one.
pub(crate) fn close(handle: HANDLE) -> bool {
    REGISTRY.lock().open.remove(&(handle as usize)).is_some()
}

/// Keys that code at addresses of `range` opened and has not closed.
pub(crate) fn leaks_of(range: &Range<usize>) -> Vec<String> {
    let registry = REGISTRY.lock();
    let owned = registry.open.values().filter(|open| range.contains(&open.site));
    owned.map(|open| format!("key {}, opened in {}", open.path, image::describe(open.site - 1))).collect()
}

/// The path of the key of that name below another that is open, or of that path.
fn path_of(registry: &Registry, root: HANDLE, name: &str) -> Result<String, NtStatus> {
    match registry.open.get(&(root as usize)) {
        Some(parent) => Ok(format!(r"{}\{name}", parent.path)),
        None if root.is_null() => Ok(name.to_owned()),
        None => Err(NtStatus::INVALID_HANDLE),
    }
}

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// `handle` is valid for a write, `attributes` valid.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ZwOpenKey(handle: *mut HANDLE, _access: u32, attributes: *const OBJECT_ATTRIBUTES) -> NtStatus {
    irql::at_most("ZwOpenKey", PASSIVE_LEVEL);
    if fault::hit("ZwOpenKey") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passed valid attributes.
    let (root, name) = unsafe { ((*attributes).RootDirectory, rtl::string((*attributes).ObjectName)) };
    let mut registry = REGISTRY.lock();
    let path = match path_of(&registry, root, &name.unwrap_or_default()) {
        Ok(path) => path.to_lowercase(),
        Err(status) => return status,
    };
    if !registry.keys.contains_key(&path) {
        return NtStatus::OBJECT_NAME_NOT_FOUND;
    }
    registry.last += 4;
    let opened = registry.last;
    registry.open.insert(opened, Open { path, site: image::caller() });
    // SAFETY: the caller passed a valid pointer.
    unsafe { handle.write(opened as HANDLE) };
    NtStatus::SUCCESS
}

fn value(key: HANDLE, name: &str) -> Result<Value, NtStatus> {
    let registry = REGISTRY.lock();
    let open = registry.open.get(&(key as usize)).ok_or(NtStatus::INVALID_HANDLE)?;
    let key = registry.keys.get(&open.path).ok_or(NtStatus::INVALID_HANDLE)?;
    key.values.get(&name.to_lowercase()).cloned().ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)
}

/// Bytes before the data of a `KEY_VALUE_PARTIAL_INFORMATION`.
const HEAD: usize = 12;

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// `information` is valid for `length` bytes, `result` for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ZwQueryValueKey(
    key: HANDLE,
    name: *const UNICODE_STRING,
    class: u32,
    information: *mut c_void,
    length: u32,
    result: *mut u32,
) -> NtStatus {
    irql::at_most("ZwQueryValueKey", PASSIVE_LEVEL);
    if class != KEY_VALUE_PARTIAL_INFORMATION_CLASS {
        verifier::violation("bench", format!("ZwQueryValueKey: information class {class} is not there, only 2"));
        return NtStatus::INVALID_INFO_CLASS;
    }
    // SAFETY: the caller passed a valid string.
    let name = unsafe { rtl::string(name) }.unwrap_or_default();
    let value = match value(key, &name) {
        Ok(value) => value,
        Err(status) => return status,
    };
    let data = value.bytes();
    let length = length as usize;
    // SAFETY: the caller passed valid pointers; no more than `length` bytes are written.
    unsafe {
        result.write((HEAD + data.len()) as u32);
        if length < HEAD {
            return NtStatus::BUFFER_TOO_SMALL;
        }
        let head = [0, value.kind(), data.len() as u32];
        information.cast::<[u32; 3]>().write_unaligned(head);
        let room = data.len().min(length - HEAD);
        information.cast::<u8>().add(HEAD).copy_from_nonoverlapping(data.as_ptr(), room);
        if room < data.len() { NtStatus::BUFFER_OVERFLOW } else { NtStatus::SUCCESS }
    }
}

/// The name of the key's child that has this number, in the order of their names.
fn child(key: HANDLE, index: u32) -> Result<String, NtStatus> {
    let registry = REGISTRY.lock();
    let open = registry.open.get(&(key as usize)).ok_or(NtStatus::INVALID_HANDLE)?;
    let below = format!(r"{}\", open.path);
    let children = registry.keys.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
    let mut children = children.filter(|(path, _)| !path[below.len()..].contains('\\'));
    children.nth(index as usize).map(|(_, key)| key.name.clone()).ok_or(NtStatus::NO_MORE_ENTRIES)
}

/// Bytes before the name of a `KEY_BASIC_INFORMATION`.
const BASIC_HEAD: usize = 16;

/// # IRQL
/// PASSIVE_LEVEL
///
/// # Safety
/// `information` is valid for `length` bytes, `result` for a write.
#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ZwEnumerateKey(
    key: HANDLE,
    index: u32,
    class: u32,
    information: *mut c_void,
    length: u32,
    result: *mut u32,
) -> NtStatus {
    irql::at_most("ZwEnumerateKey", PASSIVE_LEVEL);
    if fault::hit("ZwEnumerateKey") {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    if class != KEY_BASIC_INFORMATION_CLASS {
        verifier::violation("bench", format!("ZwEnumerateKey: information class {class} is not there, only 0"));
        return NtStatus::INVALID_PARAMETER;
    }
    let name: Vec<u8> = match child(key, index) {
        Ok(name) => name.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Err(status) => return status,
    };
    let length = length as usize;
    // SAFETY: the caller passed valid pointers; no more than `length` bytes are written.
    unsafe {
        result.write((BASIC_HEAD + name.len()) as u32);
        if length < BASIC_HEAD {
            return NtStatus::BUFFER_TOO_SMALL;
        }
        information.cast::<[u32; 4]>().write_unaligned([0, 0, 0, name.len() as u32]);
        let room = name.len().min(length - BASIC_HEAD);
        information.cast::<u8>().add(BASIC_HEAD).copy_from_nonoverlapping(name.as_ptr(), room);
        if room < name.len() { NtStatus::BUFFER_OVERFLOW } else { NtStatus::SUCCESS }
    }
}
