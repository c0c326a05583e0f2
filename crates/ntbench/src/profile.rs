//! A sampling profiler: how much of the process's CPU time is spent inside driver images.
#![allow(unsafe_code)] // Performance events, timers and a signal handler.

use std::cell::Cell;
use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::time::Duration;

use crate::image;

/// What a profile found.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Profile {
    /// Samples in all, of code outside the host's kernel.
    pub samples: u64,
    /// Samples in code of driver images, and in what copies, sets and compares memory for it: on Windows that may as well be in the
    /// image.
    pub in_image: u64,
    /// CPU time that one sample stands for.
    pub interval: Duration,
    /// CPU time of the process while it was taken, the host's kernel included.
    pub cpu: Duration,
}

impl Profile {
    /// The share of CPU time inside images.
    pub fn share(&self) -> f64 {
        if self.cpu.is_zero() { 0.0 } else { self.in_image_time().as_secs_f64() / self.cpu.as_secs_f64() }
    }

    /// CPU time inside images.
    pub fn in_image_time(&self) -> Duration {
        self.interval.mul_f64(self.in_image as f64)
    }
}

/// A profile being taken: of the threads that there were when it began.
#[derive(Debug)]
pub struct Profiler {
    clock: Clock,
    began: Duration,
}

/// What asks for samples, one thing for each thread.
#[derive(Debug)]
enum Clock {
    /// The kernel's performance events: as often as they are asked to, and only outside the kernel.
    #[expect(dead_code, reason = "they are there to be closed")]
    Events(Vec<OwnedFd>),
    /// Timers on the threads' CPU clocks, where the host has no performance events for us: no more often than it ticks.
    Timers(Vec<i32>),
}

/// CPU time between two samples of a performance event.
const INTERVAL: Duration = Duration::from_micros(100);

thread_local! {
    /// This thread does for an image what the image might do itself.
    static FOR_IMAGE: Cell<bool> = const { Cell::new(false) };
}

/// Does something whose time counts as an image's.
#[inline]
pub(crate) fn for_image<T>(work: impl FnOnce() -> T) -> T {
    FOR_IMAGE.set(true);
    // The handler, which looks at it in between, runs on this thread.
    compiler_fence(Ordering::SeqCst);
    // Not by a guard: this is for work on memory alone, which does not unwind.
    let outcome = work();
    compiler_fence(Ordering::SeqCst);
    FOR_IMAGE.set(false);
    outcome
}

static SAMPLES: AtomicU64 = AtomicU64::new(0);
static IN_IMAGE: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" fn sample(_signal: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a ucontext.
    let instruction = unsafe { (&(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs)[libc::REG_RIP as usize] };
    SAMPLES.fetch_add(1, Ordering::Relaxed);
    if image::index_of(instruction as usize).is_some() || FOR_IMAGE.get() {
        IN_IMAGE.fetch_add(1, Ordering::Relaxed);
    }
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: plain call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn threads() -> impl Iterator<Item = i32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

impl Clock {
    fn start() -> Clock {
        let events: Vec<_> = threads().filter_map(event).collect();
        if events.is_empty() { Clock::Timers(threads().filter_map(timer).collect()) } else { Clock::Events(events) }
    }

    /// CPU time that a sample stands for, when so many were taken in this time.
    fn interval(&self, samples: u64, cpu: Duration) -> Duration {
        match self {
            Clock::Events(_) => INTERVAL,
            Clock::Timers(_) => cpu.checked_div(u32::try_from(samples).unwrap_or(u32::MAX)).unwrap_or_default(),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let Clock::Timers(timers) = self else { return };
        for timer in timers {
            // SAFETY: the timer is ours; the kernel's identifier is what the system call takes.
            unsafe { libc::syscall(libc::SYS_timer_delete, *timer) };
        }
    }
}

impl Profiler {
    /// Starts taking samples, one per 0.1 ms of CPU time of each thread outside the kernel; where the host has no performance
    /// events, at most one per millisecond of CPU time.
    pub fn start() -> Profiler {
        SAMPLES.store(0, Ordering::Relaxed);
        IN_IMAGE.store(0, Ordering::Relaxed);
        // SAFETY: the handler has the signature that SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = sample as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut());
        }
        Profiler { clock: Clock::start(), began: cpu_time() }
    }

    /// Ends it.
    pub fn stop(self) -> Profile {
        let cpu = cpu_time() - self.began;
        let (samples, in_image) = (SAMPLES.load(Ordering::Relaxed), IN_IMAGE.load(Ordering::Relaxed));
        Profile { samples, in_image, interval: self.clock.interval(samples, cpu), cpu }
    }
}

/// The beginning of the kernel's `perf_event_attr`, in its first version.
#[repr(C)]
#[derive(Debug, Default)]
struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_kind: u64,
    read_format: u64,
    flags: u64,
    wake_up_after: u32,
    breakpoint_kind: u32,
    breakpoint: u64,
}

/// `PERF_TYPE_SOFTWARE`, `PERF_COUNT_SW_TASK_CLOCK`.
const SOFTWARE: u32 = 1;
const TASK_CLOCK: u64 = 1;
/// `exclude_kernel` and `exclude_hv`: what anybody may measure of their own.
const USER_ONLY: u64 = 1 << 5 | 1 << 6;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: u64 = 8;
/// The kernel's `F_SETSIG`, `F_SETOWN_EX` and `F_OWNER_TID`.
const SET_SIGNAL: i32 = 10;
const SET_OWNER: i32 = 15;
const OWNER_IS_THREAD: i32 = 0;

/// A clock of a thread's time outside the kernel that signals that thread.
fn event(thread: i32) -> Option<OwnedFd> {
    let size = size_of::<EventAttributes>() as u32;
    let attributes = EventAttributes {
        kind: SOFTWARE,
        size,
        config: TASK_CLOCK,
        period: INTERVAL.as_nanos() as u64,
        flags: USER_ONLY,
        wake_up_after: 1,
        ..EventAttributes::default()
    };
    // SAFETY: the kernel reads `size` bytes of the attributes; any processor, no group.
    let event = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, thread, -1, -1, CLOSE_ON_EXEC) };
    let event = i32::try_from(event).ok().filter(|event| *event >= 0)?;
    // SAFETY: it has just been opened, and nobody else has it.
    let event = unsafe { OwnedFd::from_raw_fd(event) };
    let owner = [OWNER_IS_THREAD, thread];
    // SAFETY: the kernel reads two integers.
    let owned = unsafe { libc::fcntl(event.as_raw_fd(), SET_OWNER, owner.as_ptr()) };
    // SAFETY: plain call.
    let signal = unsafe { libc::fcntl(event.as_raw_fd(), SET_SIGNAL, libc::SIGPROF) };
    // SAFETY: plain call.
    let on = unsafe { libc::fcntl(event.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC) };
    (owned == 0 && signal == 0 && on == 0).then_some(event)
}

/// A timer on a thread's CPU clock that signals that thread.
fn timer(thread: i32) -> Option<i32> {
    // The kernel's encoding of a thread's CPU clock: its number, inverted, and "scheduler time of a thread".
    let clock = (!thread << 3) | 6;
    let mut id: i32 = 0;
    let interval = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let spec = libc::itimerspec { it_interval: interval, it_value: interval };
    // SAFETY: the structures are valid; system calls rather than the C library's wrappers, whose identifiers differ.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGPROF;
        event.sigev_notify_thread_id = thread;
        if libc::syscall(libc::SYS_timer_create, clock, &raw mut event, &raw mut id) != 0 {
            return None;
        }
        libc::syscall(libc::SYS_timer_settime, id, 0, &raw const spec, std::ptr::null_mut::<c_void>());
    }
    Some(id)
}
