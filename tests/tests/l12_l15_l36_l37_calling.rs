//! L12 to L15, L36 and L37: who may enter the provider's functions, for how long, and from where.

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ntbench::trace::Kind;
use ntbench::wsk::{Action, Faults, Function, Moment, Rule, Step, When};
use ntbench::{Bench, CompletionIrql, Config, NtStatus, Value, Verifier, When as Call};
use support::story::*;
use support::{
    SERVICE, Steps, Story, address, address_since, arrive, assert_clean, assert_nothing_left, config, depart, isolated,
    listening, load, peer, peers, rig, rig_for_ever, rig_with, state_when, unload_clean, until, wait_for,
};

/// The functions that take an IRP, of those that the driver calls.
const WITH_IRP: [Function; 8] = [
    Function::Socket,
    Function::Bind,
    Function::Accept,
    Function::Receive,
    Function::Send,
    Function::Disconnect,
    Function::GetLocalAddress,
    Function::Close,
];

/// Functions that allocate for drivers.
const ALLOCATING: [&str; 5] =
    ["ExAllocatePool2", "IoAllocateIrp", "IoAllocateMdl", "IoSetCompletionRoutineEx", "IoAllocateWorkItem"];

/// Has each IRP of this function come back when the detach callback has returned, and no sooner. The steps, and where they stood then.
fn held_until_detached(bench: &Bench, function: Function) -> (Steps, Arc<AtomicUsize>) {
    bench.provider().set_faults(rules(vec![always(function, Action::Late(Duration::ZERO))]));
    let shut = Arc::new(AtomicUsize::new(usize::MAX));
    let is_shut = Arc::clone(&shut);
    let steps = Steps::record_and(bench, move |step| {
        if step == (Step { function, moment: Moment::Complete }) {
            wait_for(|| (is_shut.load(Ordering::Acquire) != usize::MAX).then_some(()));
        }
    });
    mark_into(&shut, bench, &steps, detach_return);
    (steps, shut)
}

/// Where the record of steps stands when this first happens; `usize::MAX` before.
fn mark(bench: &Bench, steps: &Steps, moment: impl Fn(&Kind) -> bool + Send + Sync + 'static) -> Arc<AtomicUsize> {
    let place = Arc::new(AtomicUsize::new(usize::MAX));
    mark_into(&place, bench, steps, moment);
    place
}

/// The same, in a place that is there before.
fn mark_into(place: &Arc<AtomicUsize>, bench: &Bench, steps: &Steps, moment: impl Fn(&Kind) -> bool + Send + Sync + 'static) {
    let (mark, steps) = (Arc::clone(place), steps.clone());
    bench.subscribe(move |event| {
        if moment(&event.kind) {
            let _ = mark.compare_exchange(usize::MAX, steps.now(), Ordering::AcqRel, Ordering::Acquire);
        }
    });
}

/// Whether a step is the entry of a function for which a right to new work is needed.
fn is_new_work(step: &Step) -> bool {
    let of_the_provider =
        [Function::AcceptEvent, Function::ReceiveEvent, Function::DisconnectEvent, Function::Attach, Function::Detach];
    step.moment == Moment::Enter && step.function != Function::Close && !of_the_provider.contains(&step.function)
}

/// Fails unless every IRP that was given to the provider in the first `until` steps has come back in them.
#[track_caller]
fn expect_all_back(steps: &Steps, until: usize) {
    let first: Vec<Step> = steps.since(0).into_iter().take(until).map(|(step, _)| step).collect();
    for function in WITH_IRP {
        let count = |moment| first.iter().filter(|step| **step == Step { function, moment }).count();
        let (entered, back) = (count(Moment::Enter), count(Moment::Complete));
        assert_eq!(entered, back, "{}: {entered} calls, {back} IRPs back", function.name());
    }
}

/// A rule for every call of a function.
fn always(function: Function, action: Action) -> Rule {
    Rule { function, when: When::Always, action }
}

fn rules(rules: Vec<Rule>) -> Faults {
    Faults { rules, ..Faults::default() }
}

/// Bytes go to and fro, so many times.
fn ping_pong(stream: &mut std::net::TcpStream, rounds: usize) {
    let mut back = [0; 64];
    for round in 0..rounds {
        stream.write_all(&[round as u8; 64]).expect("sent");
        stream.read_exact(&mut back).expect("echoed");
        assert_eq!(back, [round as u8; 64]);
    }
}

/// Traffic through a provider that completes in this way, at this IRQL, until the driver is unloaded.
fn traffic_with(completion_irql: CompletionIrql, faults: Faults) {
    let loaded = load(&rig_with(Config { completion_irql, ..config() }));
    loaded.bench().provider().set_faults(faults);
    let traffic = peers::Traffic::start(address(&loaded), 6);
    let progress = || loaded.bench().provider().stats().bytes_out > 400_000;
    until(&loaded, "400,000 bytes are echoed", progress);
    unload_clean(&loaded);
    traffic.expect_ended();
}

/// How a provider may complete what it could complete at once.
fn each_way(action: Action) -> Faults {
    rules(
        [Function::Receive, Function::Send, Function::Accept, Function::Close].map(|function| always(function, action)).to_vec(),
    )
}

isolated! {
    #[test]
    fn l12_no_new_work_is_entered_once_detach_has_begun() {
        let loaded = load(&rig());
        let mut now = 0;
        for _ in 0..5 {
            let traffic = peers::Traffic::start(address_since(&loaded, now), 8);
            let steps = Steps::record(loaded.bench());
            let shut = mark(loaded.bench(), &steps, detach_return);
            until(&loaded, "traffic flows", || steps.count(Function::Send, Moment::Completed) > 20);
            depart(loaded.bench());
            traffic.expect_ended();
            // A thread may be on its way into one function with the right that it took before. A second one it has no right to.
            let mut late = HashMap::new();
            for (step, thread) in steps.since(shut.load(Ordering::Acquire)) {
                if is_new_work(&step) {
                    late.entry(thread).or_insert_with(Vec::new).push(step.to_string());
                }
            }
            assert!(late.values().all(|entered| entered.len() < 2), "entered after detach had begun, by thread: {late:?}");
            now = loaded.now();
            arrive(loaded.bench());
        }
        unload_clean(&loaded);
    }

    #[test]
    fn l12_a_call_that_detach_has_overtaken_is_refused() {
        // The listener's socket comes back when the detach callback has returned, and not before: its bind is refused.
        let rig = rig_for_ever(Config { provider: false, ..config() });
        let (steps, shut) = held_until_detached(rig.bench(), Function::Socket);
        let loaded = load(rig);
        arrive(rig.bench());
        until(&loaded, "WskSocket has returned", || steps.count(Function::Socket, Moment::Return) > 0);
        assert_eq!(steps.count(Function::Socket, Moment::Completed), 0, "its IRP is out");
        depart(rig.bench());
        let late = steps.since(shut.load(Ordering::Acquire));
        assert!(!late.iter().any(|(step, _)| is_new_work(step)), "entered after the detach: {late:?}");
        let closed = Step { function: Function::Close, moment: Moment::Enter };
        assert!(late.iter().any(|(step, _)| *step == closed), "the socket came after the detach: {late:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn l13_a_call_counts_until_its_irp_is_back() {
        let rig = rig_for_ever(Config { provider: false, ..config() });
        let (steps, _) = held_until_detached(rig.bench(), Function::Socket);
        let complete = mark(rig.bench(), &steps, detach_complete);
        let loaded = load(rig);
        arrive(rig.bench());
        until(&loaded, "WskSocket has returned", || steps.count(Function::Socket, Moment::Return) > 0);
        assert_eq!(steps.count(Function::Socket, Moment::Completed), 0, "its IRP is out");
        unload_clean(&loaded);
        Story::of(&loaded).expect_count("pending detach", 1, detach_answered(NtStatus::PENDING));
        expect_all_back(&steps, complete.load(Ordering::Acquire));
        assert!(steps.count(Function::Socket, Moment::Complete) > 0);
    }

    #[test]
    fn l13_every_irp_is_back_before_detach_completes() {
        let rig = rig_for_ever(Config { provider: false, ..config() });
        let late = |function| Rule { function, when: When::Chance(0.3), action: Action::Late(Duration::from_millis(20)) };
        let faults = rules(vec![late(Function::Receive), late(Function::Send), late(Function::Accept), late(Function::Close)]);
        rig.bench().provider().set_faults(faults);
        let steps = Steps::record(rig.bench());
        let complete = mark(rig.bench(), &steps, detach_complete);
        let loaded = load(rig);
        arrive(rig.bench());
        let traffic = peers::Traffic::start(address(&loaded), 10);
        until(&loaded, "traffic flows", || steps.count(Function::Send, Moment::Completed) > 30);
        unload_clean(&loaded);
        traffic.expect_ended();
        expect_all_back(&steps, complete.load(Ordering::Acquire));
    }

    #[test]
    fn l13_calls_whose_irps_are_out_are_told_as_in_flight() {
        let (loaded, address) = listening();
        // The accept of the listener; a receive for each connection that has just been used.
        state_when(&loaded, |state| (state.in_flight, state.sockets) == (1, 1));
        let used = peers::idle(address, 3);
        state_when(&loaded, |state| (state.in_flight, state.sockets) == (4, 4));
        drop(used);
        state_when(&loaded, |state| (state.in_flight, state.sockets) == (1, 1));
        unload_clean(&loaded);
    }

    #[test]
    fn l14_a_socket_that_is_made_during_the_detach_is_closed() {
        let rig = rig_for_ever(Config { provider: false, ..config() });
        let (steps, _) = held_until_detached(rig.bench(), Function::Socket);
        let loaded = load(rig);
        arrive(rig.bench());
        until(&loaded, "WskSocket has returned", || steps.count(Function::Socket, Moment::Return) > 0);
        depart(rig.bench());
        assert_eq!(steps.count(Function::Close, Moment::Complete), steps.count(Function::Socket, Moment::Complete));
        let story = Story::of(&loaded);
        assert!(story.count(socket_created) > 0, "{story}");
        assert_eq!(story.count(socket_created), story.count(socket_closed), "{story}");
        unload_clean(&loaded);
    }

    #[test]
    fn l14_a_connection_that_is_accepted_during_the_detach_is_closed() {
        let rig = rig_for_ever(config());
        let (steps, _) = held_until_detached(rig.bench(), Function::Accept);
        let loaded = load(rig);
        let mut stream = peer::connect(address(&loaded)).expect("the host's backlog takes it");
        let connection = |kind: &Kind| matches!(kind, Kind::SocketCreated { detail, .. } if !detail.contains("Listen"));
        until(&loaded, "the connection is accepted", || Story::of(&loaded).find(connection).is_some());
        assert_eq!(steps.count(Function::Accept, Moment::Completed), 0, "the IRP of the accept is out");
        depart(rig.bench());
        assert!(peers::is_ended(&mut stream));
        let story = Story::of(&loaded);
        assert_eq!(story.count(socket_created), story.count(socket_closed), "{story}");
        unload_clean(&loaded);
    }

    #[test]
    fn l14_no_accept_is_entered_without_a_reserve() {
        let (loaded, address) = listening();
        let steps = Steps::record(loaded.bench());
        ALLOCATING.iter().for_each(|function| loaded.bench().fail(function, Call::From(1)));
        // The accept that waits takes this one; what is needed for the next one is not there.
        let _first = peer::connect(address).expect("a connection");
        let mut second = peer::connect(address).expect("a connection");
        until(&loaded, "accepts lack memory", || Story::of(&loaded).printed("accept at").len() > 2);
        assert_eq!(steps.count(Function::Accept, Moment::Enter), 0, "WskAccept was entered without a reserve");
        loaded.bench().no_faults();
        peer::exchange(&mut second, 2).expect("accepted once there is memory");
        unload_clean(&loaded);
    }

    #[test]
    fn l15_rights_take_no_memory() {
        let loaded = load(&rig_with(Config { completion_irql: CompletionIrql::Dispatch, ..config() }));
        let mut stream = peers::echoed(address(&loaded));
        ping_pong(&mut stream, 3);
        // After a second without traffic the buffer goes back: what counts are exchanges that were quicker, all of them.
        let calls = wait_for(|| {
            ping_pong(&mut stream, 3);
            ALLOCATING.iter().for_each(|function| loaded.bench().fail(function, Call::From(1)));
            let before = Instant::now();
            ping_pong(&mut stream, 100);
            let calls = loaded.bench().calls();
            loaded.bench().no_faults();
            (before.elapsed() < Duration::from_secs(1)).then_some(calls)
        });
        let calls = calls.expect("100 exchanges within a second");
        assert!(calls.iter().all(|(name, calls, _)| !ALLOCATING.contains(name) || *calls == 0), "{calls:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn l36_completions_inline_enter_no_function() {
        traffic_with(CompletionIrql::Random, Faults::default());
    }

    #[test]
    fn l36_completions_at_dispatch_level_enter_no_function() {
        traffic_with(CompletionIrql::Dispatch, each_way(Action::Pending));
    }

    #[test]
    fn l36_completions_before_the_call_returns_enter_no_function() {
        traffic_with(CompletionIrql::Passive, each_way(Action::BeforeReturn));
    }

    #[test]
    fn l36_late_completions_enter_no_function() {
        traffic_with(CompletionIrql::Random, each_way(Action::Late(Duration::from_millis(1))));
    }

    #[test]
    fn l37_an_operation_outlives_its_cancellation() {
        let verifier = Verifier { special_pool: true, ..Verifier::default() };
        let rig = rig_with(Config { verifier, ..config() });
        rig.bench().set_parameter(SERVICE, "StopGraceMs", Value::Dword(60));
        let loaded = load(&rig);
        let steps = Steps::record(loaded.bench());
        let mut idle = peers::idle(address(&loaded), 10);
        // The stop of the service drops the accept that waits, and cancels the receives.
        unload_clean(&loaded);
        peers::expect_all_ended(&mut idle);
        assert!(steps.count(Function::Accept, Moment::Complete) >= steps.count(Function::Accept, Moment::Enter), "the accept is cancelled");
        assert_nothing_left(loaded.bench());
    }

    #[test]
    fn l37_a_cancelled_receive_may_succeed() {
        let (loaded, address) = listening();
        // Taken, and completed later than the service's idle time, after which the driver asks for its cancellation.
        let late = Rule { function: Function::Receive, when: When::Nth(1), action: Action::Late(Duration::from_millis(2500)) };
        loaded.bench().provider().set_faults(rules(vec![late]));
        let mut stream = peer::connect(address).expect("a connection");
        peer::exchange(&mut stream, 3).expect("the bytes that came with the cancelled receive come back");
        peer::exchange(&mut stream, 4).expect("it goes on");
        assert_clean(loaded.bench());
        unload_clean(&loaded);
    }
}
