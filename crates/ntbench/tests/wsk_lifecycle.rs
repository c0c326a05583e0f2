//! Attaching, detaching, and the rules that the provider watches over: a breach is reported under its number.

#![allow(unsafe_code)] // It breaks rules on purpose, as a driver would.

#[macro_use]
mod wsk_client;

use std::net::TcpStream;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nt_abi::wsk::*;
use nt_abi::{DEVICE_OBJECT, IRP, NtStatus};
use ntbench::verifier::OnViolation;
use ntbench::wsk::{Action, Faults, Function, Moment, When};
use ntbench::{Bench, Config};
use wsk_client::*;

/// A bench that goes on after violations.
fn recording() -> Bench {
    Bench::new(Config { on_violation: OnViolation::Record, ..Config::default() }).unwrap()
}

fn broken(bench: &Bench) -> Vec<&'static str> {
    bench.verdict().violations.iter().map(|violation| violation.rule).collect()
}

fn assert_clean(bench: &Bench) {
    let verdict = bench.verdict();
    assert!(verdict.is_clean(), "{verdict}");
}

isolated! {
    fn n8_the_provider_detaches_when_the_last_socket_is_closed() {
        let bench = recording();
        let _registration = attached();
        let (listener, at) = listener(null_mut(), null());
        let peer = TcpStream::connect(at).unwrap();
        let socket = accepted(listener.accept(null_mut(), null()).end().information);
        let departure = bench.provider().depart();
        assert_eq!(departure.answer(), NtStatus::PENDING);
        until("the detach", detaching);
        // The connection is silent, and the provider waits for the client alone.
        std::thread::sleep(Duration::from_millis(20));
        assert!(!departure.is_complete());
        listener.close();
        assert!(!departure.is_complete());
        socket.close();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!departure.is_complete());
        complete_detach();
        assert_eq!(departure.wait().0, NtStatus::SUCCESS);
        assert_eq!(CLEANUPS.load(Ordering::SeqCst), 1);
        drop(peer);
        assert_clean(&bench);
    }
}

isolated! {
    fn n8_what_a_client_keeps_beyond_its_detach_is_reported() {
        let bench = recording();
        let _registration = attached();
        let (listener, _) = listener(null_mut(), null());
        let departure = bench.provider().depart();
        until("the detach", detaching);
        let table = table();
        complete_detach();
        assert_eq!(broken(&bench), ["N8"]);
        assert!(!departure.is_complete());
        // The provider is still there, but not for this client.
        let control = table.WskControlClient;
        let (code, none) = (WSK_TRANSPORT_LIST_QUERY, null_mut());
        // SAFETY: as the page of the function has it, but for the time.
        let status = unsafe { control(client(), code, 0, none, 0, none, null_mut(), null_mut()) };
        assert!(status.is_failure());
        assert_eq!(broken(&bench), ["N8", "L20"]);
        listener.close();
        assert_eq!(departure.wait().0, NtStatus::SUCCESS);
    }
}

isolated! {
    fn l10_a_provider_comes_back_while_the_old_binding_drains() {
        let bench = recording();
        let registration = attached();
        let (old, _) = listener(null_mut(), null());
        let old_binding = BINDING.load(Ordering::SeqCst);
        let departure = bench.provider().depart();
        until("the detach", detaching);
        assert_eq!(bench.provider().arrive(), NtStatus::SUCCESS);
        until("the new binding", || BINDING.load(Ordering::SeqCst) != old_binding && !detaching());
        let (new, at) = listener(null_mut(), null());
        let peer = TcpStream::connect(at).unwrap();
        accepted(new.accept(null_mut(), null()).end().information).close();
        drop(peer);
        assert!(!departure.is_complete());
        old.close();
        // SAFETY: the old binding is being detached.
        unsafe { nmr::NmrClientDetachProviderComplete(old_binding as *mut _) };
        assert_eq!(departure.wait().0, NtStatus::SUCCESS);
        new.close();
        registration.end();
        assert_clean(&bench);
    }
}

isolated! {
    fn l07_a_provider_may_want_another_version_or_refuse() {
        let bench = recording();
        bench.provider().set_faults(Faults { client_version: make_wsk_version(2, 0), ..Faults::default() });
        let first = register();
        until("the attach", || ATTACH_STATUS.load(Ordering::SeqCst) != 0);
        assert_eq!(ATTACH_STATUS.load(Ordering::SeqCst), NtStatus::NOINTERFACE.0 as u32 as usize);
        first.end();
        let refuse_attach = Some(NtStatus::INSUFFICIENT_RESOURCES);
        bench.provider().set_faults(Faults { refuse_attach, ..Faults::default() });
        let second = register();
        let expected = NtStatus::INSUFFICIENT_RESOURCES.0 as u32 as usize;
        until("the refusal", || ATTACH_STATUS.load(Ordering::SeqCst) == expected);
        second.end();
        assert_eq!(bench.provider().clients(), 0);
        assert_clean(&bench);
    }
}

isolated! {
    fn l20_a_call_after_the_detach_is_complete_is_reported() {
        let bench = recording();
        let registration = attached();
        let table = table();
        registration.end();
        let nobody = null_mut();
        // SAFETY: as the page of the function has it.
        let ended = request(|irp| unsafe {
            (table.WskSocket)(client(), AF_INET, SOCK_STREAM, IPPROTO_TCP, 1, nobody, null(), nobody, nobody, nobody, irp)
        }).end();
        assert!(ended.status.is_failure());
        assert_eq!(broken(&bench), ["L20"]);
    }
}

isolated! {
    fn l25_a_socket_is_not_used_or_closed_after_its_close() {
        let bench = recording();
        let registration = attached();
        let (listener, _) = listener(null_mut(), null());
        listener.close();
        assert!(listener.accept(null_mut(), null()).end().status.is_failure());
        assert!(listener.begin_close().end().status.is_failure());
        assert_eq!(broken(&bench), ["L25", "L25"]);

        // Nor while the close is still on its way.
        let (listener, at) = wsk_client::listener(null_mut(), null());
        let peer = TcpStream::connect(at).unwrap();
        let socket = accepted(listener.accept(null_mut(), null()).end().information);
        let late = Action::Late(Duration::from_millis(500));
        bench.provider().set_faults(Faults::rule(Function::Send, When::Always, late));
        let memory = Memory::new(8);
        let sent = socket.send(memory.all(), 0);
        let close = socket.begin_close();
        assert!(!close.is_done());
        assert!(socket.send(memory.all(), 0).end().status.is_failure());
        assert_eq!((close.end().status, sent.end().status), (NtStatus::SUCCESS, NtStatus::SUCCESS));
        assert_eq!(broken(&bench), ["L25"; 3]);
        drop(peer);
        listener.close();
        registration.end();
    }
}

isolated! {
    fn l23_a_socket_is_not_closed_while_a_function_is_entered() {
        let bench = recording();
        let registration = attached();
        let (listener, _) = listener(null_mut(), null());
        let entered = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&entered);
        bench.provider().on_step(move |step| {
            if step.to_string() == "WskAccept:Complete" {
                seen.store(1, Ordering::SeqCst);
                until("the close", || seen.load(Ordering::SeqCst) == 2);
            }
        });
        let peer = TcpStream::connect(listener.local()).unwrap();
        let accepting = std::thread::spawn(move || listener.accept(null_mut(), null()).end());
        until("the accept", || entered.load(Ordering::SeqCst) == 1);
        let close = listener.begin_close();
        assert_eq!(close.returned, NtStatus::PENDING);
        entered.store(2, Ordering::SeqCst);
        accepted(accepting.join().unwrap().information).close();
        assert_eq!(close.end().status, NtStatus::SUCCESS);
        assert_eq!(broken(&bench), ["L23"]);
        drop(peer);
        registration.end();
    }
}

static WITHIN: AtomicUsize = AtomicUsize::new(0);

unsafe extern "win64" fn calls_back(_device: *mut DEVICE_OBJECT, irp: *mut IRP, _context: *mut std::ffi::c_void) -> NtStatus {
    // SAFETY: the IRP is ours again.
    let socket = accepted(unsafe { (*irp).IoStatus.Information });
    WITHIN.store(socket.0 as usize, Ordering::SeqCst);
    socket.close();
    NtStatus::MORE_PROCESSING_REQUIRED
}

isolated! {
    fn l36_a_completion_routine_enters_no_function() {
        let bench = recording();
        let registration = attached();
        let (listener, at) = listener(null_mut(), null());
        let peer = TcpStream::connect(at).unwrap();
        // SAFETY: as the page of the function has it.
        unsafe {
            let irp = nt_abi::kernel::IoAllocateIrp(1, 0);
            set_routine(irp, calls_back, null_mut());
            let _ = (listener.listen_table().WskAccept)(listener.0, 0, null_mut(), null(), null_mut(), null_mut(), irp);
            until("the completion", || WITHIN.load(Ordering::SeqCst) != 0);
            until("the close", || bench.provider().stats().connections == 0);
            nt_abi::kernel::IoFreeIrp(irp);
        }
        assert!(broken(&bench).contains(&"L36"));
        drop(peer);
        listener.close();
        registration.end();
    }
}

isolated! {
    fn mdls_must_be_locked_and_long_enough() {
        let bench = recording();
        let registration = attached();
        let (listener, at) = listener(null_mut(), null());
        let peer = TcpStream::connect(at).unwrap();
        let socket = accepted(listener.accept(null_mut(), null()).end().information);
        let memory = Memory::new(16);
        assert_eq!(socket.send(memory.buf(16, 1), 0).end().status, NtStatus::INVALID_PARAMETER);
        assert_eq!(socket.send(memory.buf(4, 13), 0).end().status, NtStatus::INVALID_PARAMETER);
        // SAFETY: the MDL is ours.
        unsafe { (*memory.mdl).MdlFlags = 0 };
        assert_eq!(socket.receive(memory.buf(0, 8), 0).end().status, NtStatus::INVALID_PARAMETER);
        assert_eq!(broken(&bench), ["WSK-BUF"; 3]);
        // SAFETY: the MDL is ours.
        unsafe { (*memory.mdl).MdlFlags = nt_abi::MDL_SOURCE_IS_NONPAGED_POOL };
        socket.close();
        listener.close();
        drop(peer);
        registration.end();
    }
}

isolated! {
    fn a_pended_list_change_is_cancelled_at_detach_and_lists_are_answered() {
        let bench = recording();
        let registration = attached();
        let mut size = 0;
        let (none, returned) = (null_mut(), &raw mut size);
        let control = table().WskControlClient;
        // SAFETY: as the page of the function has it.
        let status = unsafe { control(client(), WSK_TRANSPORT_LIST_QUERY, 0, none, 0, none, returned, null_mut()) };
        assert_eq!((status, size), (NtStatus::BUFFER_OVERFLOW, 6 * size_of::<WSK_TRANSPORT>()));
        let mut list = [0u8; 6 * size_of::<WSK_TRANSPORT>()];
        let at = list.as_mut_ptr().cast();
        // SAFETY: as the page of the function has it.
        let status = unsafe { control(client(), WSK_TRANSPORT_LIST_QUERY, 0, none, size, at, returned, null_mut()) };
        assert_eq!(status, NtStatus::SUCCESS);
        let code = WSK_TRANSPORT_LIST_CHANGE;
        // SAFETY: as the page of the function has it.
        let change = request(|irp| unsafe { control(client(), code, 0, none, 0, none, null_mut(), irp) });
        assert_eq!(change.returned, NtStatus::PENDING);
        let departure = bench.provider().depart();
        assert_eq!(change.end().status, NtStatus::CANCELLED);
        until("the detach", detaching);
        complete_detach();
        assert_eq!(departure.wait().0, NtStatus::SUCCESS);
        registration.end();
        assert_clean(&bench);
    }
}

/// How long it takes to close so many idle connections.
fn close_idle(listener: Socket, at: std::net::SocketAddr, count: usize) -> Duration {
    let memory = Memory::new(64);
    let open = |_| {
        let peer = TcpStream::connect(at).unwrap();
        let socket = accepted(listener.accept(null_mut(), null()).end().information);
        (peer, socket, socket.receive(memory.all(), 0))
    };
    let all: Vec<_> = (0..count).map(open).collect();
    let start = Instant::now();
    let closes: Vec<_> = all.iter().map(|(_, socket, _)| socket.begin_close()).collect();
    closes.into_iter().for_each(|close| assert_eq!(close.end().status, NtStatus::SUCCESS));
    let time = start.elapsed();
    all.into_iter().for_each(|(_, _, pending)| assert_eq!(pending.end().status, NtStatus::CANCELLED));
    time
}

isolated! {
    fn a_thousand_idle_connections_close_quickly() {
        let bench = recording();
        let registration = attached();
        let (listener, at) = listener(null_mut(), null());
        // The best of a few: the machine may have other things to do. A walk over all of them for each would take seconds.
        let best = (0..5).map(|_| close_idle(listener, at, 1_000)).min().unwrap();
        assert!(best < Duration::from_millis(1000), "{best:?}");
        assert_eq!(bench.provider().stats().connections, 0);
        assert_eq!(bench.provider().stats().connections_total, 5_000);
        listener.close();
        registration.end();
        assert_clean(&bench);
    }
}

isolated! {
    fn steps_are_told_in_order() {
        let bench = recording();
        let registration = attached();
        let steps = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        bench.provider().on_step(move |step| seen.lock().unwrap().push(step));
        let (listener, _) = listener(null_mut(), null());
        bench.provider().no_steps();
        let text: Vec<_> = steps.lock().unwrap().iter().map(ToString::to_string).collect();
        let of = |function: &str| ["Enter", "Complete", "Completed", "Return"].map(|moment| format!("{function}:{moment}"));
        assert_eq!(text, [of("WskSocket"), of("WskBind"), of("WskGetLocalAddress")].concat());
        assert_eq!(steps.lock().unwrap()[0].moment, Moment::Enter);
        listener.close();
        registration.end();
        assert_clean(&bench);
    }
}
