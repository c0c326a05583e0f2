//! What `wsk::driver!` makes of a function: a load that fails at any step leaves nothing (L04), one that succeeds is undone by
//! the unload, and the settings are read as they are.

mod support;

use ntbench::trace::{Event, Kind};
use ntbench::{LoadError, NtStatus, Value, When};
use support::exercise::exercise_rig;
use support::story::{deregister_call, registered};
use support::{Story, assert_nothing_left, bounded, config, image_of, isolated, load, unload_clean, until, wait_for};
use wskclient_tests::Rig;

/// Steps without which there is no driver.
const NEEDED: [&str; 4] = ["WdfDriverCreate", "IoCreateDevice", "PsCreateSystemThread", "NmrRegisterClient"];

/// A driver that prints something at once.
fn rig() -> Rig {
    let rig = Rig::of_service("tcp-echo", &image_of("example-tcp-echo"), config()).expect("a bench");
    rig.set("Address", Value::Sz("127.0.0.1:0".to_owned()));
    rig
}

/// Each call of a load that can be made to fail: the function, and which call of it.
fn steps_of_a_load(rig: &Rig) -> Vec<(&'static str, u64)> {
    rig.bench().count_calls();
    let loaded = load(rig);
    let calls = rig.bench().calls();
    rig.bench().no_faults();
    unload_clean(&loaded);
    calls.into_iter().flat_map(|(name, calls, _)| (1..=calls).map(move |nth| (name, nth))).collect()
}

/// Has every other step of a load fail, from the `first` on.
fn fail_every_other_step(first: usize) {
    let rig = rig();
    let steps = steps_of_a_load(&rig);
    assert!(NEEDED.iter().all(|name| steps.contains(&(name, 1))), "a load has other steps now: {steps:?}");
    for &(name, nth) in steps.iter().skip(first).step_by(2) {
        let begin = rig.bench().trace().len();
        rig.bench().fail(name, When::Nth(nth));
        let outcome = bounded(rig.bench(), name, || rig.bench().load("tcp-echo", &image_of("example-tcp-echo")));
        rig.bench().no_faults();
        let failed = match outcome {
            Ok(driver) => bounded(rig.bench(), name, || driver.unload()).map(|_| false).expect("it unloads"),
            Err(LoadError::DriverEntry(_)) => true,
            Err(error) => panic!("{error}"),
        };
        assert!(failed || !NEEDED.contains(&name), "the driver loads without {name}");
        let story = Story::since(rig.bench(), begin);
        let (registered, left) = (story.count(registered), story.count(deregister_call));
        assert_eq!(
            registered, left,
            "call {nth} of {name} failed: {registered} registrations, {left} deregistrations, in\n{story}"
        );
        assert_nothing_left(rig.bench());
    }
    unload_clean(&load(&rig));
}

/// What the exercise driver says about its settings.
#[track_caller]
fn said_about(settings: &[(&str, Value)]) -> String {
    let rig = exercise_rig(config());
    settings.iter().for_each(|(name, value)| rig.set(name, value.clone()));
    let loaded = load(&rig);
    let said = wait_for(|| loaded.printed().into_iter().next()).expect("a line");
    unload_clean(&loaded);
    said
}

isolated! {
    #[test]
    fn l04_entry_a_load_that_fails_at_a_step_leaves_nothing_odd_ones() {
        fail_every_other_step(0);
    }

    #[test]
    fn l04_entry_a_load_that_fails_at_a_step_leaves_nothing_even_ones() {
        fail_every_other_step(1);
    }

    #[test]
    fn l04_entry_says_why_it_is_not_loaded() {
        let rig = rig();
        rig.bench().fail("NmrRegisterClient", When::Nth(1));
        let refused = rig.bench().load("tcp-echo", &image_of("example-tcp-echo")).map(drop);
        assert!(matches!(refused, Err(LoadError::DriverEntry(NtStatus::INSUFFICIENT_RESOURCES))), "{refused:?}");
        let said = Story::since(rig.bench(), 0).to_string();
        assert!(said.contains("tcp-echo: not loaded: 0xc000009a"), "{said}");
        assert_nothing_left(rig.bench());
    }

    /// Whichever allocation of its run fails: `main` serves, or says why it does not, or there was no attachment.
    #[test]
    fn entry_main_is_never_given_up_without_a_word() {
        let rig = rig();
        let steps = steps_of_a_load(&rig);
        let most = steps.iter().filter(|(name, _)| *name == "ExAllocatePool2").count() as u64;
        // The run goes on when the load is over.
        for nth in 1..=most + 20 {
            rig.bench().fail("ExAllocatePool2", When::Nth(nth));
            if let Ok(loaded) = rig.load() {
                let refused = |event: &Event| matches!(&event.kind, Kind::AttachReturn { status, .. } if !status.is_success());
                until(&loaded, "a word", || !loaded.printed().is_empty() || loaded.events().iter().any(refused));
                unload_clean(&loaded);
            }
            rig.bench().no_faults();
            assert_nothing_left(rig.bench());
        }
    }

    #[test]
    fn entry_unloads_without_ever_having_seen_a_provider() {
        let config = ntbench::Config { provider: false, ..config() };
        let rig = Rig::of_service("tcp-echo", &image_of("example-tcp-echo"), config).expect("a bench");
        let loaded = load(&rig);
        unload_clean(&loaded);
        assert_eq!(loaded.printed(), Vec::<String>::new());
        assert_nothing_left(rig.bench());
    }

    #[test]
    fn entry_a_setting_may_be_missing() {
        assert_eq!(said_about(&[]), "exercise: Scenario or Target: missing");
    }

    #[test]
    fn entry_a_setting_may_be_of_another_type() {
        assert_eq!(said_about(&[("Scenario", Value::Dword(7))]), "exercise: Scenario or Target: of type 4");
    }

    #[test]
    fn entry_a_setting_may_be_longer_than_what_is_read() {
        // More than the caller's room, and more than the library's.
        assert_eq!(said_about(&[("Scenario", Value::Sz("x".repeat(65)))]), "exercise: Scenario or Target: not of the form that is read");
    }

    #[test]
    fn entry_a_setting_may_be_very_long() {
        assert_eq!(said_about(&[("Scenario", Value::Sz("x".repeat(5000)))]), "exercise: Scenario or Target: not read: status 0x80000005");
    }

    #[test]
    fn entry_a_setting_may_be_no_ascii() {
        assert_eq!(said_about(&[("Scenario", Value::Sz("äöü".to_owned()))]), "exercise: Scenario or Target: not of the form that is read");
    }

    #[test]
    fn entry_a_setting_may_be_no_address() {
        let settings = [("Scenario", Value::Sz("x".to_owned())), ("Target", Value::Sz("127.0.0.1".to_owned()))];
        assert_eq!(said_about(&settings), "exercise: Scenario or Target: not of the form that is read");
    }

    #[test]
    fn entry_a_setting_fills_the_room_to_the_last_character() {
        let settings = [("Scenario", Value::Sz("x".repeat(64))), ("Target", Value::Sz("127.0.0.1:9".to_owned()))];
        assert_eq!(said_about(&settings), format!("exercise: {}: FAILED: choosing: no such scenario", "x".repeat(64)));
    }
}
