//! UDP of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/udp.rs`).

mod support;

use std::net::{SocketAddr, UdpSocket};

use ntbench::NtStatus;
use ntbench::wsk::{Action, Faults, Function, When};
use rustix::net::sockopt;
use support::exercise::{Exercise, NO_TARGET, exercise, exercise_on, exercise_rig};
use support::provider::socket_at;
use support::{config, isolated, udp};
use udp::host;

const ANY_V6: &str = "[::1]:0";

/// Sends, and waits for what comes back.
#[track_caller]
fn exchange(peer: &UdpSocket, sent: &[u8]) -> Vec<u8> {
    peer.send(sent).expect("sent");
    received(peer)
}

#[track_caller]
fn received(peer: &UdpSocket) -> Vec<u8> {
    let mut back = [0; 65536];
    let length = peer.recv(&mut back).expect("a datagram");
    back[..length].to_vec()
}

/// The echo scenario, and a peer of the same family.
fn echo(target: SocketAddr) -> (Exercise, UdpSocket) {
    let run = exercise("udp_echo", target);
    let peer = host(&SocketAddr::new(target.ip(), 0).to_string());
    peer.connect(run.at()).expect("an address");
    (run, peer)
}

isolated! {
    #[test]
    fn lib_udp_a_socket_echoes_datagrams_of_all_sizes() {
        let (run, peer) = echo(NO_TARGET);
        for size in [0, 1, 512, 2048] {
            let sent = vec![size as u8; size];
            assert_eq!(exchange(&peer, &sent), sent);
        }
        exchange(&peer, b"end");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_the_steady_state_allocates_nothing() {
        let (run, peer) = echo(NO_TARGET);
        let echoes = |count| (0..count).for_each(|_| assert_eq!(exchange(&peer, b"again"), b"again"));
        echoes(100);
        let before = run.bench().stats();
        echoes(5000);
        let after = run.bench().stats();
        let blocks = after.pool.all.total_blocks - before.pool.all.total_blocks;
        assert!(blocks <= 5, "{blocks} blocks for 5000 echoes");
        assert!(after.irps_total - before.irps_total <= 5, "IRPs");
        exchange(&peer, b"end");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_a_chain_is_one_datagram() {
        let peer = host("127.0.0.1:0");
        let run = exercise("udp_chain", peer.local_addr().expect("an address"));
        assert_eq!(received(&peer), b"one and two");
        assert_eq!(received(&peer), b"and");
        assert_eq!(received(&peer), b"");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_over_ipv6() {
        let (run, peer) = echo(ANY_V6.parse().expect("an address"));
        assert_eq!(exchange(&peer, b"six"), b"six");
        exchange(&peer, b"end");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_one_socket_for_both_families() {
        let run = exercise("udp_dual", NO_TARGET);
        let port = run.at().port();
        for own in ["127.0.0.1:0", ANY_V6] {
            let peer = host(own);
            let there = SocketAddr::new(peer.local_addr().expect("an address").ip(), port);
            peer.connect(there).expect("an address");
            assert_eq!(exchange(&peer, b"both"), b"both");
            if own == ANY_V6 {
                exchange(&peer, b"end");
            }
        }
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_what_does_not_fit_is_said() {
        let rig = exercise_rig(config());
        rig.bench().provider().set_faults(Faults { quiet_truncation: true, ..Faults::default() });
        truncates(&exercise_on(&rig, "udp_truncated", NO_TARGET));
    }

    #[test]
    fn lib_udp_what_does_not_fit_is_said_by_a_warning() {
        truncates(&exercise("udp_truncated", NO_TARGET));
    }

    #[test]
    fn lib_udp_many_receives_in_flight_each_get_one() {
        let run = exercise("udp_in_flight", NO_TARGET);
        let peer = host("127.0.0.1:0");
        peer.connect(run.at()).expect("an address");
        let mut back: Vec<_> = (0..6_u8).map(|number| exchange(&peer, &[number])).collect();
        back.sort();
        assert_eq!(back, (0..6_u8).map(|number| vec![number]).collect::<Vec<_>>());
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_a_batch_goes_out_by_one_request() {
        let peer = host("127.0.0.1:0");
        let run = exercise("udp_batch", peer.local_addr().expect("an address"));
        assert_eq!(run.said("together"), "");
        expect_batches(&peer);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_a_batch_goes_out_singly_where_the_provider_does_not_have_it() {
        let peer = host("127.0.0.1:0");
        let rig = exercise_rig(config());
        let lacking = Faults::rule(Function::SendMessages, When::Always, Action::Fail(NtStatus::NOT_SUPPORTED));
        rig.bench().provider().set_faults(lacking);
        let run = exercise_on(&rig, "udp_batch", peer.local_addr().expect("an address"));
        assert_eq!(run.said("singly"), "");
        expect_batches(&peer);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_a_peer_can_be_fixed() {
        let (peer, other) = (host("127.0.0.1:0"), host("127.0.0.1:0"));
        let run = exercise("udp_fixed", peer.local_addr().expect("an address"));
        other.send_to(b"other", run.at()).expect("sent");
        peer.send_to(b"peer", run.at()).expect("sent");
        assert_eq!(received(&peer), b"peer");
        run.said("open");
        other.send_to(b"other", run.at()).expect("sent");
        assert_eq!(received(&peer), b"other");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_options_of_ipv4() {
        exercise("udp_options", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_options_of_both_families() {
        exercise("udp_options", "[::]:0".parse().expect("an address")).expect_ok_and_unload();
    }

    /// What the options have made of the host's socket, which is the provider's own.
    #[test]
    fn lib_udp_options_reach_the_socket() {
        let run = exercise("udp_settings", NO_TARGET);
        let looked = |gate: &str| {
            run.said(&format!("go {gate}"));
            let socket = socket_at(run.at());
            let fragments = sockopt::ip_mtu_discover(socket).expect("path MTU discovery") != sockopt::Ipv4PathMtuDiscovery::DO;
            let buffers = [sockopt::socket_recv_buffer_size(socket), sockopt::socket_send_buffer_size(socket)];
            let seen = (fragments, sockopt::socket_broadcast(socket).expect("broadcast"), sockopt::ip_ttl(socket).expect("TTL"));
            run.go(gate);
            (seen, buffers.map(|size| size.expect("a size")))
        };
        // The host doubles the sizes of buffers, for what it needs itself.
        assert_eq!(looked("on"), ((false, true, 7), [0x1_0000; 2]));
        assert_eq!(looked("off"), ((true, false, 9), [0x2_0000; 2]));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_control_data_of_ipv4() {
        let peer = udp::Marked::new("127.0.0.1:0");
        // Class 0xb8 with ECN 3.
        peer.mark_v4(0xbb, 33);
        let run = exercise("udp_control", NO_TARGET);
        expect_control(&run, &peer, run.at(), "127.0.0.1");
    }

    #[test]
    fn lib_udp_control_data_of_ipv6() {
        let peer = udp::Marked::new(ANY_V6);
        peer.mark_v6(0xbb, 33);
        let run = exercise("udp_control", ANY_V6.parse().expect("an address"));
        expect_control(&run, &peer, run.at(), "::1");
    }

    #[test]
    fn lib_udp_control_data_of_ipv4_on_a_socket_for_both() {
        let peer = udp::Marked::new("127.0.0.1:0");
        peer.mark_v4(0xbb, 33);
        let run = exercise("udp_control", "[::]:0".parse().expect("an address"));
        let at = SocketAddr::new("127.0.0.1".parse().expect("an address"), run.at().port());
        expect_control(&run, &peer, at, "127.0.0.1");
    }

    /// A peer of IPv4 has no way to see them here: the driver's own second socket does.
    #[test]
    fn lib_udp_hop_limits_of_ipv4() {
        let peer = host("127.0.0.1:0");
        let run = exercise("udp_hops", peer.local_addr().expect("an address"));
        (0..3).for_each(|_| assert_eq!(received(&peer), b"far"));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_hop_limits_of_ipv6() {
        let peer = udp::Marked::counting_hops();
        let run = exercise("udp_hops", peer.local_address());
        for limit in [7, 9, 7] {
            assert_eq!(peer.receive(), (b"far".to_vec(), limit));
        }
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_udp_what_is_sent_is_cut_and_what_comes_is_joined() {
        let peer = host("127.0.0.1:0");
        let run = exercise("udp_segments", peer.local_addr().expect("an address"));
        let lengths: Vec<_> = (0..6).map(|_| received(&peer).len()).collect();
        assert_eq!(lengths, [1000, 1000, 500, 1000, 1000, 500]);
        udp::send_cut(&peer, run.at(), &[9; 2500], 1000);
        run.expect_ok();
        let came = run.lines().into_iter().filter(|line| line.starts_with("came")).collect::<Vec<_>>();
        assert_eq!(came, ["came 2500 of Some(1000)"]);
        run.unload_clean();
    }
}

/// What the scenario says of a datagram, and how its answers are marked.
#[track_caller]
fn expect_control(run: &Exercise, peer: &udp::Marked, at: SocketAddr, to: &str) {
    peer.send_to(b"marked", at);
    assert_eq!(run.said("ecn"), "Some(Ce) class Some(187) limit Some(33)");
    let info = run.said("to");
    assert!(info.starts_with(&format!("{to} at ")) && !info.ends_with(" 0"), "{info}");
    assert_eq!(peer.receive(), (b"marked".to_vec(), 1));
    assert_eq!(peer.receive(), (b"marked".to_vec(), 0x2a));
    run.expect_ok_and_unload();
}

#[track_caller]
fn truncates(run: &Exercise) {
    let peer = host("127.0.0.1:0");
    for _ in 0..2 {
        peer.send_to(b"0123456789", run.at()).expect("sent");
    }
    run.expect_ok_and_unload();
}

/// Two batches of five.
#[track_caller]
fn expect_batches(peer: &UdpSocket) {
    for number in (0..5).chain(0..5) {
        assert_eq!(received(peer), [number; 10]);
    }
}
