//! A sampling profiler: how much of the process's CPU time is spent inside driver images.
#![allow(unsafe_code)] // Timers and a signal handler.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::image;

/// What a profile found.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Profile {
    /// Samples in all.
    pub samples: u64,
    /// Samples in code of driver images.
    pub in_image: u64,
    /// CPU time of the process while it was taken.
    pub cpu: Duration,
}

impl Profile {
    /// The share of CPU time inside images.
    pub fn share(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.in_image as f64 / self.samples as f64 }
    }

    /// CPU time inside images.
    pub fn in_image_time(&self) -> Duration {
        self.cpu.mul_f64(self.share())
    }
}

/// A profile being taken: of the threads that there were when it began.
#[derive(Debug)]
pub struct Profiler {
    timers: Vec<usize>,
    began: Duration,
}

static SAMPLES: AtomicU64 = AtomicU64::new(0);
static IN_IMAGE: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" fn sample(_signal: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a ucontext.
    let instruction = unsafe { (&(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs)[libc::REG_RIP as usize] };
    SAMPLES.fetch_add(1, Ordering::Relaxed);
    if image::index_of(instruction as usize).is_some() {
        IN_IMAGE.fetch_add(1, Ordering::Relaxed);
    }
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: plain call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Profiler {
    /// Starts taking samples, one per millisecond of CPU time of each thread (the host may give fewer).
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
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let threads = threads.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        Profiler { timers: threads.filter_map(timer).collect(), began: cpu_time() }
    }

    /// Ends it.
    pub fn stop(self) -> Profile {
        let cpu = cpu_time() - self.began;
        for timer in self.timers {
            // SAFETY: the timer is ours; the kernel's identifier is what the system call takes.
            unsafe { libc::syscall(libc::SYS_timer_delete, timer) };
        }
        Profile { samples: SAMPLES.load(Ordering::Relaxed), in_image: IN_IMAGE.load(Ordering::Relaxed), cpu }
    }
}

/// A timer on a thread's CPU clock that signals that thread.
fn timer(thread: i32) -> Option<usize> {
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
    Some(id as usize)
}
