//! L31 to L34: what is left when unload has returned, deactivating and activating, and how long the end takes.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use control_abi::{Registration, Request};
use ntbench::nmr;
use ntbench::trace::Kind;
use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{CompletionIrql, Config, NtStatus, Verifier};
use support::peers::{Traffic, echoed, expect_all_ended, idle, is_ended, never_reads};
use support::story::*;
use support::{
    SOON, Story, address, address_since, assert_clean, assert_nothing_left, config, control, isolated, listening, load, rig,
    rig_with, state_when, unload_clean, until,
};

/// Completions come later than their calls, and closes later than that.
fn late() -> Faults {
    let rule = |function, action| Rule { function, when: When::Chance(0.3), action };
    let late = |ms| Action::Late(Duration::from_millis(ms));
    let rules = vec![rule(Function::Receive, late(2)), rule(Function::Send, late(2)), rule(Function::Close, late(5))];
    Faults { rules, ..Faults::default() }
}

/// The driver is loaded, used and unloaded so often on one bench, at different instants; whatever of it still ran afterwards
/// would meet inaccessible pages.
fn end_often(config: Config, rounds: u32) {
    let rig = rig_with(config);
    rig.bench().provider().set_faults(late());
    for round in 0..rounds {
        let loaded = load(&rig);
        let where_to = address(&loaded);
        let mut waiting = idle(where_to, 4);
        let traffic = Traffic::start(where_to, 4);
        std::thread::sleep(Duration::from_millis((5 * round + 1).into()));
        let unload = unload_clean(&loaded);
        assert!(unload.lingered < SOON, "references to the device outlived the unload by {:?}", unload.lingered);
        traffic.expect_ended();
        expect_all_ended(&mut waiting);
    }
    // Time for whatever should not be there any more.
    std::thread::sleep(Duration::from_millis(300));
    assert_nothing_left(rig.bench());
}

/// How long the unload takes where each close takes `close`, with so many idle connections.
fn unload_takes(close: Duration, connections: usize) -> Duration {
    let rig = rig();
    let loaded = load(&rig);
    let mut open = idle(address(&loaded), connections);
    loaded.bench().provider().set_faults(Faults { close_delay: Some(close), ..Faults::default() });
    let unload = unload_clean(&loaded);
    assert!(open.iter_mut().all(is_ended));
    unload.total
}

isolated! {
    #[test]
    fn l31_nothing_runs_after_unload_with_completions_at_dispatch_level() {
        end_often(Config { completion_irql: CompletionIrql::Dispatch, ..config() }, 8);
    }

    #[test]
    fn l31_nothing_runs_after_unload_with_completions_at_passive_level() {
        end_often(Config { completion_irql: CompletionIrql::Passive, ..config() }, 8);
    }

    #[test]
    fn l31_nothing_runs_after_unload_whatever_the_registrar_does() {
        let verifier = Verifier { special_pool: true, ..Verifier::default() };
        end_often(Config { nmr: nmr::Config::random(31), verifier, ..config() }, 8);
    }

    /// An unload while the timers of the service run: the look for idle connections, and a bind to be tried again.
    #[test]
    fn l31_timers_are_gone_with_the_driver() {
        let rig = rig();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        rig.set_port(taken.local_addr().expect("its address").port());
        let loaded = load(&rig);
        until(&loaded, "a bind fails", || !Story::of(&loaded).printed("cannot listen").is_empty());
        unload_clean(&loaded);
        std::thread::sleep(Duration::from_millis(1300));
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l32_all_memory_irps_mdls_and_references_are_back_when_unload_returns() {
        let (loaded, where_to) = listening();
        let before = loaded.bench().stats();
        let mut connections = idle(where_to, 100);
        connections.extend((0..3).map(|_| never_reads(where_to)));
        let traffic = Traffic::start(where_to, 4);
        until(&loaded, "bytes flow", || loaded.bench().provider().stats().bytes_out > 4 << 20);
        let during = loaded.bench().stats();
        // One to close each connection; on a busy machine those of the idle ones' receives are back by now.
        assert!(during.irps >= before.irps + 107 && during.mdls > 0, "too little is in use for this test: {during:?}");
        unload_clean(&loaded);
        let after = loaded.bench().stats();
        for (tag, stats) in after.pool.tags.iter().filter(|(tag, _)| tag.starts_with("Wsk")) {
            assert_eq!((stats.blocks, stats.bytes), (0, 0), "blocks tagged {tag} are left");
        }
        assert_nothing_left(loaded.bench());
        traffic.expect_ended();
        expect_all_ended(&mut connections);
    }

    #[test]
    fn l33_deactivation_ends_all_and_activation_brings_all_back() {
        let (loaded, mut where_to) = listening();
        for round in 1..=5 {
            let mut connections = idle(where_to, 5);
            loaded.set_active(false).expect("deactivated");
            expect_all_ended(&mut connections);
            let state = loaded.state().expect("the state");
            assert_eq!((state.registration, state.gate, state.sockets), (Registration::Out as u32, 0, 0), "{state:?}");
            assert!(std::net::TcpStream::connect(where_to).is_err(), "it listens still");
            let first = loaded.now();
            loaded.set_active(true).expect("activated");
            where_to = address_since(&loaded, first);
            let state = state_when(&loaded, |state| state.registration == Registration::In as u32);
            assert_eq!(state.generation, round + 1, "{state:?}");
        }
        drop(echoed(where_to));
        unload_clean(&loaded);
    }

    /// Asking for what is the case already is no error, and changes nothing.
    #[test]
    fn l33_both_requests_can_be_repeated() {
        let (loaded, where_to) = listening();
        loaded.set_active(true).expect("it is active");
        let mut stream = echoed(where_to);
        loaded.set_active(true).expect("it is active");
        support::peer::exchange(&mut stream, 3).expect("the connection works on");
        loaded.set_active(false).expect("deactivated");
        loaded.set_active(false).expect("it is inactive");
        let story = Story::of(&loaded);
        story.expect_count("registration", 1, registered);
        story.expect_count("deregistration", 1, deregister_call);
        unload_clean(&loaded);
    }

    /// Several tools at once, with traffic and a registrar that does everything at random.
    #[test]
    fn l33_requests_of_several_threads_with_traffic_keep_the_registration_whole() {
        let loaded = load(&rig_with(Config { nmr: nmr::Config::random(33), ..config() }));
        address(&loaded);
        let (done, refused) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let peers: Vec<_> = (0..3).map(|_| scope.spawn(|| traffic_until(&loaded, &done))).collect();
            let ask = |request: Request, rounds: u32| {
                for round in 0..rounds {
                    std::thread::sleep(Duration::from_micros(400 * (u64::from(round) * 7 % 5)));
                    if control(loaded.bench(), request, 0).is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            };
            let tools = [Request::Deactivate, Request::Activate, Request::Deactivate, Request::Activate];
            let tools: Vec<_> = tools.into_iter().map(|request| scope.spawn(move || ask(request, 25))).collect();
            tools.into_iter().for_each(|tool| tool.join().expect("no panic"));
            done.store(true, Ordering::Relaxed);
            peers.into_iter().for_each(|peer| peer.join().expect("every byte was right"));
        });
        assert_eq!(refused.load(Ordering::Relaxed), 0, "requests failed");
        let story = Story::of(&loaded);
        let (registrations, deregistrations) = (story.count(registered), story.count(deregister_call));
        assert!(registrations - deregistrations <= 1, "{registrations} registrations, {deregistrations} deregistrations");
        assert!(deregistrations > 3, "only {deregistrations} deregistrations: this shows little");
        loaded.set_active(false).expect("deactivated");
        let first = loaded.now();
        loaded.set_active(true).expect("activated");
        drop(echoed(address_since(&loaded, first)));
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    /// Who asks while another one is being served waits for it: no answer comes before what was asked for is the case.
    #[test]
    fn l33_who_comes_second_waits_for_the_first() {
        let (loaded, where_to) = listening();
        let connections = idle(where_to, 10);
        loaded.bench().provider().set_faults(Faults { close_delay: Some(Duration::from_millis(1500)), ..Faults::default() });
        std::thread::scope(|scope| {
            let first = scope.spawn(|| loaded.set_active(false));
            state_when(&loaded, |state| state.registration == Registration::Leaving as u32);
            let second = scope.spawn(|| {
                loaded.set_active(false).expect("deactivated");
                loaded.state().expect("the state")
            });
            let seen = second.join().expect("no panic");
            assert_eq!((seen.registration, seen.sockets), (Registration::Out as u32, 0), "answered too early: {seen:?}");
            first.join().expect("no panic").expect("deactivated");
        });
        drop(connections);
        Story::of(&loaded).expect_count("deregistration", 1, deregister_call);
        unload_clean(&loaded);
    }

    /// What one cycle leaves behind the next would add to: memory does not grow with cycles.
    #[test]
    fn l33_cycles_leave_nothing_behind() {
        let (loaded, _) = listening();
        let held = || {
            let pool = loaded.bench().stats().pool;
            let driver = pool.tags.iter().filter(|(tag, _)| tag.starts_with("Wsk"));
            driver.fold((0, 0), |(blocks, bytes), (_, stats)| (blocks + stats.blocks, bytes + stats.bytes))
        };
        let cycles = |count| {
            for _ in 0..count {
                loaded.set_active(false).expect("deactivated");
                let first = loaded.now();
                loaded.set_active(true).expect("activated");
                drop(echoed(address_since(&loaded, first)));
            }
            loaded.set_active(false).expect("deactivated");
            held()
        };
        let first = cycles(3);
        let later = cycles(30);
        assert!(later.0 <= first.0 + 2, "blocks and bytes of the driver's: {first:?} after 3 cycles, {later:?} after 33");
        unload_clean(&loaded);
    }

    /// A registration that fails can be asked for again.
    #[test]
    fn l33_an_activation_that_fails_can_be_repeated() {
        let (loaded, _) = listening();
        loaded.set_active(false).expect("deactivated");
        loaded.bench().fail("NmrRegisterClient", ntbench::When::Nth(1));
        assert_eq!(control(loaded.bench(), Request::Activate, 0), Err(NtStatus::INSUFFICIENT_RESOURCES));
        assert_eq!(loaded.state().expect("the state").registration, Registration::Out as u32);
        let first = loaded.now();
        loaded.set_active(true).expect("activated");
        drop(echoed(address_since(&loaded, first)));
        unload_clean(&loaded);
    }

    #[test]
    fn l34_unload_takes_as_long_as_the_providers_close() {
        let took = unload_takes(Duration::from_millis(300), 200);
        assert!(took >= Duration::from_millis(300), "closes were not waited for: {took:?}");
        // One after the other they would take a minute.
        assert!(took < 2 * SOON, "200 connections with closes of 300 ms took {took:?}");
    }

    #[test]
    fn l34_unload_with_quick_closes_is_quick() {
        let took = unload_takes(Duration::ZERO, 200);
        assert!(took < SOON, "{took:?}");
    }

    /// Neither peers that are silent, nor those that never read, nor traffic, nor many operations before make it longer.
    #[test]
    fn l34_unload_waits_for_no_peer_and_no_traffic() {
        let (loaded, where_to) = listening();
        for _ in 0..300 {
            drop(echoed(where_to));
        }
        let mut connections = idle(where_to, 20);
        connections.extend((0..6).map(|_| never_reads(where_to)));
        let traffic = Traffic::start(where_to, 6);
        until(&loaded, "bytes flow", || loaded.bench().provider().stats().bytes_out > 8 << 20);
        let unload = unload_clean(&loaded);
        assert!(unload.total < SOON, "{unload}");
        traffic.expect_ended();
        expect_all_ended(&mut connections);
    }

    /// The timeline that is printed has its parts, and they fit into the whole.
    #[test]
    fn l34_the_end_is_measured_phase_by_phase() {
        let (loaded, where_to) = listening();
        let _stream = echoed(where_to);
        loaded.bench().provider().set_faults(Faults { close_delay: Some(Duration::from_millis(20)), ..Faults::default() });
        let began = Instant::now();
        let unload = unload_clean(&loaded);
        assert!(unload.total <= began.elapsed());
        for name in ["deregister", "detach callback", "drain, to detach complete", "cleanup callback", "wait for deregistration"] {
            let phase = unload.phases.iter().find(|phase| phase.name == name);
            let phase = phase.unwrap_or_else(|| panic!("no phase {name:?} in\n{unload}"));
            assert!(phase.at + phase.took <= unload.total, "{name} lasts longer than the whole:\n{unload}");
        }
        let story = Story::of(&loaded);
        assert_eq!(story.count(|kind| matches!(kind, Kind::ImageUnmapped { .. })), 1);
        assert_clean(loaded.bench());
    }
}

/// Connects and exchanges, wherever the driver listens at the time, as well as it goes; wrong bytes are a failure.
fn traffic_until(loaded: &support::Loaded, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let events = loaded.events();
        let Some(address) = events.iter().rev().find_map(wskclient_tests::rig::listening) else { continue };
        if let Ok(mut stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            while let Ok(()) = support::peer::exchange(&mut stream, 9) {
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}
