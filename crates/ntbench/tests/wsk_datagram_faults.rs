//! Datagram sockets under adverse modes, and the rules that the provider watches over for them.

#![allow(unsafe_code)] // It breaks rules on purpose, as a driver would.

#[macro_use]
mod wsk_client;

use std::ffi::c_void;
use std::net::{SocketAddr, UdpSocket};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nt_abi::wsk::*;
use nt_abi::{DEVICE_OBJECT, IRP, NtStatus};
use ntbench::trace::Level;
use ntbench::verifier::OnViolation;
use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{Bench, Config, Trace};
use wsk_client::indications::*;
use wsk_client::*;

const LOW: NtStatus = NtStatus::INSUFFICIENT_RESOURCES;
const DATA: &[u8] = b"datagram";

struct Scene<'a> {
    bench: &'a Bench,
    socket: Datagrams,
    at: SocketAddr,
    peer: UdpSocket,
    to: SocketAddr,
    memory: Memory,
}

impl<'a> Scene<'a> {
    fn new(bench: &'a Bench) -> Self {
        let (socket, at) = quiet(AF_INET, "127.0.0.1:0");
        let peer = peer("127.0.0.1:0");
        let to = peer.local_addr().unwrap();
        Self { bench, socket, at, peer, to, memory: Memory::with(DATA) }
    }

    fn fault(&self, function: Function, action: Action) {
        self.bench.provider().set_faults(Faults::rule(function, When::Always, action));
    }

    /// Calls a function that transfers one datagram, which for a receive is there already.
    fn call(&self, function: Function) -> Pending {
        match function {
            Function::SendTo => self.socket.send_to(self.memory.all(), Some(self.to), &[]),
            Function::SendMessages => self.socket.send_messages(&[self.memory.all()], Some(self.to), &[]),
            Function::ReceiveFrom => {
                self.peer.send_to(DATA, self.at).unwrap();
                self.socket.receive(self.memory.all())
            }
            other => panic!("{}", other.name()),
        }
    }

    /// Sees that the datagram of a call is where it was to go, or that it has gone nowhere.
    fn check(&self, function: Function, done: bool) {
        match function {
            Function::ReceiveFrom if done => assert_eq!(*self.memory.bytes(), *DATA),
            Function::ReceiveFrom => assert_eq!(self.socket.hears().0, DATA),
            _ if done => assert_eq!(heard(&self.peer).0, DATA),
            _ => {
                self.peer.set_nonblocking(true).unwrap();
                assert!(self.peer.recv(&mut [0; 8]).is_err());
                self.peer.set_nonblocking(false).unwrap();
            }
        }
    }
}

const FUNCTIONS: [Function; 3] = [Function::SendTo, Function::SendMessages, Function::ReceiveFrom];

isolated! {
    fn every_function_fails_as_it_is_told() {
        with_bench(|bench| {
            let scene = Scene::new(bench);
            for function in FUNCTIONS {
                scene.fault(function, Action::Fail(LOW));
                let ended = scene.call(function).end();
                assert_eq!((ended.returned, ended.status, ended.pending), (LOW, LOW, false));
                bench.provider().set_faults(Faults::default());
                scene.check(function, false);

                scene.fault(function, Action::FailLater(LOW));
                let ended = scene.call(function).end();
                assert_eq!((ended.returned, ended.status, ended.pending), (NtStatus::PENDING, LOW, true));
                bench.provider().set_faults(Faults::default());
                scene.check(function, false);

                scene.fault(function, Action::CompleteAndReturn(LOW));
                let ended = scene.call(function).end();
                assert_eq!((ended.returned, ended.status, ended.information), (LOW, NtStatus::SUCCESS, 8));
                scene.check(function, true);
            }
            scene.socket.close();
        });
    }
}

isolated! {
    fn l35_every_function_abandons_its_irp() {
        with_bench(|bench| {
            let scene = Scene::new(bench);
            for function in FUNCTIONS {
                scene.fault(function, Action::Abandon(LOW));
                let call = scene.call(function);
                assert_eq!(call.returned, LOW);
                std::thread::sleep(Duration::from_millis(5));
                assert!(!call.is_done());
                // SAFETY: the provider never took the IRP.
                unsafe { nt_abi::kernel::IoFreeIrp(call.irp) };
                bench.provider().set_faults(Faults::default());
                scene.check(function, false);
            }
            scene.socket.close();
        });
    }
}

isolated! {
    fn every_completion_comes_late_or_before_the_return() {
        with_bench(|bench| {
            let scene = Scene::new(bench);
            for function in FUNCTIONS {
                let late = Duration::from_millis(20);
                scene.fault(function, Action::Late(late));
                let start = Instant::now();
                let ended = scene.call(function).end();
                assert!(start.elapsed() >= late);
                assert_eq!((ended.returned, ended.status, ended.pending), (NtStatus::PENDING, NtStatus::SUCCESS, true));
                scene.check(function, true);
                for action in [Action::Pending, Action::BeforeReturn] {
                    scene.fault(function, action);
                    let call = scene.call(function);
                    assert!(call.is_done());
                    let ended = call.end();
                    assert_eq!((ended.returned, ended.status, ended.pending), (NtStatus::PENDING, NtStatus::SUCCESS, true));
                    scene.check(function, true);
                }
            }
            // A close waits for what comes late.
            scene.fault(Function::SendTo, Action::Late(Duration::from_millis(30)));
            let call = scene.call(Function::SendTo);
            scene.socket.close();
            assert!(call.is_done());
            call.end();
        });
    }
}

isolated! {
    fn what_never_completes_is_cancelled_or_closed() {
        with_bench(|bench| {
            let scene = Scene::new(bench);
            let rules = FUNCTIONS.map(|function| Rule { function, when: When::Always, action: Action::Never });
            bench.provider().set_faults(Faults { rules: rules.to_vec(), ..Faults::default() });
            let mut left = Vec::new();
            for function in FUNCTIONS {
                let first = scene.call(function);
                left.push(scene.call(function));
                assert!(!first.is_done());
                assert!(first.cancel());
                assert_eq!(first.end().status, NtStatus::CANCELLED);
            }
            scene.socket.close();
            left.into_iter().for_each(|one| assert_eq!(one.end().status, NtStatus::CANCELLED));
        });
    }
}

isolated! {
    fn under_every_fault_at_random_each_irp_comes_back_once() {
        with_bench(|bench| {
            let scene = Scene::new(bench);
            let on = |function, action| Rule { function, when: When::Chance(0.1), action };
            let actions = [Action::Fail(LOW), Action::FailLater(LOW), Action::Late(Duration::from_micros(200)),
                Action::BeforeReturn, Action::Pending, Action::CompleteAndReturn(LOW)];
            let rules = FUNCTIONS.iter().flat_map(|function| actions.map(|action| on(*function, action)));
            bench.provider().set_faults(Faults { rules: rules.collect(), ..Faults::default() });
            let mut done = [0; 3];
            for _ in 0..300 {
                for (index, function) in FUNCTIONS.into_iter().enumerate() {
                    let ended = scene.call(function).end();
                    let failed = (ended.status, ended.information) == (LOW, 0);
                    assert!(failed || (ended.status, ended.information) == (NtStatus::SUCCESS, 8), "{ended:?}");
                    done[index] += usize::from(!failed);
                    match function {
                        // What a failed receive has left would come first.
                        Function::ReceiveFrom if failed => drop(until_heard(&scene)),
                        _ if !failed => scene.check(function, true),
                        _ => {}
                    }
                }
            }
            assert!(done.iter().all(|count| (150..300).contains(count)), "{done:?}");
            scene.socket.close();
        });
    }
}

/// Receives, however often it fails.
fn until_heard(scene: &Scene<'_>) -> usize {
    (0..).find(|_| scene.socket.receive(scene.memory.all()).end().status == NtStatus::SUCCESS).unwrap()
}

isolated! {
    fn steps_and_trace_tell_of_every_function() {
        let trace = Trace { level: Level::Io, ..Trace::default() };
        let bench = Bench::new(Config { trace, ..Config::default() }).unwrap();
        let registration = attached();
        let record = Record::leaked();
        let (socket, at) = datagrams(record.context(), &raw const EVENTS);
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        bench.provider().on_step(move |step| seen.lock().unwrap().push(step.to_string()));
        let peer = peer("127.0.0.1:0");
        let to = peer.local_addr().unwrap();
        let memory = Memory::with(DATA);
        assert_eq!(socket.send_to(memory.all(), Some(to), &[]).end().information, 8);
        assert_eq!(socket.send_messages(&[memory.all()], Some(to), &[]).end().information, 8);
        peer.send_to(DATA, at).unwrap();
        assert_eq!(socket.hears().0, DATA);
        assert_eq!(socket.fix(SIO_WSK_SET_REMOTE_ADDRESS, Some(any("127.0.0.1:9"))).status, NtStatus::SUCCESS);
        assert_eq!(socket.receive(memory.all()).returned, NtStatus::PENDING);
        peer.send_to(DATA, at).unwrap();
        let discarded = || bench.trace().iter().any(|event| format!("{event:?}").contains("not the remote address"));
        until("the line of the discarded one", discarded);
        socket.close();
        let (socket, at) = datagrams(record.context(), &raw const EVENTS);
        record.next(NtStatus::PENDING);
        assert_eq!(socket.events(WSK_EVENT_RECEIVE_FROM, null_mut()), NtStatus::SUCCESS);
        peer.send_to(DATA, at).unwrap();
        let told = |text: &str| steps.lock().unwrap().iter().any(|step| step == text);
        until("the event", || told("WskReceiveFromEvent:Return"));
        assert_eq!(socket.release(record.list(0)), NtStatus::SUCCESS);
        bench.provider().no_steps();
        for function in ["WskSendTo", "WskSendMessages", "WskReceiveFrom"] {
            for moment in ["Enter", "Complete", "Completed", "Return"] {
                assert!(told(&format!("{function}:{moment}")), "{function}:{moment}");
            }
            let lines = bench.trace().iter().filter(|event| format!("{event:?}").contains(function)).count();
            assert!(lines > 0, "{function}");
        }
        assert!(told("WskRelease:Enter") && told("WskRelease:Return") && told("WskReceiveFromEvent:Enter"));
        socket.close();
        registration.end();
        assert!(bench.verdict().is_clean());
    }
}

static WITHIN: AtomicUsize = AtomicUsize::new(0);

/// Sends from within the completion of a receive.
unsafe extern "win64" fn calls_back(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NtStatus {
    let socket = Datagrams(Socket(context.cast(), false));
    let nothing = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };
    let sent = socket.send_to(nothing, Some(socket.local()), &[]);
    assert_eq!(sent.end().status, NtStatus::SUCCESS);
    WITHIN.store(1, Ordering::SeqCst);
    NtStatus::MORE_PROCESSING_REQUIRED
}

isolated! {
    fn l25_l36_and_irql_hold_for_datagrams() {
        let bench = Bench::new(Config { on_violation: OnViolation::Record, ..Config::default() }).unwrap();
        let broken = || bench.verdict().violations.iter().map(|one| one.rule).collect::<Vec<_>>();
        let registration = attached();
        let scene = Scene::new(&bench);
        let receive = scene.socket.table().WskReceiveFrom;
        let mut buf = scene.memory.all();
        let (none, nothing, number) = (null_mut(), null_mut(), null_mut());
        // SAFETY: as the page has it, but for what the routine does.
        let irp = unsafe {
            let irp = nt_abi::kernel::IoAllocateIrp(1, 0);
            set_routine(irp, calls_back, scene.socket.0.0.cast());
            let _ = receive(scene.socket.0.0, &raw mut buf, 0, none, number, nothing, null_mut(), irp);
            irp
        };
        scene.peer.send_to(DATA, scene.at).unwrap();
        until("the completion", || WITHIN.load(Ordering::SeqCst) == 1);
        // SAFETY: the IRP is ours again.
        unsafe { nt_abi::kernel::IoFreeIrp(irp) };
        // WskGetLocalAddress and WskSendTo.
        assert_eq!(broken(), ["L36"; 2]);

        const HIGHER: u8 = 3;
        for function in FUNCTIONS {
            scene.peer.send_to(DATA, scene.at).unwrap();
            // SAFETY: raised, and lowered to what it was.
            let old = unsafe { nt_abi::kernel::KfRaiseIrql(HIGHER) };
            let call = scene.call(function);
            // SAFETY: as above.
            unsafe { nt_abi::kernel::KeLowerIrql(old) };
            call.end();
        }
        assert!(broken()[2..].iter().filter(|rule| **rule == "irql").count() >= 3, "{:?}", broken());

        let before = broken().len();
        scene.socket.close();
        for function in FUNCTIONS {
            assert!(scene.call(function).end().status.is_failure());
        }
        assert_eq!(scene.socket.release(null_mut()), NtStatus::INVALID_PARAMETER);
        assert!(scene.socket.fix(SIO_WSK_SET_SENDTO_ADDRESS, None).status.is_failure());
        assert_eq!(broken()[before..], ["L25"; 5]);
        registration.end();
    }
}

isolated! {
    fn n8_a_datagram_socket_keeps_the_provider() {
        let bench = Bench::new(Config { on_violation: OnViolation::Record, ..Config::default() }).unwrap();
        let _registration = attached();
        let (socket, _) = datagrams(null_mut(), null());
        let memory = Memory::new(8);
        let pending = socket.receive(memory.all());
        let departure = bench.provider().depart();
        until("the detach", detaching);
        std::thread::sleep(Duration::from_millis(10));
        // No peer ends it: the client's close does.
        assert!(!pending.is_done() && !departure.is_complete());
        socket.close();
        assert_eq!(pending.end().status, NtStatus::CANCELLED);
        complete_detach();
        assert_eq!(departure.wait().0, NtStatus::SUCCESS);
        assert!(bench.verdict().is_clean());
    }
}
