//! Received data in the provider's own memory.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use wsk_sys::{WSK_BUF, WSK_DATA_INDICATION};

use super::chunks::{self, Chunks};
use super::retained::Kept;
use super::socket::Kind;
use crate::Buffer;

/// Bytes of a stream, in the memory in which they came: a
/// [`WSK_DATA_INDICATION`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/ns-wsk-_wsk_data_indication) list that is
/// kept. Dropping it gives it back, as [`WskRelease`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_release_data_indication_list).
///
/// The memory belongs to the network: it is to be given back soon, and the socket's close, and the end of the binding, wait for it.
///
/// # Invariants
/// `kept` is a list of WSK_DATA_INDICATION, all of which is mapped; `length` is the sum of what it describes.
pub struct Indication {
    kept: Kept,
    length: usize,
}

impl Indication {
    /// What the receive event of a stream brought.
    ///
    /// # Errors
    /// Not all of it can be mapped now, and it can be tried again; or it is of another kind.
    pub(crate) fn of_stream(kept: Kept) -> Result<Self, Kept> {
        if !matches!(kept.socket().kind(), Kind::Connection | Kind::Stream) {
            return Err(kept);
        }
        // SAFETY: kept, so live; and this is what connections keep.
        let parts = unsafe { Parts::of(&kept) };
        let mut length: usize = 0;
        for part in parts {
            // SAFETY: kept, so live; nobody else has it.
            match unsafe { chunks::map(&part) } {
                Ok(bytes) => length = length.saturating_add(bytes),
                Err(_) => return Err(kept),
            }
        }
        // INVARIANT: just mapped and counted.
        Ok(Self { kept, length })
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, in pieces that are not empty.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> + Clone {
        // SAFETY: kept as long as `self` is borrowed; nobody writes there; mapped by the invariant.
        self.parts().flat_map(|part| unsafe { Chunks::new(&part) })
    }

    /// Copies what there is from the byte `from` on to the end of what is in the buffer, as far as there is room, and says how many
    /// bytes that was.
    pub fn copy_to(&self, from: usize, buffer: &mut Buffer) -> usize {
        let (mut skip, mut copied) = (from, 0);
        for chunk in self.chunks() {
            let rest = chunk.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(chunk.len());
            let taken = buffer.append(rest);
            copied += taken;
            if taken < rest.len() {
                break;
            }
        }
        copied
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        // SAFETY: kept as long as `self` is borrowed, and of this type by the invariant.
        unsafe { Parts::of(&self.kept) }
    }

    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// See [`Kept::hand_over`].
    pub(super) fn hand_over(self) {
        self.kept.hand_over();
    }
}

impl fmt::Debug for Indication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Indication({})", self.length)
    }
}

/// The WSK_BUFs of a list.
///
/// # Invariants
/// What it points to is live for `'a`.
#[derive(Clone)]
pub(super) struct Parts<'a> {
    next: *const WSK_DATA_INDICATION,
    list: PhantomData<&'a WSK_DATA_INDICATION>,
}

// SAFETY: the list is only read.
unsafe impl Send for Parts<'_> {}
// SAFETY: as above.
unsafe impl Sync for Parts<'_> {}

impl Parts<'_> {
    /// # Safety
    /// It is a list of WSK_DATA_INDICATION, kept for the lifetime, which the caller chooses.
    unsafe fn of(kept: &Kept) -> Self {
        let first: NonNull<WSK_DATA_INDICATION> = kept.list().cast();
        // INVARIANT: as the caller promises.
        Self { next: first.as_ptr(), list: PhantomData }
    }
}

impl Iterator for Parts<'_> {
    type Item = WSK_BUF;

    fn next(&mut self) -> Option<WSK_BUF> {
        // SAFETY: null, or live by the invariant.
        let indication = unsafe { self.next.as_ref() }?;
        self.next = indication.Next;
        Some(indication.Buffer)
    }
}
