//! Nonpaged memory with its MDL, and addresses in the form of Windows.

#![allow(unsafe_code)] // It does what drivers do.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr::null_mut;

use nt_abi::kernel::*;
use nt_abi::wsk::*;
use nt_abi::{MDL, POOL_FLAG_NON_PAGED};

use super::TAG;

/// Nonpaged memory with an MDL.
pub struct Memory {
    pub at: *mut u8,
    pub size: usize,
    pub mdl: *mut MDL,
}

// SAFETY: plain memory.
unsafe impl Send for Memory {}

impl Memory {
    pub fn new(size: usize) -> Self {
        // SAFETY: any size; the MDL describes the block.
        unsafe {
            let at = ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG).cast::<u8>();
            assert!(!at.is_null());
            let mdl = IoAllocateMdl(at.cast(), size as u32, 0, 0, null_mut());
            MmBuildMdlForNonPagedPool(mdl);
            Self { at, size, mdl }
        }
    }

    pub fn with(bytes: &[u8]) -> Self {
        let memory = Self::new(bytes.len().max(1));
        memory.bytes()[..bytes.len()].copy_from_slice(bytes);
        memory
    }

    #[allow(clippy::mut_from_ref)] // As with a driver's buffer: who uses it when is the driver's business.
    pub fn bytes(&self) -> &mut [u8] {
        // SAFETY: the block is this large.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.size) }
    }

    pub fn buf(&self, offset: usize, length: usize) -> WSK_BUF {
        WSK_BUF { Mdl: self.mdl, Offset: offset as u32, Length: length }
    }

    pub fn all(&self) -> WSK_BUF {
        self.buf(0, self.size)
    }

    /// Puts another MDL behind this one.
    pub fn chain(&self, next: &Memory) {
        // SAFETY: both MDLs are ours.
        unsafe { (*self.mdl).Next = next.mdl };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: made in `new`.
        unsafe {
            IoFreeMdl(self.mdl);
            ExFreePoolWithTag(self.at.cast(), TAG);
        }
    }
}

// Addresses.

#[repr(C)]
pub union Address {
    pub any: SOCKADDR,
    pub v4: SOCKADDR_IN,
    pub v6: SOCKADDR_IN6,
}

pub fn address(of: SocketAddr) -> Address {
    match of {
        SocketAddr::V4(v4) => Address {
            v4: SOCKADDR_IN { sin_family: AF_INET, sin_port: v4.port().to_be(), sin_addr: v4.ip().octets(), sin_zero: [0; 8] },
        },
        SocketAddr::V6(v6) => Address {
            v6: SOCKADDR_IN6 {
                sin6_family: AF_INET6,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: v6.ip().octets(),
                sin6_scope_id: 0,
            },
        },
    }
}

impl Address {
    pub fn at(&mut self) -> *mut SOCKADDR {
        (&raw mut *self).cast()
    }

    pub fn read(&self) -> SocketAddr {
        // SAFETY: the family says which member is there; all members are plain numbers.
        unsafe {
            match self.any.sa_family {
                AF_INET => SocketAddrV4::new(self.v4.sin_addr.into(), u16::from_be(self.v4.sin_port)).into(),
                AF_INET6 => SocketAddrV6::new(self.v6.sin6_addr.into(), u16::from_be(self.v6.sin6_port), 0, 0).into(),
                other => panic!("family {other}"),
            }
        }
    }
}

pub fn any(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
