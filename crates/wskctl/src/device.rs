//! The driver's device, as handles: on Windows `\\.\WskClient`, on Linux the device of a driver on the bench.

use crate::failure::Failure;
use crate::ntstatus::NtStatus;

#[cfg(unix)]
mod bench;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use bench::Connection;
#[cfg(windows)]
pub(crate) use windows::Connection;

/// What opens the device.
pub(crate) trait Device {
    /// Opens it.
    ///
    /// # Errors
    /// Why it is not there, or not for us.
    fn open(&self) -> Result<Box<dyn Handle>, Failure>;
}

/// The device, open. It is closed when this is dropped.
pub(crate) trait Handle {
    /// Sends a device control request with room for `room` bytes of an answer, and waits for that.
    ///
    /// # Errors
    /// What it was refused with.
    fn control(&mut self, code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, ControlError>;
}

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum ControlError {
    /// The driver completed it with this.
    Status(NtStatus),
    /// Something else was in the way.
    Failure(Failure),
}

impl ControlError {
    /// What a command ends with that was doing this.
    pub(crate) fn during(self, what: &'static str) -> Failure {
        match self {
            Self::Status(status) => Failure::Refused { what, status },
            Self::Failure(failure) => failure,
        }
    }
}
