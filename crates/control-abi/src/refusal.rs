//! How a request is refused.

use core::fmt;

/// The status of a code that stands for nothing.
pub const STATUS_INVALID_DEVICE_REQUEST: i32 = 0xC000_0010_u32 as i32;
/// The status of an input or output that is too short.
pub const STATUS_BUFFER_TOO_SMALL: i32 = 0xC000_0023_u32 as i32;
/// The status of another version.
pub const STATUS_REVISION_MISMATCH: i32 = 0xC000_0059_u32 as i32;
/// The status of anything else that is wrong.
pub const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its code stands for nothing.
    Unknown,
    /// There are fewer bytes than the request has.
    InputTooShort {
        /// How many it has.
        needed: usize,
    },
    /// There are more bytes than the request has.
    InputTooLong {
        /// How many it has.
        needed: usize,
    },
    /// Another version than [`VERSION`](crate::VERSION).
    Version {
        /// Which.
        asked: u32,
    },
    /// A reserved field is not 0.
    Reserved,
    /// A field of this name has a value that it cannot have.
    Field(&'static str),
    /// There is less room than the least answer takes.
    OutputTooShort {
        /// How much it takes.
        needed: usize,
    },
}

impl Refusal {
    /// The NTSTATUS with which the request is completed.
    pub const fn status(self) -> i32 {
        match self {
            Self::Unknown => STATUS_INVALID_DEVICE_REQUEST,
            Self::InputTooShort { .. } | Self::OutputTooShort { .. } => STATUS_BUFFER_TOO_SMALL,
            Self::Version { .. } => STATUS_REVISION_MISMATCH,
            Self::InputTooLong { .. } | Self::Reserved | Self::Field(_) => STATUS_INVALID_PARAMETER,
        }
    }

    /// The size that was needed, which the request is completed with (IoStatus.Information); 0 if size is not what is wrong.
    /// Windows keeps it from programs when a request fails at once, so tools know their sizes from this crate.
    pub const fn needed(self) -> usize {
        match self {
            Self::InputTooShort { needed } | Self::OutputTooShort { needed } => needed,
            _ => 0,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such request"),
            Self::InputTooShort { needed } | Self::InputTooLong { needed } => write!(f, "the request has {needed} bytes"),
            Self::Version { asked } => write!(f, "a request of version {asked}, but this driver has {}", crate::VERSION),
            Self::Reserved => f.write_str("a reserved field is not 0"),
            Self::Field(name) => write!(f, "{name} has a value that it cannot have"),
            Self::OutputTooShort { needed } => write!(f, "the answer takes {needed} bytes"),
        }
    }
}

impl core::error::Error for Refusal {}
