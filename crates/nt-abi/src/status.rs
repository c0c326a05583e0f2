//! [`NtStatus`] and the values in use.

use core::fmt;

/// `NTSTATUS`.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub struct NtStatus(pub i32);

impl NtStatus {
    /// `NT_SUCCESS`: success and informational values.
    pub const fn is_success(self) -> bool {
        self.0 >= 0
    }

    /// `NT_ERROR` or a warning: what [`NtStatus::is_success`] is not.
    pub const fn is_failure(self) -> bool {
        self.0 < 0
    }
}

macro_rules! statuses {
    ($($name:ident = $value:literal),* $(,)?) => {
        impl NtStatus {
            $(
                #[doc = concat!("`STATUS_", stringify!($name), "`.")]
                pub const $name: NtStatus = NtStatus({ const V: u32 = $value; V as i32 });
            )*

            /// The symbolic name, where this crate knows one.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $( NtStatus::$name => Some(concat!("STATUS_", stringify!($name))), )*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0x0000_0000,
    ALERTED = 0x0000_0101,
    TIMEOUT = 0x0000_0102,
    PENDING = 0x0000_0103,
    EVENT_DONE = 0x4000_0012,
    EVENT_PENDING = 0x4000_0013,
    BUFFER_OVERFLOW = 0x8000_0005,
    DEVICE_BUSY = 0x8000_0011,
    NO_MORE_ENTRIES = 0x8000_001A,
    UNSUCCESSFUL = 0xC000_0001,
    NOT_IMPLEMENTED = 0xC000_0002,
    INVALID_INFO_CLASS = 0xC000_0003,
    INFO_LENGTH_MISMATCH = 0xC000_0004,
    ACCESS_VIOLATION = 0xC000_0005,
    INVALID_HANDLE = 0xC000_0008,
    INVALID_PARAMETER = 0xC000_000D,
    NO_SUCH_DEVICE = 0xC000_000E,
    INVALID_DEVICE_REQUEST = 0xC000_0010,
    END_OF_FILE = 0xC000_0011,
    MORE_PROCESSING_REQUIRED = 0xC000_0016,
    NO_MEMORY = 0xC000_0017,
    ACCESS_DENIED = 0xC000_0022,
    BUFFER_TOO_SMALL = 0xC000_0023,
    OBJECT_TYPE_MISMATCH = 0xC000_0024,
    OBJECT_NAME_INVALID = 0xC000_0033,
    OBJECT_NAME_NOT_FOUND = 0xC000_0034,
    OBJECT_NAME_COLLISION = 0xC000_0035,
    OBJECT_PATH_NOT_FOUND = 0xC000_003A,
    SHARING_VIOLATION = 0xC000_0043,
    QUOTA_EXCEEDED = 0xC000_0044,
    THREAD_IS_TERMINATING = 0xC000_004B,
    DELETE_PENDING = 0xC000_0056,
    UNKNOWN_REVISION = 0xC000_0058,
    REVISION_MISMATCH = 0xC000_0059,
    INVALID_IMAGE_FORMAT = 0xC000_007B,
    INSUFFICIENT_RESOURCES = 0xC000_009A,
    DEVICE_NOT_READY = 0xC000_00A3,
    IO_TIMEOUT = 0xC000_00B5,
    FILE_FORCED_CLOSED = 0xC000_00B6,
    NOT_SUPPORTED = 0xC000_00BB,
    REQUEST_NOT_ACCEPTED = 0xC000_00D0,
    INTERNAL_ERROR = 0xC000_00E5,
    CANCELLED = 0xC000_0120,
    FILE_CLOSED = 0xC000_0128,
    LOCAL_DISCONNECT = 0xC000_013B,
    REMOTE_DISCONNECT = 0xC000_013C,
    INVALID_ADDRESS = 0xC000_0141,
    INVALID_DEVICE_STATE = 0xC000_0184,
    IO_DEVICE_ERROR = 0xC000_0185,
    INVALID_BUFFER_SIZE = 0xC000_0206,
    INVALID_ADDRESS_COMPONENT = 0xC000_0207,
    TOO_MANY_ADDRESSES = 0xC000_0209,
    ADDRESS_ALREADY_EXISTS = 0xC000_020A,
    ADDRESS_CLOSED = 0xC000_020B,
    CONNECTION_DISCONNECTED = 0xC000_020C,
    CONNECTION_RESET = 0xC000_020D,
    DATA_NOT_ACCEPTED = 0xC000_021B,
    NOT_FOUND = 0xC000_0225,
    RETRY = 0xC000_022D,
    CONNECTION_REFUSED = 0xC000_0236,
    GRACEFUL_DISCONNECT = 0xC000_0237,
    ADDRESS_ALREADY_ASSOCIATED = 0xC000_0238,
    ADDRESS_NOT_ASSOCIATED = 0xC000_0239,
    CONNECTION_INVALID = 0xC000_023A,
    CONNECTION_ACTIVE = 0xC000_023B,
    NETWORK_UNREACHABLE = 0xC000_023C,
    HOST_UNREACHABLE = 0xC000_023D,
    PROTOCOL_UNREACHABLE = 0xC000_023E,
    PORT_UNREACHABLE = 0xC000_023F,
    REQUEST_ABORTED = 0xC000_0240,
    CONNECTION_ABORTED = 0xC000_0241,
    DRIVER_ENTRYPOINT_NOT_FOUND = 0xC000_0263,
    NO_MATCH = 0xC000_0272,
    NOINTERFACE = 0xC000_02B9,
    PROTOCOL_NOT_SUPPORTED = 0xC000_A013,
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "NTSTATUS 0x{:08X}", self.0),
        }
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// As text: the name, or the number where there is none.
#[cfg(feature = "serde")]
impl serde::Serialize for NtStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
