//! A security descriptor that the provider keeps: cached once, used for any number of sockets, and given back before detach is
//! completed (L21).
//!
//! It is *used* by operations that carry its address; the last one out after the owner, or the drain, has begun to release
//! it hands it to the executor, which enters WSK_RELEASE_SD: that may be a completion routine (L36).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;

use wsk_lifecycle::rundown::{Acquired, BeginEnd, Released, Right, Rundown};

use super::NtStatus;
use super::binding::{DrainRight, Enter, Shell};
use super::calls::client;
use super::leaving::Ending;
use crate::security::Relative;
use crate::sync::shared::tagged;
use crate::sync::{Lane, Node, Shared, SpinLock};
use crate::{Detached, IoError};

/// # Invariants
/// `theirs` is the provider's as long as `right` is there.
pub(crate) struct Cached {
    node: Node,
    uses: Rundown,
    theirs: NonNull<c_void>,
    right: SpinLock<Option<DrainRight>>,
}

tagged!(Cached, b"WskY");

// SAFETY: the provider's descriptor has no thread, and is not read here.
unsafe impl Send for Cached {}
// SAFETY: as above.
unsafe impl Sync for Cached {}

/// The owner's part: dropping it begins the release.
pub(crate) struct CachedHandle {
    cached: Shared<Cached>,
    shell: Shared<Shell>,
    number: u64,
}

/// The right to hand the descriptor to the provider, for an operation until its IRP is back.
pub(crate) struct Use(Shared<Cached>);

impl CachedHandle {
    /// Has the provider make its copy of a descriptor.
    ///
    /// # Errors
    /// Detach, no memory, or the provider's status.
    pub(crate) fn new(shell: &Shared<Shell>, descriptor: &Relative) -> Result<Self, IoError> {
        let enter = Enter::acquire(shell)?;
        // SAFETY: one that holds together, as its type says, and aligned as pool memory is.
        let theirs = unsafe { client::cache_descriptor(&enter, descriptor.as_ptr()) }?;
        let theirs = NonNull::new(theirs).ok_or(IoError::Provider(NtStatus::INVALID_PARAMETER))?;
        let right = DrainRight::while_held(shell);
        let made =
            Shared::try_new(Cached { node: Node::new(release), uses: Rundown::new_open(), theirs, right: SpinLock::new(None) });
        let Ok(cached) = made else {
            // SAFETY: made just now, and told to nobody.
            unsafe { client::release_descriptor(&right, theirs.as_ptr()) };
            return Err(IoError::OutOfMemory);
        };
        // INVARIANT: the provider has made it, and will have it back under this right.
        *cached.right.lock() = Some(right);
        let number = match shell.endings.add(Ending::Descriptor(cached.clone())) {
            Ok(number) => number,
            Err(error) => {
                cached.begin_release();
                return Err(error.into());
            }
        };
        if !shell.is_open() {
            cached.begin_release();
        }
        Ok(Self { cached, shell: shell.clone(), number })
    }

    /// Asks to use it.
    ///
    /// # Errors
    /// [`Detached`] once it is being released, and for another binding than its own.
    pub(crate) fn begin_use(&self, shell: &Shared<Shell>) -> Result<Use, Detached> {
        if shell.as_ptr() != self.shell.as_ptr() {
            return Err(Detached);
        }
        match self.cached.uses.acquire() {
            Acquired::Granted => Ok(Use(self.cached.clone())),
            Acquired::Refused => Err(Detached),
            Acquired::RefusedLast => {
                self.cached.hand_over();
                Err(Detached)
            }
        }
    }
}

impl Drop for CachedHandle {
    fn drop(&mut self) {
        self.shell.endings.remove(self.number);
        self.cached.begin_release();
    }
}

impl Use {
    /// What the provider knows it by.
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.0.theirs.as_ptr()
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if self.0.uses.release(Right::Enter) == Released::Last {
            self.0.hand_over();
        }
    }
}

impl Shared<Cached> {
    /// From now on nobody begins to use it; when nobody does any more, it goes back. Any number of times, from anywhere.
    pub(super) fn begin_release(&self) {
        match self.uses.begin_end() {
            BeginEnd::Already => {}
            BeginEnd::Idle => self.hand_over(),
            BeginEnd::Busy => {
                if self.uses.release(Right::Enter) == Released::Last {
                    self.hand_over();
                }
            }
        }
    }

    /// Happens once, by whoever is last.
    fn hand_over(&self) {
        let executor = self.right.lock().as_ref().map(|right| right.shell().executor.clone());
        let Some(executor) = executor else { return };
        let cached = self.clone().into_raw().cast_mut();
        // SAFETY: inside the value, by a pointer that is good for all of it.
        let node = unsafe { NonNull::new_unchecked(&raw mut (*cached).node) };
        // SAFETY: in no queue, for this happens once; the reference given away keeps it, and `release` takes it back.
        unsafe { executor.push(Lane::Dispatch, node) };
    }
}

/// # Safety
/// Queued by [`Shared::hand_over`].
unsafe fn release(node: NonNull<Node>) {
    // SAFETY: the node is part of the value, whose address was given away as it is here.
    let raw = unsafe { node.byte_sub(offset_of!(Cached, node)) }.cast::<Cached>().as_ptr();
    // SAFETY: the reference that `hand_over` gave away.
    let cached = unsafe { Shared::from_raw(raw.cast_const()) };
    let right = cached.right.lock().take();
    if let Some(right) = right {
        // SAFETY: the provider's, used by nobody any more, and released here only.
        unsafe { client::release_descriptor(&right, cached.theirs.as_ptr()) };
    }
}
