//! Connecting, of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/tcp_connect.rs`).

mod support;

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use ntbench::NtStatus;
use ntbench::trace::{Event, Kind};
use ntbench::wsk::{Action, Faults, Function, Moment, Rule, Step, When};
use rustix::net::sockopt;
use support::exercise::{Exercise, exercise, exercise_on, exercise_rig};
use support::provider::socket_at;
use support::{Rig, Steps, config, hosts, isolated, until, wait_for};

const WRONG: NtStatus = NtStatus::INSUFFICIENT_RESOURCES;
const SHORTLY: Duration = Duration::from_millis(40);
/// For a test that runs several scenarios.
static EXERCISES: OnceLock<Rig> = OnceLock::new();

/// Runs a scenario on a provider whose first call of the function goes like this.
fn with_fault(scenario: &'static str, target: SocketAddr, function: Function, action: Action) -> Exercise {
    let rig = exercise_rig(config());
    rig.bench().provider().set_faults(Faults::rule(function, When::Nth(1), action));
    exercise_on(&rig, scenario, target)
}

/// A host that takes what comes and does not care how it ends.
fn anybody() -> SocketAddr {
    let (listener, address) = hosts::listener();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            kept.push(stream);
        }
    });
    address
}

fn greets(scenario: &'static str) {
    let (target, host) = hosts::serve(hosts::greet);
    let run = exercise(scenario, target);
    run.expect_ok();
    let peer = host.join().expect("the host's side");
    if let Some(said) = run.lines().iter().find_map(|line| line.strip_prefix("from ").map(str::to_owned)) {
        assert_eq!(said, peer.to_string(), "the address that the host sees");
    }
    run.unload_clean();
}

/// A greeting goes well although the n-th call of the function is completed like this.
fn greets_with(scenario: &'static str, function: Function, action: Action) {
    let (target, host) = hosts::serve(hosts::greet);
    let run = with_fault(scenario, target, function, action);
    run.expect_ok();
    host.join().expect("the host's side");
    run.unload_clean();
}

/// A connect with this fault ends with this answer, and leaves nothing.
fn answers(scenario: &'static str, function: Function, action: Action, answer: &str) {
    let run = with_fault(scenario, anybody(), function, action);
    assert_eq!(run.said("answer"), answer);
    run.expect_ok_and_unload();
}

/// A call that returns an error, and whose IRP comes back with a success. If it comes back later, the caller is told of the
/// error at once (L35). The connection is closed in any case.
fn answers_and_ends(scenario: &'static str, function: Function) {
    let (target, host) = hosts::serve(|mut stream, _| support::peers::is_ended(&mut stream));
    let run = with_fault(scenario, target, function, Action::CompleteAndReturn(WRONG));
    let answer = run.said("answer");
    assert!(answer == "Err(OutOfMemory)" || answer == "Ok(())", "{answer}");
    assert!(host.join().expect("the host's side"), "a connection that nobody wanted was left open");
    run.expect_ok_and_unload();
}

/// The same, with an IRP that comes back only when the caller has been told of the error: by then it is parked.
fn parked_and_made(scenario: &'static str, function: Function) {
    let (target, host) = hosts::serve(|mut stream, _| support::peers::is_ended(&mut stream));
    let rig: &Rig = Box::leak(Box::new(exercise_rig(config())));
    rig.bench().provider().set_faults(Faults::rule(function, When::Nth(1), Action::CompleteAndReturn(WRONG)));
    complete_after(rig, function, ": answer");
    let run = exercise_on(rig, scenario, target);
    assert_eq!(run.said("answer"), "Err(OutOfMemory)");
    assert!(host.join().expect("the host's side"), "a connection that nobody wanted was left open");
    run.expect_ok_and_unload();
}

/// Whether a connect of each kind has been begun.
fn out(steps: &Steps) -> bool {
    [Function::SocketConnect, Function::Connect].iter().all(|function| steps.count(*function, Moment::Return) > 0)
}

/// Has IRPs of this function come back when the driver has printed this, and no sooner.
fn complete_after(rig: &'static Rig, function: Function, line: &'static str) {
    let done = Step { function, moment: Moment::Complete };
    rig.bench().provider().on_step(move |step| {
        let printed = |event: &Event| matches!(&event.kind, Kind::DbgPrint { text, .. } if text.contains(line));
        if step == done {
            wait_for(|| rig.bench().trace().iter().any(printed).then_some(()));
        }
    });
}

/// The provider does not look at the cancellation: the connection comes about after the future has gone.
fn made_and_closed(scenario: &'static str, function: Function) {
    let (target, host) = hosts::serve(|mut stream, _| support::peers::is_ended(&mut stream));
    let rig: &Rig = Box::leak(Box::new(exercise_rig(config())));
    rig.bench().provider().set_faults(Faults::rule(function, When::Nth(1), Action::Late(Duration::ZERO)));
    complete_after(rig, function, ": dropped");
    let run = exercise_on(rig, scenario, target);
    run.expect_ok();
    assert!(host.join().expect("the host's side"), "a connection that nobody wanted was left open");
    run.unload_clean();
}

isolated! {
    #[test]
    fn lib_tcp_connect_in_one_call() {
        greets("tcp_connect_greet_once");
    }

    #[test]
    fn lib_tcp_connect_over_ipv6() {
        for scenario in ["tcp_connect_greet_once", "tcp_connect_unbound"] {
            let (target, host) = hosts::serve_at(std::net::Ipv6Addr::LOCALHOST.into(), hosts::greet);
            let run = EXERCISES.get_or_init(|| exercise_rig(config()));
            let run = exercise_on(run, scenario, target);
            let peer = host.join().expect("the host's side");
            assert!(peer.is_ipv6(), "{peer}");
            run.expect_ok_and_unload();
        }
    }

    #[test]
    fn lib_tcp_connect_that_returns_an_error_and_comes_about_later_is_closed() {
        parked_and_made("tcp_connect_report", Function::SocketConnect);
    }

    #[test]
    fn lib_tcp_connect_in_steps_that_returns_an_error_and_comes_about_later_is_closed() {
        parked_and_made("tcp_connect_report_in_steps", Function::Connect);
    }

    #[test]
    fn lib_tcp_connect_by_a_socket_with_options_and_an_address() {
        let (target, host) = hosts::serve(|stream, peer| {
            let socket = socket_at(peer);
            assert!(sockopt::socket_keepalive(socket).expect("keep-alive"));
            assert_eq!(sockopt::tcp_keepidle(socket).expect("its time"), Duration::from_secs(7));
            assert_eq!(sockopt::tcp_keepintvl(socket).expect("its interval"), Duration::from_secs(2));
            assert_eq!(sockopt::tcp_keepcnt(socket).expect("its count"), 3);
            assert!(sockopt::tcp_nodelay(socket).expect("no delay"));
            // The host doubles what is asked for, for its own needs.
            assert_eq!(sockopt::socket_recv_buffer_size(socket).expect("receive buffer"), 64 << 10);
            assert_eq!(sockopt::socket_send_buffer_size(socket).expect("send buffer"), 64 << 10);
            hosts::greet(stream, peer)
        });
        let run = exercise("tcp_connect_bound", target);
        run.expect_ok();
        let peer = host.join().expect("the host's side");
        assert_eq!(run.said("from "), peer.to_string(), "the address that it was bound to");
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_connect_options_can_be_set_on_a_connection() {
        let (target, host) = hosts::serve(|stream, _| stream);
        let run = exercise("tcp_connect_options", target);
        let socket = socket_at(run.said("from ").parse().expect("an address"));
        let mut peer = host.join().expect("the host's side");
        assert!(!sockopt::socket_keepalive(socket).expect("keep-alive"));
        assert!(sockopt::tcp_nodelay(socket).expect("no delay"));
        assert_eq!(sockopt::socket_send_buffer_size(socket).expect("send buffer"), 96 << 10);
        assert_eq!(sockopt::socket_recv_buffer_size(socket).expect("receive buffer"), 80 << 10);
        hosts::say(&mut peer, "go");
        hosts::hear_last(&mut peer, "");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_connect_by_a_socket_without_an_address() {
        greets("tcp_connect_unbound");
    }

    #[test]
    fn lib_tcp_connect_by_a_stream_socket() {
        greets("tcp_connect_stream_socket");
    }

    #[test]
    fn lib_tcp_connect_with_data() {
        let (target, host) = hosts::serve(|mut stream, _| hosts::hear_last(&mut stream, "hello, world"));
        let run = exercise("tcp_connect_with_data", target);
        host.join().expect("the host's side");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_connect_with_data_where_the_provider_cannot_gives_the_buffer_back() {
        let not_there = Action::Fail(NtStatus::NOT_SUPPORTED);
        answers("tcp_connect_with_data", Function::ConnectEx, not_there, "NotSupported");
    }

    #[test]
    fn lib_tcp_connect_with_data_refused_gives_the_buffer_back() {
        let run = exercise("tcp_connect_with_data", hosts::nobody());
        assert_eq!(run.said("answer"), "Refused");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_connect_with_data_completed_before_the_return() {
        let (target, host) = hosts::serve(|mut stream, _| hosts::hear_last(&mut stream, "hello, world"));
        let run = with_fault("tcp_connect_with_data", target, Function::ConnectEx, Action::BeforeReturn);
        host.join().expect("the host's side");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_connect_refused_is_told_from_other_errors() {
        let run = exercise("tcp_connect_report", hosts::nobody());
        assert_eq!(run.said("answer"), "Err(Refused)");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_connect_in_steps_is_refused_as_well() {
        let run = exercise("tcp_connect_report_in_steps", hosts::nobody());
        assert_eq!(run.said("answer"), "Err(Refused)");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_connect_completed_late() {
        greets_with("tcp_connect_greet_once", Function::SocketConnect, Action::Late(SHORTLY));
    }

    #[test]
    fn lib_tcp_connect_completed_before_the_return() {
        greets_with("tcp_connect_greet_once", Function::SocketConnect, Action::BeforeReturn);
    }

    #[test]
    fn lib_tcp_connect_completed_inline() {
        greets_with("tcp_connect_greet_once", Function::SocketConnect, Action::Pending);
    }

    #[test]
    fn lib_tcp_connect_in_steps_completed_before_the_return() {
        greets_with("tcp_connect_unbound", Function::Connect, Action::BeforeReturn);
    }

    #[test]
    fn lib_tcp_connect_that_returns_an_error_and_comes_about_is_closed() {
        answers_and_ends("tcp_connect_report", Function::SocketConnect);
    }

    #[test]
    fn lib_tcp_connect_in_steps_that_returns_an_error_and_comes_about_is_closed() {
        answers_and_ends("tcp_connect_report_in_steps", Function::Connect);
    }

    #[test]
    fn lib_tcp_connect_that_fails_at_once() {
        answers("tcp_connect_report", Function::SocketConnect, Action::Fail(NtStatus::HOST_UNREACHABLE), "Err(Unreachable)");
    }

    #[test]
    fn lib_tcp_connect_that_fails_later() {
        answers("tcp_connect_report", Function::SocketConnect, Action::FailLater(NtStatus::IO_TIMEOUT), "Err(TimedOut)");
    }

    #[test]
    fn lib_tcp_connect_that_fails_and_never_completes_is_parked() {
        answers("tcp_connect_report", Function::SocketConnect, Action::Abandon(WRONG), "Err(OutOfMemory)");
    }

    #[test]
    fn lib_tcp_connect_in_steps_that_fails_and_never_completes_is_parked() {
        answers("tcp_connect_report_in_steps", Function::Connect, Action::Abandon(WRONG), "Err(OutOfMemory)");
    }

    #[test]
    fn lib_tcp_connect_in_steps_whose_bind_fails_and_never_completes() {
        answers("tcp_connect_report_in_steps", Function::Bind, Action::Abandon(WRONG), "Err(OutOfMemory)");
    }

    #[test]
    fn lib_tcp_connect_without_the_function_is_not_supported() {
        answers("tcp_connect_report", Function::SocketConnect, Action::Fail(NtStatus::NOT_SUPPORTED), "Err(NotSupported)");
    }

    #[test]
    fn lib_tcp_connect_dropped_while_it_never_completes_is_cancelled() {
        let run = with_fault("tcp_connect_dropped", anybody(), Function::SocketConnect, Action::Never);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_connect_dropped_and_then_made_is_closed() {
        made_and_closed("tcp_connect_dropped", Function::SocketConnect);
    }

    #[test]
    fn lib_tcp_connect_in_steps_dropped_and_then_made_is_closed() {
        made_and_closed("tcp_connect_dropped_in_steps", Function::Connect);
    }

    #[test]
    fn lib_tcp_connect_in_steps_dropped_while_it_never_completes() {
        let run = with_fault("tcp_connect_dropped_in_steps", anybody(), Function::Connect, Action::Never);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_connects_on_their_way_end_with_the_binding() {
        let rig = exercise_rig(config());
        let never = |function| Rule { function, when: When::Always, action: Action::Never };
        let rules = vec![never(Function::SocketConnect), never(Function::Connect)];
        rig.bench().provider().set_faults(Faults { rules, ..Faults::default() });
        let steps = Steps::record(rig.bench());
        let run = exercise_on(&rig, "tcp_connect_ends", anybody());
        run.said("waiting");
        until(&run.loaded, "both connects are out", || out(&steps));
        run.unload_clean();
        run.expect_ok();
    }

    #[test]
    fn lib_tcp_connects_on_their_way_end_when_the_provider_departs() {
        let rig = exercise_rig(config());
        let never = |function| Rule { function, when: When::Always, action: Action::Never };
        let rules = vec![never(Function::SocketConnect), never(Function::Connect)];
        rig.bench().provider().set_faults(Faults { rules, ..Faults::default() });
        let steps = Steps::record(rig.bench());
        let run = exercise_on(&rig, "tcp_connect_ends", anybody());
        run.said("waiting");
        until(&run.loaded, "both connects are out", || out(&steps));
        support::depart(run.bench());
        run.expect_ok_and_unload();
    }
}
