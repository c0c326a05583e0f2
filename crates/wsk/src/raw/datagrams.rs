//! Received datagrams in the provider's own memory.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::fmt;
use core::net::SocketAddr;
use core::ptr::NonNull;

use wsk_cmsg::{Control, Messages};
use wsk_sys::{WSK_BUF, WSK_DATAGRAM_INDICATION};

use super::address::RawAddress;
use super::chunks::{self, Chunks};
use super::retained::{Kept, Named};
use super::socket::Kind;
use crate::{Buffer, Cast};

/// Datagrams in the memory in which they came: a
/// [`WSK_DATAGRAM_INDICATION`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/ns-wsk-_wsk_datagram_indication) list
/// that is kept. Dropping it gives the whole list back, as
/// [`WskRelease`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_release_datagram_indication_list).
///
/// The memory belongs to the network: it is to be given back soon, and the socket's close, and the end of the binding, wait for it.
///
/// # Invariants
/// `kept` is a list of WSK_DATAGRAM_INDICATION, all of which is mapped.
pub struct Datagrams {
    kept: Kept,
}

/// One of [`Datagrams`].
///
/// # Invariants
/// It is in a list that is kept for `'a`, and mapped.
#[derive(Clone, Copy)]
pub struct Datagram<'a>(&'a WSK_DATAGRAM_INDICATION);

// SAFETY: what it points to is only read, and kept for its lifetime.
unsafe impl Send for Datagram<'_> {}
// SAFETY: as above.
unsafe impl Sync for Datagram<'_> {}

impl Datagrams {
    /// What the receive event of a datagram socket brought.
    ///
    /// # Errors
    /// Not all of it can be mapped now, and it can be tried again; or it is of another kind.
    pub(crate) fn new(kept: Kept) -> Result<Self, Kept> {
        if kept.socket().kind() != Kind::Datagram {
            return Err(kept);
        }
        // SAFETY: kept, so live; and this is what datagram sockets keep.
        for indication in unsafe { List::of(kept.list().cast().as_ptr()) } {
            // SAFETY: kept, so live; nobody else has it.
            if unsafe { chunks::map(&indication.Buffer) }.is_err() {
                return Err(kept);
            }
        }
        // INVARIANT: just mapped.
        Ok(Self { kept })
    }

    /// The datagrams, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> + Clone + Send {
        // SAFETY: kept as long as `self` is borrowed, and of this type by the invariant.
        let list: List<'_> = unsafe { List::of(self.kept.list().cast().as_ptr()) };
        // INVARIANT: kept as long as `self` is borrowed, and mapped.
        list.map(Datagram)
    }

    /// How they were addressed: the provider says it of all of them.
    pub fn cast(&self) -> Cast {
        Cast::of_flags(self.kept.flags())
    }

    /// Where the bytes of one of them are.
    pub(super) fn description(&self, number: usize) -> Option<WSK_BUF> {
        self.iter().nth(number).map(|datagram| datagram.0.Buffer)
    }

    pub(super) fn named(&self) -> Named {
        self.kept.named()
    }

    /// See [`Kept::hand_over`].
    pub(super) fn hand_over(self) {
        self.kept.hand_over();
    }
}

impl<'a> Datagram<'a> {
    /// The sender, as for [`Received::from`](crate::Received::from); `None` if it is of no family that is known.
    pub fn from(&self) -> Option<SocketAddr> {
        // SAFETY: null, or the address of a datagram that is kept.
        unsafe { RawAddress::read(self.0.RemoteAddress) }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.Buffer.Length as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, in pieces that are not empty.
    pub fn chunks(&self) -> Chunks<'a> {
        // SAFETY: kept for the lifetime, and mapped, by the invariant; nobody writes there.
        unsafe { Chunks::new(&self.0.Buffer) }
    }

    /// Copies it to the end of what is in the buffer, as far as there is room, and says how many bytes that was.
    pub fn copy_to(&self, buffer: &mut Buffer) -> usize {
        let mut copied = 0;
        for chunk in self.chunks() {
            let taken = buffer.append(chunk);
            copied += taken;
            if taken < chunk.len() {
                break;
            }
        }
        copied
    }

    /// What came with it, if options have asked for it.
    pub fn control(&self) -> Control {
        Control::parse(self.control_bytes())
    }

    /// The same, message by message, also those that are not known here.
    pub fn messages(&self) -> Messages<'a> {
        Messages::new(self.control_bytes())
    }

    fn control_bytes(&self) -> &'a [u8] {
        let (start, length) = (NonNull::new(self.0.ControlInfo), self.0.ControlInfoLength as usize);
        // SAFETY: so many bytes of the list, which is kept for the lifetime; they are only read.
        start.map_or(&[], |start| unsafe { core::slice::from_raw_parts(start.cast().as_ptr(), length) })
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datagram({} from {:?})", self.len(), self.from())
    }
}

/// Datagrams and bytes of a list that is being indicated.
///
/// # Safety
/// It is live.
pub(super) unsafe fn count(list: NonNull<WSK_DATAGRAM_INDICATION>) -> (u32, usize) {
    // SAFETY: as the caller promises.
    let list: List<'_> = unsafe { List::of(list.as_ptr()) };
    list.fold((0, 0), |(number, bytes), one| (number.saturating_add(1), bytes.saturating_add(one.Buffer.Length as usize)))
}

/// The elements of a list.
///
/// # Invariants
/// What it points to is live for `'a`.
#[derive(Clone)]
struct List<'a>(Option<&'a WSK_DATAGRAM_INDICATION>);

// SAFETY: the list is only read.
unsafe impl Send for List<'_> {}
// SAFETY: as above.
unsafe impl Sync for List<'_> {}

impl List<'_> {
    /// # Safety
    /// It is a list that is live for the lifetime, which the caller chooses.
    unsafe fn of(first: *const WSK_DATAGRAM_INDICATION) -> Self {
        // SAFETY: null, or as the caller promises.
        // INVARIANT: as the caller promises.
        Self(unsafe { first.as_ref() })
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a WSK_DATAGRAM_INDICATION;

    fn next(&mut self) -> Option<Self::Item> {
        let indication = self.0?;
        // SAFETY: null, or the next of a list that is live, by the invariant.
        self.0 = unsafe { indication.Next.as_ref() };
        Some(indication)
    }
}
