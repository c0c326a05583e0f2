//! NTSTATUS as a value: the raw edge's one, from which the errors of the operations are made.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::fmt;

use wdk_sys::NTSTATUS;

use crate::sync::OutOfMemory;

/// An NTSTATUS; see [Using NTSTATUS values](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-ntstatus-values).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NtStatus(pub NTSTATUS);

impl NtStatus {
    /// The operation succeeded.
    pub const SUCCESS: Self = Self(0);
    /// The operation goes on.
    pub const PENDING: Self = Self(0x103);
    /// The completion routine keeps the IRP.
    pub const MORE_PROCESSING_REQUIRED: Self = Self(0xc000_0016_u32 as i32);
    /// No data was taken from an indication.
    pub const DATA_NOT_ACCEPTED: Self = Self(0xc000_021b_u32 as i32);
    /// An incoming connection was not taken.
    pub const REQUEST_NOT_ACCEPTED: Self = Self(0xc000_00d0_u32 as i32);
    /// The operation was cancelled.
    pub const CANCELLED: Self = Self(0xc000_0120_u32 as i32);
    /// Memory or another resource is short.
    pub const INSUFFICIENT_RESOURCES: Self = Self(0xc000_009a_u32 as i32);
    /// No version, or no interface, that both sides know.
    pub const NOINTERFACE: Self = Self(0xc000_02b9_u32 as i32);
    /// The other side does not have it.
    pub const NOT_SUPPORTED: Self = Self(0xc000_00bb_u32 as i32);
    /// The other side does not have it yet.
    pub const NOT_IMPLEMENTED: Self = Self(0xc000_0002_u32 as i32);
    /// An argument does not fit.
    pub const INVALID_PARAMETER: Self = Self(0xc000_000d_u32 as i32);
    /// The device is not in a state for this.
    pub const INVALID_DEVICE_STATE: Self = Self(0xc000_0184_u32 as i32);
    /// A warning: more came than there was room for, and what fits is there.
    pub const BUFFER_OVERFLOW: Self = Self(0x8000_0005_u32 as i32);
    /// The provider says that the socket is no longer functional.
    pub const FILE_FORCED_CLOSED: Self = Self(0xc000_00b6_u32 as i32);
    /// The code of a control request is not known.
    pub const INVALID_DEVICE_REQUEST: Self = Self(0xc000_0010_u32 as i32);
    /// A buffer is smaller than what goes into it.
    pub const BUFFER_TOO_SMALL: Self = Self(0xc000_0023_u32 as i32);
    /// Two sides of a protocol have different versions.
    pub const REVISION_MISMATCH: Self = Self(0xc000_0059_u32 as i32);
    /// The service is being unloaded.
    pub const DELETE_PENDING: Self = Self(0xc000_0056_u32 as i32);
    /// The value is not there.
    pub const OBJECT_NAME_NOT_FOUND: Self = Self(0xc000_0034_u32 as i32);
    /// STATUS_OBJECT_NAME_COLLISION
    pub const OBJECT_NAME_COLLISION: Self = Self(0xc000_0035_u32 as i32);
    /// STATUS_QUOTA_EXCEEDED
    pub const QUOTA_EXCEEDED: Self = Self(0xc000_0044_u32 as i32);
    /// STATUS_DEVICE_BUSY: a warning, which is no success.
    pub const DEVICE_BUSY: Self = Self(0x8000_0011_u32 as i32);

    /// The peer has reset the connection.
    pub const CONNECTION_RESET: Self = Self(0xc000_020d_u32 as i32);
    /// Nobody listens at the remote address.
    pub const CONNECTION_REFUSED: Self = Self(0xc000_0236_u32 as i32);
    /// There is no way to the remote network.
    pub const NETWORK_UNREACHABLE: Self = Self(0xc000_023c_u32 as i32);
    /// There is no way to the remote host.
    pub const HOST_UNREACHABLE: Self = Self(0xc000_023d_u32 as i32);
    /// No answer came in time.
    pub const IO_TIMEOUT: Self = Self(0xc000_00b5_u32 as i32);
    /// An event is being switched off; calls of it are still under way.
    pub const EVENT_PENDING: Self = Self(0x4000_0013);

    /// Nothing has this name.
    pub const NO_MATCH: Self = Self(0xc000_0272_u32 as i32);
    /// What was asked for is not there.
    pub const NOT_FOUND: Self = Self(0xc000_0225_u32 as i32);

    /// NT_SUCCESS: a success or an information.
    ///
    /// # IRQL
    /// Any.
    pub const fn is_success(self) -> bool {
        self.0 >= 0
    }

    /// Success as `Ok`, everything else as the error.
    ///
    /// # Errors
    /// `self`, if it is a warning or an error.
    ///
    /// # IRQL
    /// Any.
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }
}

impl From<OutOfMemory> for NtStatus {
    fn from(_: OutOfMemory) -> Self {
        Self::INSUFFICIENT_RESOURCES
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}
