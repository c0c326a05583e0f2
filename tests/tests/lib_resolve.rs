//! Name resolution of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/resolve.rs`).

mod support;

use std::time::Duration;

use ntbench::NtStatus;
use ntbench::wsk::{Action, Faults, Function, Rule, When};
use support::exercise::{Exercise, NO_TARGET, exercise, exercise_on, exercise_rig};
use support::{Story, config, depart, isolated};
use wskclient_tests::rig::wait_for;

/// STATUS_UNSUCCESSFUL.
const WRONG: NtStatus = NtStatus(0xc000_0001_u32 as i32);

/// Runs a scenario with the two functions of names going wrong.
fn with(scenario: &'static str, when: When, action: Action) -> Exercise {
    let rig = exercise_rig(config());
    let rules = [Function::GetAddressInfo, Function::GetNameInfo].map(|function| Rule { function, when, action });
    rig.bench().provider().set_faults(Faults { rules: rules.to_vec(), ..Faults::default() });
    exercise_on(&rig, scenario, NO_TARGET)
}

/// The question fails, and so does the one after it; both are told, and nothing is left.
#[track_caller]
fn expect_failure(action: Action) {
    let run = with("resolve_once", When::Always, action);
    assert_eq!(run.said("got "), "Provider(0xc0000001)");
    assert_eq!(run.said("then "), "Provider(0xc0000001)");
    run.expect_ok_and_unload();
}

isolated! {
    #[test]
    fn lib_resolve_hosts_and_services_have_addresses() {
        exercise("resolve_addresses", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_resolve_what_can_be_no_name_is_refused() {
        exercise("resolve_refusals", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_resolve_addresses_have_names() {
        exercise("resolve_names", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn l21_lists_of_dropped_questions_go_back() {
        exercise("resolve_dropped", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn l21_lists_that_come_late_for_dropped_questions_go_back() {
        with("resolve_dropped", When::Always, Action::Late(Duration::from_millis(10))).expect_ok_and_unload();
    }

    #[test]
    fn l21_a_list_that_comes_after_detach_has_begun_goes_back_before_it_is_completed() {
        let run = with("resolve_once", When::Always, Action::Late(Duration::from_millis(300)));
        run.said("asking");
        depart(run.bench());
        assert!(["1", "Detached"].contains(&run.said("got ").as_str()), "{:?}", run.lines());
        assert_eq!(run.said("then "), "Detached");
        run.expect_ok_and_unload();
    }

    #[test]
    fn l34_unload_with_a_question_out_waits_for_its_answer() {
        let run = with("resolve_once", When::Always, Action::Late(Duration::from_millis(300)));
        run.said("asking");
        run.unload_clean();
        run.expect_ok();
    }

    #[test]
    fn lib_resolve_a_failure_is_told() {
        expect_failure(Action::Fail(WRONG));
    }

    #[test]
    fn lib_resolve_a_late_failure_is_told() {
        expect_failure(Action::FailLater(WRONG));
    }

    #[test]
    fn l35_a_question_that_fails_without_its_irp_is_told_and_reclaimed() {
        expect_failure(Action::Abandon(WRONG));
    }

    #[test]
    fn l35_a_list_that_comes_after_an_error_goes_back() {
        let run = with("resolve_once", When::Always, Action::CompleteAndReturn(WRONG));
        run.said("then ");
        // Both answers of the provider have come, so that nothing is out when it is left.
        let answered = || (Story::of(&run.loaded).to_string().matches("WskGet").count() >= 2).then_some(());
        wait_for(answered).expect("the answers, after all");
        run.expect_ok_and_unload();
    }
}
