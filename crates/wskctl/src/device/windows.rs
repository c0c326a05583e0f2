//! On Windows: the device of the driver of this machine, and its service, to tell why there is no device.
#![allow(unsafe_code)] // the functions of Windows are C's

use std::io;
use std::ptr::{null, null_mut};

use clap::Args;
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_SERVICE_DOES_NOT_EXIST, GENERIC_READ,
    GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{CreateFileW, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, OpenSCManagerW, OpenServiceW, QueryServiceStatus, SC_HANDLE, SC_MANAGER_CONNECT, SERVICE_PAUSED,
    SERVICE_QUERY_STATUS, SERVICE_RUNNING, SERVICE_START_PENDING, SERVICE_STATUS, SERVICE_STOP_PENDING, SERVICE_STOPPED,
};

use super::{ControlError, Device, Handle};
use crate::failure::Failure;
use crate::ntstatus::NtStatus;

const NAME: &str = r"\\.\WskClient";
const SERVICE: &str = "wskclient";

/// Which driver to talk to: there is one.
#[derive(Args)]
pub(crate) struct Connection {}

impl Device for Connection {
    fn open(&self) -> Result<Box<dyn Handle>, Failure> {
        let name = wide(NAME);
        // SAFETY: the name lives during the call and ends with a 0.
        let handle = unsafe {
            CreateFileW(
                name.as_ptr(),
                GENERIC_READ | GENERIC_WRITE,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                null(),
                OPEN_EXISTING,
                0,
                null_mut(),
            )
        };
        if handle == INVALID_HANDLE_VALUE {
            return Err(why_not_opened(&io::Error::last_os_error()));
        }
        Ok(Box::new(Opened(handle)))
    }
}

/// # Invariants
/// The handle is open.
struct Opened(HANDLE);

impl Handle for Opened {
    fn control(&mut self, code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, ControlError> {
        let (mut output, mut returned) = (vec![0_u8; room], 0_u32);
        // SAFETY: an open handle by the invariant; both buffers have the lengths that are given, and live during the call,
        // which returns when the request is completed.
        let done = unsafe {
            DeviceIoControl(
                self.0,
                code,
                input.as_ptr().cast(),
                input.len() as u32,
                output.as_mut_ptr().cast(),
                room as u32,
                &raw mut returned,
                null_mut(),
            )
        };
        if done == 0 {
            return Err(why_refused(&io::Error::last_os_error()));
        }
        output.truncate(returned as usize);
        Ok(output)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: open by the invariant, and not used again.
        unsafe { CloseHandle(self.0) };
    }
}

fn why_refused(error: &io::Error) -> ControlError {
    let status = error.raw_os_error().and_then(|code| NtStatus::of_windows(code as u32));
    status.map_or_else(|| ControlError::Failure(Failure::Unopened(error.to_string())), ControlError::Status)
}

fn why_not_opened(error: &io::Error) -> Failure {
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => why_not_there(),
        Some(ERROR_ACCESS_DENIED) => Failure::NoRights,
        _ => Failure::Unopened(error.to_string()),
    }
}

/// Asks the service control manager why there is no device.
fn why_not_there() -> Failure {
    match service_state() {
        Ok(SERVICE_STOPPED) => Failure::NotRunning(None),
        Ok(SERVICE_START_PENDING) => Failure::NotRunning(Some("starting")),
        Ok(SERVICE_STOP_PENDING) => Failure::NotRunning(Some("stopping")),
        Ok(SERVICE_PAUSED) => Failure::NotRunning(Some("paused")),
        Ok(SERVICE_RUNNING) => Failure::Unopened("its service is running, but it has no device".to_owned()),
        Err(error) if error.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST as i32) => Failure::NotInstalled,
        Ok(_) | Err(_) => Failure::NotRunning(None),
    }
}

fn service_state() -> io::Result<u32> {
    // SAFETY: this machine's manager; no memory of ours.
    let manager = ServiceHandle::new(unsafe { OpenSCManagerW(null(), null(), SC_MANAGER_CONNECT) })?;
    let name = wide(SERVICE);
    // SAFETY: an open manager, and a name that lives during the call and ends with a 0.
    let service = ServiceHandle::new(unsafe { OpenServiceW(manager.0, name.as_ptr(), SERVICE_QUERY_STATUS) })?;
    let mut status = SERVICE_STATUS::default();
    // SAFETY: an open service, and a structure that is written during the call.
    match unsafe { QueryServiceStatus(service.0, &raw mut status) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(status.dwCurrentState),
    }
}

/// # Invariants
/// The handle is open.
struct ServiceHandle(SC_HANDLE);

impl ServiceHandle {
    fn new(handle: SC_HANDLE) -> io::Result<Self> {
        // INVARIANT: only failure gives none.
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }
}

impl Drop for ServiceHandle {
    fn drop(&mut self) {
        // SAFETY: open by the invariant, and not used again.
        unsafe { CloseServiceHandle(self.0) };
    }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
