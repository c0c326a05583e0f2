//! Conditional accept, of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/tcp_inspect.rs`).

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ntbench::NtStatus;
use ntbench::trace::{Event, Kind};
use ntbench::wsk::{Action, Faults, Function, Moment, Step, When};
use support::exercise::{Exercise, NO_TARGET, exercise, exercise_on, exercise_rig};
use support::{Rig, Steps, config, hosts, isolated, peer, peers, until, wait_for};

/// Hears that it is welcome, and says thanks.
#[track_caller]
fn welcomed(stream: &mut TcpStream) {
    hosts::hear(stream, "welcome");
    hosts::say(stream, "thanks");
}

/// The peers of a scenario of three that are accepted.
fn three_are_welcomed(scenario: &'static str) {
    let run = exercise(scenario, NO_TARGET);
    let address = run.at();
    for _ in 0..3 {
        welcomed(&mut peer::connect(address).expect("a connection"));
    }
    run.expect_ok_and_unload();
}

/// A peer that comes while the test does something else.
fn comes(address: SocketAddr) -> std::thread::JoinHandle<std::io::Result<TcpStream>> {
    std::thread::spawn(move || TcpStream::connect(address))
}

/// Runs a scenario on a provider whose first WskInspectComplete goes like this.
fn with_verdict(scenario: &'static str, action: Action) -> Exercise {
    let rig = exercise_rig(config());
    rig.bench().provider().set_faults(Faults::rule(Function::InspectComplete, When::Nth(1), action));
    exercise_on(&rig, scenario, NO_TARGET)
}

fn answers(action: Action, answer: &str) {
    let run = with_verdict("tcp_inspect_report", action);
    let peer = comes(run.at());
    assert_eq!(run.said("answer"), answer);
    run.expect_ok_and_unload();
    let _ = peer.join();
}

isolated! {
    #[test]
    fn lib_tcp_inspect_accepts() {
        three_are_welcomed("tcp_inspect_accepts");
    }

    #[test]
    fn lib_tcp_inspect_accepts_by_event() {
        three_are_welcomed("tcp_inspect_accepts_by_event");
    }

    #[test]
    fn lib_tcp_inspect_rejects_drops_and_accepts() {
        let run = exercise("tcp_inspect_decides", NO_TARGET);
        let address = run.at();
        for word in ["rejected", "dropped"] {
            let mut stream = peer::connect(address).expect("a connection");
            run.said(word);
            assert!(peers::is_ended(&mut stream), "{word}");
        }
        welcomed(&mut peer::connect(address).expect("a connection"));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_inspect_says_when_the_peer_has_given_up() {
        let rig = exercise_rig(config());
        let steps = Steps::record(rig.bench());
        let run = exercise_on(&rig, "tcp_inspect_aborted", NO_TARGET);
        let address = run.at();
        let first = peer::connect(address).expect("a connection");
        run.said("inspecting");
        reset(first);
        run.said("told");
        reset(peer::connect(address).expect("a connection"));
        until(&run.loaded, "the second has gone", || steps.count(Function::AbortEvent, Moment::Return) == 2);
        run.go("second");
        run.said("next");
        welcomed(&mut peer::connect(address).expect("a connection"));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_inspect_rejects_what_is_too_many() {
        let rig = exercise_rig(config());
        let steps = Steps::record(rig.bench());
        let run = exercise_on(&rig, "tcp_inspect_too_many", NO_TARGET);
        let address = run.at();
        let mut six: Vec<_> = (0..6).map(|_| peer::connect(address).expect("a connection")).collect();
        until(&run.loaded, "six have been shown", || steps.count(Function::InspectEvent, Moment::Return) == 6);
        run.go("six");
        let mut welcome = 0;
        let mut refused = 0;
        for stream in &mut six {
            let mut heard = [0; 7];
            match std::io::Read::read_exact(stream, &mut heard) {
                Ok(()) => {
                    assert_eq!(&heard, b"welcome");
                    hosts::say(stream, "thanks");
                    welcome += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert_eq!((welcome, refused), (4, 2));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_inspect_verdict_late() {
        answers(Action::Late(Duration::from_millis(50)), "Ok(())");
    }

    #[test]
    fn lib_tcp_inspect_verdict_completed_before_the_return() {
        answers(Action::BeforeReturn, "Ok(())");
    }

    #[test]
    fn lib_tcp_inspect_verdict_that_fails() {
        answers(Action::Fail(NtStatus::INVALID_PARAMETER), "Err(Provider(0xc000000d))");
    }

    #[test]
    fn lib_tcp_inspect_verdict_that_fails_and_never_completes() {
        answers(Action::Abandon(NtStatus::INSUFFICIENT_RESOURCES), "Err(OutOfMemory)");
    }

    #[test]
    fn lib_tcp_inspect_verdict_whose_future_is_dropped_holds() {
        // Its IRP comes back when the future has been dropped, and no sooner.
        let rig: &Rig = Box::leak(Box::new(exercise_rig(config())));
        rig.bench().provider().set_faults(Faults::rule(Function::InspectComplete, When::Nth(1), Action::Late(Duration::ZERO)));
        let done = Step { function: Function::InspectComplete, moment: Moment::Complete };
        rig.bench().provider().on_step(move |step| {
            let dropped = |event: &Event| matches!(&event.kind, Kind::DbgPrint { text, .. } if text.contains(": dropped"));
            if step == done {
                wait_for(|| rig.bench().trace().iter().any(dropped).then_some(()));
            }
        });
        let run = exercise_on(rig, "tcp_inspect_verdict_dropped", NO_TARGET);
        welcomed(&mut peer::connect(run.at()).expect("a connection"));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_inspect_verdict_whose_future_is_dropped_is_not_cancelled() {
        let run = with_verdict("tcp_inspect_verdict_stays", Action::Never);
        let peer = comes(run.at());
        run.expect_ok_and_unload();
        let _ = peer.join();
    }

    #[test]
    fn lib_tcp_inspect_ends_at_unload() {
        let run = exercise("tcp_inspect_ends", NO_TARGET);
        let address = run.at();
        let coming: Vec<_> = (0..3).map(|_| comes(address)).collect();
        run.said("waiting");
        run.unload_clean();
        run.expect_ok();
        for peer in coming {
            if let Ok(mut stream) = peer.join().expect("a peer") {
                assert!(peers::is_ended(&mut stream));
            }
        }
    }

    #[test]
    fn lib_tcp_inspect_ends_when_the_provider_departs() {
        let run = exercise("tcp_inspect_ends", NO_TARGET);
        let address = run.at();
        let _coming: Vec<_> = (0..2).map(|_| comes(address)).collect();
        run.said("waiting");
        support::depart(run.bench());
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_inspect_ends_when_the_socket_functions_no_more() {
        let run = exercise("tcp_inspect_ends", NO_TARGET);
        let address = run.at();
        let _coming: Vec<_> = (0..2).map(|_| comes(address)).collect();
        run.said("waiting");
        run.bench().provider().break_sockets();
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_inspect_needs_the_option() {
        exercise("tcp_inspect_not_conditional", NO_TARGET).expect_ok_and_unload();
    }
}

/// Ends a connection by a reset.
fn reset(stream: TcpStream) {
    let linger = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(&stream, linger).expect("a socket that resets");
    drop(stream);
}
