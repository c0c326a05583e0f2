//! The forwarder: bytes, ends and failures of one connection reach the other, and what is slow is not piled up.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{CompletionIrql, Config, NtStatus, Value};
use support::peers::{Traffic, is_ended};
use support::serving::{bare_rig, both_of};
use support::{
    Loaded, Rig, Story, assert_nothing_left, config, depart, isolated, load, peer, rig_with, state_when, unload_clean, until,
    wait_for,
};

const MIB: usize = 1 << 20;

/// The driver with one forwarder to this target.
fn forwarder_to(rig: &Rig, target: &str) -> Loaded {
    let text = |text: &str| Value::Sz(text.to_owned());
    rig.add_service("fwd", &[("Kind", text("forward")), ("Port", Value::Dword(0)), ("Target", text(target))]);
    load(rig)
}

/// Where it listens.
#[track_caller]
fn place(loaded: &Loaded) -> SocketAddr {
    let said = || loaded.printed().iter().find_map(|line| line.split_once("fwd: listening at ")?.1.trim().parse().ok());
    wait_for(said).unwrap_or_else(|| panic!("it does not say that it listens\n{}", Story::of(loaded)))
}

/// A target, and the driver that forwards to it.
struct Scene {
    rig: Rig,
    loaded: Loaded,
    target: TcpListener,
}

impl Scene {
    fn new(faults: Faults) -> Self {
        let rig = rig_with(Config { completion_irql: CompletionIrql::Random, ..config() });
        rig.bench().provider().set_faults(faults);
        let target = TcpListener::bind("127.0.0.1:0").expect("a port");
        let loaded = forwarder_to(&rig, &target.local_addr().expect("its address").to_string());
        Self { rig, loaded, target }
    }

    /// Both ends of a forwarded connection.
    fn ends(&self) -> (TcpStream, TcpStream) {
        let client = peer::connect(place(&self.loaded)).expect("a connection");
        let (other, _) = self.target.accept().expect("it connects");
        for stream in [&client, &other] {
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
            stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        }
        (client, other)
    }

    fn end(self) {
        state_when(&self.loaded, |state| state.totals.connections == 0);
        unload_clean(&self.loaded);
        assert_nothing_left(self.rig.bench());
        assert_eq!(self.rig.bench().provider().stats().kept, 0);
    }
}

/// Whatever order sends complete in, and whatever shape the lists have.
fn adverse() -> Faults {
    let rule = |chance, action| Rule { function: Function::Send, when: When::Chance(chance), action };
    let late = rule(0.02, Action::Late(Duration::from_millis(1)));
    let rules = vec![late, rule(0.1, Action::BeforeReturn), rule(0.3, Action::Pending)];
    Faults { rules, split_reads: Some(20_011), odd_lists: true, ..Faults::default() }
}

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

/// Sends all of it and the end of the stream, from a thread of its own.
fn sending(stream: &TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    let mut stream = stream.try_clone().expect("a second handle");
    std::thread::spawn(move || {
        stream.write_all(&bytes).expect("taken");
        stream.shutdown(Shutdown::Write).expect("half-closed");
    })
}

/// What comes until the other side's end.
#[track_caller]
fn all_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("all, and then a FIN");
    all
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("no lingering");
    drop(stream);
}

/// Whether the connection is reset, after what may still come.
fn is_reset(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 65536]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// Writes until nothing is taken any more; how much was.
fn fill(stream: &mut TcpStream) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(1000))).expect("a time-out");
    let mut sent = 0;
    loop {
        match stream.write(&[0x5a; 64 << 10]) {
            Ok(count) => sent += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return sent,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A target that echoes whatever connects, until the process ends.
fn echoing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut back = stream.try_clone().expect("a second handle");
                let copied = std::io::copy(&mut stream, &mut back);
                let ended = back.shutdown(Shutdown::Write);
                copied.map(drop).and(ended)
            });
        }
    });
    address
}

/// Different bytes go both ways at once.
fn both_ways(faults: Faults, length: usize) {
    let scene = Scene::new(faults);
    let (mut client, mut other) = scene.ends();
    let (up, down) = (pattern(1, length), pattern(2, length + 12_345));
    let senders = [sending(&client, up.clone()), sending(&other, down.clone())];
    let received = std::thread::spawn(move || all_of(&mut other));
    assert!(all_of(&mut client) == down, "the client got something else than the target sent");
    assert!(received.join().expect("all of it") == up, "the target got something else than the client sent");
    senders.into_iter().for_each(|sender| sender.join().expect("sent"));
    let totals = state_when(&scene.loaded, |state| state.totals.connections == 0).totals;
    assert_eq!((totals.received, totals.sent, totals.failed), ((2 * length + 12_345) as u64, totals.received, 0));
    scene.end();
}

isolated! {
    #[test]
    fn service_forward_bytes_are_the_same_both_ways_at_once() {
        both_ways(Faults::default(), 16 * MIB);
    }

    #[test]
    fn service_forward_bytes_are_the_same_in_every_order_of_completion_and_shape_of_lists() {
        both_ways(adverse(), 4 * MIB);
    }

    #[test]
    fn service_forward_over_ipv6() {
        let rig = bare_rig();
        let target = TcpListener::bind("[::1]:0").expect("a port");
        let loaded = forwarder_to(&rig, &target.local_addr().expect("its address").to_string());
        for at in both_of(&loaded, "fwd", false) {
            let mut client = peer::connect(at).expect("a connection");
            let (mut other, from) = target.accept().expect("it connects");
            assert!(from.is_ipv6(), "{from}");
            let (up, down) = (pattern(3, 200_000), pattern(4, 300_000));
            let senders = [sending(&client, up.clone()), sending(&other, down.clone())];
            let received = std::thread::spawn(move || all_of(&mut other));
            assert!(all_of(&mut client) == down, "the client got something else than the target sent");
            assert!(received.join().expect("all of it") == up, "the target got something else than the client sent");
            senders.into_iter().for_each(|sender| sender.join().expect("sent"));
        }
        unload_clean(&loaded);
    }

    /// A provider that tells of nothing: what it cannot hand over is received into a buffer.
    #[test]
    fn service_forward_copies_where_the_provider_has_no_events() {
        both_ways(Faults { refuse_events: Some(NtStatus::NOT_SUPPORTED), ..Faults::default() }, MIB);
    }

    #[test]
    fn service_forward_connects_step_by_step_where_the_provider_cannot_at_once() {
        let lacking = Action::Fail(NtStatus::NOT_IMPLEMENTED);
        let scene = Scene::new(Faults::rule(Function::SocketConnect, When::Always, lacking));
        for _ in 0..2 {
            let (mut client, mut other) = scene.ends();
            client.write_all(b"the question").expect("sent");
            let mut heard = [0; 12];
            other.read_exact(&mut heard).expect("it comes through");
            assert_eq!(&heard, b"the question");
        }
        assert_eq!(Story::of(&scene.loaded).printed("WSK lacks WskSocketConnect").len(), 1, "told once");
        scene.end();
    }

    #[test]
    fn service_forward_a_fin_that_cannot_be_passed_on_closes_both_connections() {
        let scene = Scene::new(Faults { refuse_disconnect: Some(NtStatus::NOT_IMPLEMENTED), ..Faults::default() });
        let (mut client, mut other) = scene.ends();
        client.shutdown(Shutdown::Write).expect("half-closed");
        assert!(is_ended(&mut other) && is_ended(&mut client), "a connection goes on");
        let totals = state_when(&scene.loaded, |state| state.totals.connections == 0).totals;
        assert_eq!(totals.failed, 0);
        scene.end();
    }

    #[test]
    fn service_forward_64_mib_through_and_back_have_the_same_sha_256() {
        let rig = rig_with(config());
        let loaded = forwarder_to(&rig, &echoing().to_string());
        peer::push(place(&loaded), 64 << 20, 9, &AtomicU64::new(0)).expect("the same bytes back");
        assert!(rig.bench().provider().stats().kept_most > 0, "nothing was kept: it was copied");
        unload_clean(&loaded);
    }

    #[test]
    fn service_forward_a_target_may_be_a_name() {
        let rig = rig_with(config());
        let loaded = forwarder_to(&rig, &format!("localhost:{}", echoing().port()));
        peer::echo_works(place(&loaded)).expect("bytes come back");
        unload_clean(&loaded);
        assert_nothing_left(rig.bench());
    }

    #[test]
    fn service_forward_the_clients_half_close_leaves_the_way_back_open() {
        let scene = Scene::new(Faults::default());
        let (mut client, mut other) = scene.ends();
        client.write_all(b"the question").expect("sent");
        client.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(all_of(&mut other), b"the question");
        other.write_all(b"the answer").expect("sent");
        drop(other);
        assert_eq!(all_of(&mut client), b"the answer");
        scene.end();
    }

    #[test]
    fn service_forward_the_targets_half_close_leaves_the_way_there_open() {
        let scene = Scene::new(Faults::default());
        let (mut client, mut other) = scene.ends();
        other.write_all(b"a greeting").expect("sent");
        other.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(all_of(&mut client), b"a greeting");
        client.write_all(b"and more").expect("sent");
        drop(client);
        assert_eq!(all_of(&mut other), b"and more");
        scene.end();
    }

    #[test]
    fn service_forward_a_target_that_refuses_ends_the_connection_and_is_tried_again() {
        let rig = rig_with(config());
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        let loaded = forwarder_to(&rig, &free.to_string());
        for _ in 0..3 {
            let mut client = peer::connect(place(&loaded)).expect("a connection");
            assert!(is_ended(&mut client), "the connection is still there");
        }
        let state = state_when(&loaded, |state| state.totals.connections == 0);
        assert_eq!(state.totals.failed, 3);
        let listener = TcpListener::bind(free).expect("the port is free still");
        let mut client = peer::connect(place(&loaded)).expect("a connection");
        let (mut other, _) = listener.accept().expect("it connects");
        client.write_all(b"at last").expect("sent");
        drop(client);
        assert_eq!(all_of(&mut other), b"at last");
        let story = Story::of(&loaded);
        assert_eq!(story.printed("cannot be reached").len(), 1, "not said once\n{story}");
        assert_eq!(story.printed("can be reached again").len(), 1, "not said once\n{story}");
        drop(other);
        unload_clean(&loaded);
    }

    #[test]
    fn service_forward_a_reset_of_the_target_reaches_the_client() {
        let scene = Scene::new(Faults::default());
        let (mut client, mut other) = scene.ends();
        client.write_all(&[1; 1000]).expect("sent");
        other.read_exact(&mut [0; 1000]).expect("received");
        reset(other);
        assert!(is_reset(&mut client), "the client was not reset");
        scene.end();
    }

    #[test]
    fn service_forward_a_reset_of_the_client_reaches_the_target() {
        let scene = Scene::new(Faults::default());
        let (mut client, mut other) = scene.ends();
        client.write_all(&[1; 1000]).expect("sent");
        other.read_exact(&mut [0; 1000]).expect("received");
        reset(client);
        assert!(is_reset(&mut other), "the target was not reset");
        scene.end();
    }

    /// The target reads nothing: the client is stopped, and the driver holds two buffers, however much the client has.
    #[test]
    fn service_forward_a_slow_reader_is_waited_for_with_little_memory() {
        let scene = Scene::new(Faults { split_reads: Some(32 << 10), ..Faults::default() });
        let (mut client, mut other) = scene.ends();
        let sent = fill(&mut client);
        let (stats, held) = (scene.rig.bench().provider().stats(), scene.loaded.state().expect("its state").totals.held);
        assert!(stats.kept > 0, "nothing is kept: this test shows nothing");
        // Four full ones; a list may be shorter, where the client was slower.
        assert!(stats.kept_most <= 8, "{} lists of 32 KiB are kept, but the bound is 128 KiB", stats.kept_most);
        assert!(held <= 400_000, "one connection holds {held} bytes");
        client.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(all_of(&mut other).len(), sent);
        drop(other);
        drop(client);
        scene.end();
    }

    /// Both sides are stalled, and each connection's data is in sends on the other.
    #[test]
    fn l19_service_forward_unloads_with_both_directions_stalled() {
        let scene = Scene::new(Faults::default());
        let (mut client, mut other) = scene.ends();
        fill(&mut client);
        fill(&mut other);
        unload_clean(&scene.loaded);
        assert_nothing_left(scene.rig.bench());
        assert!(is_ended(&mut client) && is_ended(&mut other));
    }

    #[test]
    fn service_forward_a_detach_in_the_middle_ends_both_sides() {
        let rig = rig_with(Config { completion_irql: CompletionIrql::Random, ..config() });
        rig.bench().provider().set_faults(adverse());
        let loaded = forwarder_to(&rig, &echoing().to_string());
        let traffic = Traffic::start(place(&loaded), 6);
        until(&loaded, "bytes flow", || rig.bench().provider().stats().bytes_out > 4 << 20);
        depart(rig.bench());
        traffic.expect_ended();
        assert_eq!(rig.bench().provider().stats().kept, 0);
        unload_clean(&loaded);
        assert_nothing_left(rig.bench());
    }

    #[test]
    fn service_forward_an_unload_in_the_middle_leaves_nothing() {
        let rig = rig_with(config());
        let loaded = forwarder_to(&rig, &echoing().to_string());
        let traffic = Traffic::start(place(&loaded), 6);
        until(&loaded, "bytes flow", || rig.bench().provider().stats().bytes_out > 4 << 20);
        unload_clean(&loaded);
        traffic.expect_ended();
        assert_nothing_left(rig.bench());
    }

    /// With a grace, both peers get a FIN.
    #[test]
    fn l26_service_forward_stops_gracefully() {
        let scene = {
            let rig = rig_with(config());
            rig.set("StopGraceMs", Value::Dword(5000));
            let target = TcpListener::bind("127.0.0.1:0").expect("a port");
            let loaded = forwarder_to(&rig, &target.local_addr().expect("its address").to_string());
            Scene { rig, loaded, target }
        };
        let (mut client, mut other) = scene.ends();
        client.write_all(&[1; 1000]).expect("sent");
        other.read_exact(&mut [0; 1000]).expect("received");
        let peers = std::thread::spawn(move || {
            assert_eq!((all_of(&mut client).len(), all_of(&mut other).len()), (0, 0));
        });
        unload_clean(&scene.loaded);
        peers.join().expect("a FIN for both");
        assert_nothing_left(scene.rig.bench());
    }
}
