//! Where code runs, as a value: what may block, or has to be at PASSIVE_LEVEL, takes a [`Passive`].
//!
//! The argument for soundness, in one place. A token is made where the IRQL is known to be PASSIVE_LEVEL: by the executor
//! for its passive thread, and by a driver that vouches for it. It cannot leave its thread (neither `Send` nor `Sync`), so no
//! task that a DPC may poll can hold one, for such futures are `Send`; and the code under a [`SpinLock`](super::SpinLock) cannot
//! reach one either, for it is a `Send` closure on a `Send` value. Callbacks at `<= DISPATCH_LEVEL` are given none.

use core::marker::PhantomData;

use wdk_sys::ntddk::KeGetCurrentIrql;
use wsk_sys::WSK_FLAG_AT_DISPATCH_LEVEL;

use crate::raw::{Bugcheck, bugcheck};

const PASSIVE_LEVEL: u8 = 0;

/// Proof that this code runs at DISPATCH_LEVEL, where a lock need not raise the IRQL.
///
/// # Invariants
/// The thread that has it is at DISPATCH_LEVEL wherever it can use it.
#[derive(Clone, Copy)]
pub(crate) struct AtDispatch(PhantomData<*const ()>);

impl AtDispatch {
    /// What the flags of an event callback say of the IRQL that it is called at: WSK_FLAG_AT_DISPATCH_LEVEL.
    ///
    /// # Safety
    /// They are the flags of the event callback that is under way on this thread, and the token does not survive it.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) unsafe fn told(flags: u32) -> Option<Self> {
        // INVARIANT: the provider says so, of this callback.
        (flags & WSK_FLAG_AT_DISPATCH_LEVEL != 0).then_some(Self(PhantomData))
    }
}

/// Proof that this code runs at PASSIVE_LEVEL.
///
/// # Invariants
/// The thread that has it is at PASSIVE_LEVEL wherever it can use it.
#[derive(Clone, Copy, Debug)]
pub struct Passive(PhantomData<*const ()>);

impl Passive {
    /// For code that is known to run at PASSIVE_LEVEL: DriverEntry, the unload routine, callbacks that say so.
    ///
    /// # Safety
    /// The IRQL is PASSIVE_LEVEL, and stays so while the token or a copy of it is in use: it is not raised meanwhile but by this
    /// library, which lowers it again.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub const unsafe fn assume() -> Self {
        // INVARIANT: as the caller promises.
        Self(PhantomData)
    }

    /// For the end of something that can be ended at PASSIVE_LEVEL only, and whose owner did not come with a token. At
    /// another IRQL it stops the system: nothing that could be done instead would leave it sound.
    ///
    /// # IRQL
    /// Any.
    pub(crate) fn demand() -> Self {
        // SAFETY: may be called at any IRQL.
        let irql = unsafe { KeGetCurrentIrql() };
        if irql != PASSIVE_LEVEL {
            bugcheck(Bugcheck::EndedAtWrongIrql, irql.into(), 0);
        }
        // INVARIANT: just asked. Whoever calls this uses it within the call that it serves.
        Self(PhantomData)
    }
}
