//! Connections of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/tcp_stream.rs`).

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ntbench::wsk::{Action, Faults, Function, Moment, Rule, Step, When};
use ntbench::{NtStatus, Value};
use support::exercise::{Exercise, exercise, exercise_on, exercise_rig};
use support::hosts::{end, hear, hear_last, listener, next, say, serve};
use support::{Steps, config, isolated};

/// A host that takes connections, keeps them, and neither reads nor writes.
fn silent() -> SocketAddr {
    let (listener, address) = listener();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            kept.push(stream);
        }
    });
    address
}

/// Runs a scenario on a provider that behaves like this.
fn with_rules(scenario: &'static str, target: SocketAddr, rules: Vec<Rule>) -> Exercise {
    let rig = exercise_rig(config());
    rig.bench().provider().set_faults(Faults { rules, ..Faults::default() });
    exercise_on(&rig, scenario, target)
}

fn always(function: Function, action: Action) -> Rule {
    Rule { function, when: When::Always, action }
}

/// The host of `halves_at_once`: it says nothing before it has heard something.
fn pong() -> (SocketAddr, std::thread::JoinHandle<()>) {
    let (listener, target) = listener();
    let host = std::thread::spawn(move || {
        let (mut first, _) = next(&listener);
        hear(&mut first, "ping");
        say(&mut first, "pong");
        let _other = next(&listener);
        hear_last(&mut first, "done");
    });
    (target, host)
}

/// The host of `full_duplex`: what it reads it sends back, to the end.
fn mirror() -> (SocketAddr, std::thread::JoinHandle<u64>) {
    serve(|mut stream, _| {
        let mut writer = stream.try_clone().expect("a second handle");
        let copied = std::io::copy(&mut stream, &mut writer).expect("all of it sent back");
        end(&stream);
        copied
    })
}

fn mirrored(rules: Vec<Rule>) {
    let (target, host) = mirror();
    let run = with_rules("tcp_stream_full_duplex", target, rules);
    run.expect_ok();
    assert_eq!(host.join().expect("the host's side"), 1 << 20);
    run.unload_clean();
}

isolated! {
    #[test]
    fn lib_tcp_stream_halves_work_at_the_same_time() {
        let (target, host) = pong();
        let run = exercise("tcp_stream_halves_at_once", target);
        run.expect_ok();
        host.join().expect("the host's side");
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_carries_a_million_bytes_each_way_at_once() {
        mirrored(vec![]);
    }

    #[test]
    fn lib_tcp_stream_carries_them_completed_late() {
        let late = Action::Late(Duration::from_micros(200));
        mirrored(vec![always(Function::Receive, late), always(Function::Send, late)]);
    }

    #[test]
    fn lib_tcp_stream_carries_them_completed_before_the_return() {
        mirrored(vec![always(Function::Receive, Action::BeforeReturn), always(Function::Send, Action::BeforeReturn)]);
    }

    #[test]
    fn lib_tcp_stream_carries_them_completed_inline() {
        mirrored(vec![always(Function::Receive, Action::Pending), always(Function::Send, Action::Pending)]);
    }

    #[test]
    fn lib_tcp_stream_transfers_that_complete_and_return_an_error_leave_nothing() {
        // Those that are complete when the call returns count as complete; others fail at once (L35).
        let (target, host) = mirror();
        let wrong = Action::CompleteAndReturn(NtStatus::INSUFFICIENT_RESOURCES);
        let run = with_rules("tcp_stream_full_duplex", target, vec![always(Function::Receive, wrong), always(Function::Send, wrong)]);
        let verdict = run.verdict();
        assert!(verdict == "ok" || verdict.contains("OutOfMemory"), "{verdict}");
        let _ = host.join();
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_transfers_that_never_complete_leave_nothing() {
        let (target, host) = mirror();
        let wrong = Action::Abandon(NtStatus::INSUFFICIENT_RESOURCES);
        let nth = |function| Rule { function, when: When::Nth(5), action: wrong };
        let run = with_rules("tcp_stream_full_duplex", target, vec![nth(Function::Receive), nth(Function::Send)]);
        assert!(run.verdict().contains("OutOfMemory"), "{}", run.verdict());
        let _ = host.join();
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_is_closed_with_the_last_half_the_writer() {
        let (target, host) = serve(|mut stream, _| hear_last(&mut stream, "alone"));
        let run = exercise("tcp_stream_one_half_goes", target);
        host.join().expect("the host's side");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_stream_is_closed_with_the_last_half_the_reader() {
        let (target, host) = serve(|mut stream, _| {
            hear_last(&mut stream, "");
            say(&mut stream, "still");
        });
        let run = exercise("tcp_stream_reader_stays", target);
        host.join().expect("the host's side");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_stream_abort_resets() {
        let (target, host) = serve(|mut stream, _| {
            hear(&mut stream, "before");
            say(&mut stream, "go");
            stream.read(&mut [0; 16]).map_err(|error| error.kind())
        });
        let run = exercise("tcp_stream_abort", target);
        assert_eq!(host.join().expect("the host's side"), Err(ErrorKind::ConnectionReset));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_stream_finishes_with_a_last_word() {
        let (target, host) = serve(|mut stream, _| hear_last(&mut stream, "goodbye"));
        let run = exercise("tcp_stream_finish_with", target);
        host.join().expect("the host's side");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_stream_receives_exactly_what_is_asked_for() {
        let (target, host) = serve(|mut stream, _| {
            stream.set_nodelay(true).expect("no delay");
            for piece in ["three ", "pie", "ces", "rest"] {
                say(&mut stream, piece);
                std::thread::sleep(Duration::from_millis(30));
            }
            end(&stream);
            hear_last(&mut stream, "");
        });
        let run = exercise("tcp_stream_exact", target);
        run.expect_ok();
        host.join().expect("the host's side");
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_drains_to_the_end() {
        let (target, host) = serve(|mut stream, _| {
            hear(&mut stream, "go");
            stream.write_all(&[7; 300_000]).expect("sent");
            end(&stream);
            hear_last(&mut stream, "");
        });
        let run = exercise("tcp_stream_drain", target);
        run.expect_ok();
        host.join().expect("the host's side");
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_events_are_switched_on_and_off() {
        let (target, host) = serve(|mut stream, _| {
            for word in ["one", "two"] {
                hear(&mut stream, "go");
                say(&mut stream, word);
            }
            stream
        });
        let run = exercise("tcp_stream_events", target);
        run.expect_ok();
        drop(host.join().expect("the host's side"));
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_an_event_is_switched_off_while_it_is_under_way() {
        let (target, host) = serve(|mut stream, _| {
            hear(&mut stream, "go");
            say(&mut stream, "one");
            stream
        });
        let rig = exercise_rig(config());
        let blocked = Arc::new(AtomicBool::new(true));
        let hold = Arc::clone(&blocked);
        rig.bench().provider().on_step(move |step| {
            while step == (Step { function: Function::ReceiveEvent, moment: Moment::Enter }) && hold.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let run = exercise_on(&rig, "tcp_stream_disabling", target);
        run.said("blocked");
        blocked.store(false, Ordering::Release);
        run.expect_ok();
        drop(host.join().expect("the host's side"));
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_backlogs_are_asked_for_and_told() {
        let (target, host) = serve(|mut stream, _| {
            say(&mut stream, "five!");
            stream
        });
        let run = exercise("tcp_stream_backlogs", target);
        run.said("waiting");
        run.bench().provider().set_ideal_send_backlog(123_456);
        run.said("again");
        run.bench().provider().set_ideal_send_backlog(1 << 20);
        run.expect_ok();
        drop(host.join().expect("the host's side"));
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_static_events_are_on_from_the_start() {
        let (target, host) = serve(|mut stream, _| {
            hear(&mut stream, "go");
            say(&mut stream, "one");
            stream
        });
        let rig = exercise_rig(config());
        rig.set("StaticEvents", Value::Dword(1));
        let run = exercise_on(&rig, "tcp_stream_static_events", target);
        run.expect_ok();
        drop(host.join().expect("the host's side"));
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_stream_has_several_sends_in_flight_in_order() {
        let (target, host) = serve(|mut stream, _| {
            // Late enough for the sends to wait for each other.
            std::thread::sleep(Duration::from_millis(100));
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).expect("a FIN");
            heard
        });
        let run = exercise("tcp_stream_pipeline", target);
        let heard = host.join().expect("the host's side");
        assert_eq!(heard.len(), 64 * (64 << 10));
        assert!(heard.chunks(64 << 10).zip(0..).all(|(chunk, number)| chunk.iter().all(|byte| *byte == number)));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_stream_sends_dropped_on_their_way_leave_nothing() {
        let run = exercise("tcp_stream_pipeline_dropped", silent());
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_stream_silence_closes_without_a_disconnect() {
        let rig = exercise_rig(config());
        let steps = Steps::record(rig.bench());
        let run = exercise_on(&rig, "tcp_stream_silence", silent());
        assert_eq!(run.said("answer"), "Ok(())");
        run.expect_ok_and_unload();
        assert_eq!(steps.count(Function::Disconnect, Moment::Enter), 0, "the peer was told");
        assert!(steps.count(Function::ControlSocket, Moment::Enter) > 0, "it was not asked for");
    }

    #[test]
    fn lib_tcp_stream_silence_says_that_the_provider_does_not_have_it() {
        let refusal = Action::Fail(NtStatus::NOT_SUPPORTED);
        let run = with_rules("tcp_stream_silence", silent(), vec![always(Function::ControlSocket, refusal)]);
        assert_eq!(run.said("answer"), "Err(Provider(0xc00000bb))");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_stream_waits_of_every_kind_end_at_unload() {
        let run = exercise("tcp_stream_ends", silent());
        run.said("waiting");
        run.unload_clean();
        run.expect_ok();
    }

    #[test]
    fn lib_tcp_stream_waits_of_every_kind_end_when_the_provider_departs() {
        let run = exercise("tcp_stream_ends", silent());
        run.said("waiting");
        support::depart(run.bench());
        run.expect_ok_and_unload();
    }
}
