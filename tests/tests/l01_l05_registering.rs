//! L01 to L05: registering with the NMR, and a load that fails.

mod support;

use control_abi::{Gate, Registration};
use ntbench::nmr::Attach;
use ntbench::trace::Kind;
use ntbench::{Config, LoadError, Verifier, When};
use support::story::*;
use support::{
    Loaded, Rig, SERVICE, Story, address, address_since, arrive, assert_nothing_left, bounded, config, config_nmr, depart,
    depart_once, expect_departed, image, isolated, load, peers, rig, rig_for_ever, rig_with, state_when, unload_clean,
};

/// Runs the driver through departures of the provider and deactivations: the NMR reads the registration each time.
fn come_and_go(loaded: &Loaded, rounds: usize) {
    for round in 0..rounds {
        let now = loaded.now();
        if round % 2 == 0 {
            depart(loaded.bench());
            arrive(loaded.bench());
        } else {
            bounded(loaded.bench(), "the deactivation", || loaded.set_active(false)).expect("deactivated");
            loaded.set_active(true).expect("activated");
        }
        peers::echoed(address_since(loaded, now));
    }
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

/// Loads with one call failing. A driver that loads all the same is unloaded. Whether the load failed.
fn load_with_fault(rig: &Rig, name: &'static str, nth: u64) -> bool {
    let first = rig.bench().trace().len();
    rig.bench().fail(name, When::Nth(nth));
    let outcome = bounded(rig.bench(), name, || rig.bench().load(SERVICE, &image()));
    rig.bench().no_faults();
    let failed = match outcome {
        Ok(driver) => bounded(rig.bench(), name, || driver.unload()).map(|_| false).expect("it unloads"),
        Err(LoadError::DriverEntry(_)) => true,
        Err(error) => panic!("{error}"),
    };
    let story = Story::since(rig.bench(), first);
    let (registered, left) = (story.count(registered), story.count(deregister_call));
    assert_eq!(registered, left, "call {nth} of {name} failed: {registered} registrations, {left} deregistrations, in\n{story}");
    assert_nothing_left(rig.bench());
    failed
}

/// Steps without which there is no driver.
const NEEDED: [&str; 7] = [
    "PsCreateSystemThread",
    "NmrRegisterClient",
    "WdfDriverCreate",
    "WdfControlDeviceInitAllocate",
    "WdfDeviceCreate",
    "WdfDeviceCreateSymbolicLink",
    "WdfIoQueueCreate",
];
/// Steps without which it loads all the same.
const SPARED: [&str; 3] = ["WdfDriverOpenParametersRegistryKey", "WdfRegistryQueryValue", "NmrClientAttachProvider"];

/// Has every third step of a load fail, from the `first` on; a process can load so many images and no more.
fn fail_every_third_step(first: usize) {
    let rig = rig();
    let steps = steps_of_a_load(&rig);
    assert!(NEEDED.iter().chain(&SPARED).all(|name| steps.contains(&(name, 1))), "a load has other steps now: {steps:?}");
    for &(name, nth) in steps.iter().skip(first).step_by(3) {
        let failed = load_with_fault(&rig, name, nth);
        println!("call {nth} of {name} fails: the load {}", if failed { "fails" } else { "succeeds" });
        assert!(failed || !NEEDED.contains(&name), "the driver loads without {name}");
        assert!(!failed || !SPARED.contains(&name), "the driver does not load without {name}");
    }
    let loaded = load(&rig);
    peers::echoed(address(&loaded));
    unload_clean(&loaded);
}

isolated! {
    #[test]
    fn l01_driver_entry_registers_as_a_client_of_wsk() {
        let loaded = load(&rig());
        address(&loaded);
        let story = Story::of(&loaded);
        story.expect_count("registration of the client", 1, registered);
        story.expect_order(&[("DriverEntry's call", &load_begin), ("registration", &registered), ("DriverEntry's return", &load_return)]);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l01_the_nmr_is_used_itself() {
        let file = std::fs::read(image()).expect("the driver's file");
        let imports = |name: &[u8]| file.windows(name.len()).any(|bytes| bytes == name);
        assert!(imports(b"NmrRegisterClient\0"));
        for other in ["WskRegister", "WskCaptureProviderNPI", "WskDeregister"] {
            assert!(!imports(format!("{other}\0").as_bytes()), "{other} is imported");
        }
    }

    #[test]
    fn l02_attach_comes_before_the_registration_returns() {
        let loaded = load(&rig_with(config_nmr(|nmr| nmr.attach = Attach::Inline)));
        peers::echoed(address(&loaded));
        Story::of(&loaded).expect_order(&[
            ("registration", &registered),
            ("attach callback", &attach_call),
            ("its return", &attached),
            ("DriverEntry's return", &load_return),
        ]);
        unload_clean(&loaded);
    }

    #[test]
    fn l02_attach_comes_on_another_thread() {
        let loaded = load(&rig_with(config_nmr(|nmr| nmr.attach = Attach::Late)));
        peers::echoed(address(&loaded));
        let story = Story::of(&loaded);
        let at = |name, step: fn(&Kind) -> bool| story.0[story.first(name, step)].thread;
        assert_ne!(at("registration", registered), at("attach callback", attach_call));
        unload_clean(&loaded);
    }

    #[test]
    fn l02_detach_comes_before_the_registration_returns() {
        let rig = rig_for_ever(config_nmr(|nmr| nmr.attach = Attach::Inline));
        let departure = depart_once(rig, attached);
        let loaded = load(rig);
        let story = Story::of(&loaded);
        story.expect_order(&[("detach callback", &detach_call), ("its return", &detach_return), ("DriverEntry's return", &load_return)]);
        expect_departed(rig, &departure);
        let now = loaded.now();
        arrive(rig.bench());
        peers::echoed(address_since(&loaded, now));
        unload_clean(&loaded);
    }

    #[test]
    fn l03_what_is_registered_stays_until_the_wait_has_returned() {
        let verifier = Verifier { special_pool: true, ..Verifier::default() };
        let loaded = load(&rig_with(Config { verifier, ..config() }));
        address(&loaded);
        come_and_go(&loaded, 4);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l04_a_load_that_fails_at_a_step_leaves_nothing_first_third() {
        fail_every_third_step(0);
    }

    #[test]
    fn l04_a_load_that_fails_at_a_step_leaves_nothing_second_third() {
        fail_every_third_step(1);
    }

    #[test]
    fn l04_a_load_that_fails_at_a_step_leaves_nothing_last_third() {
        fail_every_third_step(2);
    }

    #[test]
    fn l04_an_attach_that_is_refused_fails_no_load() {
        let rig = rig();
        rig.bench().fail("NmrClientAttachProvider", When::Nth(1));
        let loaded = load(&rig);
        rig.bench().no_faults();
        assert_eq!(state_when(&loaded, |_| true).gate, Gate::None as u32);
        unload_clean(&loaded);
        assert_nothing_left(rig.bench());
    }

    #[test]
    fn l05_a_load_does_not_wait_for_a_provider() {
        let loaded = load(&rig_with(Config { provider: false, ..config() }));
        let state = state_when(&loaded, |_| true);
        assert_eq!((state.registration, state.gate), (Registration::In as u32, Gate::None as u32));
        Story::of(&loaded).expect_count("attach callback", 0, attach_call);
        arrive(loaded.bench());
        peers::echoed(address(&loaded));
        unload_clean(&loaded);
    }

    #[test]
    fn l05_a_driver_that_never_sees_a_provider_unloads() {
        let loaded = load(&rig_with(Config { provider: false, ..config() }));
        unload_clean(&loaded);
        Story::of(&loaded).expect_count("deregistration", 1, deregister_call);
        assert_nothing_left(loaded.bench());
    }
}
