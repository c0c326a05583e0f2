//! How a request begins.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Refusal, Request, VERSION};

/// The beginning of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequestHeader {
    /// [`VERSION`].
    pub version: u32,
    /// 0.
    pub reserved: u32,
}

impl RequestHeader {
    /// The header of this version.
    pub const CURRENT: Self = Self { version: VERSION, reserved: 0 };
    /// The header of a tool that wants to know the driver's version before all; for [`Request::Version`] alone.
    pub const ANY_VERSION: Self = Self { version: 0, reserved: 0 };
}

/// A structure that is the whole input of a request.
pub trait Ask: FromBytes + IntoBytes + Immutable + KnownLayout + Sized {
    /// What it asks for.
    const REQUEST: Request;
    /// The least room for an answer.
    const LEAST_ROOM: usize;

    /// The structure in these bytes, whose header and length are right. Its fields are not checked.
    ///
    /// # Errors
    /// What is wrong with header or length.
    fn in_bytes(input: &[u8]) -> Result<&Self, Refusal> {
        let needed = size_of::<Self>();
        let Ok((header, _)) = RequestHeader::read_from_prefix(input) else { return Err(Refusal::InputTooShort { needed }) };
        let any = Self::REQUEST == Request::Version && header == RequestHeader::ANY_VERSION;
        if header.version != VERSION && !any {
            return Err(Refusal::Version { asked: header.version });
        }
        if header.reserved != 0 {
            return Err(Refusal::Reserved);
        }
        match input.len() {
            length if length < needed => Err(Refusal::InputTooShort { needed }),
            length if length > needed => Err(Refusal::InputTooLong { needed }),
            // The system's buffer is aligned to 16 bytes.
            _ => Self::ref_from_bytes(input).map_err(|_| Refusal::Field("alignment")),
        }
    }

    /// Whether there is room for the least that can be answered.
    ///
    /// # Errors
    /// If not, how much is needed.
    fn has_room(room: usize) -> Result<(), Refusal> {
        if room < Self::LEAST_ROOM { Err(Refusal::OutputTooShort { needed: Self::LEAST_ROOM }) } else { Ok(()) }
    }
}
