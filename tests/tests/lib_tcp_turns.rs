//! Turns of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/tcp_turns.rs`).

mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use ntbench::NtStatus;
use ntbench::wsk::{Action, Faults, Function, Moment, Rule, Step, When};
use support::exercise::{Exercise, exercise, exercise_on, exercise_rig};
use support::hosts::{end, hear, hear_last, say, serve};
use support::{Steps, config, isolated};

const WRONG: NtStatus = NtStatus::INSUFFICIENT_RESOURCES;

/// Runs a scenario on a provider that behaves like this.
fn with_rules(scenario: &'static str, target: SocketAddr, rules: Vec<Rule>) -> Exercise {
    let rig = exercise_rig(config());
    rig.bench().provider().set_faults(Faults { rules, ..Faults::default() });
    exercise_on(&rig, scenario, target)
}

fn always(function: Function, action: Action) -> Rule {
    Rule { function, when: When::Always, action }
}

fn both(action: Action) -> Vec<Rule> {
    vec![always(Function::Receive, action), always(Function::Send, action)]
}

/// A host that sends, ends, and gives what came back.
fn echoed() -> (SocketAddr, JoinHandle<Vec<u8>>) {
    serve(|mut stream, _| {
        let mut writer = stream.try_clone().expect("a second handle");
        let writing = std::thread::spawn(move || {
            // It may be given up.
            let _ = writer.write_all(&sent());
            let _ = writer.shutdown(Shutdown::Write);
        });
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        writing.join().expect("the host's other side");
        heard
    })
}

fn sent() -> Vec<u8> {
    (0..1 << 20).map(|number: u32| (number >> 6) as u8).collect()
}

fn echo(rules: Vec<Rule>) {
    let (target, host) = echoed();
    let run = with_rules("tcp_turns_echo", target, rules);
    run.expect_ok();
    assert!(host.join().expect("the host's side") == sent(), "what came back is not what was sent");
    run.unload_clean();
}

/// A host that says one thing, and takes all that comes.
fn taker() -> SocketAddr {
    let (target, _) = serve(|mut stream, _| {
        say(&mut stream, "go");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    target
}

fn dropped(rules: Vec<Rule>) {
    with_rules("tcp_turns_dropped", taker(), rules).expect_ok_and_unload();
}

/// A host that says nothing.
fn silent() -> SocketAddr {
    let (target, _) = serve(|mut stream, _| std::io::copy(&mut stream, &mut std::io::sink()));
    target
}

/// Turns of which one transfer goes wrong, with that error.
fn given_up(function: Function, action: Action) {
    let (target, host) = echoed();
    let run = with_rules("tcp_turns_echo", target, vec![Rule { function, when: When::Nth(5), action }]);
    assert!(run.verdict().contains("OutOfMemory"), "{}", run.verdict());
    run.unload_clean();
    let _ = host.join();
}

/// Turns that the end of the binding ends.
fn ended(target: SocketAddr, departs: bool) {
    let run = exercise("tcp_turns_ends", target);
    run.said("waiting");
    if departs {
        support::depart(run.bench());
    }
    run.unload_clean();
    run.expect_ok();
}

isolated! {
    #[test]
    fn lib_tcp_turns_send_back_what_comes() {
        echo(vec![]);
    }

    #[test]
    fn lib_tcp_turns_go_on_when_transfers_complete_late() {
        echo(both(Action::Late(Duration::from_micros(200))));
    }

    #[test]
    fn lib_tcp_turns_go_on_when_transfers_complete_before_the_return() {
        echo(both(Action::BeforeReturn));
    }

    #[test]
    fn lib_tcp_turns_go_on_when_transfers_complete_inline() {
        echo(both(Action::Pending));
    }

    #[test]
    fn l35_lib_tcp_turns_whose_transfers_complete_and_return_an_error_leave_nothing() {
        // Those that are complete when the call returns count as complete; others fail at once.
        let (target, host) = echoed();
        let run = with_rules("tcp_turns_echo", target, both(Action::CompleteAndReturn(WRONG)));
        let verdict = run.verdict();
        assert!(verdict == "ok" || verdict.contains("OutOfMemory"), "{verdict}");
        run.unload_clean();
        let _ = host.join();
    }

    #[test]
    fn l35_lib_tcp_turns_whose_receive_never_completes_leave_nothing() {
        given_up(Function::Receive, Action::Abandon(WRONG));
    }

    #[test]
    fn l35_lib_tcp_turns_whose_send_never_completes_leave_nothing() {
        given_up(Function::Send, Action::Abandon(WRONG));
    }

    #[test]
    fn l35_lib_tcp_turns_that_failed_take_their_irp_back_when_it_comes_after_all() {
        let (target, host) = serve(|mut stream, _| {
            // It says nothing before: the receive that failed is waiting.
            hear(&mut stream, "failed");
            say(&mut stream, "after all");
            end(&stream);
            hear_last(&mut stream, "");
        });
        let rule = Rule { function: Function::Receive, when: When::Nth(1), action: Action::CompleteAndReturn(WRONG) };
        let run = with_rules("tcp_turns_late", target, vec![rule]);
        run.expect_ok();
        host.join().expect("the host's side");
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_turns_that_fail_say_so() {
        given_up(Function::Send, Action::FailLater(WRONG));
    }

    #[test]
    fn l37_lib_tcp_turns_dropped_while_a_receive_waits_leave_nothing() {
        dropped(vec![always(Function::Receive, Action::Never)]);
    }

    #[test]
    fn l37_lib_tcp_turns_dropped_while_a_send_waits_leave_nothing() {
        dropped(vec![always(Function::Send, Action::Never)]);
    }

    #[test]
    fn l37_lib_tcp_turns_dropped_between_sends_that_complete_inline_leave_nothing() {
        dropped(vec![always(Function::Send, Action::Pending)]);
    }

    #[test]
    fn l37_lib_tcp_turns_dropped_between_sends_that_complete_late_leave_nothing() {
        dropped(vec![always(Function::Send, Action::Late(Duration::from_micros(50)))]);
    }

    #[test]
    fn lib_tcp_turns_that_only_send_let_others_run() {
        let (target, host) = serve(|mut stream, _| {
            say(&mut stream, "go");
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).expect("a FIN");
            heard.len()
        });
        let rig = exercise_rig(config());
        let rules = vec![always(Function::Send, Action::Pending)];
        rig.bench().provider().set_faults(Faults { rules, ..Faults::default() });
        let steps = Steps::record(rig.bench());
        let run = exercise_on(&rig, "tcp_turns_sends", target);
        run.expect_ok();
        let entered = Step { function: Function::Send, moment: Moment::Enter };
        let by = steps.since(0).into_iter().filter(|(step, _)| *step == entered).map(|(_, thread)| thread);
        assert!(by.collect::<HashSet<_>>().len() > 1, "the DPC never gave way to the passive thread");
        assert_eq!(host.join().expect("the host's side"), 2 * 20_000);
        run.unload_clean();
    }

    #[test]
    fn l22_lib_tcp_turns_that_wait_end_at_unload() {
        ended(silent(), false);
    }

    #[test]
    fn l22_lib_tcp_turns_that_wait_end_with_the_provider() {
        ended(silent(), true);
    }

    #[test]
    fn l22_lib_tcp_turns_at_work_end_at_unload() {
        ended(taker(), false);
    }

    #[test]
    fn l22_lib_tcp_turns_at_work_end_with_the_provider() {
        ended(taker(), true);
    }
}
