//! Every request through every error of its envelope: short and long inputs, other versions, reserved fields, too little room.

mod support;

use control_abi::events::EventsRequest;
use control_abi::resolve::ResolveRequest;
use control_abi::services::{RemoveRequest, SaveRequest, ServicesRequest, SetRequest, StartRequest, StopRequest};
use control_abi::settings::{Kind, Settings};
use control_abi::sockets::SocketsRequest;
use control_abi::state::{ActivateRequest, DeactivateRequest, NoOpRequest, StateRequest};
use control_abi::version::VersionRequest;
use control_abi::{Ask, Request, Text, VERSION};
use ntbench::{IoctlError, NtStatus};
use support::peers::echoed;
use support::{isolated, listening, unload_clean};
use zerocopy::{Immutable, IntoBytes};

/// A good request: its code, its bytes, and the least room for its answer.
struct Good {
    request: Request,
    bytes: Vec<u8>,
    room: usize,
}

fn good<A: Ask + IntoBytes + Immutable>(asked: &A) -> Good {
    Good { request: A::REQUEST, bytes: asked.as_bytes().to_vec(), room: A::LEAST_ROOM }
}

/// One of each; those of services are about one that is not there.
fn one_of_each() -> Vec<Good> {
    let none = Text::new("none").expect("a name");
    vec![
        good(&StateRequest::NEW),
        good(&DeactivateRequest::NEW),
        good(&ActivateRequest::NEW),
        good(&NoOpRequest::NEW),
        good(&VersionRequest::ANY),
        good(&SocketsRequest::at(0)),
        good(&ServicesRequest::at(0)),
        good(&StartRequest::new(none, 0)),
        good(&StopRequest::new(none, 0)),
        good(&SetRequest::new(Settings::new(none, Kind::Echo), 0)),
        good(&SaveRequest::new(none, 0)),
        good(&RemoveRequest::new(none, 0)),
        good(&ResolveRequest::new("localhost").expect("a host")),
        good(&EventsRequest::after(0, 0)),
    ]
}

isolated! {
    #[test]
    fn control_every_request_is_refused_with_every_error_and_does_nothing() {
        let (loaded, address) = listening();
        let mut stream = echoed(address);
        let device = loaded.bench().open(r"\\.\WskClient").expect("the device");
        let all = one_of_each();
        for Good { request, bytes, room } in &all {
            let refused = |input: &[u8], room: usize| {
                let answer = device.ioctl(request.code(), input, room);
                answer.expect_err(&format!("{request:?} with {} bytes and room for {room} was carried out", input.len()))
            };
            let too_small = |needed| IoctlError { status: NtStatus::BUFFER_TOO_SMALL, information: needed };
            for length in (0..bytes.len()).filter(|length| *length < 16 || length % 37 == 0 || *length + 1 == bytes.len()) {
                assert_eq!(refused(&bytes[..length], 1 << 16), too_small(bytes.len()), "{request:?} with {length} bytes");
            }
            let long = [&bytes[..], &[0]].concat();
            assert_eq!(refused(&long, 1 << 16).status, NtStatus::INVALID_PARAMETER, "{request:?} with a byte more");
            for version in [1, VERSION - 1, VERSION + 1, u32::MAX] {
                let other = [&version.to_le_bytes()[..], &bytes[4..]].concat();
                assert_eq!(refused(&other, 1 << 16).status, NtStatus::REVISION_MISMATCH, "{request:?} of version {version}");
            }
            let reserved = [&VERSION.to_le_bytes()[..], &[1, 0, 0, 0], &bytes[8..]].concat();
            assert_eq!(refused(&reserved, 1 << 16).status, NtStatus::INVALID_PARAMETER, "{request:?} with a reserved field");
            for less in [0, room / 2, room.saturating_sub(1)].into_iter().filter(|less| less < room) {
                assert_eq!(refused(bytes, less), too_small(*room), "{request:?} with room for {less} bytes");
            }
        }
        support::peer::exchange(&mut stream, 1).expect("nothing was carried out");
        assert_eq!(loaded.state().expect("the state").totals.connections, 1);
        drop(device);
        unload_clean(&loaded);
    }

    /// None is forgotten above: each is there, but for those of traffic, which have tests of their own.
    #[test]
    fn control_no_request_is_left_out() {
        let tried: Vec<_> = one_of_each().iter().map(|good| good.request).collect();
        for request in Request::ALL {
            let is_traffic = format!("{request:?}").starts_with("Traffic");
            assert!(is_traffic || tried.contains(request), "{request:?}");
        }
    }

    #[test]
    fn control_fields_that_are_wrong_are_refused() {
        let (loaded, _) = listening();
        let device = loaded.bench().open(r"\\.\WskClient").expect("the device");
        let none = Text::new("none").expect("a name");
        let settings = Settings::new(none, Kind::Echo);
        let wrong = [
            good(&SocketsRequest::at(5)),
            good(&StartRequest::new(Text::EMPTY, 0)),
            good(&StartRequest::new(none, 1)),
            good(&StopRequest::new(none, 600_001)),
            good(&SaveRequest::new(none, 1)),
            good(&RemoveRequest::new(none, 2)),
            good(&SetRequest::new(settings, 4)),
            good(&SetRequest::new(Settings { kind: 5, ..settings }, 0)),
            good(&SetRequest::new(Settings { protocols: 4, ..settings }, 0)),
            good(&SetRequest::new(Settings { address_count: 9, ..settings }, 0)),
            good(&SetRequest::new(Settings { buffer_size: 1, ..settings }, 0)),
            good(&ResolveRequest { family: 5, ..ResolveRequest::new("localhost").expect("a host") }),
            good(&ResolveRequest { flags: 2, ..ResolveRequest::new("localhost").expect("a host") }),
            good(&ResolveRequest { timeout_ms: 0, ..ResolveRequest::new("localhost").expect("a host") }),
            good(&EventsRequest::after(0, 1001)),
            good(&EventsRequest { flags: 2, ..EventsRequest::after(0, 0) }),
        ];
        for (number, Good { request, bytes, .. }) in wrong.iter().enumerate() {
            let error = device.ioctl(request.code(), bytes, 1 << 16).expect_err("a wrong field was taken");
            assert_eq!(error.status, NtStatus::INVALID_PARAMETER, "{request:?}, the {number}th");
        }
        drop(device);
        unload_clean(&loaded);
    }
}
