//! The stops of last resort. Each has a number; `docs/lifecycle.md` lists them.

use wdk_sys::ntddk::KeBugCheckEx;

/// The bugcheck code of this library: the letters `WSKC`.
const CODE: u32 = u32::from_be_bytes(*b"WSKC");

/// What made it impossible to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Bugcheck {
    /// A thread of ours has no object to be joined by. Parameters: status, handle.
    ThreadLost = 1,
    /// NmrDeregisterClient failed at unload (L29). Parameters: status, handle.
    DeregisterFailed = 2,
    /// NmrWaitForClientDeregisterComplete failed at unload (L29). Parameters: status, handle.
    WaitFailed = 3,
    /// A [`Client`](crate::Client) or [`Runtime`](crate::Runtime) that was not stopped was dropped above PASSIVE_LEVEL. Parameter:
    /// the IRQL.
    EndedAtWrongIrql = 4,
}

/// Stops the system: going on would end in freed or unmapped memory.
///
/// # IRQL
/// Any.
pub fn bugcheck(what: Bugcheck, first: usize, second: usize) -> ! {
    // SAFETY: may be called in any state.
    unsafe { KeBugCheckEx(CODE, what as _, first as _, second as _, 0) }
}
