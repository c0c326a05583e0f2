//! A list of addresses that the provider has made: read with checks, and given back at PASSIVE_LEVEL before detach is completed
//! (L21).
//!
//! What giving back needs is there before the list is asked for: a node for the passive lane. So a list can come at
//! DISPATCH_LEVEL, for a future that is gone, and goes back all the same.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ptr::{NonNull, null_mut};

use allocator_api2::boxed::Box;
use wsk_sys::ADDRINFOEXW;

use super::address::RawAddress;
use super::binding::{DrainRight, Shell};
use super::calls;
use super::wide::Text;
use crate::sync::{Lane, Node, OutOfMemory, Passive, Pool, Shared, tag};

type GivenPool = Pool<{ tag(b"WskL") }>;

/// How long a list may be that is believed, and a name in it, in units.
const MOST_ADDRESSES: usize = 256;
const LONGEST_NAME: usize = 1025;

/// The node comes first: the node of a queue is the whole.
#[repr(C)]
struct Held {
    node: Node,
    list: *mut ADDRINFOEXW,
    right: Option<DrainRight>,
}

/// What a list will need, made before it is asked for.
pub(crate) struct Place(Box<Held, GivenPool>);

// SAFETY: there is no list yet.
unsafe impl Send for Place {}

/// A list that is to be given back. Dropping it has that done on the passive lane.
///
/// # Invariants
/// `list` is one that the provider made and does not have back; the right is there.
pub(crate) struct GivenList(Option<Box<Held, GivenPool>>);

// SAFETY: the list belongs to nobody else, and has no thread.
unsafe impl Send for GivenList {}

impl Place {
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        let held = Held { node: Node::new(give_back), list: null_mut(), right: None };
        Ok(Self(Box::try_new_in(held, GivenPool::default())?))
    }

    /// The provider has made a list. One that comes for a call that failed (L35), when the binding has ended, cannot be given
    /// back any more: no function of the provider's may be entered then (L20).
    pub(crate) fn take(mut self, list: NonNull<ADDRINFOEXW>, shell: &Shared<Shell>) -> Option<GivenList> {
        self.0.list = list.as_ptr();
        self.0.right = Some(DrainRight::unless_ended(shell)?);
        // INVARIANT: just stored.
        Some(GivenList(Some(self.0)))
    }
}

impl GivenList {
    /// The entries, as far as they make sense.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut next = self.0.as_ref().map_or(null_mut(), |held| held.list);
        core::iter::from_fn(move || {
            // SAFETY: null, or an entry of the list, which the provider keeps until it has it back.
            let entry = unsafe { next.as_ref() }?;
            next = entry.ai_next;
            Some(Entry(entry))
        })
        .take(MOST_ADDRESSES)
    }

    /// Gives it back now.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn give_back(mut self, _: Passive) {
        if let Some(held) = self.0.take() {
            held.give_back();
        }
    }
}

impl Drop for GivenList {
    fn drop(&mut self) {
        let Some(held) = self.0.take() else { return };
        let Some(executor) = held.right.as_ref().map(|right| right.shell().executor.clone()) else { return };
        let node = Box::into_raw(held).cast::<Node>();
        // SAFETY: a box is not null.
        let node = unsafe { NonNull::new_unchecked(node) };
        // SAFETY: in no queue; `give_back` takes the box. The right keeps the binding, and so the executor, until then.
        unsafe { executor.push(Lane::Passive, node) };
    }
}

impl Held {
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn give_back(&self) {
        if let Some(right) = &self.right {
            // SAFETY: the provider's list by the invariant, and not used any more.
            unsafe { calls::resolve::free(right, self.list) };
        }
    }
}

/// # Safety
/// Queued by the drop of a [`GivenList`].
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe fn give_back(node: NonNull<Node>) {
    // SAFETY: the box that was given away.
    let held = unsafe { Box::from_raw_in(node.cast::<Held>().as_ptr(), GivenPool::default()) };
    held.give_back();
}

/// An entry of a list.
pub(crate) struct Entry<'a>(&'a ADDRINFOEXW);

impl Entry<'_> {
    /// Its address, if it is one of a family that we know, and whole.
    pub(crate) fn address(&self) -> Option<core::net::SocketAddr> {
        let (start, length) = (self.0.ai_addr.cast_const().cast::<u8>(), self.0.ai_addrlen);
        if start.is_null() || length < size_of::<u16>() {
            return None;
        }
        // SAFETY: the provider says that there are so many bytes.
        let bytes = unsafe { core::slice::from_raw_parts(start, length.min(size_of::<RawAddress>())) };
        RawAddress::from_bytes(bytes)
    }

    /// The canonical name, which the first entry may have.
    pub(crate) fn canonical_name(&self) -> Result<Option<Text>, OutOfMemory> {
        let start = self.0.ai_canonname.cast_const();
        if start.is_null() {
            return Ok(None);
        }
        // SAFETY: a string that ends with a NUL, of the provider's; nothing behind the NUL is read.
        let units = (0..LONGEST_NAME).map(|at| unsafe { start.add(at).read() });
        Text::new(units.take_while(|unit| *unit != 0)).map(Some)
    }
}
