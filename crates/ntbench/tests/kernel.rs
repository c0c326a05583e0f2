//! The kernel's components, called as a driver calls them. A broken rule would end this process with status 3.
#![allow(unsafe_code)] // Kernel functions are called.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nt_abi::kernel::*;
use nt_abi::*;
use ntbench::ke::irql;

/// A value that threads and DPCs share by address.
struct Shared<T>(std::cell::UnsafeCell<T>);

// SAFETY: the kernel functions under test synchronize; the tests touch the values through them alone.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    fn new(value: T) -> Box<Shared<T>> {
        Box::new(Shared(std::cell::UnsafeCell::new(value)))
    }

    fn at(&self) -> *mut T {
        self.0.get()
    }
}

fn event(kind: u32) -> Box<Shared<KEVENT>> {
    let event = Shared::new(KEVENT::UNINITIALIZED);
    // SAFETY: memory for an event.
    unsafe { KeInitializeEvent(event.at(), kind, 0) };
    event
}

fn wait(event: &Shared<KEVENT>, ms: i64) -> NtStatus {
    let timeout = -10_000 * ms;
    // SAFETY: the event is initialized.
    unsafe { KeWaitForSingleObject(event.at().cast(), WAIT_EXECUTIVE, KERNEL_MODE, 0, &raw const timeout) }
}

fn set(event: &Shared<KEVENT>) -> i32 {
    // SAFETY: the event is initialized.
    unsafe { KeSetEvent(event.at(), 0, 0) }
}

fn dpc(routine: KDEFERRED_ROUTINE, context: *mut c_void) -> Box<Shared<KDPC>> {
    // SAFETY: an all-zero KDPC is memory for one.
    let dpc = Shared::new(unsafe { std::mem::zeroed::<KDPC>() });
    // SAFETY: as above.
    unsafe { KeInitializeDpc(dpc.at(), Some(routine), context) };
    dpc
}

fn insert(dpc: &Shared<KDPC>) -> bool {
    // SAFETY: the DPC is initialized.
    unsafe { KeInsertQueueDpc(dpc.at(), null_mut(), null_mut()) != 0 }
}

fn at_dispatch(f: impl FnOnce()) {
    // SAFETY: raised and lowered in pairs.
    unsafe {
        let old = KfRaiseIrql(DISPATCH_LEVEL);
        f();
        KeLowerIrql(old);
    }
}

#[test]
fn a_notification_event_stays_signalled_and_a_synchronization_event_does_not() {
    let (notification, synchronization) = (event(NOTIFICATION_EVENT), event(SYNCHRONIZATION_EVENT));
    assert_eq!(wait(&notification, 1), NtStatus::TIMEOUT);
    assert_eq!((set(&notification), set(&notification)), (0, 1));
    assert_eq!((wait(&notification, 0), wait(&notification, 0)), (NtStatus::SUCCESS, NtStatus::SUCCESS));
    set(&synchronization);
    assert_eq!((wait(&synchronization, 0), wait(&synchronization, 0)), (NtStatus::SUCCESS, NtStatus::TIMEOUT));
    // SAFETY: the event is initialized.
    unsafe {
        assert_eq!(KeReadStateEvent(notification.at()), 1);
        assert_eq!((KeResetEvent(notification.at()), KeResetEvent(notification.at())), (1, 0));
    }
}

#[test]
fn each_set_of_a_synchronization_event_lets_one_waiter_go() {
    let event = event(SYNCHRONIZATION_EVENT);
    let released = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert_eq!(wait(&event, 20_000), NtStatus::SUCCESS);
                released.fetch_add(1, Ordering::SeqCst);
            });
        }
        for n in 1..=8 {
            set(&event);
            let began = Instant::now();
            while released.load(Ordering::SeqCst) < n {
                assert!(began.elapsed() < Duration::from_secs(10), "waiter {n} was not released");
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(2));
            assert_eq!(released.load(Ordering::SeqCst), n);
        }
    });
}

#[test]
fn a_wait_ends_at_its_timeout() {
    let event = event(NOTIFICATION_EVENT);
    let began = Instant::now();
    assert_eq!(wait(&event, 30), NtStatus::TIMEOUT);
    assert!((25..20_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

unsafe extern "win64" fn note_level(_dpc: *mut KDPC, context: *mut c_void, _a: *mut c_void, _b: *mut c_void) {
    // SAFETY: the context is the test's counter.
    unsafe { &*context.cast::<AtomicU32>() }.fetch_add(100 + u32::from(irql::current()), Ordering::SeqCst);
}

#[test]
fn a_dpc_runs_at_once_below_dispatch_level_and_on_lowering_from_it() {
    let count = AtomicU32::new(0);
    let dpc = dpc(note_level, (&raw const count).cast_mut().cast());
    assert!(insert(&dpc));
    assert_eq!(count.load(Ordering::SeqCst), 102);
    at_dispatch(|| {
        assert!(insert(&dpc));
        assert!(!insert(&dpc), "it is queued once");
        assert_eq!(count.load(Ordering::SeqCst), 102);
    });
    assert_eq!(count.load(Ordering::SeqCst), 204);
    at_dispatch(|| {
        assert!(insert(&dpc));
        // SAFETY: the DPC is initialized.
        assert_eq!(unsafe { (KeRemoveQueueDpc(dpc.at()), KeRemoveQueueDpc(dpc.at())) }, (1, 0));
    });
    assert_eq!(count.load(Ordering::SeqCst), 204);
}

unsafe extern "win64" fn again(dpc: *mut KDPC, context: *mut c_void, _a: *mut c_void, _b: *mut c_void) {
    // SAFETY: the context is the test's counter; the DPC is initialized.
    unsafe {
        if (*context.cast::<AtomicU32>()).fetch_add(1, Ordering::SeqCst) < 9 {
            assert_eq!(KeInsertQueueDpc(dpc, null_mut(), null_mut()), 1);
        }
    }
}

#[test]
fn a_dpc_may_queue_itself_again() {
    let count = AtomicU32::new(0);
    let dpc = dpc(again, (&raw const count).cast_mut().cast());
    insert(&dpc);
    assert_eq!(count.load(Ordering::SeqCst), 10);
}

/// What the DPC of one processor does in the next test.
struct PerProcessor {
    inside: AtomicBool,
    runs: AtomicU64,
    number: u32,
}

unsafe extern "win64" fn alone(_dpc: *mut KDPC, context: *mut c_void, _a: *mut c_void, _b: *mut c_void) {
    // SAFETY: the context is the test's.
    let own = unsafe { &*context.cast::<PerProcessor>() };
    assert!(!own.inside.swap(true, Ordering::SeqCst), "a targeted DPC runs twice at a time");
    // SAFETY: null asks for the number alone.
    assert_eq!(unsafe { KeGetCurrentProcessorNumberEx(null_mut()) }, own.number);
    own.runs.fetch_add(1, Ordering::SeqCst);
    own.inside.store(false, Ordering::SeqCst);
}

#[test]
fn a_targeted_dpc_runs_on_its_processor_and_never_beside_itself() {
    let own: Vec<_> =
        (0..2).map(|number| PerProcessor { inside: AtomicBool::new(false), runs: AtomicU64::new(0), number }).collect();
    let dpcs: Vec<_> = own.iter().map(|own| dpc(alone, std::ptr::from_ref(own).cast_mut().cast())).collect();
    for (number, dpc) in dpcs.iter().enumerate() {
        let mut number = PROCESSOR_NUMBER { Group: 0, Number: number as u8, Reserved: 0 };
        // SAFETY: both are valid.
        assert_eq!(unsafe { KeSetTargetProcessorDpcEx(dpc.at(), &raw mut number) }, NtStatus::SUCCESS);
    }
    let inserted = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (dpcs, inserted) = (&dpcs, &inserted);
            scope.spawn(move || {
                for n in 0..20_000 {
                    let one = || {
                        inserted.fetch_add(u64::from(insert(&dpcs[(n + thread) % 2])), Ordering::SeqCst);
                    };
                    if n % 3 == 0 { at_dispatch(one) } else { one() }
                }
            });
        }
    });
    // SAFETY: this thread is at PASSIVE_LEVEL.
    unsafe { KeFlushQueuedDpcs() };
    let runs: u64 = own.iter().map(|own| own.runs.load(Ordering::SeqCst)).sum();
    assert_eq!(runs, inserted.load(Ordering::SeqCst), "each insertion that was accepted ran");
}

#[test]
fn no_more_threads_are_at_dispatch_level_than_there_are_processors() {
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    // SAFETY: plain call.
    let processors = unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) };
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..200 {
                    at_dispatch(|| {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::sleep(Duration::from_micros(20));
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= processors, "{most:?} of {processors}");
    assert!(most.load(Ordering::SeqCst) > 1, "they never met");
}

#[test]
fn a_thread_that_wants_a_processor_is_not_starved() {
    // SAFETY: plain call.
    let busy = unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) } + 1;
    let (stop, mut longest) = (AtomicBool::new(false), Duration::ZERO);
    thread::scope(|scope| {
        for _ in 0..busy {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    at_dispatch(|| {
                        let began = Instant::now();
                        while began.elapsed() < Duration::from_micros(100) {}
                    });
                }
            });
        }
        for _ in 0..20 {
            let began = Instant::now();
            at_dispatch(|| ());
            longest = longest.max(began.elapsed());
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

#[test]
fn a_spin_lock_excludes() {
    let (lock, value) = (Shared::new(0usize), Shared::new(0u64));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    // SAFETY: the lock is initialized; the value is touched under it alone.
                    unsafe {
                        let old = KeAcquireSpinLockRaiseToDpc(lock.at());
                        *value.at() += 1;
                        KeReleaseSpinLock(lock.at(), old);
                    }
                }
            });
        }
    });
    // SAFETY: the threads have ended.
    assert_eq!(unsafe { *value.at() }, 200_000);
}

/// Waits for something that has to come about.
fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not come");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn timers_signal_and_queue_their_dpc_at_dispatch_level() {
    let count = AtomicU32::new(0);
    let dpc = dpc(note_level, (&raw const count).cast_mut().cast());
    // SAFETY: an all-zero KTIMER is memory for one, and it is cancelled before it goes.
    unsafe {
        let timer = Shared::new(std::mem::zeroed::<KTIMER>());
        KeInitializeTimer(timer.at());
        assert_eq!(KeSetTimer(timer.at(), -200_000, dpc.at()), 0);
        assert_eq!(KeWaitForSingleObject(timer.at().cast(), 0, 0, 0, null()), NtStatus::SUCCESS);
        until("the DPC", || count.load(Ordering::SeqCst) > 0);
        assert_eq!(count.load(Ordering::SeqCst), 102);
        assert_eq!(KeSetTimerEx(timer.at(), -50_000, 5, dpc.at()), 0);
        until("a periodic timer", || count.load(Ordering::SeqCst) / 100 > 5);
        assert_eq!(KeCancelTimer(timer.at()), 1);
        KeFlushQueuedDpcs();
        let runs = count.load(Ordering::SeqCst) / 100;
        thread::sleep(Duration::from_millis(30));
        assert_eq!(count.load(Ordering::SeqCst) / 100, runs, "a cancelled timer runs no more");
        assert_eq!((KeSetTimer(timer.at(), -600_000_000, null_mut()), KeSetTimer(timer.at(), -600_000_000, null_mut())), (0, 1));
        assert_eq!(KeCancelTimer(timer.at()), 1);
    }
}

fn deep(levels: u32, done: &AtomicUsize) {
    if levels > 0 {
        return deep(levels - 1, done);
    }
    done.store(1, Ordering::SeqCst);
    // SAFETY: this is a system thread.
    let _ = unsafe { PsTerminateSystemThread(NtStatus::SUCCESS) };
    done.store(2, Ordering::SeqCst);
}

unsafe extern "win64" fn ends_deep(context: *mut c_void) {
    // SAFETY: the context is the test's.
    deep(20, unsafe { &*context.cast::<AtomicUsize>() });
}

#[test]
fn a_system_thread_ends_from_anywhere_and_is_joined_by_its_object() {
    let done = AtomicUsize::new(0);
    let context = (&raw const done).cast_mut().cast();
    // SAFETY: the pointers are valid, and the context outlives the thread, which is waited for.
    unsafe {
        let (mut handle, mut object) = (null_mut(), null_mut());
        let status = PsCreateSystemThread(&raw mut handle, 0, null(), null_mut(), null_mut(), Some(ends_deep), context);
        assert_eq!(status, NtStatus::SUCCESS);
        let status = ObReferenceObjectByHandle(handle, 0, null_mut(), KERNEL_MODE, &raw mut object, null_mut());
        assert_eq!((status, ZwClose(handle)), (NtStatus::SUCCESS, NtStatus::SUCCESS));
        assert_eq!(KeWaitForSingleObject(object, 0, 0, 0, null()), NtStatus::SUCCESS);
        assert_eq!(done.load(Ordering::SeqCst), 1);
        ObfDereferenceObject(object);
    }
}

/// A driver object with a device, as a loader makes them.
fn device() -> (Box<Shared<DRIVER_OBJECT>>, *mut DEVICE_OBJECT) {
    // SAFETY: an all-zero driver object is one without devices and routines.
    let driver = Shared::new(unsafe { std::mem::zeroed::<DRIVER_OBJECT>() });
    let mut device = null_mut();
    // SAFETY: the pointers are valid.
    let status = unsafe { IoCreateDevice(driver.at(), 64, null(), FILE_DEVICE_UNKNOWN, 0, 0, &raw mut device) };
    assert_eq!(status, NtStatus::SUCCESS);
    (driver, device)
}

unsafe extern "win64" fn keep(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NtStatus {
    // SAFETY: the context is the test's counter, the IRP the test's.
    unsafe { (*context.cast::<AtomicUsize>()).fetch_add(1 + (*irp).IoStatus.Information, Ordering::SeqCst) };
    NtStatus::MORE_PROCESSING_REQUIRED
}

#[test]
fn an_irp_is_sent_completed_reused_and_freed() {
    let count = AtomicUsize::new(0);
    // SAFETY: the IRP is used as its owner and as its receiver would.
    unsafe {
        let irp = IoAllocateIrp(1, 0);
        for _ in 0..3 {
            IoReuseIrp(irp, NtStatus::SUCCESS);
            let next = (*irp).CurrentStackLocation.sub(1);
            (*next).CompletionRoutine = Some(keep);
            (*next).Context = (&raw const count).cast_mut().cast();
            (*next).Control = SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_SUCCESS;
            assert!(ntbench::io::irp::accept(irp));
            ntbench::io::irp::complete(irp, NtStatus::CANCELLED, 9);
        }
        assert_eq!(count.load(Ordering::SeqCst), 30);
        IoFreeIrp(irp);
    }
}

unsafe extern "win64" fn cancelled(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: entered with the cancel spin lock, which it releases; the IRP is its then.
    unsafe {
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        assert_eq!(irql::current(), PASSIVE_LEVEL);
        ntbench::io::irp::complete(irp, NtStatus::CANCELLED, 0);
    }
}

#[test]
fn cancelling_calls_the_cancel_routine_once() {
    let count = AtomicUsize::new(0);
    // SAFETY: as above.
    unsafe {
        let irp = IoAllocateIrp(1, 0);
        let next = (*irp).CurrentStackLocation.sub(1);
        (*next).CompletionRoutine = Some(keep);
        (*next).Context = (&raw const count).cast_mut().cast();
        (*next).Control = SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_SUCCESS;
        assert!(ntbench::io::irp::accept(irp));
        assert!(ntbench::io::irp::set_cancel_routine(irp, Some(cancelled)).is_none());
        assert_eq!((IoCancelIrp(irp), IoCancelIrp(irp)), (1, 0));
        assert!(ntbench::io::irp::is_cancelled(irp));
        assert_eq!(count.load(Ordering::SeqCst), 1);
        IoFreeIrp(irp);
    }
}

#[test]
fn an_armed_completion_keeps_its_device_until_the_routine_has_returned() {
    let (_driver, device) = device();
    let count = AtomicUsize::new(0);
    // SAFETY: as above; the driver completes the IRP itself, as it may with one that was never sent.
    unsafe {
        let references = || {
            ObfReferenceObject(device.cast());
            ObfDereferenceObject(device.cast())
        };
        assert_eq!(references(), 1);
        let irp = IoAllocateIrp(1, 0);
        let context = (&raw const count).cast_mut().cast();
        assert_eq!(IoSetCompletionRoutineEx(device, irp, Some(keep), context, 1, 1, 1), NtStatus::SUCCESS);
        assert_eq!(references(), 2);
        (*irp).CurrentLocation -= 1;
        (*irp).CurrentStackLocation = (*irp).CurrentStackLocation.sub(1);
        (*irp).IoStatus.Status = NtStatus::SUCCESS;
        IofCompleteRequest(irp, 0);
        assert_eq!((count.load(Ordering::SeqCst), references()), (1, 1));
        IoFreeIrp(irp);
        IoDeleteDevice(device);
    }
}

unsafe extern "win64" fn work(_device: *mut DEVICE_OBJECT, context: *mut c_void) {
    assert_eq!(irql::current(), PASSIVE_LEVEL);
    // SAFETY: the context is the test's event.
    unsafe { KeSetEvent(context.cast(), 0, 0) };
}

#[test]
fn a_work_item_runs_at_passive_level() {
    let (_driver, device) = device();
    let done = event(SYNCHRONIZATION_EVENT);
    // SAFETY: the pointers are valid; the item is freed after it ran.
    unsafe {
        let item = IoAllocateWorkItem(device);
        for _ in 0..3 {
            at_dispatch(|| IoQueueWorkItem(item, Some(work), 1, done.at().cast()));
            assert_eq!(wait(&done, 10_000), NtStatus::SUCCESS);
        }
        IoFreeWorkItem(item);
        IoDeleteDevice(device);
    }
}

#[test]
fn a_partial_mdl_describes_a_part_of_pool_memory() {
    let tag = u32::from_le_bytes(*b"TesM");
    // SAFETY: the MDLs describe the block, which outlives them.
    unsafe {
        let block = ExAllocatePool2(POOL_FLAG_NON_PAGED, 10_000, tag);
        assert!((block as usize).is_multiple_of(PAGE_SIZE) && *block.cast::<u64>() == 0);
        let source = IoAllocateMdl(block, 10_000, 0, 0, null_mut());
        let target = IoAllocateMdl(block, 10_000, 0, 0, null_mut());
        MmBuildMdlForNonPagedPool(source);
        IoBuildPartialMdl(source, target, block.byte_add(5000), 200);
        assert_eq!(((*target).ByteCount, (*target).ByteOffset), (200, 904));
        assert_eq!((*target).MappedSystemVa, block.byte_add(5000));
        assert_ne!((*target).MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL & (*source).MdlFlags, 0);
        IoFreeMdl(target);
        IoFreeMdl(source);
        ExFreePoolWithTag(block, tag);
    }
}

#[test]
fn time_goes_on_in_units_of_100_ns() {
    // SAFETY: null pointers ask for the result alone.
    let now = || unsafe { (KeQueryInterruptTimePrecise(null_mut()), KeQueryPerformanceCounter(null_mut())) };
    let before = now();
    let interval = -200_000;
    // SAFETY: the interval is valid.
    assert_eq!(unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw const interval) }, NtStatus::SUCCESS);
    let after = now();
    assert!((200_000..50_000_000).contains(&(after.0 - before.0)), "{before:?} {after:?}");
    assert!((200_000..50_000_000).contains(&(after.1 - before.1)));
    let mut system = 0;
    // SAFETY: the pointer is valid.
    unsafe { KeQuerySystemTimePrecise(&raw mut system) };
    assert!(system > 133_000_000_000_000_000, "it is after 2022, counted from 1601");
}
