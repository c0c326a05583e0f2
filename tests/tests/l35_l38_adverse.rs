//! L35: providers that fail without completing, or complete and fail; L37: cancelling; L38: open handles at unload.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use control_abi::{Registration, Request, RequestHeader, State};
use ntbench::wsk::{Action, Faults, Function, When};
use ntbench::{NtStatus, UnloadRefused};
use support::peers::{Traffic, echoed, expect_all_ended, idle, is_ended};
use support::{
    Loaded, SOON, Story, address, address_since, assert_clean, assert_nothing_left, control, isolated, listening, load, rig,
    state_when, unload_clean, until,
};
use zerocopy::{FromBytes, IntoBytes};

const WRONG: NtStatus = NtStatus::INSUFFICIENT_RESOURCES;

fn misbehave(loaded: &Loaded, function: Function, when: When, action: Action) {
    loaded.bench().provider().set_faults(Faults::rule(function, when, action));
}

fn behave(loaded: &Loaded) {
    loaded.bench().provider().set_faults(Faults::default());
}

/// A connection whose n-th receive or send goes wrong like this ends soon, is counted as failed, and leaves nothing: neither when
/// its socket is closed nor at unload. Others go on.
fn transfer_goes_wrong(function: Function, action: Action) {
    let (loaded, where_to) = listening();
    let mut other = echoed(where_to);
    // Once the other's next receive is posted, beside the accept: the calls that are counted are the connection's then.
    let before = state_when(&loaded, |state| state.in_flight == 2 && state.totals.sent == 100).totals;
    misbehave(&loaded, function, When::Nth(2), action);
    let mut stream = support::peer::connect(where_to).expect("a connection");
    let began = Instant::now();
    while support::peer::exchange(&mut stream, 1).is_ok() && began.elapsed() < SOON {}
    assert!(is_ended(&mut stream), "the connection was not ended");
    assert!(began.elapsed() < 2 * SOON, "its end took {:?}", began.elapsed());
    let after = state_when(&loaded, |state| state.totals.connections == 1);
    assert_eq!(after.totals.failed, before.failed + 1, "{after:?}");
    behave(&loaded);
    // Everything of the connection is back with its close; what was kept for it, too.
    until(&loaded, "its memory is back", || loaded.bench().stats().mdls == 1 || loaded.bench().stats().mdls == 0);
    support::peer::exchange(&mut other, 2).expect("others go on");
    drop(echoed(where_to));
    unload_clean(&loaded);
    assert_nothing_left(loaded.bench());
}

/// The driver comes to listen after this call has gone wrong once, and nothing of the call is left at the end.
fn listening_goes_wrong(function: Function, action: Action) -> Loaded {
    let rig = rig();
    rig.bench().provider().set_faults(Faults::rule(function, When::Nth(1), action));
    let loaded = load(&rig);
    drop(echoed(address(&loaded)));
    loaded
}

/// A device that is open, for requests one after the other.
fn ask(device: &ntbench::Handle, request: Request, answer: usize) -> Result<Vec<u8>, NtStatus> {
    device.ioctl(request as u32, RequestHeader::CURRENT.as_bytes(), answer).map_err(|error| error.status)
}

fn state_of(device: &ntbench::Handle) -> State {
    State::read_from_bytes(&ask(device, Request::State, size_of::<State>()).expect("the state")).expect("its size")
}

isolated! {
    #[test]
    fn l35_a_receive_that_fails_and_never_completes() {
        transfer_goes_wrong(Function::Receive, Action::Abandon(WRONG));
    }

    #[test]
    fn l35_a_send_that_fails_and_never_completes() {
        transfer_goes_wrong(Function::Send, Action::Abandon(WRONG));
    }

    #[test]
    fn l35_a_receive_that_fails_late() {
        transfer_goes_wrong(Function::Receive, Action::FailLater(WRONG));
    }

    #[test]
    fn l35_a_send_that_fails_at_once() {
        transfer_goes_wrong(Function::Send, Action::Fail(WRONG));
    }

    /// The IRP says how a request ended; a status that differs from it is not believed, and no byte is lost.
    #[test]
    fn l35_transfers_that_complete_and_return_an_error_as_well() {
        let (loaded, where_to) = listening();
        let mut stream = support::peer::connect(where_to).expect("a connection");
        misbehave(&loaded, Function::Send, When::Always, Action::CompleteAndReturn(WRONG));
        for round in 0..20 {
            support::peer::exchange(&mut stream, round).expect("echo works");
        }
        behave(&loaded);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    /// Receives that pend come back after their call has failed: they are parked until then, and their connections end.
    #[test]
    fn l35_receives_that_fail_and_complete_later() {
        let (loaded, where_to) = listening();
        misbehave(&loaded, Function::Receive, When::Chance(0.5), Action::CompleteAndReturn(WRONG));
        let traffic = Traffic::start(where_to, 6);
        std::thread::sleep(Duration::from_millis(200));
        traffic.expect_ended();
        state_when(&loaded, |state| state.totals.connections == 0);
        behave(&loaded);
        drop(echoed(where_to));
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l35_an_accept_that_fails_and_never_completes() {
        let (loaded, where_to) = listening();
        misbehave(&loaded, Function::Accept, When::Nth(1), Action::Abandon(WRONG));
        // The accept that waits takes the first; the next call goes wrong, and the one after it serves again.
        for _ in 0..3 {
            drop(echoed(where_to));
        }
        assert!(!Story::of(&loaded).printed("accept at").is_empty(), "the failure was not traced");
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l35_a_socket_call_that_fails_and_never_completes_is_reclaimed_in_the_cleanup() {
        let loaded = listening_goes_wrong(Function::Socket, Action::Abandon(WRONG));
        let parked = loaded.bench().stats().irps;
        let (status, _) = loaded.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        until(&loaded, "the parked IRPs are back", || loaded.bench().stats().irps == 0);
        assert!(parked > 0);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l35_a_socket_call_that_completes_and_fails() {
        unload_clean(&listening_goes_wrong(Function::Socket, Action::CompleteAndReturn(WRONG)));
    }

    #[test]
    fn l35_a_bind_that_fails_and_never_completes() {
        let loaded = listening_goes_wrong(Function::Bind, Action::Abandon(WRONG));
        assert!(!Story::of(&loaded).printed("cannot listen at").is_empty(), "the failure was not traced");
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l35_a_disconnect_that_fails_and_never_completes() {
        let (loaded, where_to) = listening();
        misbehave(&loaded, Function::Disconnect, When::Nth(1), Action::Abandon(WRONG));
        let mut stream = echoed(where_to);
        stream.shutdown(std::net::Shutdown::Write).expect("half-closed");
        assert!(is_ended(&mut stream));
        state_when(&loaded, |state| state.totals.connections == 0);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    /// Functions that come back only when they are cancelled, or when their socket is closed: the detach sees to both.
    #[test]
    fn l35_requests_that_never_end_by_themselves_do_not_hold_up_the_end() {
        for function in [Function::Receive, Function::Send, Function::Accept, Function::Disconnect] {
            let rig = RIG.get_or_init(rig);
            let loaded = load(rig);
            let where_to = address(&loaded);
            misbehave(&loaded, function, When::Always, Action::Never);
            let mut stuck: Vec<_> = (0..5).filter_map(|_| begun(where_to)).collect();
            std::thread::sleep(Duration::from_millis(50));
            let unload = unload_clean(&loaded);
            assert!(unload.total < SOON, "{function:?}: {unload}");
            behave(&loaded);
            expect_all_ended(&mut stuck);
        }
    }

    /// L37: an idle connection's receive is cancelled while its data arrives; whichever way it ends, the bytes are echoed.
    #[test]
    fn l37_bytes_that_meet_a_cancellation_are_not_lost() {
        let (loaded, where_to) = listening();
        let mut streams = idle(where_to, 30);
        // Nudges come once a second: exchanges all around those instants.
        let began = Instant::now();
        let mut round = 0;
        while began.elapsed() < Duration::from_millis(4200) {
            for stream in &mut streams {
                support::peer::exchange(stream, round).expect("echo works");
                round += 1;
            }
            std::thread::sleep(Duration::from_millis(1015 - (round / 30 * 10) % 40));
        }
        assert_eq!(loaded.state().expect("the state").totals.failed, 0);
        unload_clean(&loaded);
    }

    /// The driver is not unloaded while a handle is open; it works on, can be made quiet, and goes when the handle is closed.
    #[test]
    fn l38_an_open_handle_keeps_the_driver_and_deactivation_quiesces_it() {
        let (loaded, where_to) = listening();
        let device = loaded.bench().open(r"\\.\WskClient").expect("the device");
        let mut stream = echoed(where_to);
        assert_eq!(loaded.unload().map(|_| ()), Err(UnloadRefused::Handles(1)));
        support::peer::exchange(&mut stream, 8).expect("it works on");
        assert_eq!(state_of(&device).registration, Registration::In as u32);
        ask(&device, Request::Deactivate, 0).expect("deactivated");
        assert!(is_ended(&mut stream));
        assert_eq!(state_of(&device).registration, Registration::Out as u32);
        assert_eq!(loaded.unload().map(|_| ()), Err(UnloadRefused::Handles(1)));
        let first = loaded.now();
        ask(&device, Request::Activate, 0).expect("activated");
        drop(echoed(address_since(&loaded, first)));
        drop(device);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
        assert!(loaded.bench().open(r"\\.\WskClient").is_err(), "the device is there still");
    }

    /// Requests are bounded in time: one that deactivates waits for the provider's closes and no longer.
    #[test]
    fn l38_a_deactivation_is_bounded_by_the_providers_close() {
        let (loaded, where_to) = listening();
        let mut connections = idle(where_to, 50);
        loaded.bench().provider().set_faults(Faults { close_delay: Some(Duration::from_millis(200)), ..Faults::default() });
        let began = Instant::now();
        control(loaded.bench(), Request::Deactivate, 0).expect("deactivated");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(200) && took < SOON, "{took:?}");
        expect_all_ended(&mut connections);
        assert_clean(loaded.bench());
        unload_clean(&loaded);
    }
}

static RIG: std::sync::OnceLock<support::Rig> = std::sync::OnceLock::new();

/// A connection that has sent a little and half-closed, if it came about.
fn begun(address: SocketAddr) -> Option<std::net::TcpStream> {
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
    std::io::Write::write_all(&mut stream, b"begun").ok()?;
    let _ = stream.shutdown(std::net::Shutdown::Write);
    Some(stream)
}
