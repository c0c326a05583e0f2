//! Security descriptors for sockets: who may share an address with a socket of ours.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use allocator_api2::vec::Vec;

use crate::raw::NtStatus;
use crate::raw::calls::{Call, control};
use crate::raw::security::CachedHandle;
use crate::raw::socket::Socket;
use crate::sync::{OutOfMemory, Pool, Shared, tag, try_push};
use crate::tcp::finish;
use crate::{Binding, IoError, TcpSocket};

/// SE_SELF_RELATIVE.
const SELF_RELATIVE: u16 = 0x8000;
/// Where the offsets of owner, group, SACL and DACL are, and how long the whole head is.
const OWNER: usize = 4;
const GROUP: usize = 8;
const SACL: usize = 12;
const DACL: usize = 16;
const HEAD: usize = 20;
/// The kinds of entries whose mask is followed by a SID and nothing else: allowed, denied, audit, mandatory label.
const PLAIN_ENTRIES: [u8; 4] = [0, 1, 2, 0x11];

/// A security descriptor of which the provider keeps a copy, for any number of sockets of the same binding. When the binding
/// ends, or this value is dropped, the copy is given back, as soon as no operation uses it any more.
///
/// [WSK_CACHE_SD](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-cache-sd)
pub struct SecurityDescriptor(CachedHandle);

impl SecurityDescriptor {
    /// Has a copy made of a descriptor in self-relative form, with entries of the usual kinds (allowed, denied, audit).
    /// [`WSK_CACHE_SD`](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-cache-sd)
    ///
    /// # Errors
    /// STATUS_INVALID_PARAMETER for bytes that are no such descriptor; detach has begun, no memory, or the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn cache(binding: &Binding, self_relative: &[u8]) -> Result<Self, IoError> {
        let descriptor = Relative::new(self_relative)?;
        CachedHandle::new(&binding.0, &descriptor).map(Self)
    }
}

/// Puts a descriptor on a socket that is not bound yet.
pub(crate) async fn secure(socket: &Shared<Socket>, descriptor: &SecurityDescriptor) -> Result<(), IoError> {
    let in_use = descriptor.0.begin_use(socket.shell())?;
    finish(socket, control::secure(Call::begin(socket)?, in_use)).await.map(|_| ())
}

impl TcpSocket {
    /// Says who may share its address (SO_WSK_SECURITY); before it is bound.
    /// [`SO_WSK_SECURITY`](https://learn.microsoft.com/windows-hardware/drivers/network/so-wsk-security)
    ///
    /// # Errors
    /// [`IoError::Detached`], also for a descriptor of another binding; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn set_security(&self, descriptor: &SecurityDescriptor) -> Result<(), IoError> {
        secure(self.socket(), descriptor).await
    }
}

/// A self-relative descriptor that holds together.
///
/// # Invariants
/// Owner, group and the lists lie within the bytes, and so do the entries of the lists and their SIDs.
pub(crate) struct Relative(Vec<u8, Pool<{ tag(b"WskY") }>>);

impl Relative {
    fn new(bytes: &[u8]) -> Result<Self, IoError> {
        if !Bytes(bytes).is_descriptor() {
            return Err(IoError::Provider(NtStatus::INVALID_PARAMETER));
        }
        let mut copy = Vec::new_in(Pool);
        copy.try_reserve_exact(bytes.len()).map_err(OutOfMemory::from)?;
        for byte in bytes {
            try_push(&mut copy, *byte).map_err(IoError::from)?;
        }
        // INVARIANT: just checked.
        Ok(Self(copy))
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }
}

/// Bytes that may be a descriptor, or a part of one.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn is_descriptor(self) -> bool {
        let head = self.0.len() >= HEAD && self.byte(0) == Some(1);
        let relative = self.half(2).is_some_and(|control| control & SELF_RELATIVE != 0);
        let parts = [OWNER, GROUP].iter().all(|at| self.part(*at, Self::is_sid))
            && [SACL, DACL].iter().all(|at| self.part(*at, Self::is_list));
        head && relative && parts
    }

    /// Whether what the offset at `at` leads to is as it should be; none is.
    fn part(self, at: usize, is_fine: impl Fn(Bytes<'a>) -> bool) -> bool {
        match self.offset(at) {
            Some(0) => true,
            Some(offset) if offset >= HEAD && offset.is_multiple_of(4) => self.from(offset).is_some_and(is_fine),
            _ => false,
        }
    }

    /// A SID at the beginning.
    fn is_sid(self) -> bool {
        let length = self.byte(1).map(|count| 8 + 4 * usize::from(count));
        self.byte(0) == Some(1)
            && self.byte(1).is_some_and(|count| count <= 15)
            && length.is_some_and(|length| length <= self.0.len())
    }

    /// An ACL at the beginning, with as many entries as it says.
    fn is_list(self) -> bool {
        let (Some(2..=4), Some(size), Some(count)) = (self.byte(0), self.half(2), self.half(4)) else { return false };
        let Some(mut rest) = self.0.get(..size.into()).and_then(|list| Bytes(list).from(8)) else { return false };
        (0..count).all(|_| {
            let entry = rest.half(2).and_then(|size| rest.0.get(..size.into()));
            let next = rest.half(2).and_then(|size| rest.from(size.into()));
            let fine = entry.is_some_and(|entry| Bytes(entry).is_entry());
            rest = next.unwrap_or(Bytes(&[]));
            fine
        })
    }

    /// All of it an entry of an ACL.
    fn is_entry(self) -> bool {
        self.byte(0).is_some_and(|kind| PLAIN_ENTRIES.contains(&kind))
            && self.0.len().is_multiple_of(4)
            && self.from(8).is_some_and(Self::is_sid)
    }

    fn from(self, at: usize) -> Option<Self> {
        self.0.get(at..).map(Bytes)
    }

    fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn half(self, at: usize) -> Option<u16> {
        self.0.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
    }

    fn offset(self, at: usize) -> Option<usize> {
        self.0.get(at..)?.first_chunk().copied().map(|offset| u32::from_le_bytes(offset) as usize)
    }
}
