//! Unload at any instant: with traffic, during the attach, during a departure of the provider, while peers come and go.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{Config, Verifier, nmr};
use support::{Rig, SOON, Story, assert_clean, assert_nothing_left, config, isolated, load, peer, rig_with, wait_for};

/// The seed of this run: `WSKCLIENT_SEED`, or one that differs from run to run.
fn seed() -> u64 {
    let given = std::env::var("WSKCLIENT_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| fastrand::u64(..1 << 32))
}

/// Where the driver listens at the moment, and whether the peers are to end.
struct Board {
    place: Mutex<Option<SocketAddr>>,
    done: AtomicBool,
    echoed: AtomicU64,
}

/// A peer that exchanges with the driver as well as it goes; wrong bytes are a failure.
fn exchange(board: &Board, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !board.done.load(Ordering::Relaxed) {
        let place = *board.place.lock().expect("unpoisoned");
        let Some(mut stream) = place.and_then(|place| TcpStream::connect_timeout(&place, Duration::from_millis(100)).ok()) else {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        for _ in 0..random.u32(1..30) {
            match peer::exchange(&mut stream, random.u64(..)) {
                Ok(()) => _ = board.echoed.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    assert!(!format!("{error:#}").contains("not what was sent"), "{error:#}");
                    break;
                }
            }
        }
        if random.bool() {
            std::thread::sleep(Duration::from_micros(random.u64(..3000)));
        }
    }
}

/// Loads, lets so much time pass, and unloads, again and again under load. What goes wrong is reported with the seed.
fn at_random_instants(rig: &Rig, most: Duration, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let board = Board { place: Mutex::new(None), done: AtomicBool::new(false), echoed: AtomicU64::new(0) };
    std::thread::scope(|scope| {
        let ending = Ending(&board.done);
        let peers: Vec<_> = (0..6)
            .map(|peer| {
                scope.spawn({
                    let board = &board;
                    move || exchange(board, seed ^ peer)
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let before = rig.bench().trace().len();
            let loaded = load(rig);
            // One in four is not even waited for until it listens.
            if random.u32(..4) > 0 {
                let place = wait_for(|| loaded.events().iter().find_map(wskclient_tests::rig::listening));
                *board.place.lock().expect("unpoisoned") = Some(place.expect("it listens"));
            }
            let instant = Duration::from_micros(random.u64(..most.as_micros() as u64));
            wait(instant);
            let unload = loaded.unload().unwrap_or_else(|refused| panic!("not unloaded: {refused}"));
            *board.place.lock().expect("unpoisoned") = None;
            let verdict = rig.bench().verdict();
            if !verdict.is_clean() || unload.total > 2 * SOON {
                let story = Story::since(rig.bench(), before);
                panic!(
                    "WSKCLIENT_SEED={seed}, round {round}, unloaded after {instant:?}, in {:?}: {verdict}\n{story}",
                    unload.total
                );
            }
        }
        drop(ending);
        peers.into_iter().for_each(|peer| peer.join().expect("each byte was right"));
    });
    assert!(board.echoed.load(Ordering::Relaxed) > u64::from(ROUNDS), "next to no traffic: this shows little");
    expect_nothing_left(rig);
}

/// Completions in every order, and closes that take their time.
fn disorder() -> Faults {
    let rule = |function, chance, action| Rule { function, when: When::Chance(chance), action };
    let late = |micros| Action::Late(Duration::from_micros(micros));
    let rules = vec![
        rule(Function::Receive, 0.1, late(500)),
        rule(Function::Send, 0.1, late(900)),
        rule(Function::Accept, 0.1, late(300)),
        rule(Function::Close, 0.3, late(1500)),
        rule(Function::Receive, 0.1, Action::BeforeReturn),
        rule(Function::Send, 0.1, Action::BeforeReturn),
        rule(Function::Receive, 0.3, Action::Pending),
        rule(Function::Send, 0.3, Action::Pending),
        rule(Function::Socket, 0.3, late(700)),
        rule(Function::Bind, 0.3, late(700)),
    ];
    Faults { rules, ..Faults::default() }
}

/// Says the peers to end, also when a test has failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How often each part of a test unloads; a bench loads so many images and hardly more.
const ROUNDS: u32 = 50;

/// A bench where all that the registrar leaves open is random, with one processor, two, or four.
fn random_rig(seed: u64, special_pool: bool) -> Rig {
    println!("WSKCLIENT_SEED={seed}");
    let verifier = Verifier { special_pool, ..Verifier::default() };
    let processors = [1, 2, 2, 4][(seed % 4) as usize];
    rig_with(Config { seed, processors, nmr: nmr::Config::random(seed), verifier, ..config() })
}

fn under_load(seed: u64) {
    at_random_instants(&random_rig(seed, false), Duration::from_millis(20), seed);
}

/// On a provider that completes late and in disorder, with every use of freed memory ending the run.
fn late_completions(seed: u64) {
    let rig = random_rig(seed, true);
    rig.bench().provider().set_faults(disorder());
    at_random_instants(&rig, Duration::from_millis(12), seed);
}

/// Right after the load: while it attaches, opens its sockets and binds them.
fn at_the_start(seed: u64) {
    let rig = &random_rig(seed, false);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let loaded = load(rig);
        wait(Duration::from_micros(random.u64(..700)));
        loaded.unload().unwrap_or_else(|refused| panic!("not unloaded: {refused}"));
        assert!(rig.bench().verdict().is_clean(), "WSKCLIENT_SEED={seed}, round {round}: {}", rig.bench().verdict());
    }
    expect_nothing_left(rig);
}

fn provider_comes_and_goes(seed: u64) {
    let rig = &random_rig(seed, false);
    let (done, mut random) = (AtomicBool::new(false), fastrand::Rng::with_seed(seed));
    std::thread::scope(|scope| {
        let _ending = Ending(&done);
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(seed + 1);
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(random.u64(..2500)));
                let _ = rig.bench().provider().depart().wait();
                std::thread::sleep(Duration::from_micros(random.u64(..500)));
                let _ = rig.bench().provider().arrive();
            }
        });
        for round in 0..ROUNDS {
            let loaded = load(rig);
            wait(Duration::from_micros(random.u64(..5000)));
            let place = loaded.events().iter().rev().find_map(wskclient_tests::rig::listening);
            let _peer = place.and_then(|place| TcpStream::connect_timeout(&place, Duration::from_millis(50)).ok());
            loaded.unload().unwrap_or_else(|refused| panic!("not unloaded: {refused}"));
            assert!(rig.bench().verdict().is_clean(), "WSKCLIENT_SEED={seed}, round {round}: {}", rig.bench().verdict());
        }
    });
    expect_nothing_left(rig);
    assert_clean(rig.bench());
}

/// Fails unless nothing is left, once the registrar's own threads, which attach late, have seen that nobody is there.
fn expect_nothing_left(rig: &Rig) {
    let _ = wait_for(|| (rig.bench().stats().threads == 0).then_some(()));
    assert_nothing_left(rig.bench());
}

/// Lets so much time pass, exactly.
fn wait(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::thread::yield_now();
    }
}

/// Parts of a test, each a process with a seed of its own.
macro_rules! parts {
    ($($name:ident: $body:expr;)*) => {
        isolated! {
            $(
                #[test]
                fn $name() {
                    $body(seed());
                }
            )*
        }
    };
}

// Unload at 200 random instants under load,
parts! {
    unload_at_random_instants_under_load_1: under_load;
    unload_at_random_instants_under_load_2: under_load;
    unload_at_random_instants_under_load_3: under_load;
    unload_at_random_instants_under_load_4: under_load;
}

// at 100 with late completions, 100 of the start, and 100 of a provider that comes and goes.
parts! {
    unload_at_random_instants_with_late_completions_1: late_completions;
    unload_at_random_instants_with_late_completions_2: late_completions;
    unload_at_random_instants_of_the_start_1: at_the_start;
    unload_at_random_instants_of_the_start_2: at_the_start;
    unload_while_the_provider_comes_and_goes_1: provider_comes_and_goes;
    unload_while_the_provider_comes_and_goes_2: provider_comes_and_goes;
}
