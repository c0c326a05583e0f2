//! UDP of the `wsk` library in the provider's own memory, by scenarios of the driver `wsk-exercise`
//! (`tests/exercise/src/datagrams.rs`).

mod support;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ntbench::Value;
use ntbench::wsk::{Action, Faults, Function, Moment, Step, When};
use support::exercise::{Exercise, NO_TARGET, exercise, exercise_on, exercise_rig};
use support::udp::host;
use support::{bounded, config, isolated, unload_clean, until};

#[track_caller]
fn received(peer: &UdpSocket) -> Vec<u8> {
    let mut back = [0; 65536];
    let length = peer.recv(&mut back).expect("a datagram");
    back[..length].to_vec()
}

/// A run of a scenario without a target, and a peer connected to it.
fn with_peer(scenario: &'static str) -> (Exercise, UdpSocket) {
    let run = exercise(scenario, NO_TARGET);
    let peer = host("127.0.0.1:0");
    peer.connect(run.at()).expect("an address");
    (run, peer)
}

fn send(peer: &UdpSocket, bytes: &[u8]) {
    peer.send(bytes).expect("sent");
}

/// The provider leaves: its answer to that.
#[track_caller]
fn depart(run: &Exercise) {
    let (status, _) = bounded(run.bench(), "the provider's leaving", || run.bench().provider().depart().wait());
    assert!(status.is_success(), "{status}");
}

isolated! {
    #[test]
    fn lib_datagrams_are_read_in_place_and_copied() {
        let (run, peer) = with_peer("datagrams_copies");
        for size in [0, 1, 512, 1500, 60000] {
            send(&peer, &vec![size as u8; size]);
            assert_eq!(received(&peer), vec![size as u8; size]);
        }
        // Many at once come in lists of several.
        for number in 0..50_u8 {
            send(&peer, &[number; 9]);
        }
        for number in 0..50_u8 {
            assert_eq!(received(&peer), [number; 9]);
        }
        send(&peer, b"end");
        assert_eq!(received(&peer), b"end");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_datagrams_beyond_the_bound_are_dropped_and_counted() {
        let (run, peer) = with_peer("datagrams_bound");
        send(&peer, b"held");
        run.said("holding");
        for _ in 0..3 {
            send(&peer, b"missed");
        }
        run.said("free");
        send(&peer, b"after");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_datagrams_are_sent_on_without_copying() {
        let target = host("127.0.0.1:0");
        let run = exercise("datagrams_forward", target.local_addr().expect("an address"));
        let peer = host("127.0.0.1:0");
        peer.connect(run.at()).expect("an address");
        for size in [0, 1, 512, 1500, 60000] {
            send(&peer, &vec![size as u8; size]);
            assert_eq!(received(&target), vec![size as u8; size]);
        }
        for number in 0..20_u8 {
            send(&peer, &[number; 9]);
        }
        send(&peer, b"end");
        for number in 0..20_u8 {
            assert_eq!(received(&target), [number; 9]);
        }
        assert_eq!(received(&target), b"end");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_datagrams_l21_in_sends_that_do_not_complete_come_back_before_the_end() {
        let rig = exercise_rig(config());
        rig.bench().provider().set_faults(Faults::rule(Function::SendTo, When::Always, Action::Never));
        let run = exercise_on(&rig, "datagrams_stuck", "127.0.0.1:9".parse().expect("an address"));
        let peer = host("127.0.0.1:0");
        peer.connect(run.at()).expect("an address");
        for number in 0..2 {
            send(&peer, b"given up");
            run.said(&format!("begun {number}"));
        }
        send(&peer, b"waiting");
        run.said("waiting");
        depart(&run);
        run.expect_ok();
        unload_clean(&run.loaded);
    }

    #[test]
    fn lib_datagrams_l35_a_send_that_fails_without_completing_keeps_nothing_for_ever() {
        let rig = exercise_rig(config());
        let abandon = Action::Abandon(ntbench::NtStatus::UNSUCCESSFUL);
        rig.bench().provider().set_faults(Faults::rule(Function::SendTo, When::Always, abandon));
        let run = exercise_on(&rig, "datagrams_forward", "127.0.0.1:9".parse().expect("an address"));
        let peer = host("127.0.0.1:0");
        peer.connect(run.at()).expect("an address");
        send(&peer, b"parked");
        assert!(run.verdict().starts_with("FAILED: forwarding"), "{}", run.verdict());
        unload_clean(&run.loaded);
    }

    #[test]
    fn lib_datagrams_l21_held_ones_come_back_before_the_end() {
        let (run, peer) = with_peer("datagrams_held");
        send(&peer, b"held");
        run.said("holding");
        for _ in 0..10 {
            send(&peer, b"queued");
        }
        depart(&run);
        run.expect_ok();
        unload_clean(&run.loaded);
    }

    #[test]
    fn lib_datagrams_l21_and_at_unload() {
        let (run, peer) = with_peer("datagrams_held");
        send(&peer, b"held");
        run.said("holding");
        for _ in 0..10 {
            send(&peer, b"queued");
        }
        run.unload_clean();
    }

    #[test]
    fn lib_datagrams_after_the_event_is_off_are_for_a_receive() {
        let (run, peer) = with_peer("datagrams_disable");
        send(&peer, b"first");
        run.said("off");
        send(&peer, b"after");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_datagrams_after_their_reader_is_dropped_are_for_a_receive() {
        let (run, peer) = with_peer("datagrams_forgotten");
        send(&peer, b"after");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_datagrams_the_event_is_switched_off_while_it_is_under_way() {
        let rig = exercise_rig(config());
        let blocked = Arc::new(AtomicBool::new(true));
        let hold = Arc::clone(&blocked);
        rig.bench().provider().on_step(move |step| {
            let entered = step == Step { function: Function::ReceiveFromEvent, moment: Moment::Enter };
            while entered && hold.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let run = exercise_on(&rig, "datagrams_disabling", NO_TARGET);
        let peer = host("127.0.0.1:0");
        until(&run.loaded, "the event is held", || {
            peer.send_to(b"held", run.at()).expect("sent");
            std::thread::sleep(Duration::from_millis(20));
            run.lines().iter().any(|line| line == "blocked")
        });
        blocked.store(false, Ordering::Release);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_datagrams_a_static_event_is_on_from_the_start() {
        let rig = exercise_rig(config());
        rig.set("StaticEvents", Value::Dword(2));
        let run = exercise_on(&rig, "datagrams_from_the_start", NO_TARGET);
        let peer = host("127.0.0.1:0");
        peer.connect(run.at()).expect("an address");
        send(&peer, b"first");
        run.said("reading");
        send(&peer, b"second");
        run.said("no more");
        send(&peer, b"third");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_datagrams_say_how_they_were_addressed() {
        let run = exercise("datagrams_cast", NO_TARGET);
        let peer = host("127.0.0.1:0");
        peer.set_broadcast(true).expect("to broadcast");
        let [to_all, to_one] = ["127.255.255.255", "127.0.0.1"].map(|ip| (ip, run.at().port()));
        peer.send_to(b"all", to_all).expect("sent");
        assert_eq!(run.said("list 0"), "Broadcast");
        peer.send_to(b"one", to_one).expect("sent");
        assert_eq!(run.said("list 1"), "Unicast");
        run.said("off");
        peer.send_to(b"all", to_all).expect("sent");
        assert_eq!(run.said("received"), "Broadcast");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_datagrams_of_a_socket_that_is_gone() {
        let rig = exercise_rig(config());
        rig.bench().provider().set_faults(Faults { break_datagrams: true, ..Faults::default() });
        let run = exercise_on(&rig, "datagrams_gone", NO_TARGET);
        host("127.0.0.1:0").send_to(b"breaks it", run.at()).expect("sent");
        run.expect_ok_and_unload();
    }
}
