//! Registry keys and values.

use std::ptr;

use nt_abi::kernel::{ZwClose, ZwEnumerateKey, ZwOpenKey, ZwQueryValueKey};
use nt_abi::wdf::*;
use nt_abi::{HANDLE, NtStatus, OBJECT_ATTRIBUTES, REG_BINARY, REG_DWORD, REG_SZ, UNICODE_STRING};
use ntbench::Value;

use crate::support::*;

const KEY_READ: u32 = 0x2_0019;

fn parameters(driver: &Driver, handle: WDFOBJECT) -> Result<WDFOBJECT, NtStatus> {
    let mut key = ptr::null_mut();
    let status = call!(driver, WdfDriverOpenParametersRegistryKey(
        handle => WDFOBJECT, KEY_READ => u32, ptr::null() => *const WDF_OBJECT_ATTRIBUTES,
        &mut key => *mut WDFOBJECT) -> NtStatus);
    if status == NtStatus::SUCCESS { Ok(key) } else { Err(status) }
}

fn value(driver: &Driver, key: WDFOBJECT, name: &str, room: &mut [u8]) -> (NtStatus, u32, u32) {
    let (name, mut needed, mut kind) = (text(name), 0, 0);
    let at = if room.is_empty() { ptr::null_mut() } else { room.as_mut_ptr() };
    let status = call!(driver, WdfRegistryQueryValue(
        key => WDFOBJECT, name.string() => *const UNICODE_STRING, room.len() as u32 => u32, at => *mut u8,
        &mut needed => *mut u32, &mut kind => *mut u32) -> NtStatus);
    (status, needed, kind)
}

fn ulong(driver: &Driver, key: WDFOBJECT, name: &str) -> Result<u32, NtStatus> {
    let (name, mut value) = (text(name), 0);
    let status = call!(driver, WdfRegistryQueryULong(
        key => WDFOBJECT, name.string() => *const UNICODE_STRING, &mut value => *mut u32) -> NtStatus);
    if status == NtStatus::SUCCESS { Ok(value) } else { Err(status) }
}

fn close(driver: &Driver, key: WDFOBJECT) {
    call!(driver, WdfRegistryClose(key => WDFOBJECT));
}

#[test]
fn values_are_read_with_their_length_and_type() {
    let (driver, handle) = Driver::created();
    bench().set_parameter(SERVICE, "Number", Value::Dword(40007));
    bench().set_parameter(SERVICE, "Text", Value::Sz("abc".into()));
    bench().set_parameter(SERVICE, "Bytes", Value::Binary(vec![1, 2, 3]));
    bench().set_parameter(SERVICE, "Nothing", Value::Binary(vec![]));
    let key = parameters(&driver, handle).unwrap();
    assert_eq!(ulong(&driver, key, "Number"), Ok(40007));
    let mut room = [0; 16];
    assert_eq!(value(&driver, key, "Text", &mut room), (NtStatus::SUCCESS, 8, REG_SZ));
    assert_eq!(room[..8], [b'a', 0, b'b', 0, b'c', 0, 0, 0]);
    assert_eq!(value(&driver, key, "Bytes", &mut room), (NtStatus::SUCCESS, 3, REG_BINARY));
    assert_eq!(room[..3], [1, 2, 3]);
    assert_eq!(value(&driver, key, "Nothing", &mut []), (NtStatus::SUCCESS, 0, REG_BINARY));
    close(&driver, key);
}

#[test]
fn what_does_not_fit_is_an_overflow_with_the_length_that_is_needed() {
    let (driver, handle) = Driver::created();
    bench().set_parameter(SERVICE, "Text", Value::Sz("abc".into()));
    bench().set_parameter(SERVICE, "Number", Value::Dword(1));
    let key = parameters(&driver, handle).unwrap();
    for length in [0, 1, 7] {
        let mut room = vec![0xAA; length];
        assert_eq!(value(&driver, key, "Text", &mut room), (NtStatus::BUFFER_OVERFLOW, 8, REG_SZ));
        assert!(room.iter().all(|byte| *byte == 0xAA), "wrote what did not fit");
    }
    for length in [0, 3] {
        let mut room = vec![0; length];
        assert_eq!(value(&driver, key, "Number", &mut room), (NtStatus::BUFFER_OVERFLOW, 4, REG_DWORD));
    }
    close(&driver, key);
}

#[test]
fn a_number_of_another_type_is_a_mismatch() {
    let (driver, handle) = Driver::created();
    bench().set_parameter(SERVICE, "Text", Value::Sz("a long text".into()));
    bench().set_parameter(SERVICE, "Short", Value::Binary(vec![1]));
    bench().set_parameter(SERVICE, "Big", Value::Qword(1));
    let key = parameters(&driver, handle).unwrap();
    for name in ["Text", "Short", "Big"] {
        assert_eq!(ulong(&driver, key, name), Err(NtStatus::OBJECT_TYPE_MISMATCH), "{name}");
    }
    assert_eq!(ulong(&driver, key, "Missing"), Err(NtStatus::OBJECT_NAME_NOT_FOUND));
    assert_eq!(value(&driver, key, "Missing", &mut []).0, NtStatus::OBJECT_NAME_NOT_FOUND);
    close(&driver, key);
}

#[test]
fn keys_open_by_path_and_below_another_and_close_with_the_driver() {
    let (driver, _) = Driver::created();
    bench().set_parameter(SERVICE, "Number", Value::Dword(7));
    let open = |parent: WDFOBJECT, name: &str| {
        let (name, mut key) = (text(name), ptr::null_mut());
        let status = call!(driver, WdfRegistryOpenKey(
            parent => WDFOBJECT, name.string() => *const UNICODE_STRING, KEY_READ => u32,
            ptr::null() => *const WDF_OBJECT_ATTRIBUTES, &mut key => *mut WDFOBJECT) -> NtStatus);
        if status == NtStatus::SUCCESS { Ok(key) } else { Err(status) }
    };
    let service = open(ptr::null_mut(), &format!(r"\Registry\Machine\System\CurrentControlSet\Services\{SERVICE}"));
    let below = open(service.unwrap(), "Parameters").unwrap();
    assert_eq!(ulong(&driver, below, "Number"), Ok(7));
    assert!(open(ptr::null_mut(), r"\Registry\Machine\Nowhere").is_err());
    // Neither is closed: the driver's end does that, and the bench would tell of handles that are left.
}

#[test]
fn opening_parameters_can_fail() {
    let (driver, handle) = Driver::created();
    fault("WdfDriverOpenParametersRegistryKey", NtStatus::OBJECT_NAME_NOT_FOUND);
    assert_eq!(parameters(&driver, handle), Err(NtStatus::OBJECT_NAME_NOT_FOUND));
    no_fault();
    let key = parameters(&driver, handle).unwrap();
    close(&driver, key);
    assert_eq!(ulong(&driver, key, "Number"), Err(NtStatus::INVALID_HANDLE));
    assert_eq!(violations(), ["the handle is of an object that was deleted, or of none"]);
}

/// A kernel handle to the service's key, opened past the framework.
fn kernel_handle() -> HANDLE {
    let path = text(&format!(r"\Registry\Machine\System\CurrentControlSet\Services\{SERVICE}"));
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: ptr::null_mut(),
        ObjectName: path.string(),
        Attributes: 0,
        SecurityDescriptor: ptr::null_mut(),
        SecurityQualityOfService: ptr::null_mut(),
    };
    let mut handle = ptr::null_mut();
    // SAFETY: all of it outlives the call.
    assert_eq!(unsafe { ZwOpenKey(&mut handle, KEY_READ, &attributes) }, NtStatus::SUCCESS);
    handle
}

fn query(handle: HANDLE) -> NtStatus {
    let (name, mut room, mut needed) = (text("Number"), [0u8; 32], 0);
    // SAFETY: as above.
    unsafe { ZwQueryValueKey(handle, name.string(), 2, room.as_mut_ptr().cast(), 32, &mut needed) }
}

#[test]
fn a_key_is_closed_with_its_wdfkey() {
    let (driver, handle) = Driver::created();
    bench().set_parameter(SERVICE, "Number", Value::Dword(7));
    let key = parameters(&driver, handle).unwrap();
    let next = kernel_handle();
    // The bench's handles are numbers four apart, so this is the framework's.
    let framework = (next as usize - 4) as HANDLE;
    assert_eq!(query(framework), NtStatus::SUCCESS);
    close(&driver, key);
    assert_eq!(query(framework), NtStatus::INVALID_HANDLE);
    // SAFETY: opened above.
    assert_eq!(unsafe { ZwClose(next) }, NtStatus::SUCCESS);
}

/// The name of a key's child, as ZwEnumerateKey gives it into `room` bytes, and what it says about its length.
fn child(driver: &Driver, key: WDFOBJECT, index: u32, room: usize) -> (NtStatus, String, u32) {
    let handle = call!(driver, WdfRegistryWdmGetHandle(key => WDFOBJECT) -> HANDLE);
    let (mut bytes, mut needed) = ([0u64; 64], 0);
    // SAFETY: all of it outlives the call.
    let status = unsafe { ZwEnumerateKey(handle, index, 0, bytes.as_mut_ptr().cast(), room as u32, &mut needed) };
    // SAFETY: the fixed part and the name are in the room, which is zeroed and larger.
    let (length, name) = unsafe {
        let information = bytes.as_ptr().cast::<nt_abi::KEY_BASIC_INFORMATION>();
        ((*information).NameLength, std::slice::from_raw_parts((&raw const (*information).Name).cast::<u16>(), 64))
    };
    (status, String::from_utf16_lossy(&name[..(length as usize / 2).min(room.saturating_sub(16) / 2)]), needed)
}

#[test]
fn children_of_a_key_are_counted_through_and_keep_their_case() {
    let (driver, handle) = Driver::created();
    bench().set_parameter_below(SERVICE, r"Services\Zebra", "Port", Value::Dword(1));
    bench().set_parameter_below(SERVICE, r"Services\ant\deeper", "Port", Value::Dword(2));
    bench().create_parameters_key(SERVICE, "ServicesOfOthers");
    let parameters = parameters(&driver, handle).unwrap();
    let (name, mut key) = (text("sERVICES"), ptr::null_mut());
    let status = call!(driver, WdfRegistryOpenKey(
        parameters => WDFOBJECT, name.string() => *const UNICODE_STRING, KEY_READ => u32,
        ptr::null() => *const WDF_OBJECT_ATTRIBUTES, &mut key => *mut WDFOBJECT) -> NtStatus);
    assert_eq!(status, NtStatus::SUCCESS);
    assert_eq!(child(&driver, key, 0, 512), (NtStatus::SUCCESS, "ant".into(), 22));
    assert_eq!(child(&driver, key, 1, 512), (NtStatus::SUCCESS, "Zebra".into(), 26));
    assert_eq!(child(&driver, key, 2, 512).0, NtStatus::NO_MORE_ENTRIES);
    assert_eq!(child(&driver, key, 1, 20), (NtStatus::BUFFER_OVERFLOW, "Ze".into(), 26));
    assert_eq!(child(&driver, key, 1, 15).0, NtStatus::BUFFER_TOO_SMALL);
    bench().remove_parameters_key(SERVICE, r"Services\ant");
    assert_eq!(child(&driver, key, 0, 512).1, "Zebra");
    close(&driver, key);
    close(&driver, parameters);
    bench().remove_parameters_key(SERVICE, "Services");
}
