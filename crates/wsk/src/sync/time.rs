//! Time and processors.

use core::time::Duration;

use wdk_sys::LARGE_INTEGER;
use wdk_sys::ntddk::{
    KeGetCurrentProcessorNumberEx, KeQueryActiveProcessorCountEx, KeQueryInterruptTimePrecise, KeQuerySystemTimePrecise,
};

const ALL_PROCESSOR_GROUPS: u16 = 0xffff;

/// A point in time since the system started, in units of 100 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    ///
    /// # IRQL
    /// Any.
    pub fn now() -> Self {
        let mut counter = 0;
        // SAFETY: the argument receives the performance counter's value.
        Self(unsafe { KeQueryInterruptTimePrecise(&raw mut counter) })
    }

    /// The time from the system's start to then.
    ///
    /// # IRQL
    /// Any.
    pub fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.saturating_mul(100))
    }

    /// So much later.
    ///
    /// # IRQL
    /// Any.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add((time.as_nanos() / 100) as u64))
    }

    /// The time from then to now.
    ///
    /// # IRQL
    /// Any.
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(Self::now().0.saturating_sub(self.0).saturating_mul(100))
    }
}

/// The time of day: units of 100 ns since 1601 (UTC). It may be set back.
/// [`KeQuerySystemTimePrecise`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerysystemtimeprecise)
///
/// # IRQL
/// Any.
pub fn system_time() -> u64 {
    let mut time = LARGE_INTEGER { QuadPart: 0 };
    // SAFETY: the argument receives the time.
    unsafe { KeQuerySystemTimePrecise(&raw mut time) };
    // SAFETY: every view of the union is the same number.
    unsafe { time.QuadPart as u64 }
}

/// How many processors are active.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub fn processor_count() -> usize {
    // SAFETY: no requirements.
    unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) as usize }.max(1)
}

/// The system-wide index of the processor that runs this.
///
/// # IRQL
/// Any. Below DISPATCH_LEVEL it may be another one already.
pub fn current_processor() -> usize {
    // SAFETY: the number in its group is optional.
    unsafe { KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) as usize }
}
