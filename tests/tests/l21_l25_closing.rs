//! L21 to L25: what goes back at detach, operations that wait then, and the close of a socket.

mod support;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ntbench::trace::Kind;
use ntbench::wsk::{Action, Faults, Function, Moment, Rule, When};
use ntbench::{CompletionIrql, Config, Level, NtStatus, Verifier};
use support::peers::{Traffic, echoed, expect_all_ended, idle, is_ended, never_reads};
use support::story::*;
use support::{
    Loaded, SOON, Story, address, address_since, assert_clean, assert_nothing_left, config, isolated, listening, load, peer, rig,
    rig_with, state_when, unload_clean, until, wait_for,
};

/// Lets the provider go and come back; where the driver listens then.
fn provider_goes_and_comes(loaded: &Loaded) -> std::net::SocketAddr {
    let first = loaded.now();
    let (status, _) = loaded.bench().provider().depart().wait();
    assert_eq!(status, NtStatus::SUCCESS);
    assert_eq!(loaded.bench().provider().arrive(), NtStatus::SUCCESS);
    address_since(loaded, first)
}

/// Functions of sockets that end late, from other threads, before their call returns, or inline with STATUS_PENDING.
fn in_every_order() -> Faults {
    let rule = |function, chance, action| Rule { function, when: When::Chance(chance), action };
    let transfers = [Function::Receive, Function::Send].into_iter().flat_map(|function| {
        [
            rule(function, 0.1, Action::Late(Duration::from_millis(1))),
            rule(function, 0.2, Action::BeforeReturn),
            rule(function, 0.3, Action::Pending),
        ]
    });
    let closes =
        [rule(Function::Close, 0.5, Action::Late(Duration::from_millis(2))), rule(Function::Close, 0.5, Action::Pending)];
    Faults { rules: transfers.chain(closes).collect(), ..Faults::default() }
}

/// All that can fail for want of memory.
const MEMORY: [&str; 6] = [
    "ExAllocatePool2",
    "IoAllocateIrp",
    "IoAllocateMdl",
    "IoSetCompletionRoutineEx",
    "IoAllocateWorkItem",
    "PsCreateSystemThread",
];

fn no_more_memory(loaded: &Loaded) {
    for function in MEMORY {
        loaded.bench().fail(function, ntbench::When::From(1));
    }
}

isolated! {
    /// The driver keeps no indication: whatever it is told of, it takes or leaves at once; so nothing is left to give back.
    #[test]
    fn l21_no_indication_is_kept_and_nothing_of_the_providers_outlives_the_detach() {
        let trace = ntbench::Trace { level: Level::Io, ..ntbench::Trace::default() };
        let loaded = load(&rig_with(Config { trace, ..config() }));
        let where_to = address(&loaded);
        let mut connections = idle(where_to, 8);
        // Idle ones wait for an event, not with a receive.
        state_when(&loaded, |state| state.in_flight == 1);
        connections.iter_mut().for_each(|stream| peer::exchange(stream, 21).expect("echo works"));
        let traffic = Traffic::start(where_to, 4);
        until(&loaded, "bytes flow", || loaded.bench().provider().stats().bytes_out > 1 << 20);
        let (status, _) = loaded.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        traffic.expect_ended();
        expect_all_ended(&mut connections);
        let story = Story::of(&loaded);
        let told = |kind: &Kind| matches!(kind, Kind::Io { what: "WskReceiveEvent", .. });
        let kept = |kind: &Kind| matches!(kind, Kind::Io { what: "WskReceiveEvent", detail, .. } if detail.contains("PENDING"));
        assert!(story.count(told) >= 8, "no data was indicated");
        assert_eq!(story.count(kept), 0, "an indication was kept");
        unload_clean(&loaded);
    }

    /// Receives, sends, accepts, readers that wait for an event, and a listener that waits to try again: all end with the
    /// detach, and each one's owner is told.
    #[test]
    fn l22_operations_waiting_at_detach_end_and_their_owners_are_told() {
        let rig = rig();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let busy = taken.local_addr().expect("its address").port();
        rig.set_port(busy);
        rig.set_address("127.0.0.1 127.0.0.2");
        let loaded = load(&rig);
        // 127.0.0.1 waits to be tried again; 127.0.0.2 serves.
        let where_to = address(&loaded);
        until(&loaded, "a bind fails", || !Story::of(&loaded).printed("cannot listen").is_empty());
        let mut connections = idle(where_to, 20);
        connections.extend((0..5).map(|_| never_reads(where_to)));
        // The first are idle by then and wait for events. Left are the accept, the sends, and what watches for 127.0.0.1's sake:
        // the transports and the addresses of either family, if the host has both. Those that follow post a receive.
        state_when(&loaded, |state| state.totals.connections == 25 && (6..=9).contains(&state.in_flight));
        connections.extend(idle(where_to, 20));
        let before = state_when(&loaded, |state| state.totals.connections == 45 && state.in_flight > 9);
        let (status, took) = loaded.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        assert!(took < SOON, "the detach took {took:?}");
        let after = state_when(&loaded, |state| state.totals.connections == 0);
        assert_eq!(after.totals.failed, before.totals.failed + 45, "not each connection's task was told: {after:?}");
        assert_eq!((after.in_flight, after.sockets, after.totals.held), (0, 0, 0), "{after:?}");
        expect_all_ended(&mut connections);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    /// A detach that comes while a function of a socket is entered: the close waits for it to return.
    #[test]
    fn l23_no_socket_is_closed_while_a_function_of_it_is_entered() {
        let (loaded, where_to) = listening();
        let mut stream = echoed(where_to);
        let (entered, left) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (into, out) = (Arc::clone(&entered), Arc::clone(&left));
        loaded.bench().provider().on_step(move |step| {
            if step.function == Function::Send && step.moment == Moment::Complete && into.fetch_add(1, Ordering::SeqCst) == 0 {
                // Until it is let go, but not for ever.
                wait_for(|| (out.load(Ordering::SeqCst) > 0).then_some(()));
            }
        });
        std::io::Write::write_all(&mut stream, b"slow").expect("sent");
        until(&loaded, "a send is entered", || entered.load(Ordering::SeqCst) > 0);
        let departure = loaded.bench().provider().depart();
        until(&loaded, "the listener is closed", || Story::of(&loaded).find(socket_closed).is_some());
        // Time for what must not come.
        std::thread::sleep(Duration::from_millis(50));
        assert!(!departure.is_complete(), "the detach was complete while a send was entered");
        Story::of(&loaded).expect_count("close beside the listener's", 1, socket_closed);
        left.store(1, Ordering::SeqCst);
        assert_eq!(departure.wait().0, NtStatus::SUCCESS);
        assert_clean(loaded.bench());
        loaded.bench().provider().no_steps();
        unload_clean(&loaded);
    }

    /// The same under load, with completions in every order and at every IRQL, again and again.
    #[test]
    fn l23_each_socket_is_closed_once_whatever_is_going_on() {
        let loaded = load(&rig_with(config()));
        loaded.bench().provider().set_faults(in_every_order());
        let mut where_to = address(&loaded);
        for _ in 0..8 {
            let traffic = Traffic::start(where_to, 8);
            let started = loaded.bench().provider().stats().bytes_out;
            until(&loaded, "bytes flow", || loaded.bench().provider().stats().bytes_out > started + 500_000);
            where_to = provider_goes_and_comes(&loaded);
            traffic.expect_ended();
        }
        let story = Story::of(&loaded);
        let open = loaded.bench().provider().stats();
        let alive = (open.listeners + open.connections + open.others) as usize;
        assert_eq!(story.count(socket_created), story.count(socket_closed) + alive, "a socket was not closed:\n{story}");
        unload_clean(&loaded);
    }

    /// From an instant on nothing can be allocated: idle, waiting and busy connections are closed all the same.
    #[test]
    fn l24_closing_and_unloading_take_no_memory() {
        let (loaded, where_to) = listening();
        let mut connections = idle(where_to, 50);
        connections.extend((0..3).map(|_| never_reads(where_to)));
        let traffic = Traffic::start(where_to, 8);
        until(&loaded, "bytes flow", || loaded.bench().provider().stats().bytes_out > 4 << 20);
        no_more_memory(&loaded);
        unload_clean(&loaded);
        loaded.bench().no_faults();
        assert_nothing_left(loaded.bench());
        traffic.expect_ended();
        expect_all_ended(&mut connections);
    }

    /// The same for a detach by the provider; with memory again, the driver serves again.
    #[test]
    fn l24_a_detach_without_memory_is_complete_and_leaves_the_driver_fit() {
        let (loaded, where_to) = listening();
        let mut connections = idle(where_to, 50);
        no_more_memory(&loaded);
        let (status, took) = loaded.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        assert!(took < SOON, "the detach took {took:?}");
        expect_all_ended(&mut connections);
        loaded.bench().no_faults();
        let first = loaded.now();
        assert_eq!(loaded.bench().provider().arrive(), NtStatus::SUCCESS);
        echoed(address_since(&loaded, first));
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    /// Closes take long, and their contexts stay until they are back: special pool makes any use of a freed one end the run.
    #[test]
    fn l25_a_sockets_context_outlives_its_close() {
        let verifier = Verifier { special_pool: true, ..Verifier::default() };
        let loaded = load(&rig_with(Config { verifier, completion_irql: CompletionIrql::Random, ..config() }));
        loaded.bench().provider().set_faults(Faults { close_delay: Some(Duration::from_millis(30)), ..in_every_order() });
        let mut where_to = address(&loaded);
        for round in 0..6 {
            let traffic = Traffic::start(where_to, 4);
            let mut resets: Vec<TcpStream> = idle(where_to, 6);
            // Some are closed for their peers' sake meanwhile.
            resets.drain(..3);
            std::thread::sleep(Duration::from_millis(10 + round));
            where_to = provider_goes_and_comes(&loaded);
            traffic.expect_ended();
            assert!(resets.iter_mut().all(is_ended));
        }
        unload_clean(&loaded);
    }

    /// A connection that is being closed for its peer's sake gets no further function, however late the close is.
    #[test]
    fn l25_no_function_of_a_socket_is_entered_after_its_close_has_begun() {
        let (loaded, where_to) = listening();
        loaded.bench().provider().set_faults(Faults { close_delay: Some(Duration::from_millis(1500)), ..Faults::default() });
        for mut stream in idle(where_to, 10) {
            let _ = std::io::Write::write_all(&mut stream, &[1; 100_000]);
        }
        state_when(&loaded, |state| state.totals.connections == 0);
        // Nudges come once a second: they must not reach sockets that are closing.
        std::thread::sleep(Duration::from_millis(1200));
        assert_clean(loaded.bench());
        unload_clean(&loaded);
    }
}
