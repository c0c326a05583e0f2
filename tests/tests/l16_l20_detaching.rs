//! L16 to L20: the detach callback, its completion, and what may come after.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use control_abi::Gate;
use ntbench::nmr::{self, Choice, Level};
use ntbench::trace::{Event, Kind, Side};
use ntbench::wsk::{Action, Faults, Function, Moment, Rule, Step, When};
use ntbench::{Config, NtStatus, Verifier};
use support::story::*;
use support::{
    Loaded, SOON, Steps, Story, address, address_since, arrive, assert_nothing_left, bounded, config, config_nmr, depart,
    isolated, listening, load, peers, rig, rig_with, state_when, unload_clean, until,
};

/// Who begins the end of a binding.
#[derive(Clone, Copy, Debug)]
enum Beginner {
    Driver,
    Provider,
    Both,
}

/// Ends the binding from one side, or from both at once, and brings both back.
fn end_and_begin(loaded: &Loaded, beginner: Beginner) {
    let barrier = Barrier::new(if matches!(beginner, Beginner::Both) { 2 } else { 1 });
    std::thread::scope(|scope| {
        if !matches!(beginner, Beginner::Driver) {
            scope.spawn(|| {
                barrier.wait();
                depart(loaded.bench());
            });
        }
        if !matches!(beginner, Beginner::Provider) {
            barrier.wait();
            bounded(loaded.bench(), "the deactivation", || loaded.set_active(false)).expect("deactivated");
        }
    });
    if !matches!(beginner, Beginner::Provider) {
        loaded.set_active(true).expect("activated");
    }
    if !loaded.bench().provider().is_there() {
        arrive(loaded.bench());
    }
}

/// What a trace says of one binding of the client's.
#[derive(Debug, Default)]
struct Life {
    detach_calls: usize,
    answers: Vec<NtStatus>,
    completions: usize,
    cleanups: usize,
}

/// The lives of the client's bindings that were attached.
fn lives(story: &Story) -> Vec<Life> {
    let attached = story.0.iter().filter_map(|event| match event.kind {
        Kind::AttachReturn { side: Side::Client, binding, status: NtStatus::SUCCESS } => Some(binding),
        _ => None,
    });
    attached.map(|binding| life(&story.0, binding)).collect()
}

fn life(events: &[Event], of: usize) -> Life {
    let mut life = Life::default();
    for event in events {
        match event.kind {
            Kind::DetachCall { side: Side::Client, binding } if binding == of => life.detach_calls += 1,
            Kind::DetachReturn { side: Side::Client, binding, status } if binding == of => life.answers.push(status),
            Kind::DetachComplete { side: Side::Client, binding } if binding == of => life.completions += 1,
            Kind::Cleanup { side: Side::Client, binding } if binding == of => life.cleanups += 1,
            _ => {}
        }
    }
    life
}

/// Fails unless each binding was detached once, completed once if that was pending and not at all otherwise, and cleaned up.
#[track_caller]
fn expect_whole_lives(story: &Story, count: usize) {
    let lives = lives(story);
    assert_eq!(lives.len(), count, "{story}");
    for life in &lives {
        let completions = usize::from(life.answers == [NtStatus::PENDING]);
        let right = life.detach_calls == 1 && life.answers.len() == 1 && life.completions == completions && life.cleanups == 1;
        assert!(right, "{life:?} in\n{story}");
    }
}

/// Ends bindings under load, with a registrar that does as it likes; at last the driver is unloaded, also under load.
fn end_under_load(beginner: Beginner, verifier: Verifier, seed: u64, rounds: usize) {
    let nmr = nmr::Config::random(seed);
    let loaded = load(&rig_with(Config { nmr, seed, verifier, ..config() }));
    let mut now = 0;
    for _ in 0..rounds {
        let traffic = peers::Traffic::start(address_since(&loaded, now), 6);
        let bytes = loaded.bench().provider().stats().bytes_out;
        until(&loaded, "traffic flows", || loaded.bench().provider().stats().bytes_out > bytes + 100_000);
        now = loaded.now();
        end_and_begin(&loaded, beginner);
        traffic.expect_ended();
    }
    let traffic = peers::Traffic::start(address_since(&loaded, now), 6);
    unload_clean(&loaded);
    traffic.expect_ended();
    let story = Story::of(&loaded);
    let attached = story.count(attached);
    assert!(attached > rounds, "{attached} attaches in {rounds} rounds:\n{story}");
    expect_whole_lives(&story, attached);
    assert_nothing_left(loaded.bench());
}

/// What is noted while the detach callback runs.
#[derive(Clone, Debug)]
struct Within {
    calls: Vec<(&'static str, u64, u64)>,
    closed: usize,
}

/// Notes what happens while the detach callback runs: calls of functions that can fail, and sockets that its thread closes,
/// DPCs included that the callback has queued.
fn watch_detach(loaded: &'static Loaded, steps: &Steps) -> Arc<Mutex<Option<Within>>> {
    let (within, steps) = (Arc::new(Mutex::new(None)), steps.clone());
    let (note, began) = (Arc::clone(&within), AtomicUsize::new(0));
    loaded.bench().subscribe(move |event| {
        if detach_call(&event.kind) {
            loaded.bench().no_faults();
            loaded.bench().count_calls();
            began.store(steps.now(), Ordering::Release);
        } else if detach_return(&event.kind) {
            let me = std::thread::current().id();
            let is_close = |step: Step| step.function == Function::Close && step.moment == Moment::Enter;
            let since = steps.since(began.load(Ordering::Acquire));
            let closed = since.iter().filter(|(step, thread)| *thread == me && is_close(*step)).count();
            *note.lock().unwrap() = Some(Within { calls: loaded.bench().calls(), closed });
        }
    });
    within
}

/// The driver with idle connections, and a detach callback at this level.
fn with_idle(count: usize, level: Level, processors: u32) -> (&'static Loaded, Vec<std::net::TcpStream>) {
    let config = Config { processors, ..config_nmr(|nmr| nmr.level = level) };
    let loaded: &'static Loaded = Box::leak(Box::new(load(&rig_with(config))));
    let idle = peers::idle(address(loaded), count);
    (loaded, idle)
}

isolated! {
    #[test]
    fn l16_the_detach_callback_shuts_the_gate_and_does_nothing_else() {
        // One processor, which the callback holds: what the drain does comes after it.
        let (loaded, mut idle) = with_idle(100, Level::Dispatch, 1);
        let steps = Steps::record(loaded.bench());
        let within = watch_detach(loaded, &steps);
        let now = loaded.now();
        depart(loaded.bench());
        loaded.bench().no_faults();
        peers::expect_all_ended(&mut idle);
        let story = Story::since(loaded.bench(), now);
        let printed = story.first("its line", |kind| matches!(kind, Kind::DbgPrint { text, .. } if text.contains("detach pending")));
        assert_eq!(story.0[printed].irql, 2, "the callback was to run at DISPATCH_LEVEL:\n{story}");
        let within = within.lock().unwrap().clone().expect("the callback was seen");
        assert!(within.calls.iter().all(|(_, calls, _)| *calls == 0), "called meanwhile: {:?}", within.calls);
        assert!(within.closed < 10, "the callback had {} sockets closed", within.closed);
        unload_clean(loaded);
    }

    #[test]
    fn l16_detach_by_the_driver() {
        end_under_load(Beginner::Driver, Verifier::default(), 16, 4);
    }

    #[test]
    fn l16_detach_by_the_provider() {
        end_under_load(Beginner::Provider, Verifier::default(), 17, 4);
    }

    #[test]
    fn l16_detach_by_both_at_once() {
        end_under_load(Beginner::Both, Verifier::default(), 18, 6);
    }

    #[test]
    fn l17_without_work_detach_succeeds_and_nothing_is_completed() {
        let rig = rig();
        // Nor does it wait for another transport.
        let lacking = Rule { function: Function::ControlClient, when: When::Always, action: Action::Fail(NtStatus::NOT_SUPPORTED) };
        rig.bench().provider().set_faults(Faults { absent_address: u32::MAX, rules: vec![lacking], ..Faults::default() });
        let loaded = load(&rig);
        until(&loaded, "the bind has failed", || !Story::of(&loaded).printed("cannot listen at").is_empty());
        state_when(&loaded, |state| state.gate == Gate::Open as u32 && state.in_flight == 0 && state.sockets == 0);
        depart(loaded.bench());
        let story = Story::of(&loaded);
        story.expect_count("successful detach", 1, detach_answered(NtStatus::SUCCESS));
        story.expect_count("completion", 0, detach_complete);
        expect_whole_lives(&story, 1);
        unload_clean(&loaded);
    }

    #[test]
    fn l17_with_work_detach_pends() {
        let (loaded, _) = listening();
        // Nothing but the listening socket and its accept.
        depart(loaded.bench());
        let story = Story::of(&loaded);
        story.expect_count("pending detach", 1, detach_answered(NtStatus::PENDING));
        expect_whole_lives(&story, 1);
        unload_clean(&loaded);
    }

    #[test]
    fn l18_detach_is_completed_once_after_the_last_socket() {
        let loaded = load(&rig_with(config_nmr(|nmr| nmr.provider_first = Choice::Random)));
        let mut now = 0;
        for delay in [0, 5, 80] {
            let close_delay = (delay > 0).then(|| Duration::from_millis(delay));
            loaded.bench().provider().set_faults(Faults { close_delay, ..Faults::default() });
            let mut idle = peers::idle(address_since(&loaded, now), 20);
            now = loaded.now();
            depart(loaded.bench());
            peers::expect_all_ended(&mut idle);
            let story = Story::since(loaded.bench(), now);
            story.expect_count("socket closed", 21, socket_closed);
            story.expect_count("completion", 1, detach_complete);
            let (last, complete) = (story.last("close", socket_closed), story.first("completion", detach_complete));
            assert!(last < complete, "completed before the last socket was closed:\n{story}");
            arrive(loaded.bench());
        }
        unload_clean(&loaded);
        expect_whole_lives(&Story::of(&loaded), 4);
    }

    #[test]
    fn l19_silent_connections_delay_nothing() {
        let (loaded, mut silent) = with_idle(300, Level::Caller, 2);
        let address = address(loaded);
        silent.extend((0..4).map(|_| peers::never_reads(address)));
        let steps = Steps::record(loaded.bench());
        let unload = unload_clean(loaded);
        assert!(unload.total < 2 * SOON, "{unload}");
        assert_eq!(steps.count(Function::Close, Moment::Enter), silent.len() + 1);
        peers::expect_all_ended(&mut silent);
    }

    #[test]
    fn l20_after_completion_nothing_is_entered_and_the_context_is_not_touched() {
        let verifier = Verifier { special_pool: true, ..Verifier::default() };
        end_under_load(Beginner::Provider, verifier, 20, 3);
    }

    #[test]
    fn l20_what_outlives_the_binding_finds_an_error() {
        let (loaded, address) = listening();
        let mut idle = peers::idle(address, 5);
        depart(loaded.bench());
        // The tasks of the binding had handles to it and to its sockets; they have ended, and the driver answers.
        let state = state_when(&loaded, |state| state.totals.connections == 0 && state.totals.held == 0);
        assert_eq!((state.gate, state.sockets, state.in_flight), (Gate::None as u32, 0, 0));
        assert_eq!(state.totals.failed, 5, "each connection ended with an error: {state:?}");
        peers::expect_all_ended(&mut idle);
        unload_clean(&loaded);
    }
}
