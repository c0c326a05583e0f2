//! Adverse modes: each does to an IRP and its function exactly what it says.

#![allow(unsafe_code)] // Calls of the provider's.

#[macro_use]
mod wsk_client;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{Bench, Config};
use wsk_client::*;

struct Scene<'a> {
    bench: &'a Bench,
    listener: Socket,
    socket: Socket,
    peer: TcpStream,
    memory: Memory,
}

impl Scene<'_> {
    fn fault(&self, function: Function, when: When, action: Action) {
        self.bench.provider().set_faults(Faults::rule(function, when, action));
    }

    fn send(&self) -> Pending {
        self.socket.send(self.memory.buf(0, 8), 0)
    }
}

fn with_scene(body: impl FnOnce(&mut Scene<'_>)) {
    let bench = Bench::new(Config::default()).unwrap();
    let registration = attached();
    let (listener, at) = listener(null_mut(), null());
    let peer = TcpStream::connect(at).unwrap();
    let socket = accepted(listener.accept(null_mut(), null()).end().information);
    let memory = Memory::new(64);
    let mut scene = Scene { bench: &bench, listener, socket, peer, memory };
    body(&mut scene);
    scene.bench.provider().set_faults(Faults::default());
    scene.socket.close();
    scene.listener.close();
    drop(scene);
    registration.end();
    let verdict = bench.verdict();
    assert!(verdict.is_clean(), "{verdict}");
}

const BUSY: NtStatus = NtStatus::DEVICE_BUSY;
const LOW: NtStatus = NtStatus::INSUFFICIENT_RESOURCES;

isolated! {
    fn the_nth_call_fails_and_completes_its_irp() {
        with_scene(|scene| {
            scene.fault(Function::Send, When::Nth(2), Action::Fail(LOW));
            assert_eq!(scene.send().end().status, NtStatus::SUCCESS);
            let ended = scene.send().end();
            assert_eq!((ended.returned, ended.status, ended.pending), (LOW, LOW, false));
            assert_eq!(scene.send().end().status, NtStatus::SUCCESS);
        });
    }
}

isolated! {
    fn a_failure_may_come_by_the_irp_alone() {
        with_scene(|scene| {
            scene.fault(Function::Send, When::Always, Action::FailLater(LOW));
            let ended = scene.send().end();
            assert_eq!((ended.returned, ended.status, ended.pending), (NtStatus::PENDING, LOW, true));
        });
    }
}

isolated! {
    fn l35_an_abandoned_irp_stays_with_its_driver() {
        with_scene(|scene| {
            scene.fault(Function::Send, When::Nth(1), Action::Abandon(BUSY));
            let sent = scene.send();
            assert_eq!(sent.returned, BUSY);
            std::thread::sleep(Duration::from_millis(20));
            assert!(!sent.is_done());
            // It was never touched: it can be freed, or used again.
            // SAFETY: the provider never took the IRP.
            unsafe { nt_abi::kernel::IoFreeIrp(sent.irp) };
            scene.fault(Function::Socket, When::Always, Action::Abandon(BUSY));
            let made = make(AF_INET, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
            assert_eq!((made.returned, made.is_done()), (BUSY, false));
            // SAFETY: the provider never took the IRP.
            unsafe { nt_abi::kernel::IoFreeIrp(made.irp) };
        });
    }
}

isolated! {
    fn a_function_may_return_an_error_and_do_its_work() {
        with_scene(|scene| {
            scene.fault(Function::Send, When::Always, Action::CompleteAndReturn(BUSY));
            let ended = scene.send().end();
            assert_eq!((ended.returned, ended.status, ended.information), (BUSY, NtStatus::SUCCESS, 8));
            scene.peer.read_exact(&mut [0; 8]).unwrap();
        });
    }
}

isolated! {
    fn completions_come_late_and_closes_wait_for_them() {
        with_scene(|scene| {
            let late = Duration::from_millis(400);
            scene.fault(Function::Send, When::Always, Action::Late(late));
            let start = Instant::now();
            let sent = scene.send();
            assert_eq!(sent.returned, NtStatus::PENDING);
            let ended = sent.end();
            assert!(start.elapsed() >= late);
            assert_eq!((ended.status, ended.information, ended.pending), (NtStatus::SUCCESS, 8, true));

            let socket = scene.socket;
            let sent = scene.send();
            let close = socket.begin_close();
            assert_eq!(close.returned, NtStatus::PENDING);
            close.end();
            assert!(sent.is_done());
            sent.end();
            let peer = TcpStream::connect(scene.listener.local()).unwrap();
            scene.socket = accepted(scene.listener.accept(null_mut(), null()).end().information);
            drop(peer);
        });
    }
}

isolated! {
    fn a_completion_may_precede_the_return() {
        with_scene(|scene| {
            scene.bench.provider().on_step(|step| {
                if step.to_string() == "WskSend:Complete" {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            for action in [Action::Pending, Action::BeforeReturn] {
                scene.fault(Function::Send, When::Always, action);
                let sent = scene.send();
                assert_eq!(sent.returned, NtStatus::PENDING);
                assert!(sent.is_done());
                assert!(sent.end().pending);
            }
        });
    }
}

isolated! {
    fn what_never_completes_is_cancelled_or_closed() {
        with_scene(|scene| {
            scene.fault(Function::Send, When::Always, Action::Never);
            let (first, second) = (scene.send(), scene.send());
            std::thread::sleep(Duration::from_millis(20));
            assert!(!first.is_done());
            assert!(first.cancel());
            assert_eq!(first.end().status, NtStatus::CANCELLED);
            scene.socket.close();
            assert_eq!(second.end().status, NtStatus::CANCELLED);
            scene.bench.provider().set_faults(Faults::default());
            let peer = TcpStream::connect(scene.listener.local()).unwrap();
            scene.socket = accepted(scene.listener.accept(null_mut(), null()).end().information);
            drop(peer);
            // Of a client's own functions too.
            scene.fault(Function::Socket, When::Always, Action::Never);
            let made = make(AF_INET, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
            assert!(made.cancel());
            assert_eq!(made.end().status, NtStatus::CANCELLED);
        });
    }
}

isolated! {
    fn reads_are_split() {
        with_scene(|scene| {
            scene.bench.provider().set_faults(Faults { split_reads: Some(3), ..Faults::default() });
            scene.peer.write_all(b"0123456789").unwrap();
            let mut sizes = Vec::new();
            while sizes.iter().sum::<usize>() < 10 {
                sizes.push(scene.socket.receive(scene.memory.all(), 0).end().information);
            }
            assert_eq!(sizes, [3, 3, 3, 1]);
            scene.peer.write_all(b"0123456789").unwrap();
            let ended = scene.socket.receive(scene.memory.buf(0, 10), WSK_FLAG_WAITALL).end();
            assert_eq!(ended.information, 10);
        });
    }
}

isolated! {
    fn events_dual_stack_and_disconnects_are_refused() {
        with_scene(|scene| {
            scene.bench.provider().set_faults(Faults {
                refuse_events: Some(NtStatus::NOT_SUPPORTED),
                refuse_dual_stack: true,
                refuse_disconnect: Some(NtStatus::NOT_SUPPORTED),
                ..Faults::default()
            });
            assert_eq!(scene.socket.events(WSK_EVENT_RECEIVE, null_mut()), NtStatus::NOT_SUPPORTED);
            assert_eq!(scene.socket.disconnect(None, 0).end().status, NtStatus::NOT_SUPPORTED);
            let listener = socket(AF_INET6, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
            assert_eq!(listener.set(IPPROTO_IPV6, IPV6_V6ONLY, 0).status, NtStatus::NOT_SUPPORTED);
            listener.close();
        });
    }
}

isolated! {
    fn closes_are_slow_and_addresses_come_late() {
        with_scene(|scene| {
            let close_delay = Some(Duration::from_millis(40));
            scene.bench.provider().set_faults(Faults { close_delay, absent_address: 2, ..Faults::default() });
            let listener = socket(AF_INET, WSK_FLAG_LISTEN_SOCKET, null_mut(), null());
            for expected in [NtStatus::INVALID_ADDRESS_COMPONENT, NtStatus::INVALID_ADDRESS_COMPONENT, NtStatus::SUCCESS] {
                assert_eq!(listener.bind("127.0.0.1:0").end().status, expected);
            }
            let start = Instant::now();
            let close = listener.begin_close();
            assert_eq!(close.returned, NtStatus::PENDING);
            assert!(close.end().pending);
            assert!(start.elapsed() >= Duration::from_millis(40));
        });
    }
}

isolated! {
    fn under_every_fault_at_random_each_irp_comes_back_once() {
        with_scene(|scene| {
            let on = |function, p, action| Rule { function, when: When::Chance(p), action };
            scene.bench.provider().set_faults(Faults {
                rules: vec![
                    on(Function::Send, 0.1, Action::Fail(LOW)),
                    on(Function::Send, 0.1, Action::FailLater(LOW)),
                    on(Function::Send, 0.1, Action::Late(Duration::from_micros(300))),
                    on(Function::Send, 0.1, Action::BeforeReturn),
                    on(Function::Receive, 0.1, Action::Late(Duration::from_micros(200))),
                    on(Function::Receive, 0.1, Action::Pending),
                    on(Function::Receive, 0.1, Action::Fail(LOW)),
                ],
                split_reads: Some(5),
                ..Faults::default()
            });
            let mut peer = scene.peer.try_clone().unwrap();
            let echo = std::thread::spawn(move || {
                let (mut total, mut buffer) = (0, [0; 256]);
                while let Ok(count @ 1..) = peer.read(&mut buffer) {
                    peer.write_all(&buffer[..count]).unwrap();
                    total += count;
                }
                total
            });
            let mut sent = 0;
            for round in 0..300 {
                let _ = round;
                let ended = scene.send().end();
                sent += ended.information;
            }
            let mut received = 0;
            while received < sent {
                received += scene.socket.receive(scene.memory.all(), 0).end().information;
            }
            scene.socket.disconnect(None, 0).end();
            assert_eq!(echo.join().unwrap(), sent);
            assert_eq!(received, sent);
        });
    }
}
