//! WskReceiveFromEvent: when it comes, what it brings, what the client may answer, and WskRelease.

#![allow(unsafe_code)] // Callbacks as drivers have them.

#[macro_use]
mod wsk_client;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use ntbench::verifier::OnViolation;
use ntbench::wsk::Faults;
use ntbench::{Bench, Config};
use wsk_client::indications::*;
use wsk_client::*;

struct Scene {
    record: &'static Record,
    socket: Datagrams,
    at: SocketAddr,
    peer: UdpSocket,
}

impl Scene {
    /// A socket with its event on or off.
    fn new(mask: u32) -> Self {
        let record = Record::leaked();
        let (socket, at) = datagrams(record.context(), &raw const EVENTS);
        if mask != 0 {
            assert_eq!(socket.events(mask, null_mut()), NtStatus::SUCCESS);
        }
        Self { record, socket, at, peer: peer("127.0.0.1:0") }
    }

    fn say(&self, bytes: &[u8]) {
        self.peer.send_to(bytes, self.at).unwrap();
    }
}

const ON: u32 = WSK_EVENT_RECEIVE_FROM;
const OFF: u32 = WSK_EVENT_RECEIVE_FROM | WSK_EVENT_DISABLE;

fn pause() {
    std::thread::sleep(Duration::from_millis(30));
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

isolated! {
    fn several_that_wait_come_in_one_list() {
        with_bench(|bench| {
            let scene = Scene::new(0);
            for text in ["one", "", "three"] {
                scene.say(text.as_bytes());
            }
            pause();
            assert_eq!(scene.record.calls(), 0);
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
            until("the datagrams", || scene.record.heard() == texts(&["one", "", "three"]));
            assert_eq!(scene.record.calls(), 1);
            let from = scene.peer.local_addr().unwrap();
            assert!(scene.record.lists.lock().unwrap()[0].1.iter().all(|one| one.from == from && one.objects.is_empty()));
            // Many, of all sizes: they come whole and in order, however they lie in memory.
            let sent: Vec<_> = (0..100usize).map(|round| vec![round as u8; round * 7]).collect();
            for bytes in &sent {
                scene.say(bytes);
                let before = scene.record.heard().len();
                if before % 10 == 0 {
                    pause();
                }
            }
            until("all of them", || scene.record.heard().len() == 103);
            assert_eq!(scene.record.heard()[3..], sent);
            assert!(scene.record.odd.load(Ordering::SeqCst));
            let stats = bench.provider().stats();
            assert_eq!((stats.datagrams_in, stats.bytes_in), (103, 8 + (0..100).sum::<u64>() * 7));
            scene.socket.close();
        });
    }
}

isolated! {
    fn a_waiting_receive_comes_before_the_event() {
        with_bench(|_| {
            let scene = Scene::new(ON);
            let memory = Memory::new(16);
            let pending = scene.socket.receive(memory.all());
            scene.say(b"mine");
            assert_eq!(pending.end().information, 4);
            pause();
            assert_eq!(scene.record.calls(), 0);
            scene.say(b"told");
            until("the event", || scene.record.heard() == texts(&["told"]));
            // A receive that finds something leaves the rest to the event.
            let gate = scene.record.slow(NtStatus::SUCCESS);
            scene.say(b"slow");
            until("the slow event", || scene.record.calls() == 2);
            scene.say(b"first");
            scene.say(b"second");
            let pending = scene.socket.receive(memory.all());
            open(&gate);
            assert_eq!((pending.end().information, &memory.bytes()[..5]), (5, &b"first"[..]));
            until("the rest", || scene.record.heard() == texts(&["told", "slow", "second"]));
            scene.socket.close();
        });
    }
}

isolated! {
    fn what_is_not_accepted_switches_the_event_off_and_waits() {
        with_bench(|_| {
            let scene = Scene::new(ON);
            scene.record.next(NtStatus::DATA_NOT_ACCEPTED);
            scene.say(b"first");
            until("the event", || scene.record.calls() == 1);
            scene.say(b"second");
            pause();
            assert_eq!(scene.record.calls(), 1);
            // It is off: it cannot be switched off.
            assert_eq!(scene.socket.events(OFF, null_mut()), NtStatus::INVALID_PARAMETER);
            let (bytes, report) = scene.socket.hears();
            assert_eq!((bytes, report.from()), (b"first".to_vec(), scene.peer.local_addr().unwrap()));
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
            until("the rest", || scene.record.heard() == texts(&["first", "second"]));
            // Several stay in order.
            assert_eq!(scene.socket.events(OFF, null_mut()), NtStatus::SUCCESS);
            scene.record.next(NtStatus::DATA_NOT_ACCEPTED);
            for text in ["1", "2", "3"] {
                scene.say(text.as_bytes());
            }
            pause();
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
            until("the list", || scene.record.calls() == 3);
            for text in ["1", "2", "3"] {
                assert_eq!(scene.socket.hears().0, text.as_bytes());
            }
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
            scene.record.lists.lock().unwrap().pop();
            // Refused again: it waits for the event too, and is not counted twice.
            scene.record.next(NtStatus::DATA_NOT_ACCEPTED);
            scene.say(b"third");
            until("the event", || scene.record.calls() == 3);
            pause();
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
            until("the same", || scene.record.heard() == texts(&["first", "second", "third", "third"]));
            scene.socket.close();
        });
    }
}

isolated! {
    fn a_static_event_stays_on() {
        with_bench(|bench| {
            let mut wish = WSK_EVENT_CALLBACK_CONTROL { NpiId: &raw const ID, EventMask: ON };
            let (size, input) = (size_of::<WSK_EVENT_CALLBACK_CONTROL>(), (&raw mut wish).cast());
            let (code, none, function) = (WSK_SET_STATIC_EVENT_CALLBACKS, null_mut(), table().WskControlClient);
            // SAFETY: as the page of the function has it.
            let status = unsafe { function(client(), code, size, input, 0, none, null_mut(), null_mut()) };
            assert_eq!(status, NtStatus::SUCCESS);
            let scene = Scene::new(0);
            scene.record.next(NtStatus::DATA_NOT_ACCEPTED);
            scene.say(b"first");
            until("the event", || scene.record.calls() == 1);
            pause();
            assert_eq!(scene.record.calls(), 1);
            assert_eq!(scene.socket.events(OFF, null_mut()), NtStatus::INVALID_PARAMETER);
            // What was refused is for a receive; the event is told of what comes next.
            scene.say(b"second");
            until("the event again", || scene.record.calls() == 2);
            assert_eq!(scene.record.heard(), texts(&["first", "second"]));
            assert_eq!(scene.socket.hears().0, b"first");
            // Of what a client never accepts the latest is kept, not all.
            for round in 0..200u8 {
                scene.record.next(NtStatus::DATA_NOT_ACCEPTED);
                scene.say(&[round]);
                until("an event", || scene.record.heard().last() == Some(&vec![round]));
            }
            pause();
            assert_eq!(scene.socket.hears().0, [136]);
            assert_eq!(bench.provider().stats().datagrams_in, 3);
            scene.socket.close();
        });
    }
}

isolated! {
    fn kept_lists_come_back_whole() {
        with_bench(|_| {
            let scene = Scene::new(0);
            scene.record.next(NtStatus::PENDING);
            scene.say(b"kept");
            scene.say(b"with it");
            pause();
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
            until("the event", || scene.record.calls() == 1);
            scene.record.next(NtStatus::PENDING);
            scene.say(b"another");
            until("the next", || scene.record.calls() == 2);
            scene.say(b"free");
            until("the last", || scene.record.heard() == texts(&["kept", "with it", "another", "free"]));
            let odd = AtomicBool::new(false);
            // SAFETY: the provider keeps the list meanwhile.
            let again = unsafe { read(scene.record.list(0), &odd) };
            assert_eq!(again, scene.record.lists.lock().unwrap()[0].1);
            assert_eq!(scene.socket.release(scene.record.list(1)), NtStatus::SUCCESS);
            assert_eq!(scene.socket.release(scene.record.list(0)), NtStatus::SUCCESS);
            scene.socket.close();
        });
    }
}

isolated! {
    fn l21_lists_are_released_as_they_came_and_before_the_close() {
        let bench = Bench::new(Config { on_violation: OnViolation::Record, ..Config::default() }).unwrap();
        let broken = || bench.verdict().violations.iter().map(|one| one.rule).collect::<Vec<_>>();
        let registration = attached();
        let scene = Scene::new(0);
        (0..3).for_each(|_| scene.record.next(NtStatus::PENDING));
        scene.say(b"first");
        scene.say(b"second");
        pause();
        assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
        until("the event", || scene.record.calls() == 1);
        let list = scene.record.list(0);
        // Not from its middle, and not twice.
        // SAFETY: the provider keeps the list meanwhile.
        let second = unsafe { (*list).Next };
        assert_eq!(scene.socket.release(second), NtStatus::INVALID_PARAMETER);
        assert_eq!(scene.socket.release(list), NtStatus::SUCCESS);
        assert_eq!(scene.socket.release(list), NtStatus::INVALID_PARAMETER);
        assert_eq!(broken(), ["WSK-RELEASE"; 2]);
        // Not without its end.
        scene.say(b"third");
        until("the event", || scene.record.calls() == 2);
        // SAFETY: the provider keeps the list meanwhile.
        unsafe { (*scene.record.list(1)).Next = second };
        assert_eq!(scene.socket.release(scene.record.list(1)), NtStatus::SUCCESS);
        assert_eq!(broken(), ["WSK-RELEASE"; 3]);
        // Not after the close.
        scene.say(b"fourth");
        until("the event", || scene.record.calls() == 3);
        scene.socket.close();
        assert_eq!(broken()[3..], ["L21"]);
        assert_eq!(scene.socket.release(scene.record.list(2)), NtStatus::INVALID_PARAMETER);
        assert_eq!(broken()[4..], ["L25"]);

        // Nor is one kept once the close has begun.
        let scene = Scene::new(ON);
        let gate = scene.record.slow(NtStatus::PENDING);
        scene.say(b"late");
        until("the event", || scene.record.calls() == 1);
        let close = scene.socket.0.begin_close();
        assert_eq!(close.returned, NtStatus::PENDING);
        pause();
        assert!(!close.is_done());
        open(&gate);
        assert_eq!(close.end().status, NtStatus::SUCCESS);
        assert_eq!(broken()[5..], ["L21"]);
        registration.end();
    }
}

isolated! {
    fn too_many_kept_lists_are_reported() {
        let bench = Bench::new(Config { on_violation: OnViolation::Record, ..Config::default() }).unwrap();
        let registration = attached();
        let scene = Scene::new(ON);
        for round in 0..1_025 {
            assert!(bench.verdict().is_clean(), "{round}");
            scene.record.next(NtStatus::PENDING);
            scene.say(b"kept");
            until("the event", || scene.record.calls() == round + 1);
        }
        until("the report", || bench.verdict().of("WSK-RETAIN").len() == 1);
        for call in 0..1_025 {
            assert_eq!(scene.socket.release(scene.record.list(call)), NtStatus::SUCCESS);
        }
        scene.socket.close();
        assert_eq!(bench.verdict().violations.len(), 1);
        registration.end();
    }
}

isolated! {
    fn a_broken_socket_is_told_with_null() {
        with_bench(|bench| {
            let scene = Scene::new(ON);
            scene.say(b"good");
            until("the event", || scene.record.calls() == 1);
            bench.provider().set_faults(Faults { break_datagrams: true, ..Faults::default() });
            let memory = Memory::new(8);
            let pending = scene.socket.receive(memory.all());
            assert!(!scene.record.gone.load(Ordering::SeqCst));
            scene.say(b"never");
            assert_eq!(pending.end().status, NtStatus::FILE_FORCED_CLOSED);
            until("the end", || scene.record.gone.load(Ordering::SeqCst));
            bench.provider().set_faults(Faults::default());
            let to = scene.peer.local_addr().unwrap();
            let dead = NtStatus::FILE_FORCED_CLOSED;
            assert_eq!(scene.socket.send_to(memory.all(), Some(to), &[]).end().status, dead);
            assert_eq!(scene.socket.send_messages(&[memory.all()], Some(to), &[]).end().status, dead);
            assert_eq!(scene.socket.receive(memory.all()).end().status, dead);
            scene.say(b"more");
            pause();
            assert_eq!(scene.record.calls(), 1);
            scene.socket.close();
        });
    }
}

isolated! {
    fn switching_off_has_three_answers() {
        with_bench(|bench| {
            let scene = Scene::new(ON);
            assert_eq!(scene.socket.events(WSK_EVENT_RECEIVE, null_mut()), NtStatus::INVALID_PARAMETER);
            assert_eq!(scene.socket.events(OFF, null_mut()), NtStatus::SUCCESS);
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
            let gate = scene.record.slow(NtStatus::SUCCESS);
            scene.say(b"slow");
            until("the event", || scene.record.calls() == 1);
            assert_eq!(scene.socket.events(OFF, null_mut()), NtStatus::EVENT_PENDING);
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::SUCCESS);
            let pending = request(|irp| scene.socket.events(OFF, irp));
            assert_eq!(pending.returned, NtStatus::PENDING);
            pause();
            assert!(!pending.is_done());
            open(&gate);
            assert_eq!(pending.end().status, NtStatus::SUCCESS);
            scene.say(b"unseen");
            pause();
            assert_eq!(scene.record.heard(), texts(&["slow"]));
            let refuse_events = Some(NtStatus::NOT_SUPPORTED);
            bench.provider().set_faults(Faults { refuse_events, ..Faults::default() });
            assert_eq!(scene.socket.events(ON, null_mut()), NtStatus::NOT_SUPPORTED);
            scene.socket.close();
        });
    }
}

isolated! {
    fn the_event_is_switched_on_after_the_bind() {
        let bench = Bench::new(Config { on_violation: OnViolation::Record, ..Config::default() }).unwrap();
        let registration = attached();
        let record = Record::leaked();
        let socket = unbound(AF_INET, record.context(), &raw const EVENTS);
        assert_eq!(socket.events(ON, null_mut()), NtStatus::INVALID_DEVICE_STATE);
        socket.close();
        // And only with a routine.
        let (socket, _) = quiet(AF_INET, "127.0.0.1:0");
        assert_eq!(socket.events(ON, null_mut()), NtStatus::INVALID_PARAMETER);
        socket.close();
        let rules: Vec<_> = bench.verdict().violations.iter().map(|one| one.rule).collect();
        assert_eq!(rules, ["WSK-EVENT"; 2]);
        registration.end();
    }
}

isolated! {
    fn broadcast_and_multicast_are_marked() {
        with_bench(|_| {
            let record = Record::leaked();
            let socket = unbound(AF_INET, record.context(), &raw const EVENTS);
            assert_eq!(socket.bind("0.0.0.0:0"), NtStatus::SUCCESS);
            let port = socket.local().port();
            let peer = peer("127.0.0.1:0");
            peer.set_broadcast(true).unwrap();
            let group = Ipv4Addr::new(239, 255, 7, 3);
            peer.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
            rustix::net::sockopt::set_ip_multicast_if(&peer, &Ipv4Addr::LOCALHOST).unwrap();
            let to = |text: &str| (text.parse::<Ipv4Addr>().unwrap(), port);
            // All of them wait when the event is switched on; a list has one kind.
            peer.send_to(b"one", to("127.0.0.1")).unwrap();
            peer.send_to(b"all", to("127.255.255.255")).unwrap();
            peer.send_to(b"more", to("127.255.255.255")).unwrap();
            peer.send_to(b"group", (group, port)).unwrap();
            pause();
            assert_eq!(socket.events(ON, null_mut()), NtStatus::SUCCESS);
            until("all of them", || record.heard().len() == 4);
            let seen = record.lists.lock().unwrap().clone();
            let flags: Vec<_> = seen.iter().map(|(flags, list)| (*flags, list.len())).collect();
            assert_eq!(flags, [(0, 1), (MSG_BCAST, 2), (MSG_MCAST, 1)]);
            socket.close();
        });
    }
}
