//! Queues and requests, through a handle to the device.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use nt_abi::wdf::*;
use nt_abi::{NtStatus, PASSIVE_LEVEL};

use crate::support::*;

/// CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS).
const fn code(function: u32) -> u32 {
    0x22 << 16 | function << 2
}

static DRIVER: Mutex<usize> = Mutex::new(0);
static HELD: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static IRQL: AtomicU8 = AtomicU8::new(255);
static LENGTHS: Mutex<(usize, usize)> = Mutex::new((0, 0));

/// The driver of the test that runs, for callbacks.
fn driver() -> &'static Driver {
    // SAFETY: set by `serve`, whose driver outlives the requests.
    unsafe { &*(*DRIVER.lock().unwrap() as *const Driver) }
}

fn serve(driver: &Driver, handle: WDFOBJECT, config: &WDF_IO_QUEUE_CONFIG) -> ntbench::Handle {
    *DRIVER.lock().unwrap() = ptr::from_ref(driver) as usize;
    ready(driver, handle, config);
    bench().open(r"\\.\KmdfTest").unwrap()
}

type Found = (NtStatus, *mut c_void, usize);

fn input(request: WDFOBJECT, minimum: usize) -> Found {
    let (mut at, mut length) = (ptr::null_mut(), 0);
    let status = call!(driver(), WdfRequestRetrieveInputBuffer(
        request => WDFOBJECT, minimum => usize, &mut at => *mut *mut c_void, &mut length => *mut usize) -> NtStatus);
    (status, at, length)
}

fn output(request: WDFOBJECT, minimum: usize) -> Found {
    let (mut at, mut length) = (ptr::null_mut(), 0);
    let status = call!(driver(), WdfRequestRetrieveOutputBuffer(
        request => WDFOBJECT, minimum => usize, &mut at => *mut *mut c_void, &mut length => *mut usize) -> NtStatus);
    (status, at, length)
}

fn complete(request: WDFOBJECT, status: NtStatus, information: usize) {
    call!(driver(), WdfRequestCompleteWithInformation(
        request => WDFOBJECT, status => NtStatus, information => usize));
}

/// Answers each byte plus one; needs eight bytes in and out.
unsafe extern "win64" fn increment(_: WDFOBJECT, request: WDFOBJECT, out: usize, inp: usize, code: u32) {
    // SAFETY: no precondition.
    IRQL.store(unsafe { nt_abi::kernel::KeGetCurrentIrql() }, Ordering::SeqCst);
    *LENGTHS.lock().unwrap() = (inp, out);
    assert_eq!(code, self::code(1));
    let (status, from, length) = input(request, 8);
    if status != NtStatus::SUCCESS {
        return call!(driver(), WdfRequestComplete(request => WDFOBJECT, status => NtStatus));
    }
    let (status, to, room) = output(request, 8);
    if status != NtStatus::SUCCESS {
        return complete(request, status, 0);
    }
    assert_eq!(from, to, "buffered requests have one buffer");
    let bytes = length.min(room);
    // SAFETY: the buffer has that many bytes.
    let buffer = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), bytes) };
    buffer.iter_mut().for_each(|byte| *byte += 1);
    complete(request, NtStatus::SUCCESS, bytes);
}

#[test]
fn a_request_has_its_buffers_and_is_completed_with_information() {
    let (driver, handle) = Driver::created();
    let file = serve(&driver, handle, &queue_config(increment));
    assert_eq!(file.ioctl(code(1), &[1, 2, 3, 4, 5, 6, 7, 8, 9], 12).unwrap(), [2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(*LENGTHS.lock().unwrap(), (9, 12));
    assert_eq!(IRQL.load(Ordering::SeqCst), PASSIVE_LEVEL);
    drop(file);
}

#[test]
fn buffers_that_are_too_short_are_refused() {
    let (driver, handle) = Driver::created();
    let file = serve(&driver, handle, &queue_config(increment));
    for (input, room) in [(&[1; 7][..], 8), (&[], 8), (&[1; 8], 7), (&[1; 8], 0)] {
        let error = file.ioctl(code(1), input, room).unwrap_err();
        assert_eq!(error.status, NtStatus::BUFFER_TOO_SMALL);
    }
    drop(file);
}

static FOUND: Mutex<Vec<(NtStatus, usize)>> = Mutex::new(Vec::new());

/// Notes what it gets without asking for a length.
unsafe extern "win64" fn probe(_: WDFOBJECT, request: WDFOBJECT, _: usize, _: usize, _: u32) {
    let (into, out) = (input(request, 0), output(request, 0));
    FOUND.lock().unwrap().extend([(into.0, into.2), (out.0, out.2)]);
    complete(request, NtStatus::SUCCESS, 0);
}

#[test]
fn a_buffer_that_is_not_there_is_too_small_even_if_nothing_is_asked_for() {
    let (driver, handle) = Driver::created();
    FOUND.lock().unwrap().clear();
    let file = serve(&driver, handle, &queue_config(probe));
    assert!(file.ioctl(code(4), &[], 3).is_ok());
    assert!(file.ioctl(code(4), &[1, 2], 0).is_ok());
    let none = (NtStatus::BUFFER_TOO_SMALL, 0);
    let found = [none, (NtStatus::SUCCESS, 3), (NtStatus::SUCCESS, 2), none];
    assert_eq!(*FOUND.lock().unwrap(), found);
    drop(file);
}

unsafe extern "win64" fn hold(_: WDFOBJECT, request: WDFOBJECT, _: usize, _: usize, _: u32) {
    HELD.lock().unwrap().push(request as usize);
}

fn held() -> Vec<usize> {
    HELD.lock().unwrap().clone()
}

fn until(what: &str, is: impl Fn() -> bool) {
    (0..20_000).find(|_| {
        is() || {
            thread::sleep(Duration::from_millis(1));
            false
        }
    });
    if !is() {
        // A panic would wait for the requests that are out, for ever.
        eprintln!("waited for: {what}");
        std::process::abort();
    }
}

/// Sends three requests from threads of their own and runs `then` while they are out.
fn three_requests(config: &WDF_IO_QUEUE_CONFIG, then: impl FnOnce()) {
    let (driver, handle) = Driver::created();
    HELD.lock().unwrap().clear();
    let file = serve(&driver, handle, config);
    LEVELS.lock().unwrap().clear();
    thread::scope(|scope| {
        let senders: Vec<_> = (0..3).map(|_| scope.spawn(|| file.ioctl(code(2), &[], 4))).collect();
        then();
        let unwritten = &ntbench::Handle::UNWRITTEN.to_ne_bytes()[..4];
        senders.into_iter().for_each(|sender| assert_eq!(sender.join().unwrap().unwrap(), unwritten));
    });
    drop(file);
}

fn complete_first() {
    let request = HELD.lock().unwrap().remove(0);
    complete(request as WDFOBJECT, NtStatus::SUCCESS, 4);
}

#[test]
fn a_sequential_queue_presents_one_request_at_a_time() {
    let config = WDF_IO_QUEUE_CONFIG { DispatchType: WdfIoQueueDispatchSequential, ..queue_config(hold) };
    three_requests(&config, || {
        for _ in 0..3 {
            until("a request", || held().len() == 1);
            thread::sleep(Duration::from_millis(20));
            assert_eq!(held().len(), 1, "presented a second one");
            complete_first();
        }
    });
}

#[test]
fn a_parallel_queue_presents_as_many_as_it_may() {
    three_requests(&queue_config(hold), || {
        until("three requests", || held().len() == 3);
        (0..3).for_each(|_| complete_first());
    });
    let config = WDF_IO_QUEUE_CONFIG { NumberOfPresentedRequests: 2, ..queue_config(hold) };
    three_requests(&config, || {
        until("two requests", || held().len() == 2);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(held().len(), 2);
        complete_first();
        until("the third request", || held().len() == 2);
        (0..2).for_each(|_| complete_first());
    });
}

static LEVELS: Mutex<Vec<u8>> = Mutex::new(Vec::new());

unsafe extern "win64" fn hold_and_note(queue: WDFOBJECT, request: WDFOBJECT, out: usize, inp: usize, code: u32) {
    // SAFETY: no precondition.
    LEVELS.lock().unwrap().push(unsafe { nt_abi::kernel::KeGetCurrentIrql() });
    // SAFETY: as called.
    unsafe { hold(queue, request, out, inp, code) };
}

#[test]
fn a_passive_queue_presents_at_passive_level_after_a_completion_at_dispatch_level() {
    let config = WDF_IO_QUEUE_CONFIG { DispatchType: WdfIoQueueDispatchSequential, ..queue_config(hold_and_note) };
    three_requests(&config, || {
        for _ in 0..3 {
            until("a request", || held().len() == 1);
            // SAFETY: raised and lowered here.
            let old = unsafe { nt_abi::kernel::KfRaiseIrql(nt_abi::DISPATCH_LEVEL) };
            complete_first();
            // SAFETY: as above.
            unsafe { nt_abi::kernel::KeLowerIrql(old) };
        }
        assert_eq!(*LEVELS.lock().unwrap(), [PASSIVE_LEVEL; 3]);
    });
}

#[test]
fn a_request_without_a_callback_is_refused() {
    let (driver, handle) = Driver::created();
    let config = WDF_IO_QUEUE_CONFIG { EvtIoDeviceControl: None, ..queue_config(hold) };
    let file = serve(&driver, handle, &config);
    assert_eq!(file.ioctl(code(3), &[], 4).unwrap_err().status, NtStatus::INVALID_DEVICE_REQUEST);
    drop(file);
}

#[test]
fn a_device_without_a_queue_refuses_requests() {
    let (driver, handle) = Driver::created();
    let mut init = device_init(&driver, handle);
    let device = make_device(&driver, &mut init, ptr::null()).unwrap();
    finish(&driver, device);
    let file = bench().open(NAME).unwrap();
    assert_eq!(file.ioctl(code(3), &[], 4).unwrap_err().status, NtStatus::INVALID_DEVICE_REQUEST);
    drop(file);
}

#[test]
fn completing_twice_is_a_violation() {
    let (driver, handle) = Driver::created();
    HELD.lock().unwrap().clear();
    let file = serve(&driver, handle, &queue_config(hold));
    thread::scope(|scope| {
        let sender = scope.spawn(|| file.ioctl(code(2), &[], 4));
        until("a request", || held().len() == 1);
        let request = held()[0] as WDFOBJECT;
        complete(request, NtStatus::SUCCESS, 4);
        complete(request, NtStatus::SUCCESS, 4);
        assert_eq!(violations(), ["the request has been completed already"]);
        assert_eq!(output(request, 4).0, NtStatus::INVALID_HANDLE);
        assert_eq!(violations(), ["the request has been completed already"]);
        assert!(sender.join().unwrap().is_ok());
    });
    drop(file);
}

static INFORMATION: AtomicUsize = AtomicUsize::new(0);

unsafe extern "win64" fn too_much(_: WDFOBJECT, request: WDFOBJECT, _: usize, _: usize, _: u32) {
    complete(request, NtStatus::SUCCESS, INFORMATION.load(Ordering::SeqCst));
}

#[test]
fn more_information_than_there_is_room_is_a_violation() {
    let (driver, handle) = Driver::created();
    let file = serve(&driver, handle, &queue_config(too_much));
    INFORMATION.store(5, Ordering::SeqCst);
    let _ = file.ioctl(code(2), &[], 4);
    assert_eq!(violations(), ["more information than the output buffer holds"]);
    INFORMATION.store(4, Ordering::SeqCst);
    assert_eq!(file.ioctl(code(2), &[], 4).unwrap().len(), 4);
    drop(file);
}

#[test]
fn requests_from_many_threads_all_come_back() {
    let (driver, handle) = Driver::created();
    let file = serve(&driver, handle, &queue_config(increment));
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..4u8 {
            let (file, send) = (&file, send.clone());
            scope.spawn(move || {
                for round in 0..100 {
                    let answer = file.ioctl(code(1), &[number; 8], 8).unwrap();
                    assert_eq!(answer, [number + 1; 8], "round {round}");
                    send.send(()).unwrap();
                }
            });
        }
    });
    drop(send);
    assert_eq!(receive.into_iter().count(), 400);
    drop(file);
}

#[test]
fn a_device_that_is_deleted_with_a_request_outstanding_is_a_violation() {
    let (driver, handle) = Driver::created();
    HELD.lock().unwrap().clear();
    *DRIVER.lock().unwrap() = ptr::from_ref(&driver) as usize;
    let device = ready(&driver, handle, &queue_config(hold));
    let file = bench().open(r"\\.\KmdfTest").unwrap();
    thread::scope(|scope| {
        let sender = scope.spawn(|| file.ioctl(code(2), &[], 4));
        until("a request", || held().len() == 1);
        call!(driver, WdfObjectDelete(device => WDFOBJECT));
        assert_eq!(sender.join().unwrap().unwrap_err().status, NtStatus::CANCELLED);
    });
    assert_eq!(violations(), ["the device was deleted with a request outstanding"]);
    // The file object outlives the WDFDEVICE: its cleanup and close find none, and say so.
    drop(file);
    violations();
}
