//! UDP of the `wsk` library with a provider that does as it should not, with futures that are dropped, and at the end of the
//! binding (`tests/exercise/src/udp_adverse.rs`).

mod support;

use std::time::Duration;

use ntbench::NtStatus;
use ntbench::wsk::{Action, Faults, Function, Moment, Step, When};
use support::exercise::{exercise_on, exercise_rig};
use support::udp::host;
use support::{Steps, bounded, config, isolated, unload_clean};

const STATUS: NtStatus = NtStatus::UNSUCCESSFUL;
const LATE: Action = Action::Late(Duration::from_millis(20));

/// Whether this call's IRP had been completed when the call returned; they are made one after the other. (An error that is
/// returned before has the IRP kept, L35, whatever comes of it: so it goes with a receive that finds nothing there yet.)
fn completed_inside(steps: &Steps, function: Function, number: usize) -> bool {
    let all = steps.since(0);
    let place = |moment| {
        let mut places = all.iter().enumerate().filter(|(_, (step, _))| *step == Step { function, moment });
        places.nth(number).map_or(usize::MAX, |(place, _)| place)
    };
    place(Moment::Completed) < place(Moment::Return)
}

/// Runs the scenario with one thing wrong: how the four sends and the four receives end.
#[track_caller]
fn with(function: Function, action: Action, expected: &str) {
    let peer = host("127.0.0.1:0");
    let rig = exercise_rig(config());
    rig.bench().provider().set_faults(Faults::rule(function, When::Always, action));
    let steps = Steps::record(rig.bench());
    let run = exercise_on(&rig, "udp_adverse_faults", peer.local_addr().expect("an address"));
    for _ in 0..4 {
        peer.send_to(b"hello", run.at()).expect("sent");
    }
    run.expect_ok();
    for number in 0..4 {
        let (sends, receives) = if function == Function::SendTo { (expected, "done") } else { ("done", expected) };
        assert_eq!(run.said(&format!("send {number}: ")), sends);
        let received = run.said(&format!("receive {number}: "));
        let later = matches!(action, Action::CompleteAndReturn(_)) && !completed_inside(&steps, function, number);
        assert!(received == receives || (later && received == "failed and kept"), "receive {number}: {received}");
    }
    run.unload_clean();
}

macro_rules! adverse {
    ($($name:ident: $function:ident, $action:expr, $expected:literal;)*) => {
        isolated! {
            $(#[test] fn $name() { with(Function::$function, $action, $expected); })*
        }
    };
}

adverse! {
    lib_udp_a_send_completes_late: SendTo, LATE, "done";
    lib_udp_a_send_completes_inline_and_says_pending: SendTo, Action::Pending, "done";
    lib_udp_a_send_completes_before_it_returns: SendTo, Action::BeforeReturn, "done";
    lib_udp_a_send_completes_and_returns_an_error: SendTo, Action::CompleteAndReturn(STATUS), "done";
    lib_udp_a_send_fails: SendTo, Action::Fail(STATUS), "failed";
    lib_udp_a_send_fails_later: SendTo, Action::FailLater(STATUS), "failed";
    lib_udp_l35_a_send_fails_without_completing: SendTo, Action::Abandon(STATUS), "failed and kept";
    lib_udp_a_receive_completes_late: ReceiveFrom, LATE, "done";
    lib_udp_a_receive_completes_inline_and_says_pending: ReceiveFrom, Action::Pending, "done";
    lib_udp_a_receive_completes_before_it_returns: ReceiveFrom, Action::BeforeReturn, "done";
    lib_udp_a_receive_completes_and_returns_an_error: ReceiveFrom, Action::CompleteAndReturn(STATUS), "done";
    lib_udp_a_receive_fails: ReceiveFrom, Action::Fail(STATUS), "failed";
    lib_udp_a_receive_fails_later: ReceiveFrom, Action::FailLater(STATUS), "failed";
    lib_udp_l35_a_receive_fails_without_completing: ReceiveFrom, Action::Abandon(STATUS), "failed and kept";
}

/// Runs the scenario that drops its futures, with sends that complete as the action says.
#[track_caller]
fn drops_with(faults: Faults) {
    let peer = host("127.0.0.1:0");
    let rig = exercise_rig(config());
    rig.bench().provider().set_faults(faults);
    let run = exercise_on(&rig, "udp_adverse_dropped", peer.local_addr().expect("an address"));
    peer.send_to(b"hello", run.at()).expect("sent");
    run.expect_ok_and_unload();
}

isolated! {
    #[test]
    fn lib_udp_futures_are_dropped_with_sends_that_complete_inline() {
        drops_with(Faults::default());
    }

    #[test]
    fn lib_udp_futures_are_dropped_with_sends_that_complete_late() {
        drops_with(Faults::rule(Function::SendTo, When::Always, LATE));
    }

    #[test]
    fn lib_udp_futures_are_dropped_with_sends_that_never_complete_by_themselves() {
        drops_with(Faults::rule(Function::SendTo, When::Always, Action::Never));
    }

    #[test]
    fn lib_udp_at_the_end_of_the_binding_everything_says_so() {
        let rig = exercise_rig(config());
        let run = exercise_on(&rig, "udp_adverse_ended", "127.0.0.1:9".parse().expect("an address"));
        run.at();
        let (status, _) = bounded(run.bench(), "the provider's leaving", || run.bench().provider().depart().wait());
        assert!(status.is_success(), "{status}");
        run.expect_ok();
        unload_clean(&run.loaded);
    }
}
