//! L06 to L11: attaching to a provider, being refused, losing one and getting another.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use control_abi::Gate;
use ntbench::nmr::{Attach, Choice, Level};
use ntbench::trace::{Kind, Side};
use ntbench::wsk::{Faults, Function, Provider, Settings};
use ntbench::{Config, NtStatus, When};
use support::story::*;
use support::{
    Departing, Loaded, Rig, Steps, Story, address, address_since, arrive, assert_clean, assert_nothing_left, bounded, config,
    config_nmr, depart, depart_once, expect_departed, isolated, load, peers, rig_for_ever, state_when, unload_clean, until,
};

/// The driver, without a provider yet, on this bench.
fn waiting(config: Config) -> (&'static Rig, Loaded) {
    let rig = rig_for_ever(Config { provider: false, ..config });
    (rig, load(rig))
}

/// Pool blocks that live under the driver's tags for bindings and what belongs to them.
fn binding_blocks(loaded: &Loaded) -> u64 {
    let tags = loaded.bench().stats().pool.tags;
    tags.iter().filter(|(tag, _)| ["WskC", "WskS", "WskO"].contains(&tag.as_str())).map(|(_, stats)| stats.blocks).sum()
}

/// Has the n-th allocation fail that is made while the attach callback runs; 0: none.
fn fail_while_attaching(rig: &'static Rig) -> &'static AtomicU64 {
    let nth: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    rig.bench().subscribe(move |event| {
        if attach_call(&event.kind) && nth.load(Ordering::Acquire) > 0 {
            rig.bench().fail("ExAllocatePool2", When::Nth(nth.load(Ordering::Acquire)));
        }
        if matches!(event.kind, Kind::AttachReturn { side: Side::Client, .. }) {
            rig.bench().no_faults();
        }
    });
    nth
}

/// What the provider's side has answered to attaches, in order.
fn provider_answers(story: &Story) -> Vec<NtStatus> {
    let answer = |kind: &Kind| match kind {
        Kind::AttachReturn { side: Side::Provider, status, .. } => Some(*status),
        _ => None,
    };
    story.0.iter().filter_map(|event| answer(&event.kind)).collect()
}

/// What the client's side has answered to attaches, in order.
fn client_answers(story: &Story) -> Vec<NtStatus> {
    let answer = |kind: &Kind| match kind {
        Kind::AttachReturn { side: Side::Client, status, .. } => Some(*status),
        _ => None,
    };
    story.0.iter().filter_map(|event| answer(&event.kind)).collect()
}

/// The moment in which the client has been taken by the provider, and its attach callback has not returned.
fn taken(kind: &Kind) -> bool {
    matches!(kind, Kind::DbgPrint { text, .. } if text.contains("attached, binding "))
}

/// Loads the driver, and has the provider depart in the middle of the attach.
fn taken_away_while_attaching(config: Config) -> (&'static Rig, Loaded, &'static Departing) {
    let rig = rig_for_ever(config);
    let departing = depart_once(rig, taken);
    (rig, load(rig), departing)
}

/// A second provider of WSK, beside the bench's own.
fn second_provider() -> &'static Provider {
    Box::leak(Box::new(Provider::new(Settings { seed: 2, reactors: 1 }).expect("a second provider")))
}

isolated! {
    #[test]
    fn l06_detach_and_cleanup_need_nothing_that_attach_has_not_made() {
        let (_, loaded) = waiting(config());
        arrive(loaded.bench());
        let mut idle = peers::idle(address(&loaded), 20);
        for function in ["ExAllocatePool2", "IoAllocateIrp", "IoAllocateMdl", "IoSetCompletionRoutineEx", "IoAllocateWorkItem"] {
            loaded.bench().fail(function, When::From(1));
        }
        let now = loaded.now();
        depart(loaded.bench());
        loaded.bench().no_faults();
        let story = Story::since(loaded.bench(), now);
        story.expect_count("cleanup callback", 1, cleanup);
        peers::expect_all_ended(&mut idle);
        unload_clean(&loaded);
    }

    #[test]
    fn l06_the_context_is_complete_before_the_provider_has_it() {
        let (rig, loaded, departing) = taken_away_while_attaching(config_nmr(|nmr| nmr.early_detach = Choice::Always));
        expect_departed(rig, departing);
        let story = Story::of(&loaded);
        story.expect_order(&[("detach callback", &detach_call), ("return of the attach callback", &attached), ("cleanup callback", &cleanup)]);
        assert_clean(loaded.bench());
        unload_clean(&loaded);
    }

    #[test]
    fn l06_the_context_is_nonpaged_memory_under_our_tag() {
        let (_, loaded) = waiting(config());
        assert_eq!(binding_blocks(&loaded), 0);
        arrive(loaded.bench());
        address(&loaded);
        assert!(binding_blocks(&loaded) > 0, "{:?}", loaded.bench().stats().pool.tags);
        depart(loaded.bench());
        until(&loaded, "the memory of the binding is given back", || binding_blocks(&loaded) == 0);
        unload_clean(&loaded);
    }

    #[test]
    fn l06_a_provider_without_our_version_is_not_asked() {
        let (_, loaded) = waiting(config());
        loaded.bench().provider().offer_versions(0x0200, 0x0300);
        arrive(loaded.bench());
        let story = Story::of(&loaded);
        assert_eq!((provider_answers(&story), client_answers(&story)), (vec![], vec![NtStatus::NOINTERFACE]), "{story}");
        assert_eq!(binding_blocks(&loaded), 0, "{:?}", loaded.bench().stats().pool.tags);
        depart(loaded.bench());
        loaded.bench().provider().offer_versions(0x0100, 0x0300);
        arrive(loaded.bench());
        peers::echoed(address(&loaded));
        unload_clean(&loaded);
    }

    #[test]
    fn l07_another_version_is_offered_in_the_same_callback() {
        let (_, loaded) = waiting(config());
        loaded.bench().provider().offer_versions(0x0100, 0x0101);
        loaded.bench().provider().set_faults(Faults { client_version: 0x0101, ..Faults::default() });
        arrive(loaded.bench());
        let story = Story::of(&loaded);
        story.expect_count("attach callback", 1, attach_call);
        assert_eq!(provider_answers(&story), [NtStatus::NOINTERFACE, NtStatus::SUCCESS], "{story}");
        assert_eq!(client_answers(&story), [NtStatus::SUCCESS], "{story}");
        peers::echoed(address(&loaded));
        unload_clean(&loaded);
    }

    #[test]
    fn l07_a_provider_that_wants_none_of_our_versions_is_left() {
        let (_, loaded) = waiting(config());
        loaded.bench().provider().offer_versions(0x0100, 0x0200);
        loaded.bench().provider().set_faults(Faults { client_version: 0x0200, ..Faults::default() });
        arrive(loaded.bench());
        let story = Story::of(&loaded);
        assert_eq!(provider_answers(&story), [NtStatus::NOINTERFACE, NtStatus::NOINTERFACE], "{story}");
        assert_eq!(client_answers(&story), [NtStatus::NOINTERFACE], "{story}");
        assert_eq!(binding_blocks(&loaded), 0, "{:?}", loaded.bench().stats().pool.tags);
        unload_clean(&loaded);
    }

    #[test]
    fn l08_a_refusal_is_passed_on_exactly_and_leaves_nothing() {
        let (_, loaded) = waiting(config());
        for status in [NtStatus::ACCESS_DENIED, NtStatus::INSUFFICIENT_RESOURCES, NtStatus::DEVICE_NOT_READY] {
            loaded.bench().provider().set_faults(Faults { refuse_attach: Some(status), ..Faults::default() });
            let now = loaded.now();
            arrive(loaded.bench());
            let story = Story::since(loaded.bench(), now);
            assert_eq!((provider_answers(&story), client_answers(&story)), (vec![status], vec![status]), "{story}");
            assert_eq!(binding_blocks(&loaded), 0, "{:?}", loaded.bench().stats().pool.tags);
            depart(loaded.bench());
            Story::since(loaded.bench(), now).expect_count("detach or cleanup", 0, |kind| detach_call(kind) || cleanup(kind));
        }
        loaded.bench().provider().set_faults(Faults::default());
        arrive(loaded.bench());
        peers::echoed(address(&loaded));
        unload_clean(&loaded);
    }

    #[test]
    fn l08_no_allocation_fails_after_the_provider_has_taken_us() {
        let (rig, loaded) = waiting(config());
        let failing = fail_while_attaching(rig);
        for nth in 1.. {
            assert!(nth < 50, "the attach always fails");
            failing.store(nth, Ordering::Release);
            let now = loaded.now();
            arrive(loaded.bench());
            let story = Story::since(loaded.bench(), now);
            let (provider, client) = (provider_answers(&story), client_answers(&story));
            depart(loaded.bench());
            if client == [NtStatus::SUCCESS] {
                assert!(nth > 1, "an attach allocates nothing?");
                break;
            }
            assert_eq!((provider, client), (vec![], vec![NtStatus::INSUFFICIENT_RESOURCES]), "allocation {nth} of an attach failed:\n{story}");
            until(&loaded, "the memory of the binding is given back", || binding_blocks(&loaded) == 0);
        }
        failing.store(0, Ordering::Release);
        let now = loaded.now();
        arrive(loaded.bench());
        peers::echoed(address_since(&loaded, now));
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l09_services_start_outside_the_attach_callback() {
        let (_, loaded) = waiting(config());
        let steps = Steps::record(loaded.bench());
        arrive(loaded.bench());
        let entered_here = steps.by_thread(std::thread::current().id());
        peers::echoed(address(&loaded));
        // The attach callback ran on this thread, before the arrival returned.
        let story = Story::of(&loaded);
        let (begin, end) = (story.first("attach callback", attach_call), story.first("its return", attached));
        let attaching = story.0[begin].thread;
        let made = story.0[begin..end].iter().filter(|event| event.thread == attaching && socket_created(&event.kind)).count();
        assert_eq!(made, 0, "a socket was made in the attach callback:\n{story}");
        assert!(!entered_here.is_empty());
        assert!(entered_here.iter().all(|step| step.function == Function::Attach), "entered in the attach callback: {entered_here:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn l09_a_detach_before_the_gate_opens_leaves_it_shut() {
        let nmr = |nmr: &mut ntbench::nmr::Config| (nmr.early_detach, nmr.level) = (Choice::Always, Level::Dispatch);
        let (rig, loaded, departing) = taken_away_while_attaching(config_nmr(nmr));
        expect_departed(rig, departing);
        let story = Story::of(&loaded);
        story.expect_count("socket", 0, socket_created);
        story.expect_count("successful detach callback", 1, detach_answered(NtStatus::SUCCESS));
        assert_eq!(client_answers(&story), [NtStatus::SUCCESS], "{story}");
        assert_eq!(state_when(&loaded, |_| true).gate, Gate::None as u32);
        let now = loaded.now();
        arrive(loaded.bench());
        peers::echoed(address_since(&loaded, now));
        unload_clean(&loaded);
    }

    #[test]
    fn l09_a_deregistration_during_the_attach_detaches_at_its_end() {
        let (rig, loaded, departing) = taken_away_while_attaching(config_nmr(|nmr| nmr.attach = Attach::Inline));
        expect_departed(rig, departing);
        let story = Story::of(&loaded);
        story.expect_order(&[("return of the attach callback", &attached), ("detach callback", &detach_call), ("cleanup callback", &cleanup)]);
        let now = loaded.now();
        arrive(loaded.bench());
        peers::echoed(address_since(&loaded, now));
        unload_clean(&loaded);
    }

    #[test]
    fn l10_a_provider_that_comes_back_is_served_again() {
        let (_, loaded) = waiting(config());
        for round in 1..=4 {
            let now = loaded.now();
            arrive(loaded.bench());
            let mut stream = peers::echoed(address_since(&loaded, now));
            let state = state_when(&loaded, |state| state.gate == Gate::Open as u32);
            assert_eq!(state.generation, round);
            depart(loaded.bench());
            assert!(peers::is_ended(&mut stream));
            assert_eq!(state_when(&loaded, |_| true).gate, Gate::None as u32);
        }
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l11_a_second_provider_is_declined_while_the_gate_is_open() {
        let (_, loaded) = waiting(config());
        arrive(loaded.bench());
        let address = address(&loaded);
        let now = loaded.now();
        let second = second_provider();
        assert_eq!(second.arrive(), NtStatus::SUCCESS);
        let story = Story::since(loaded.bench(), now);
        assert_eq!((provider_answers(&story), client_answers(&story)), (vec![], vec![NtStatus::NOINTERFACE]), "{story}");
        peers::echoed(address);
        assert_eq!(second.shut_down(), NtStatus::SUCCESS);
        unload_clean(&loaded);
    }

    #[test]
    fn l11_a_new_binding_is_taken_while_the_old_one_drains() {
        let (_, loaded) = waiting(config());
        arrive(loaded.bench());
        let mut old = peers::idle(address(&loaded), 5);
        let close_delay = Some(std::time::Duration::from_millis(2000));
        loaded.bench().provider().set_faults(Faults { close_delay, ..Faults::default() });
        let now = loaded.now();
        let departure = loaded.bench().provider().depart();
        arrive(loaded.bench());
        let mut new = peers::echoed(address_since(&loaded, now));
        Story::since(loaded.bench(), now).expect_count("cleanup of the old binding, with the new one serving,", 0, cleanup);
        assert_eq!(bounded(loaded.bench(), "the departure", || departure.wait()).0, NtStatus::SUCCESS);
        peers::expect_all_ended(&mut old);
        support::peer::exchange(&mut new, 5).expect("the new binding serves on");
        loaded.bench().provider().set_faults(Faults::default());
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l11_of_two_providers_at_the_same_instant_one_stands_by() {
        let (rig, loaded) = waiting(config());
        let second = second_provider();
        let once = AtomicBool::new(false);
        rig.bench().subscribe(move |event| {
            if taken(&event.kind) && !once.swap(true, Ordering::AcqRel) {
                assert_eq!(second.arrive(), NtStatus::SUCCESS);
            }
        });
        arrive(loaded.bench());
        let first_address = address(&loaded);
        peers::echoed(first_address);
        let story = Story::of(&loaded);
        assert_eq!(client_answers(&story), [NtStatus::SUCCESS, NtStatus::SUCCESS], "{story}");
        // The second was attached inside the first's attach, so its gate opened first.
        let now = loaded.now();
        assert_eq!(bounded(loaded.bench(), "the departure", || second.shut_down()), NtStatus::SUCCESS);
        peers::echoed(address_since(&loaded, now));
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }
}
