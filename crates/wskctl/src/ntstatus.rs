//! [`NtStatus`]: what the driver answers with, in words; and which Windows error each becomes on its way through DeviceIoControl.

use std::fmt;

/// An NTSTATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NtStatus(pub(crate) u32);

/// One that the driver is known to answer with.
struct Known {
    status: NtStatus,
    name: &'static str,
    /// The Windows error that RtlNtStatusToDosError makes of it.
    #[cfg_attr(not(windows), allow(dead_code))]
    windows: u32,
    meaning: &'static str,
    hint: Option<&'static str>,
}

const fn known(status: NtStatus, name: &'static str, windows: u32, meaning: &'static str) -> Known {
    Known { status, name, windows, meaning, hint: None }
}

const fn hinted(status: NtStatus, name: &'static str, windows: u32, meaning: &'static str, hint: &'static str) -> Known {
    Known { status, name, windows, meaning, hint: Some(hint) }
}

/// One that is told of something, and that no request is answered with.
const fn told(status: u32, name: &'static str, meaning: &'static str) -> Known {
    Known { status: NtStatus(status), name, windows: NEVER, meaning, hint: None }
}

/// No Windows error.
const NEVER: u32 = 0;

const KNOWN: &[Known] = &[
    known(NtStatus::BUFFER_TOO_SMALL, "STATUS_BUFFER_TOO_SMALL", 122, "the answer is longer than there is room for"),
    known(NtStatus::INVALID_DEVICE_REQUEST, "STATUS_INVALID_DEVICE_REQUEST", 1, "the driver does not know this request"),
    known(NtStatus::REVISION_MISMATCH, "STATUS_REVISION_MISMATCH", 1306, "it is of another version"),
    known(NtStatus::NOT_FOUND, "STATUS_NOT_FOUND", 1168, "there is no such thing"),
    known(NtStatus::INVALID_PARAMETER, "STATUS_INVALID_PARAMETER", 87, "a value is not in its range"),
    known(NtStatus::ACCESS_DENIED, "STATUS_ACCESS_DENIED", 5, "that is not allowed"),
    known(NtStatus::CANCELLED, "STATUS_CANCELLED", 995, "it was cancelled"),
    known(NtStatus::NOT_SUPPORTED, "STATUS_NOT_SUPPORTED", 50, "the driver cannot do that"),
    known(NtStatus::OBJECT_NAME_COLLISION, "STATUS_OBJECT_NAME_COLLISION", 183, "there is one of that name already"),
    told(0, "STATUS_SUCCESS", "done"),
    told(0xc000_020a, "STATUS_ADDRESS_ALREADY_EXISTS", "another program has this address and port"),
    told(0xc000_020d, "STATUS_CONNECTION_RESET", "the connection was reset"),
    told(0xc000_0236, "STATUS_CONNECTION_REFUSED", "the connection was refused"),
    told(0xc000_0241, "STATUS_CONNECTION_ABORTED", "the connection was aborted"),
    told(0xc000_0141, "STATUS_INVALID_ADDRESS_COMPONENT", "this machine has no such address"),
    told(0xc000_00b5, "STATUS_IO_TIMEOUT", "it took too long"),
    hinted(
        NtStatus::DEVICE_BUSY,
        "STATUS_DEVICE_BUSY",
        170,
        "as many run as may at once",
        "wait for one, or end one; see `wskctl traffic list`",
    ),
    told(0xc000_020c, "STATUS_CONNECTION_DISCONNECTED", "the other side has ended the connection"),
    told(0xc000_023c, "STATUS_NETWORK_UNREACHABLE", "there is no way to that network"),
    told(0xc000_023d, "STATUS_HOST_UNREACHABLE", "there is no way to that host"),
    told(0xc000_023f, "STATUS_PORT_UNREACHABLE", "nobody listens at that port"),
    hinted(
        NtStatus::QUOTA_EXCEEDED,
        "STATUS_QUOTA_EXCEEDED",
        1816,
        "there are as many as there can be",
        "end or remove others first",
    ),
    hinted(
        NtStatus::INSUFFICIENT_RESOURCES,
        "STATUS_INSUFFICIENT_RESOURCES",
        1450,
        "out of memory",
        "try again, or ask for less",
    ),
    hinted(
        NtStatus::INVALID_DEVICE_STATE,
        "STATUS_INVALID_DEVICE_STATE",
        22,
        "the driver is starting or ending",
        "try again in a moment",
    ),
    hinted(
        NtStatus::DEVICE_NOT_READY,
        "STATUS_DEVICE_NOT_READY",
        21,
        "the driver is not attached to WSK",
        "`wskctl activate` registers it again; `wskctl status` tells how it is",
    ),
];

impl NtStatus {
    pub(crate) const BUFFER_TOO_SMALL: Self = Self(0xc000_0023);
    pub(crate) const INVALID_DEVICE_REQUEST: Self = Self(0xc000_0010);
    pub(crate) const REVISION_MISMATCH: Self = Self(0xc000_0059);
    pub(crate) const NOT_FOUND: Self = Self(0xc000_0225);
    pub(crate) const INVALID_PARAMETER: Self = Self(0xc000_000d);
    pub(crate) const ACCESS_DENIED: Self = Self(0xc000_0022);
    pub(crate) const CANCELLED: Self = Self(0xc000_0120);
    pub(crate) const INSUFFICIENT_RESOURCES: Self = Self(0xc000_009a);
    pub(crate) const INVALID_DEVICE_STATE: Self = Self(0xc000_0184);
    pub(crate) const NOT_SUPPORTED: Self = Self(0xc000_00bb);
    pub(crate) const OBJECT_NAME_COLLISION: Self = Self(0xc000_0035);
    pub(crate) const QUOTA_EXCEEDED: Self = Self(0xc000_0044);
    pub(crate) const DEVICE_BUSY: Self = Self(0x8000_0011);
    pub(crate) const DEVICE_NOT_READY: Self = Self(0xc000_00a3);
    #[cfg_attr(windows, allow(dead_code))]
    pub(crate) const OBJECT_NAME_NOT_FOUND: Self = Self(0xc000_0034);

    /// Whether it is no error and no warning.
    #[cfg_attr(windows, allow(dead_code))]
    pub(crate) const fn is_success(self) -> bool {
        (self.0 as i32) >= 0
    }

    /// The status behind a Windows error, where the driver can have meant only one.
    #[cfg_attr(not(windows), allow(dead_code))]
    pub(crate) fn of_windows(error: u32) -> Option<Self> {
        KNOWN.iter().find(|known| known.windows == error && error != NEVER).map(|known| known.status)
    }

    /// What to do about it.
    pub(crate) fn hint(self) -> Option<&'static str> {
        self.known()?.hint
    }

    fn known(self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.status == self)
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(known) => write!(out, "{} ({})", known.meaning, known.name),
            None => write!(out, "status {:#010x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_error_stands_for_one_status() {
        for (index, known) in KNOWN.iter().enumerate() {
            let expected = (known.windows != NEVER).then_some(known.status);
            assert_eq!(NtStatus::of_windows(known.windows), expected, "{}", known.name);
            assert!(KNOWN[..index].iter().all(|other| other.status != known.status), "{} is there twice", known.name);
        }
        assert_eq!(NtStatus::of_windows(31), None);
    }
}
