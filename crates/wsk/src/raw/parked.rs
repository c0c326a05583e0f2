//! Operations whose call failed and whose IRP never came back (L35): kept in a list until it comes after all, or until nobody
//! can bring it any more.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};

use crate::sync::SpinLock;

/// The link of a parked operation; its first field.
pub(crate) struct Parked {
    next: UnsafeCell<*mut Parked>,
    /// Makes the reclaimer its owner; called under the list's lock. `false` if its completion has just come.
    claim: unsafe fn(NonNull<Parked>) -> bool,
    /// Frees what was claimed.
    free: unsafe fn(NonNull<Parked>),
}

impl Parked {
    pub(super) const fn new(claim: unsafe fn(NonNull<Parked>) -> bool, free: unsafe fn(NonNull<Parked>)) -> Self {
        Self { next: UnsafeCell::new(null_mut()), claim, free }
    }
}

struct Head(*mut Parked);

// SAFETY: what it points to may be freed by any thread.
unsafe impl Send for Head {}

/// The parked operations of one socket or binding.
pub(crate) struct ParkedList(SpinLock<Head>);

impl ParkedList {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(Head(null_mut())))
    }

    /// # Safety
    /// `node` is in no list, and is removed before it is freed.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) unsafe fn add(&self, node: NonNull<Parked>) {
        let mut head = self.0.lock();
        // SAFETY: live, and linked by this list alone.
        unsafe { *node.as_ref().next.get() = head.0 };
        head.0 = node.as_ptr();
    }

    /// Takes a node out, if it is in.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) fn remove(&self, node: NonNull<Parked>) {
        let mut head = self.0.lock();
        let mut link: *mut *mut Parked = &raw mut head.0;
        // SAFETY: `link` is the head or a listed node's link, valid under the lock.
        while let Some(listed) = NonNull::new(unsafe { *link }) {
            // SAFETY: a listed node is live.
            let next = unsafe { listed.as_ref() }.next.get();
            if listed == node {
                // SAFETY: both links are valid under the lock.
                unsafe { *link = *next };
                return;
            }
            link = next;
        }
    }

    /// Frees everything in it: the provider is done with the socket, or with us.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(super) fn reclaim(&self) {
        while let Some(node) = self.pop() {
            // SAFETY: claimed by `pop`, so ours.
            let free = unsafe { node.as_ref() }.free;
            // SAFETY: as above.
            unsafe { free(node) };
        }
    }

    /// The next node that could be claimed. Claiming happens under the lock: a completion that comes now waits for the
    /// lock in `remove` before it frees the node.
    fn pop(&self) -> Option<NonNull<Parked>> {
        let mut head = self.0.lock();
        while let Some(node) = NonNull::new(head.0) {
            // SAFETY: a listed node is live.
            let parked = unsafe { node.as_ref() };
            // SAFETY: linked by this list alone.
            head.0 = unsafe { *parked.next.get() };
            // SAFETY: under the lock, as it has to be.
            if unsafe { (parked.claim)(node) } {
                return Some(node);
            }
        }
        None
    }
}
