//! SOCKADDRs to and from the standard library's, and the host's errors as the NTSTATUS that a client expects.

#![allow(unsafe_code)] // Addresses come and go by pointer.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use nt_abi::NtStatus;
use nt_abi::wsk::{AF_INET, AF_INET6, SOCKADDR, SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_STORAGE_SIZE};
use rustix::io::Errno;

use super::transport::Family;

/// The family that an AF_* number names.
pub(super) fn family(number: u16) -> Option<Family> {
    match number {
        AF_INET => Some(Family::V4),
        AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

/// Reads an address of a family.
///
/// # Safety
/// `at` is null or points to a SOCKADDR of the family that it says.
pub(super) unsafe fn read(at: *const SOCKADDR, expected: Family) -> Result<SocketAddr, NtStatus> {
    if at.is_null() {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    // SAFETY: as the caller promises.
    let found = family(unsafe { (*at).sa_family });
    if found != Some(expected) {
        return Err(NtStatus::INVALID_ADDRESS);
    }
    if expected == Family::V4 {
        // SAFETY: as the caller promises, and the family was just seen.
        let v4 = unsafe { at.cast::<SOCKADDR_IN>().read_unaligned() };
        return Ok(SocketAddrV4::new(Ipv4Addr::from(v4.sin_addr), u16::from_be(v4.sin_port)).into());
    }
    // SAFETY: as above.
    let v6 = unsafe { at.cast::<SOCKADDR_IN6>().read_unaligned() };
    let address = Ipv6Addr::from(v6.sin6_addr);
    Ok(SocketAddrV6::new(address, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
}

/// Reads an address of any family out of so many bytes.
///
/// # Safety
/// `at` is null or points to `length` bytes.
pub(super) unsafe fn read_sized(at: *const SOCKADDR, length: u32) -> Result<SocketAddr, NtStatus> {
    if at.is_null() || length < size_of::<u16>() as u32 || length > SOCKADDR_STORAGE_SIZE {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    // SAFETY: as the caller promises; the family comes first.
    let family = family(unsafe { at.cast::<u16>().read_unaligned() }).ok_or(NtStatus::INVALID_PARAMETER)?;
    let size = if family == Family::V4 { size_of::<SOCKADDR_IN>() } else { size_of::<SOCKADDR_IN6>() };
    if (length as usize) < size {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    // SAFETY: as the caller promises, and it is long enough.
    unsafe { read(at, family) }
}

/// An address in the client's form.
#[repr(C)]
pub(super) union Sockaddr {
    any: SOCKADDR,
    v4: SOCKADDR_IN,
    v6: SOCKADDR_IN6,
}

impl Sockaddr {
    /// Of a socket of `family`: on an IPv6 socket an IPv4 address appears mapped.
    pub(super) fn of(address: SocketAddr, family: Family) -> Self {
        match (address, family) {
            (SocketAddr::V4(v4), Family::V4) => Self {
                v4: SOCKADDR_IN {
                    sin_family: AF_INET,
                    sin_port: v4.port().to_be(),
                    sin_addr: v4.ip().octets(),
                    sin_zero: [0; 8],
                },
            },
            (SocketAddr::V4(v4), Family::V6) => {
                Self::of(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(), family)
            }
            (SocketAddr::V6(v6), _) => Self {
                v6: SOCKADDR_IN6 {
                    sin6_family: AF_INET6,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: v6.ip().octets(),
                    sin6_scope_id: v6.scope_id(),
                },
            },
        }
    }

    /// Where it is.
    pub(super) fn as_mut_ptr(&mut self) -> *mut SOCKADDR {
        (&raw mut *self).cast()
    }
}

/// Writes an address in the form of a socket of `family`.
///
/// # Safety
/// `to` is null or has room for an address of the family.
pub(super) unsafe fn write(to: *mut SOCKADDR, address: SocketAddr, family: Family) {
    if to.is_null() {
        return;
    }
    let size = if family == Family::V4 { size_of::<SOCKADDR_IN>() } else { size_of::<SOCKADDR_IN6>() };
    let mut form = Sockaddr::of(address, family);
    // SAFETY: as the caller promises; the source has the size of the larger form.
    unsafe { std::ptr::copy_nonoverlapping(form.as_mut_ptr().cast::<u8>(), to.cast::<u8>(), size) };
}

/// The host's error in NT's words.
pub(super) fn status(error: &io::Error) -> NtStatus {
    let Some(errno) = Errno::from_io_error(error) else { return NtStatus::UNSUCCESSFUL };
    match errno {
        Errno::ADDRINUSE => NtStatus::ADDRESS_ALREADY_EXISTS,
        Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => NtStatus::INVALID_ADDRESS_COMPONENT,
        Errno::ACCESS | Errno::PERM => NtStatus::ACCESS_DENIED,
        Errno::CONNREFUSED => NtStatus::CONNECTION_REFUSED,
        Errno::CONNRESET => NtStatus::CONNECTION_RESET,
        Errno::PIPE | Errno::CONNABORTED => NtStatus::CONNECTION_ABORTED,
        Errno::NOTCONN => NtStatus::CONNECTION_INVALID,
        Errno::ISCONN => NtStatus::CONNECTION_ACTIVE,
        Errno::TIMEDOUT => NtStatus::IO_TIMEOUT,
        Errno::NETUNREACH => NtStatus::NETWORK_UNREACHABLE,
        Errno::HOSTUNREACH => NtStatus::HOST_UNREACHABLE,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => NtStatus::INSUFFICIENT_RESOURCES,
        Errno::INVAL => NtStatus::INVALID_PARAMETER,
        Errno::MSGSIZE => NtStatus::INVALID_BUFFER_SIZE,
        Errno::OPNOTSUPP | Errno::NOPROTOOPT => NtStatus::NOT_SUPPORTED,
        _ => NtStatus::UNSUCCESSFUL,
    }
}
