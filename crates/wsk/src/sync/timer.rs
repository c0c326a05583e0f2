//! Sleeping without a thread: a KTIMER and its DPC.
//!
//! Wraps [`KeSetTimer`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesettimer).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;

use atomic_waker::AtomicWaker;
use wdk_sys::ntddk::{KeCancelTimer, KeInitializeDpc, KeInitializeTimer, KeSetTimer};
use wdk_sys::{KDPC, KTIMER, LARGE_INTEGER};

use super::{OutOfMemory, Shared};

/// # Invariants
/// Timer and DPC are initialised in place; while armed, the DPC owns one reference to the whole.
struct Alarm {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    rung: AtomicBool,
    waker: AtomicWaker,
}

tagged!(Alarm, b"WskA");

// SAFETY: timer and DPC are touched by kernel functions alone, which allow any thread.
unsafe impl Send for Alarm {}
// SAFETY: as above.
unsafe impl Sync for Alarm {}

impl Alarm {
    /// The DPC's reference has been given to it.
    fn arm(&self, time: Duration) {
        let ticks = i64::try_from(time.as_nanos() / 100).unwrap_or(i64::MAX);
        // SAFETY: both objects are initialised; a negative time is relative.
        unsafe { KeSetTimer(self.timer.get(), LARGE_INTEGER { QuadPart: -ticks }, self.dpc.get()) };
    }
}

/// A future that is ready once a time has passed. Dropping it cancels the timer.
pub struct Sleep(Shared<Alarm>);

impl Sleep {
    /// Starts the timer.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn new(time: Duration) -> Result<Self, OutOfMemory> {
        let alarm = Shared::try_new(Alarm {
            timer: UnsafeCell::new(KTIMER::default()),
            dpc: UnsafeCell::new(KDPC::default()),
            rung: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })?;
        // SAFETY: the memory is ours, nonpaged, and does not move.
        unsafe { KeInitializeTimer(alarm.timer.get()) };
        let context = alarm.clone().into_raw().cast_mut().cast();
        // SAFETY: as above; the context is a reference that `ring` or `drop` takes back.
        unsafe { KeInitializeDpc(alarm.dpc.get(), Some(ring), context) };
        alarm.arm(time);
        Ok(Self(alarm))
    }

    /// Starts the timer again, after it has rung. It takes no memory.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn again(&mut self, time: Duration) {
        if self.0.rung.swap(false, Ordering::AcqRel) {
            // The DPC's reference for the next time; the last one took its own back before `rung` was set.
            let _ = self.0.clone().into_raw();
            self.0.arm(time);
        }
    }
}

impl Sleep {
    /// Starts the timer again, whether it has rung or not. If it is just about to ring, it rings once more at once. It takes
    /// no memory.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn restart(&mut self, time: Duration) {
        // SAFETY: initialised. `true` says that the timer was in the queue: its DPC keeps the reference that it has.
        if unsafe { KeCancelTimer(self.0.timer.get()) } != 0 {
            self.0.arm(time);
        } else {
            self.again(time);
        }
    }
}

/// # Safety
/// `context` is the reference that [`Sleep::new`] gave to the DPC.
///
/// # IRQL
/// `DISPATCH_LEVEL`.
unsafe extern "C" fn ring(_dpc: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: as the caller promises; a timer that is not periodic rings once.
    let alarm = unsafe { Shared::<Alarm>::from_raw(context.cast_const().cast()) };
    alarm.rung.store(true, Ordering::Release);
    alarm.waker.wake();
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(context.waker());
        if self.0.rung.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // SAFETY: initialised. `true` says that the timer was in the queue, so that its DPC will not be queued.
        if unsafe { KeCancelTimer(self.0.timer.get()) } != 0 {
            // SAFETY: the DPC's reference, which it will not take back itself now.
            drop(unsafe { Shared::from_raw(self.0.as_ptr()) });
        }
    }
}
