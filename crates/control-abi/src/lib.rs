//! IOCTL codes and wire structures between `wskclient.sys` and its tools.
//!
//! Fixed widths, no padding, no pointers. A request begins with a [`RequestHeader`]; METHOD_BUFFERED throughout, on a device
//! that only SYSTEM and administrators can open. Versions are compared for equality: driver and tools ship together.
#![no_std]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The name of the device in the object manager.
pub const DEVICE_NAME: &str = r"\Device\WskClient";
/// The link by which programs open it, as `\\.\WskClient`.
pub const LINK_NAME: &str = r"\DosDevices\WskClient";
/// The version of this protocol.
pub const VERSION: u32 = 1;

const FILE_DEVICE_NETWORK: u32 = 0x12;
const METHOD_BUFFERED: u32 = 0;
const FILE_READ_ACCESS: u32 = 1;
const FILE_WRITE_ACCESS: u32 = 2;

/// CTL_CODE of the DDK.
const fn control_code(function: u32, access: u32) -> u32 {
    FILE_DEVICE_NETWORK << 16 | access << 14 | function << 2 | METHOD_BUFFERED
}

/// What a tool can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Request {
    /// [`State`] comes back.
    State = control_code(0x800, FILE_READ_ACCESS),
    /// Deregister from WSK, without unloading; returns once every connection and the binding are gone.
    Deactivate = control_code(0x801, FILE_READ_ACCESS | FILE_WRITE_ACCESS),
    /// Register with WSK again.
    Activate = control_code(0x802, FILE_READ_ACCESS | FILE_WRITE_ACCESS),
}

impl Request {
    /// The request with this code, if there is one.
    pub const fn from_code(code: u32) -> Option<Self> {
        const ALL: [Request; 3] = [Request::State, Request::Deactivate, Request::Activate];
        let mut index = 0;
        while index < ALL.len() {
            if ALL[index] as u32 == code {
                return Some(ALL[index]);
            }
            index += 1;
        }
        None
    }
}

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

    /// Reads and checks the header of a request.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn check(request: &[u8]) -> Result<(), HeaderError> {
        match Self::read_from_prefix(request) {
            Err(_) => Err(HeaderError::TooShort),
            Ok((header, _)) if header.version != VERSION => Err(HeaderError::Version(header.version)),
            Ok((_, rest)) if !rest.is_empty() => Err(HeaderError::TooLong),
            Ok((header, _)) if header.reserved != 0 => Err(HeaderError::Reserved),
            Ok(_) => Ok(()),
        }
    }
}

/// What is wrong with the header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// There are fewer bytes than a header has.
    TooShort,
    /// There are more bytes than the request has.
    TooLong,
    /// Another version than [`VERSION`].
    Version(u32),
    /// A reserved field is not 0.
    Reserved,
}

/// Where the registration with WSK stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Registration {
    /// Not registered: deactivated.
    Out = 0,
    /// Being registered.
    Registering = 1,
    /// Registered.
    In = 2,
    /// Being deregistered.
    Leaving = 3,
}

/// Whether the binding admits new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Gate {
    /// There is no binding.
    None = 0,
    /// It admits new work.
    Open = 1,
    /// It is being taken away.
    Shut = 2,
}

/// The state of the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// A [`Registration`].
    pub registration: u32,
    /// A [`Gate`].
    pub gate: u32,
    /// Provider calls in flight on the binding.
    pub in_flight: u32,
    /// Functions of its sockets that are being entered.
    pub inside: u32,
    /// Open sockets of the binding.
    pub sockets: u32,
    /// Counts the attachments since load.
    pub generation: u64,
    /// What services did since load.
    pub totals: Totals,
}

/// What services did since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Totals {
    /// Connections that are being served.
    pub connections: u64,
    /// Connections accepted, those refused not counted.
    pub accepted: u64,
    /// Connections refused because a limit was reached.
    pub refused: u64,
    /// Connections that ended with an error: reset, no memory, taken away.
    pub failed: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes of nonpaged pool that connections hold now.
    pub held: u64,
    /// The most that they held, service by service: the sum of what each held at most.
    pub most_held: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_the_ddk_macro_makes() {
        assert_eq!(Request::State as u32, 0x0012_6000);
        assert_eq!(Request::Deactivate as u32, 0x0012_e004);
        assert_eq!(Request::from_code(0x0012_e008), Some(Request::Activate));
        assert_eq!(Request::from_code(0x0012_e00c), None);
    }

    #[test]
    fn every_fault_of_a_header_is_told() {
        let good = RequestHeader::CURRENT;
        assert_eq!(RequestHeader::check(good.as_bytes()), Ok(()));
        assert_eq!(RequestHeader::check(&good.as_bytes()[..7]), Err(HeaderError::TooShort));
        assert_eq!(RequestHeader::check(&[good.as_bytes(), &[0]].concat()), Err(HeaderError::TooLong));
        let other = RequestHeader { version: 9, reserved: 0 };
        assert_eq!(RequestHeader::check(other.as_bytes()), Err(HeaderError::Version(9)));
        let reserved = RequestHeader { reserved: 1, ..good };
        assert_eq!(RequestHeader::check(reserved.as_bytes()), Err(HeaderError::Reserved));
    }

    extern crate alloc;
}
