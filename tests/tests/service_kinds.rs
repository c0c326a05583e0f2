//! Echo, discard and chargen, each over both protocols and both families, as their peers see them; and that none stops
//! another.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::Duration;

use ntbench::Value;
use support::peers::{echoed, exchange_all};
use support::serving::*;
use support::{Loaded, SOON, Story, isolated, load, peer, state_when, unload_clean, until};

/// A driver with one service of that kind and protocol.
fn with(kind: &str, protocol: &str, more: &[(&str, Value)]) -> Loaded {
    let rig = bare_rig();
    add(&rig, "it", kind, protocol, more);
    load(&rig)
}

/// Fast answers for whoever asks for many.
fn unlimited() -> (&'static str, Value) {
    ("RatePerSource", Value::Dword(10_000_000))
}

isolated! {
    #[test]
    fn service_echo_over_tcp_brings_every_byte_back() {
        let loaded = with("echo", "tcp", &[]);
        let bytes: Vec<u8> = (0..2_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for to in both_of(&loaded, "it", false) {
            assert!(exchange_all(to, &bytes) == bytes, "other bytes came back from {to}");
        }
        unload_clean(&loaded);
    }

    #[test]
    fn service_discard_over_tcp_takes_everything_and_answers_with_fin_alone() {
        let loaded = with("discard", "tcp", &[]);
        for to in both_of(&loaded, "it", false) {
            assert!(exchange_all(to, &[7; 3_000_000]).is_empty(), "discard answered");
            assert!(exchange_all(to, &[]).is_empty(), "discard answered nothing with something");
        }
        let state = state_when(&loaded, |state| state.totals.connections == 0);
        assert_eq!((state.totals.received, state.totals.sent), (6_000_000, 0), "{state:?}");
        assert_eq!((state.totals.accepted, state.totals.failed, state.totals.held), (4, 0, 0), "{state:?}");
        unload_clean(&loaded);
    }

    /// What the peer sends meanwhile is thrown away, and its FIN ends the lines.
    #[test]
    fn service_chargen_over_tcp_sends_the_pattern_until_the_peer_s_fin() {
        let loaded = with("chargen", "tcp", &[]);
        for to in both_of(&loaded, "it", false) {
            let pattern = chargen_pattern(500);
            let (mut stream, mut read) = read_some(to, 20_000);
            stream.write_all(&[3; 100_000]).expect("chargen takes what it is sent");
            stream.shutdown(Shutdown::Write).expect("half-closed");
            stream.read_to_end(&mut read).expect("the rest, and then a FIN");
            assert!(read.len() > 20_000);
            let whole = pattern.iter().cycle().take(read.len());
            // 500 lines are no whole number of patterns: compare as far as they go.
            assert!(read.iter().zip(whole).take(pattern.len()).all(|(a, b)| a == b), "not the pattern");
        }
        let state = state_when(&loaded, |state| state.totals.connections == 0);
        assert_eq!((state.totals.failed, state.totals.received), (0, 200_000), "{state:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn service_chargen_over_tcp_goes_round_without_a_seam() {
        let loaded = with("chargen", "tcp", &[]);
        let [to, _] = both_of(&loaded, "it", false);
        let (_stream, read) = read_some(to, 95 * 74 * 5);
        assert!(read == chargen_pattern(95 * 5), "not the pattern");
        unload_clean(&loaded);
    }

    /// A peer that takes nothing keeps one buffer, and the unload does not wait for it.
    #[test]
    fn service_chargen_over_tcp_is_patient_with_a_peer_that_does_not_read() {
        let loaded = with("chargen", "tcp", &[]);
        let [to, _] = both_of(&loaded, "it", false);
        let deaf: Vec<_> = (0..5).map(|_| peer::connect(to).expect("a connection")).collect();
        state_when(&loaded, |state| state.totals.connections == 5 && state.totals.sent > 0);
        std::thread::sleep(Duration::from_millis(300));
        let before = loaded.state().expect("the state").totals.sent;
        let (_stream, read) = read_some(to, 74_000);
        assert!(read == chargen_pattern(1000), "not the pattern");
        assert!(loaded.state().expect("the state").totals.sent >= before + 74_000 - 74 * 95);
        let unload = unload_clean(&loaded);
        assert!(unload.total < SOON, "{unload}");
        drop(deaf);
    }

    #[test]
    fn service_echo_over_udp_answers_with_the_same_datagram() {
        let loaded = with("echo", "udp", &[unlimited()]);
        for to in both_of(&loaded, "it", true) {
            let peer = datagram_peer(to);
            for length in [0, 1, 512, 1472, 9000, 32_768, 65_507] {
                let sent: Vec<u8> = (0..length as u32).map(|i| (i.wrapping_mul(31) >> 3) as u8).collect();
                assert_eq!(peer.send(&sent).expect("sent"), length);
                let back = next_datagram(&peer, Duration::from_secs(10));
                assert!(back.as_ref() == Some(&sent), "{length} bytes to {to} came back as {:?}", back.map(|back| back.len()));
            }
        }
        unload_clean(&loaded);
        assert!(datagram_line(&loaded, "it").contains(" 14 datagrams, 14 answered;"), "{}", datagram_line(&loaded, "it"));
    }

    #[test]
    fn service_echo_over_udp_answers_many_peers() {
        let loaded = with("echo", "udp", &[unlimited()]);
        let [to, _] = both_of(&loaded, "it", true);
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                scope.spawn(move || {
                    let peer = datagram_peer(to);
                    for round in 0..200_u8 {
                        peer.send(&[thread, round, 5]).expect("sent");
                        assert_eq!(next_datagram(&peer, Duration::from_secs(10)), Some(vec![thread, round, 5]));
                    }
                });
            }
        });
        unload_clean(&loaded);
    }

    #[test]
    fn service_echo_over_udp_leaves_out_what_its_buffer_cannot_take() {
        let loaded = with("echo", "udp", &[unlimited(), ("BufferSize", Value::Dword(4096))]);
        let [to, _] = both_of(&loaded, "it", true);
        let peer = datagram_peer(to);
        peer.send(&[1; 4097]).expect("sent");
        peer.send(&[2; 4096]).expect("sent");
        assert_eq!(next_datagram(&peer, Duration::from_secs(10)), Some(vec![2; 4096]), "a part came back");
        unload_clean(&loaded);
        assert!(datagram_line(&loaded, "it").contains(" 1 cut off"), "{}", datagram_line(&loaded, "it"));
    }

    #[test]
    fn service_discard_over_udp_answers_nothing() {
        let loaded = with("discard", "udp", &[]);
        for to in both_of(&loaded, "it", true) {
            let peer = datagram_peer(to);
            for length in [0, 1, 30_000] {
                peer.send(&vec![1; length]).expect("sent");
            }
            assert_eq!(next_datagram(&peer, Duration::from_millis(200)), None);
        }
        state_when(&loaded, |state| state.totals.received == 60_002);
        unload_clean(&loaded);
        assert!(datagram_line(&loaded, "it").contains(" 6 datagrams, 0 answered;"), "{}", datagram_line(&loaded, "it"));
    }

    /// A datagram of 0 to 512 characters of the pattern, however large the question.
    #[test]
    fn service_chargen_over_udp_answers_with_some_of_the_pattern() {
        let loaded = with("chargen", "udp", &[unlimited()]);
        let pattern = chargen_pattern(95 * 2);
        for to in both_of(&loaded, "it", true) {
            let peer = datagram_peer(to);
            let mut lengths = Vec::new();
            for round in 0..200 {
                peer.send(&vec![0; round * 40]).expect("sent");
                let answer = next_datagram(&peer, Duration::from_secs(10)).expect("an answer");
                assert!(answer.len() <= 512, "{} bytes", answer.len());
                assert!(answer.is_empty() || pattern.windows(answer.len()).any(|part| part == answer), "not of the pattern");
                lengths.push(answer.len());
            }
            lengths.sort_unstable();
            lengths.dedup();
            assert!(lengths.len() > 50, "lengths are not random: {lengths:?}");
        }
        unload_clean(&loaded);
    }

    /// One that is left out, one whose port is taken, and three that work.
    #[test]
    fn service_one_that_cannot_start_stops_no_other() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let rig = bare_rig();
        add(&rig, "bad", "nonsense", "tcp", &[]);
        add(&rig, "blocked", "echo", "tcp", &[("Port", Value::Dword(port.into())), ("Address", text("127.0.0.1"))]);
        add(&rig, "one", "echo", "both", &[]);
        add(&rig, "two", "discard", "tcp", &[]);
        add(&rig, "three", "chargen", "udp", &[]);
        let loaded = load(&rig);
        drop(echoed(both_of(&loaded, "one", false)[0]));
        let peer = datagram_peer(both_of(&loaded, "one", true)[1]);
        peer.send(b"both").expect("sent");
        assert_eq!(next_datagram(&peer, Duration::from_secs(10)), Some(b"both".to_vec()));
        assert!(exchange_all(both_of(&loaded, "two", false)[1], b"x").is_empty());
        let peer = datagram_peer(both_of(&loaded, "three", true)[0]);
        peer.send(b"?").expect("sent");
        assert!(next_datagram(&peer, Duration::from_secs(10)).is_some());
        let story = Story::of(&loaded);
        assert_eq!(story.printed("'nonsense'").len(), 1, "{story}");
        until(&loaded, "the port that is taken is told", || !Story::of(&loaded).printed("blocked: cannot listen at").is_empty());
        // And the one that waited for its port comes when it is free.
        drop(taken);
        drop(echoed(place_of(&loaded, "blocked", false)));
        unload_clean(&loaded);
    }

    /// A service of both protocols, at one port.
    #[test]
    fn service_both_protocols_share_a_port() {
        let rig = bare_rig();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        add(&rig, "it", "echo", "both", &[("Port", Value::Dword(port.into()))]);
        let loaded = load(&rig);
        assert_eq!(both_of(&loaded, "it", false).map(|at| at.port()), [port, port]);
        assert_eq!(both_of(&loaded, "it", true).map(|at| at.port()), [port, port]);
        unload_clean(&loaded);
    }

    /// Everywhere, asked for: both families by one socket, for datagrams too.
    #[test]
    fn service_everywhere_is_both_families_of_both_protocols() {
        let loaded = with("echo", "both", &[("Address", text("*"))]);
        until(&loaded, "two sockets", || listening(&loaded).len() == 2);
        let places = listening(&loaded);
        for place in places {
            assert!(place.at.ip().is_unspecified() && place.at.is_ipv6(), "{place:?}");
            for ip in ["127.0.0.1", "::1", "127.0.0.5"] {
                let to = SocketAddr::new(ip.parse().expect("an address"), place.at.port());
                if place.datagrams {
                    let peer = datagram_peer(to);
                    peer.send(b"hello").expect("sent");
                    assert_eq!(next_datagram(&peer, Duration::from_secs(10)), Some(b"hello".to_vec()), "from {to}");
                } else {
                    drop(echoed(to));
                }
            }
        }
        unload_clean(&loaded);
    }
}
