//! The control device: every request, and every way in which one can be wrong.

mod support;

use std::time::Duration;

use control_abi::{Gate, Registration, Request, RequestHeader, State, VERSION};
use ntbench::wsk::Faults;
use ntbench::{Handle, IoctlError, NtStatus};
use support::peers::{echoed, idle, never_reads};
use support::{Loaded, assert_clean, isolated, listening, load, rig, state_when, unload_clean};
use zerocopy::{FromBytes, IntoBytes};

const STATE: usize = size_of::<State>();

fn device(loaded: &Loaded) -> Handle {
    loaded.bench().open(r"\\.\WskClient").expect("the device")
}

/// What a request with these bytes and room for so many is refused with.
#[track_caller]
fn refused(device: &Handle, code: u32, input: &[u8], room: usize) -> IoctlError {
    device.ioctl(code, input, room).expect_err("a wrong request was answered")
}

fn wrong(status: NtStatus, information: usize) -> IoctlError {
    IoctlError { status, information }
}

fn header(version: u32, reserved: u32) -> RequestHeader {
    RequestHeader { version, reserved }
}

fn state(device: &Handle) -> State {
    let answer = device.ioctl(Request::State as u32, RequestHeader::CURRENT.as_bytes(), STATE).expect("the state");
    State::read_from_bytes(&answer).expect("its size")
}

const REQUESTS: [Request; 3] = [Request::State, Request::Deactivate, Request::Activate];

isolated! {
    #[test]
    fn control_unknown_codes_are_refused() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        // Beside ours, of another device type, with another access, and nonsense.
        for code in [0x0012_6400, 0x0012_e400, 0x0022_6000, 0x0012_2000, 0x0012_a004, 0, 0xffff_fffc] {
            let error = refused(&device, code, RequestHeader::CURRENT.as_bytes(), STATE);
            assert_eq!(error.status, NtStatus::INVALID_DEVICE_REQUEST, "code {code:#x}");
        }
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_short_and_long_inputs_are_refused_and_do_nothing() {
        let (loaded, where_to) = listening();
        let mut stream = echoed(where_to);
        let device = device(&loaded);
        let long = [RequestHeader::CURRENT.as_bytes(), &[0; 9]].concat();
        for request in REQUESTS {
            for length in 0..8 {
                let error = refused(&device, request as u32, &long[..length], STATE);
                assert_eq!(error, wrong(NtStatus::BUFFER_TOO_SMALL, 8), "{request:?} with {length} bytes");
            }
            for length in [9, 16, 17] {
                let error = refused(&device, request as u32, &long[..length], STATE);
                assert_eq!(error.status, NtStatus::INVALID_PARAMETER, "{request:?} with {length} bytes");
            }
        }
        support::peer::exchange(&mut stream, 1).expect("no request was carried out");
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_other_versions_and_reserved_fields_are_refused_and_do_nothing() {
        let (loaded, where_to) = listening();
        let mut stream = echoed(where_to);
        let device = device(&loaded);
        for request in REQUESTS {
            for version in [0, VERSION + 1, u32::MAX] {
                let error = refused(&device, request as u32, header(version, 0).as_bytes(), STATE);
                assert_eq!(error.status, NtStatus::REVISION_MISMATCH, "{request:?} of version {version}");
            }
            for reserved in [1, u32::MAX] {
                let error = refused(&device, request as u32, header(VERSION, reserved).as_bytes(), STATE);
                assert_eq!(error.status, NtStatus::INVALID_PARAMETER, "{request:?} with {reserved}");
            }
        }
        support::peer::exchange(&mut stream, 1).expect("no request was carried out");
        assert!(!support::Story::of(&loaded).printed(&format!("version {}", VERSION + 1)).is_empty(), "another version was not traced");
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_a_short_output_is_refused_with_the_size_that_it_takes() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        for room in [0, 1, 8, STATE - 1] {
            let error = refused(&device, Request::State as u32, RequestHeader::CURRENT.as_bytes(), room);
            assert_eq!(error, wrong(NtStatus::BUFFER_TOO_SMALL, STATE), "room for {room} bytes");
        }
        let answer = device.ioctl(Request::State as u32, RequestHeader::CURRENT.as_bytes(), STATE + 100).expect("more room is fine");
        assert_eq!(answer.len(), STATE);
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_the_state_counts_what_there_is() {
        let (loaded, where_to) = listening();
        let device = device(&loaded);
        let first = state(&device);
        assert_eq!((first.version, first.registration, first.gate), (VERSION, Registration::In as u32, Gate::Open as u32));
        assert_eq!((first.generation, first.sockets, first.totals.connections), (1, 1, 0), "{first:?}");
        let streams = idle(where_to, 7);
        // When all is quiet: a receive for each connection is in flight, and the accept.
        let busy = state_when(&loaded, |state| state.in_flight == 8 && state.totals.sent == 700);
        assert_eq!((busy.sockets, busy.totals.connections, busy.totals.accepted), (8, 7, 7), "{busy:?}");
        assert_eq!((busy.totals.received, busy.inside), (700, 0), "{busy:?}");
        assert!(busy.totals.held >= 7 * 4096 && busy.totals.most_held >= busy.totals.held, "{busy:?}");
        drop(streams);
        let after = state_when(&loaded, |state| state.totals.connections == 0);
        assert_eq!((after.sockets, after.totals.held), (1, 0), "{after:?}");
        drop(device);
        unload_clean(&loaded);
    }

    /// `inside` counts threads in functions of sockets; it is seen from within one.
    #[test]
    fn control_the_state_can_be_asked_for_while_a_function_is_entered_and_while_a_deactivation_waits() {
        let (loaded, where_to) = listening();
        let device = device(&loaded);
        let _stuck = never_reads(where_to);
        loaded.bench().provider().set_faults(Faults { close_delay: Some(Duration::from_millis(1500)), ..Faults::default() });
        std::thread::scope(|scope| {
            let leaving = scope.spawn(|| loaded.set_active(false));
            let state = state_when(&loaded, |state| state.registration == Registration::Leaving as u32);
            assert_ne!(state.gate, Gate::Open as u32, "{state:?}");
            assert!(!leaving.is_finished(), "the deactivation was over already");
            leaving.join().expect("no panic").expect("deactivated");
        });
        assert_eq!(state(&device).registration, Registration::Out as u32);
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_a_driver_without_a_provider_answers() {
        let rig = rig();
        let (status, _) = rig.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        let loaded = load(&rig);
        let device = device(&loaded);
        let now = state(&device);
        assert_eq!((now.registration, now.gate, now.generation), (Registration::In as u32, Gate::None as u32, 0), "{now:?}");
        drop(device);
        unload_clean(&loaded);
    }

    /// Handles come and go, many at once, with requests on each.
    #[test]
    fn control_many_handles_at_once() {
        let (loaded, _) = listening();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let device = device(&loaded);
                        assert_eq!(state(&device).version, VERSION);
                    }
                });
            }
        });
        assert_clean(loaded.bench());
        unload_clean(&loaded);
    }

    /// The device's memory can run out for requests; they fail, and nothing else.
    #[test]
    fn control_requests_without_memory_fail_and_leave_nothing() {
        let (loaded, where_to) = listening();
        let mut stream = echoed(where_to);
        let device = device(&loaded);
        loaded.bench().fail("ExAllocatePool2", ntbench::When::From(1));
        let answer = device.ioctl(Request::State as u32, RequestHeader::CURRENT.as_bytes(), STATE);
        loaded.bench().no_faults();
        if let Err(error) = answer {
            assert_eq!(error.status, NtStatus::INSUFFICIENT_RESOURCES);
        }
        assert_eq!(state(&device).version, VERSION);
        support::peer::exchange(&mut stream, 1).expect("the service goes on");
        drop(device);
        unload_clean(&loaded);
    }
}
