//! Requests of the control device against everything that can happen meanwhile: their own cancellation, a deactivation, the
//! provider's loss, the driver's unload.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use control_abi::events::{Event, EventsRequest, MOST_WAIT_MS};
use control_abi::page::room;
use control_abi::{Page, Registration, Request, RequestHeader};
use ntbench::wsk::{Function, Moment, Step};
use ntbench::{Bench, Handle, IoctlError, NtStatus};
use support::peers::{echoed, idle};
use support::{Loaded, address_since, assert_clean, bounded, isolated, listening, peer, state_when, unload_clean};
use zerocopy::IntoBytes;

/// Room for any answer.
const ROOM: usize = 1 << 16;
/// How many rounds the threads make that have no order with the others.
const ROUNDS: usize = 40;

fn device(bench: &Bench) -> Result<Handle, NtStatus> {
    bench.open(r"\\.\WskClient")
}

/// The requests whose header is all that they have, or that have good values in all fields, and are over soon.
fn requests() -> Vec<(Request, Vec<u8>)> {
    let plain = [Request::NoOp, Request::Version, Request::State];
    let plain = plain.into_iter().map(|request| (request, RequestHeader::CURRENT.as_bytes().to_vec()));
    plain.chain([(Request::Events, EventsRequest::after(0, 1).as_bytes().to_vec())]).collect()
}

/// What a request may be answered with while it is cancelled or the driver comes and goes.
fn expect_fit(request: Request, answer: Result<Vec<u8>, IoctlError>) {
    const FIT: [NtStatus; 2] = [NtStatus::CANCELLED, NtStatus::INVALID_DEVICE_STATE];
    if let Err(error) = answer {
        assert!(FIT.contains(&error.status), "{request:?}: {error}");
    }
}

/// A wait for an event that does not come by itself.
fn wait_for_event(device: &Handle) -> Result<Vec<u8>, IoctlError> {
    let newest = device.ioctl(Request::Events.code(), EventsRequest::after(0, 0).as_bytes(), ROOM)?;
    let newest = Page::<Event>::read(&newest).expect("a page").header.total;
    device.ioctl(Request::Events.code(), EventsRequest::after(newest, MOST_WAIT_MS).as_bytes(), room::<Event>(1))
}

/// Asks everything, again and again, until told to stop; how often.
fn asking<'scope>(
    scope: &'scope Scope<'scope, '_>,
    loaded: &'scope Loaded,
    stop: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, usize> {
    scope.spawn(move || {
        let mut times = 0;
        while !stop.load(Ordering::Acquire) {
            let device = device(loaded.bench()).expect("the device");
            for (request, input) in requests() {
                expect_fit(request, device.ioctl(request.code(), &input, ROOM));
                times += 1;
            }
        }
        times
    })
}

/// Holds the first call of a function of the provider's where it is entered, until the sender goes; what is received says that one is there.
fn hold(bench: &Bench, function: Function) -> (std::sync::mpsc::Sender<()>, Receiver<()>) {
    let (release, held) = channel::<()>();
    let (tell, told) = channel();
    let held = Arc::new(Mutex::new(Some(held)));
    bench.provider().on_step(move |step| {
        if step == (Step { function, moment: Moment::Enter })
            && let Some(held) = held.lock().expect("no panic").take()
        {
            let _ = tell.send(());
            let _ = held.recv_timeout(Duration::from_secs(20));
        }
    });
    (release, told)
}

isolated! {
    #[test]
    fn control_requests_cancelled_before_the_driver_sees_them_end() {
        let (loaded, _) = listening();
        let device = device(loaded.bench()).expect("the device");
        for (request, input) in requests() {
            expect_fit(request, device.ioctl_cancelled(request.code(), &input, ROOM));
        }
        // Had it waited for an event nevertheless, it would have had to be answered with an empty page.
        let asked = EventsRequest::after(u64::from(u32::MAX), MOST_WAIT_MS);
        expect_fit(Request::Events, device.ioctl_cancelled(Request::Events.code(), asked.as_bytes(), ROOM));
        for request in [Request::Deactivate, Request::Activate] {
            let first = loaded.now();
            expect_fit(request, device.ioctl_cancelled(request.code(), RequestHeader::CURRENT.as_bytes(), 0));
            let registration = state_when(&loaded, |_| true).registration;
            if registration == Registration::Out as u32 {
                loaded.set_active(true).expect("activated");
                echoed(address_since(&loaded, first));
            }
        }
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_a_wait_that_is_cancelled_is_over_long_before_its_time() {
        let (loaded, _) = listening();
        let device = device(loaded.bench()).expect("the device");
        let mut cancelled = 0;
        for _ in 0..5 {
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| wait_for_event(&device));
                // Again and again, for the first may meet the request before.
                let answer = bounded(loaded.bench(), "a cancelled wait", || {
                    while !waiting.is_finished() {
                        device.cancel_all();
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    waiting.join().expect("no panic")
                });
                expect_fit(Request::Events, answer.clone());
                cancelled += usize::from(answer.is_err_and(|error| error.status == NtStatus::CANCELLED));
            });
        }
        assert!(cancelled > 0, "none was cancelled");
        assert_eq!(device.cancel_all(), 0);
        drop(device);
        unload_clean(&loaded);
    }

    /// Each request many times, with cancellation falling wherever it falls.
    #[test]
    fn control_requests_cancelled_anywhere_end_once() {
        let (loaded, _) = listening();
        let device = device(loaded.bench()).expect("the device");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    device.cancel_all();
                    std::thread::yield_now();
                }
            });
            let asking: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for (request, input) in requests().iter().cycle().take(ROUNDS * 20) {
                            expect_fit(*request, device.ioctl(request.code(), input, ROOM));
                        }
                    })
                })
                .collect();
            let ended: Vec<_> = asking.into_iter().map(ScopedJoinHandle::join).collect();
            over.store(true, Ordering::Release);
            ended.into_iter().for_each(|ended| ended.expect("no panic"));
        });
        assert_clean(loaded.bench());
        drop(device);
        unload_clean(&loaded);
    }

    /// A deactivation cannot be called back: cancelled while it waits, it ends as it would have.
    #[test]
    fn control_a_deactivation_cancelled_while_it_waits_is_carried_out() {
        let (loaded, where_to) = listening();
        let _idle = idle(where_to, 3);
        let device = device(loaded.bench()).expect("the device");
        let (release, held) = hold(loaded.bench(), Function::Close);
        std::thread::scope(|scope| {
            let leaving = scope.spawn(|| device.ioctl(Request::Deactivate.code(), RequestHeader::CURRENT.as_bytes(), 0));
            held.recv_timeout(Duration::from_secs(20)).expect("a socket is closed");
            assert_eq!(device.cancel_all(), 1);
            let state = state_when(&loaded, |state| state.registration == Registration::Leaving as u32);
            assert!(state.sockets > 0, "{state:?}");
            assert!(!leaving.is_finished(), "it did not wait");
            drop(release);
            leaving.join().expect("no panic").expect("deactivated");
        });
        assert_eq!(state_when(&loaded, |_| true).registration, Registration::Out as u32);
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_requests_race_deactivations_and_activations() {
        let (loaded, _) = listening();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = [asking(scope, &loaded, &stop), asking(scope, &loaded, &stop)];
            for _ in 0..ROUNDS {
                loaded.set_active(false).expect("deactivated");
                loaded.set_active(true).expect("activated");
            }
            stop.store(true, Ordering::Release);
            assert!(asking.into_iter().all(|asking| asking.join().expect("no panic") > 0));
        });
        unload_clean(&loaded);
    }

    /// Several want it out and several want it in: each is told how it went, and at the end it is as the last one says.
    #[test]
    fn control_deactivations_and_activations_race_each_other() {
        let (loaded, _) = listening();
        std::thread::scope(|scope| {
            for active in [true, false, true, false] {
                let loaded = &loaded;
                scope.spawn(move || (0..ROUNDS).for_each(|_| drop(loaded.set_active(active))));
            }
        });
        let _ = loaded.set_active(false);
        assert_eq!(state_when(&loaded, |_| true).registration, Registration::Out as u32);
        let first = loaded.now();
        loaded.set_active(true).expect("activated");
        let mut stream = echoed(address_since(&loaded, first));
        peer::exchange(&mut stream, 1).expect("it serves");
        unload_clean(&loaded);
    }

    #[test]
    fn control_requests_race_the_loss_and_the_return_of_the_provider() {
        let (loaded, _) = listening();
        let stop = AtomicBool::new(false);
        let mut first = 0;
        std::thread::scope(|scope| {
            let asking = [asking(scope, &loaded, &stop), asking(scope, &loaded, &stop)];
            for round in 0..ROUNDS {
                let departure = loaded.bench().provider().depart();
                if round % 4 == 0 {
                    // A deactivation falls into the loss, and its activation into the return.
                    loaded.set_active(false).expect("deactivated");
                    loaded.set_active(true).expect("activated");
                }
                assert_eq!(departure.wait().0, NtStatus::SUCCESS);
                first = loaded.now();
                assert_eq!(loaded.bench().provider().arrive(), NtStatus::SUCCESS);
            }
            stop.store(true, Ordering::Release);
            assert!(asking.into_iter().all(|asking| asking.join().expect("no panic") > 0));
        });
        echoed(address_since(&loaded, first));
        unload_clean(&loaded);
    }
}
