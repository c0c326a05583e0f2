//! The limits of each service, settings of services that cannot be used, and services that come back: after a lack of memory,
//! after a shutdown that was none.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ntbench::trace::Kind;
use ntbench::{Value, When};
use support::peers::{echoed, is_ended, never_reads};
use support::serving::*;
use support::{
    Loaded, Rig, SOON, Story, arrive, assert_nothing_left, bounded, config, depart, isolated, load, peer, state_when,
    unload_clean, until,
};

fn dword(value: u32) -> Value {
    Value::Dword(value)
}

/// A driver with one echo service over TCP, with more values.
fn echo_with(more: &[(&str, Value)]) -> (Loaded, std::net::SocketAddr) {
    let rig = bare_rig();
    add(&rig, "it", "echo", "tcp", more);
    let loaded = load(&rig);
    let [v4, _] = both_of(&loaded, "it", false);
    (loaded, v4)
}

/// Fails unless a line with all these parts was printed.
#[track_caller]
fn expect_traced(loaded: &Loaded, parts: &[&str]) {
    let story = Story::of(loaded);
    let line = story.printed(parts[0]).into_iter().find(|line| parts.iter().all(|part| line.contains(part)));
    assert!(line.is_some(), "no line with {parts:?} in\n{story}");
}

/// A service `bad` with these values beside a good one: the lines about it have these parts, and the good one serves.
#[track_caller]
fn next_to_bad(rig: &Rig, bad: &[(&str, Value)], parts: &[&str]) -> Loaded {
    rig.clear_services();
    add(rig, "good", "echo", "tcp", &[]);
    rig.add_service("bad", bad);
    let loaded = load(rig);
    drop(echoed(both_of(&loaded, "good", false)[0]));
    expect_traced(&loaded, parts);
    loaded
}

isolated! {
    /// What one service is full of does not fill another.
    #[test]
    fn service_limits_are_each_service_s_own() {
        let rig = bare_rig();
        add(&rig, "small", "echo", "tcp", &[("MaxConnections", dword(2))]);
        add(&rig, "tight", "discard", "tcp", &[("MaxBytes", dword(64 << 10))]);
        add(&rig, "large", "echo", "tcp", &[]);
        let loaded = load(&rig);
        let [small, tight, large] = ["small", "tight", "large"].map(|name| both_of(&loaded, name, false)[0]);
        let kept = [echoed(small), echoed(small)];
        assert!(is_ended(&mut peer::connect(small).expect("accepted, and then reset")), "a third connection is served");
        let many: Vec<_> = (0..20).map(|_| peer::connect(tight).expect("a connection")).collect();
        let state = state_when(&loaded, |state| state.totals.refused > 1);
        assert!(state.totals.accepted < 2 + 20, "{state:?}");
        let more: Vec<_> = (0..20).map(|_| echoed(large)).collect();
        drop((kept, many, more));
        state_when(&loaded, |state| state.totals.connections == 0 && state.totals.held == 0);
        unload_clean(&loaded);
        expect_traced(&loaded, &["small: ", "2 connections, 1 refused"]);
        expect_traced(&loaded, &["large: ", "20 connections, 0 refused"]);
    }

    /// Quiet ones end after the time, those with traffic do not; and one that takes nothing is quiet too.
    #[test]
    fn service_an_idle_connection_is_ended_after_its_time() {
        let (loaded, to) = echo_with(&[("IdleTimeoutMs", dword(2000))]);
        let mut deaf = never_reads(to);
        let began = Instant::now();
        let (mut quiet, mut busy) = (echoed(to), echoed(to));
        let busy_until = began + Duration::from_millis(5000);
        let talking = std::thread::spawn(move || {
            while Instant::now() < busy_until {
                peer::exchange(&mut busy, 3).expect("a connection with traffic goes on");
                std::thread::sleep(Duration::from_millis(100));
            }
            busy
        });
        assert!(is_ended(&mut quiet), "the quiet one goes on");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(2000) && took < 2 * SOON, "ended after {took:?}");
        state_when(&loaded, |state| state.totals.connections == 1);
        assert!(is_ended(&mut deaf), "the one that takes nothing goes on");
        let mut busy = talking.join().expect("talked");
        assert!(is_ended(&mut busy), "it ends when it is quiet in its turn");
        let state = state_when(&loaded, |state| state.totals.connections == 0);
        assert_eq!((state.totals.failed, state.totals.held), (3, 0), "{state:?}");
        unload_clean(&loaded);
        expect_traced(&loaded, &["it: ", "3 failed, 3 of them idle for too long"]);
    }

    /// Chargen to a peer that reads is traffic, to one that does not is none.
    #[test]
    fn service_chargen_is_idle_when_nothing_is_taken() {
        let rig = bare_rig();
        add(&rig, "it", "chargen", "tcp", &[("IdleTimeoutMs", dword(2000))]);
        let loaded = load(&rig);
        let [to, _] = both_of(&loaded, "it", false);
        let deaf = peer::connect(to).expect("a connection");
        let (mut reading, _) = read_some(to, 100);
        let began = Instant::now();
        let mut ended = false;
        // Twice as long as a connection may be idle, and until the other one has been ended for it.
        while began.elapsed() < Duration::from_secs(4) || (!ended && began.elapsed() < Duration::from_secs(20)) {
            reading.read_exact(&mut [0; 5000]).expect("a connection with traffic goes on");
            ended = loaded.state().is_ok_and(|state| state.totals.connections == 1);
        }
        assert!(ended, "the one that takes nothing goes on, or both have ended");
        drop((reading, deaf));
        unload_clean(&loaded);
    }

    /// By default nothing is ended for being idle.
    #[test]
    fn service_without_an_idle_time_connections_stay() {
        let (loaded, to) = echo_with(&[("IdleTimeoutMs", dword(0))]);
        let mut quiet = echoed(to);
        std::thread::sleep(Duration::from_millis(2500));
        peer::exchange(&mut quiet, 4).expect("it is still there");
        unload_clean(&loaded);
    }

    /// Each bad value is named, with the value and what is used instead.
    #[test]
    fn service_settings_of_a_service_that_cannot_be_used_are_traced() {
        let rig = bare_rig();
        let kind = ("Kind", text("discard"));
        let free = ("Port", dword(0));
        let cases: [(&[(&str, Value)], &[&str]); 16] = [
            (&[("Kind", text("nonsense"))], &[r"Services\bad\Kind", "'nonsense'", "left out"]),
            (&[("Kind", dword(7))], &[r"Services\bad\Kind", "07 00", "left out"]),
            (&[("Kind", text(""))], &[r"Services\bad\Kind", "''", "left out"]),
            (&[], &[r"Services\bad\Kind", "not there", "left out"]),
            (&[kind.clone(), free.clone(), ("Protocol", text("ipx"))], &[r"Services\bad\Protocol", "'ipx'", "using tcp"]),
            (&[kind.clone(), free.clone(), ("Protocol", dword(6))], &[r"Services\bad\Protocol", "06 00", "using tcp"]),
            (&[kind.clone(), ("Port", dword(65_536))], &[r"Services\bad\Port", "65536", "using 40009"]),
            (&[kind.clone(), ("Port", text("http"))], &[r"Services\bad\Port", "'http'", "using 40009"]),
            (&[kind.clone(), free.clone(), ("Address", text("here"))], &[r"Services\bad\Address", "'here'", "ignored"]),
            (&[kind.clone(), free.clone(), ("MaxConnections", dword(0))], &[r"Services\bad\MaxConnections", " 0,", "using 16384"]),
            (&[kind.clone(), free.clone(), ("MaxBytes", dword(5))], &[r"Services\bad\MaxBytes", " 5,", "using 268435456"]),
            (&[kind.clone(), free.clone(), ("BufferSize", dword(5))], &[r"Services\bad\BufferSize", " 5,", "using 65536"]),
            (&[kind.clone(), free.clone(), ("IdleTimeoutMs", dword(u32::MAX))], &[r"Services\bad\IdleTimeoutMs", "using 0"]),
            (&[kind.clone(), free.clone(), ("RatePerSource", dword(0))], &[r"Services\bad\RatePerSource", " 0,", "using 100"]),
            (&[("Kind", text("forward")), free.clone()], &[r"Services\bad\Target", "not there", "left out"]),
            (&[("Kind", text("forward")), ("Target", text("10.0.0.1"))], &[r"Services\bad\Target", "'10.0.0.1'", "left out"]),
        ];
        for (values, parts) in cases {
            unload_clean(&next_to_bad(&rig, values, parts));
        }
    }

    #[test]
    fn service_targets_that_are_none_leave_the_forwarder_out() {
        let rig = bare_rig();
        let long = format!("{}:80", "x".repeat(254));
        for target in ["1.2.3.4:0", "[::1]:0", "::1:80", "[::1]", "host", "host:", ":80", "host:65536", "ho st:80", "1.2.3:80", "a:b:80", &long] {
            let values = [("Kind", text("forward")), ("Target", text(target))];
            unload_clean(&next_to_bad(&rig, &values, &[r"Services\bad\Target", "left out"]));
        }
    }

    /// A service that is called like a kind is of that kind, in whatever case either is written.
    #[test]
    fn service_a_name_can_say_the_kind() {
        let rig = bare_rig();
        rig.add_service("Discard", &[("Port", dword(0))]);
        rig.add_service("CHARGEN", &[("Port", dword(0)), ("kind", text("Echo"))]);
        let loaded = load(&rig);
        drop(echoed(both_of(&loaded, "CHARGEN", false)[0]));
        let mut stream = peer::connect(both_of(&loaded, "Discard", false)[0]).expect("a connection");
        stream.write_all(b"x").and_then(|()| stream.shutdown(std::net::Shutdown::Write)).expect("sent");
        assert_eq!(stream.read(&mut [0; 8]).expect("a FIN"), 0);
        unload_clean(&loaded);
    }

    /// Names that are too long or odd, and more services than there may be.
    #[test]
    fn service_names_and_their_number_are_bounded() {
        let rig = bare_rig();
        let long = "n".repeat(33);
        rig.add_service(&long, &[("Kind", text("echo")), ("Port", dword(0))]);
        add(&rig, "grüße %s%n", "echo", "tcp", &[("Address", text("127.0.0.1"))]);
        for number in 0..35 {
            add(&rig, &format!("s{number:02}"), "discard", "udp", &[("Address", text("127.0.0.1"))]);
        }
        let loaded = load(&rig);
        until(&loaded, "32 services", || listening(&loaded).len() == 32);
        expect_traced(&loaded, &["longer than 32 characters", "nnn"]);
        expect_traced(&loaded, &["more than 32", "the last 4 are left out"]);
        expect_traced(&loaded, &["gr??e?%s%n: listening at"]);
        unload_clean(&loaded);
        assert_nothing_left(rig.bench());
    }

    /// `Services` without any service: nothing listens, and the driver says so.
    #[test]
    fn service_an_empty_list_is_no_service() {
        let rig = bare_rig();
        rig.set_port(0);
        rig.bench().create_parameters_key(support::SERVICE, "Services");
        let loaded = load(&rig);
        expect_traced(&loaded, &["Services has none"]);
        expect_traced(&loaded, &["EchoPort is not looked at"]);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(listening(&loaded), []);
        unload_clean(&loaded);
        rig.clear_services();
        let loaded = load(&rig);
        until(&loaded, "the values of before count again", || listening(&loaded).len() == 2);
        unload_clean(&loaded);
    }

    /// A registry that fails in the middle costs what could not be read, and never the load.
    #[test]
    fn service_a_registry_that_fails_fails_no_load() {
        let rig = bare_rig();
        for number in 0..3 {
            add(&rig, &format!("s{number}"), "echo", "tcp", &[("Address", text("127.0.0.1"))]);
        }
        for (function, number, left) in [("ZwEnumerateKey", 2, 1), ("ZwOpenKey", 3, 2)] {
            rig.bench().fail(function, When::Nth(number));
            let loaded = load(&rig);
            rig.bench().no_faults();
            until(&loaded, "the others", || listening(&loaded).len() == left);
            unload_clean(&loaded);
        }
    }

    /// No memory for anything at the moment in which the provider attaches: every place listens once there is some again.
    #[test]
    fn service_a_lack_of_memory_at_attachment_makes_no_address_deaf() {
        for function in ["ExAllocatePool2", "IoAllocateIrp"] {
            memory_comes_back_after(function);
        }
    }

    /// The system did not go down after all: activation brings all services back, any number of times.
    #[test]
    fn service_an_activation_after_a_shutdown_that_was_none_brings_services_back() {
        let rig = bare_rig();
        add(&rig, "it", "echo", "both", &[]);
        let loaded = load(&rig);
        for round in 0..3 {
            until(&loaded, "two places of both protocols", || listening(&loaded).len() == 4 * (round + 1));
            let places = listening(&loaded).split_off(4 * round);
            for place in &places {
                match place.datagrams {
                    false => drop(echoed(place.at)),
                    true => {
                        let peer = datagram_peer(place.at);
                        peer.send(b"there?").expect("sent");
                        assert_eq!(next_datagram(&peer, Duration::from_secs(10)), Some(b"there?".to_vec()));
                    }
                }
            }
            bounded(loaded.bench(), "the shutdown", || loaded.bench().shutdown());
            assert!(places.iter().all(|place| place.datagrams || TcpStream::connect(place.at).is_err()), "it listens still");
            loaded.set_active(true).expect("activated");
        }
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }

    /// However long StopGraceMs is, the system waits 5 seconds at most.
    #[test]
    fn service_a_shutdown_waits_for_silent_peers_no_longer_than_its_limit() {
        let rig = bare_rig();
        add(&rig, "it", "echo", "tcp", &[]);
        rig.bench().set_parameter(support::SERVICE, "StopGraceMs", dword(600_000));
        let loaded = load(&rig);
        let silent = echoed(both_of(&loaded, "it", false)[0]);
        let began = Instant::now();
        loaded.bench().shutdown();
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(5) + 2 * SOON, "{took:?}");
        drop(silent);
        unload_clean(&loaded);
    }

    /// A provider that goes and comes back finds all services again.
    #[test]
    fn service_all_come_back_with_the_provider() {
        let rig = bare_rig();
        add(&rig, "one", "echo", "both", &[]);
        add(&rig, "two", "chargen", "both", &[]);
        let loaded = load(&rig);
        for round in 1..=3 {
            until(&loaded, "all places", || listening(&loaded).len() == 8 * round);
            depart(loaded.bench());
            arrive(loaded.bench());
        }
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
    }
}

/// Attaches while a function fails, and sees all places listen afterwards.
fn memory_comes_back_after(function: &'static str) {
    static ARMED: AtomicBool = AtomicBool::new(false);
    static RIG: std::sync::OnceLock<Rig> = std::sync::OnceLock::new();
    let rig = RIG.get_or_init(|| {
        let rig = Rig::new(&support::image(), config()).expect("a bench");
        add(&rig, "it", "echo", "both", &[]);
        rig
    });
    let loaded = load(rig);
    until(&loaded, "all places", || listening(&loaded).len() == 4);
    depart(rig.bench());
    ARMED.store(true, Ordering::Release);
    rig.bench().subscribe(move |event| {
        let attached =
            matches!(&event.kind, Kind::DbgPrint { text, .. } if text.contains(": attached") || text.contains(" attached, binding"));
        if attached && ARMED.swap(false, Ordering::AcqRel) {
            rig.bench().fail(function, When::From(1));
        }
    });
    arrive(rig.bench());
    until(&loaded, "the fault is armed", || !ARMED.load(Ordering::Acquire));
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(listening(&loaded).len(), 4, "it listens although {function} fails: this shows nothing");
    rig.bench().no_faults();
    until(&loaded, "all places again", || listening(&loaded).len() == 8);
    unload_clean(&loaded);
}
