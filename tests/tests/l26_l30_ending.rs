//! L26 to L30: how a service ends, who frees the binding, and the deregistration.

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ntbench::nmr::Deregister;
use ntbench::trace::{Kind, Side};
use ntbench::wsk::Faults;
use ntbench::{NtStatus, Value};
use support::peers::{echoed, expect_all_ended, idle, never_reads};
use support::story::*;
use support::{
    Loaded, Rig, SERVICE, SOON, Story, address, address_since, assert_clean, assert_nothing_left, config_nmr, control, isolated,
    listening, load, rig, rig_with, unload_clean, until,
};

/// How a connection was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

/// Waits for the end, and says when it came.
fn end(stream: &mut TcpStream) -> (End, Instant) {
    let end = match stream.read(&mut [0; 16]) {
        Ok(0) => End::Fin,
        Ok(count) => panic!("{count} bytes came"),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => End::Reset,
        Err(error) => panic!("not ended: {error}"),
    };
    (end, Instant::now())
}

/// The driver with this `StopGraceMs`, and where it listens.
fn with_grace(ms: u32) -> (Loaded, std::net::SocketAddr) {
    let rig = rig();
    rig.bench().set_parameter(SERVICE, "StopGraceMs", Value::Dword(ms));
    let loaded = load(&rig);
    let address = address(&loaded);
    (loaded, address)
}

/// Ends the driver with faults in the registrar: the process ends with it.
fn unload_with_failing(function: &'static str) {
    let (loaded, where_to) = listening();
    let _stream = echoed(where_to);
    loaded.bench().fail(function, ntbench::When::Nth(1));
    let _ = loaded.unload();
    println!("the unload has returned");
}

const CHILD: &str = "WSKCLIENT_TEST_CHILD";

/// Runs `body` in a process of its own, which is this test called again, and gives what that printed when it ended badly.
fn dies(test: &str, body: impl FnOnce()) -> Option<String> {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        std::process::exit(0);
    }
    let program = std::env::current_exe().expect("this program");
    let mut child = std::process::Command::new(program);
    child.args([test, "--exact", "--nocapture"]).env(CHILD, test).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the child runs");
    if support::wait_for(|| child.try_wait().expect("its state")).is_none() {
        child.kill().expect("it is ended");
    }
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(ntbench::verifier::VIOLATION_EXIT), "{text}");
    Some(text)
}

/// Bytes of the binding's memory.
fn binding_bytes(bench: &ntbench::Bench) -> u64 {
    bench.stats().pool.tags.get("WskC").map_or(0, |tag| tag.bytes)
}

isolated! {
    #[test]
    fn l26_unload_is_abortive_at_once_by_default() {
        let (loaded, where_to) = listening();
        let mut connections = idle(where_to, 10);
        let unload = unload_clean(&loaded);
        assert!(unload.total < SOON, "{unload}");
        for stream in &mut connections {
            assert_eq!(end(stream).0, End::Reset, "ended gracefully, which nobody asked for");
        }
    }

    /// Peers that answer the FIN with theirs get it within the grace, and the unload waits for no more than them.
    #[test]
    fn l26_a_grace_lets_connections_end_with_fin() {
        let (loaded, where_to) = with_grace(20_000);
        let waiting = |mut stream: TcpStream| std::thread::spawn(move || (end(&mut stream).0, drop(stream)).0);
        let connections: Vec<_> = idle(where_to, 10).into_iter().map(waiting).collect();
        let unload = unload_clean(&loaded);
        assert!(unload.total < 2 * SOON, "the unload took the whole grace: {unload}");
        for connection in connections {
            assert_eq!(connection.join().expect("ended"), End::Fin);
        }
        assert_nothing_left(loaded.bench());
    }

    /// Peers that do not answer, and peers that do not read, are reset when the grace is over.
    #[test]
    fn l26_when_the_grace_is_over_the_rest_is_reset() {
        const GRACE: Duration = Duration::from_millis(2000);
        let (loaded, where_to) = with_grace(2000);
        let mut silent = echoed(where_to);
        let mut deaf = [never_reads(where_to)];
        let began = Instant::now();
        let unloading = std::thread::scope(|scope| {
            let fin = scope.spawn(|| end(&mut silent));
            let unload = unload_clean(&loaded);
            let (kind, at) = fin.join().expect("ended");
            assert_eq!(kind, End::Fin, "the grace began without a FIN");
            assert!(at - began < GRACE, "the FIN came only after {:?}", at - began);
            unload
        });
        assert!(unloading.total >= GRACE, "the grace was not granted: {unloading}");
        assert!(unloading.total < GRACE + SOON, "{unloading}");
        // The FIN has been read; a reset shows as an error of the next write or read.
        let reset = || std::io::Write::write_all(&mut silent, b"x").is_err() || silent.take_error().is_ok_and(|error| error.is_some());
        until(&loaded, "the silent peer is reset", reset);
        expect_all_ended(&mut deaf);
    }

    #[test]
    fn l26_the_grace_comes_before_deregistering_and_a_detach_knows_none() {
        let (loaded, where_to) = with_grace(20_000);
        let mut stream = echoed(where_to);
        let (status, took) = loaded.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        assert!(took < 2 * SOON, "a detach waited for {took:?}");
        assert_eq!(end(&mut stream).0, End::Reset);
        let first = loaded.now();
        assert_eq!(loaded.bench().provider().arrive(), NtStatus::SUCCESS);
        let mut stream = echoed(address_since(&loaded, first));
        let ending = std::thread::spawn(move || end(&mut stream).0);
        unload_clean(&loaded);
        assert_eq!(ending.join().expect("ended"), End::Fin);
        let story = Story::of(&loaded);
        // The connection's close comes first: it was graceful.
        let closed = story.0.iter().filter(|event| socket_closed(&event.kind)).map(|event| event.time).collect::<Vec<_>>();
        let deregister = story.0[story.last("deregistration", deregister_call)].time;
        let unload = story.0[story.last("unload", unload_begin)].time;
        assert!(closed.iter().any(|at| *at > unload && *at < deregister), "nothing was closed before deregistering:\n{story}");
    }

    /// System shutdown stops the service as unload does, and leaves the driver loaded.
    #[test]
    fn l26_system_shutdown_ends_connections_and_leaves_wsk() {
        let (loaded, where_to) = with_grace(3000);
        let mut stream = echoed(where_to);
        let ending = std::thread::spawn(move || end(&mut stream).0);
        loaded.bench().shutdown();
        assert_eq!(ending.join().expect("ended"), End::Fin);
        let story = Story::of(&loaded);
        story.expect_count("deregistration", 1, deregister_call);
        assert_eq!(loaded.bench().provider().clients(), 0);
        assert!(TcpStream::connect(where_to).is_err(), "it listens still");
        assert_eq!(loaded.state().expect("the state").registration, control_abi::Registration::Out as u32);
        unload_clean(&loaded);
        assert_nothing_left(loaded.bench());
        Story::of(&loaded).expect_count("deregistration", 1, deregister_call);
    }

    /// The context is there until the cleanup callback, and gone after it.
    #[test]
    fn l27_the_cleanup_callback_frees_the_context_and_nobody_else() {
        static SEEN: Mutex<Vec<(&str, u64)>> = Mutex::new(Vec::new());
        let rig: &'static Rig = Box::leak(Box::new(rig()));
        let loaded = load(rig);
        let mut connections = idle(address(&loaded), 5);
        let open = binding_bytes(rig.bench());
        rig.bench().subscribe(|event| {
            let name = match &event.kind {
                Kind::DetachComplete { side: Side::Client, .. } => "complete",
                Kind::Cleanup { side: Side::Client, .. } => "cleanup",
                Kind::DbgPrint { text, .. } if text.contains("cleaned up") => "after",
                _ => return,
            };
            SEEN.lock().expect("unpoisoned").push((name, binding_bytes(rig.bench())));
        });
        unload_clean(&loaded);
        expect_all_ended(&mut connections);
        let seen = SEEN.lock().expect("unpoisoned").clone();
        let names: Vec<_> = seen.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["complete", "cleanup", "after"], "{}", Story::of(&loaded));
        assert_eq!(seen[1].1, open, "part of the context was freed before the cleanup callback: {seen:?}, {open} while open");
        assert!(seen[2].1 < open / 4, "the cleanup callback freed nothing: {seen:?}, {open} while open");
        assert_eq!(binding_bytes(rig.bench()), 0);
    }

    #[test]
    fn l28_unload_and_deactivation_deregister_and_not_twice() {
        let rig = rig();
        let loaded = load(&rig);
        drop(echoed(address(&loaded)));
        loaded.set_active(false).expect("deactivated");
        Story::of(&loaded).expect_count("deregistration", 1, deregister_call);
        // Nothing is registered: unload has nothing to deregister.
        unload_clean(&loaded);
        Story::of(&loaded).expect_count("deregistration", 1, deregister_call);

        let loaded = load(&rig);
        address(&loaded);
        unload_clean(&loaded);
        let steps: [(&str, &dyn Fn(&Kind) -> bool); 3] =
            [("unload", &unload_begin), ("deregistration", &deregister_call), ("unload's return", &unload_return)];
        Story::of(&loaded).expect_order(&steps);
        assert_nothing_left(rig.bench());
    }

    /// STATUS_PENDING is followed by the wait; STATUS_SUCCESS is not, for then the handle is no more.
    #[test]
    fn l29_only_a_pending_deregistration_is_waited_for() {
        let rig = rig_with(config_nmr(|nmr| nmr.deregister = Deregister::AtOnce));
        let loaded = load(&rig);
        let where_to = address(&loaded);
        let mut stream = echoed(where_to);
        // With sockets that take time to close it is pending.
        rig.bench().provider().set_faults(Faults { close_delay: Some(Duration::from_millis(100)), ..Faults::default() });
        loaded.set_active(false).expect("deactivated");
        Story::of(&loaded).expect_count("wait", 1, wait_begin);
        assert!(support::peers::is_ended(&mut stream));
        // Without a provider nothing is there to be waited for.
        assert_eq!(rig.bench().provider().depart().wait().0, NtStatus::SUCCESS);
        loaded.set_active(true).expect("activated");
        loaded.set_active(false).expect("deactivated");
        let story = Story::of(&loaded);
        story.expect_count("deregistration", 2, deregister_call);
        story.expect_count("wait", 1, wait_begin);
        unload_clean(&loaded);
    }

    /// A deactivation that the registrar refuses is an answer, not the end: the driver serves on.
    #[test]
    fn l29_a_deactivation_that_fails_is_told_and_leaves_the_service() {
        let (loaded, where_to) = listening();
        let mut stream = echoed(where_to);
        loaded.bench().fail("NmrDeregisterClient", ntbench::When::Nth(1));
        let answer = control(loaded.bench(), control_abi::Request::Deactivate, 0);
        assert_eq!(answer, Err(NtStatus::INSUFFICIENT_RESOURCES));
        support::peer::exchange(&mut stream, 5).expect("the connection works on");
        echoed(where_to);
        loaded.set_active(false).expect("the next one works");
        loaded.set_active(true).expect("activated");
        unload_clean(&loaded);
    }

    /// L30: at PASSIVE_LEVEL, outside of callbacks: for deactivation, unload and shutdown.
    #[test]
    fn l30_the_wait_is_made_at_passive_level_outside_of_callbacks() {
        let (loaded, where_to) = listening();
        let connections = idle(where_to, 3);
        loaded.set_active(false).expect("deactivated");
        let first = loaded.now();
        loaded.set_active(true).expect("activated");
        let more = idle(address_since(&loaded, first), 3);
        loaded.bench().shutdown();
        loaded.set_active(true).expect("activated");
        unload_clean(&loaded);
        let story = Story::of(&loaded);
        story.expect_count("wait", 3, wait_begin);
        let waits = story.0.iter().filter(|event| wait_begin(&event.kind) || wait_return(&event.kind));
        assert!(waits.clone().all(|event| event.irql == 0), "a wait above PASSIVE_LEVEL:\n{story}");
        let callback = |event: &ntbench::trace::Event| detach_call(&event.kind) || detach_return(&event.kind);
        for wait in story.0.iter().filter(|event| wait_begin(&event.kind)) {
            let inside = story.0.iter().filter(|event| event.thread == wait.thread && event.time <= wait.time && callback(event)).count();
            assert_eq!(inside % 2, 0, "a wait inside a detach callback:\n{story}");
        }
        drop((connections, more));
        assert_clean(loaded.bench());
    }
}

#[test]
fn l29_a_failed_deregistration_at_unload_stops_the_system() {
    let name = "l29_a_failed_deregistration_at_unload_stops_the_system";
    let text = dies(name, || unload_with_failing("NmrDeregisterClient")).unwrap_or_default();
    assert!(text.contains("violation of bugcheck") && text.contains("'WSKC' (0x2, "), "{text}");
    assert!(!text.contains("the unload has returned"), "{text}");
}

#[test]
fn l29_a_failed_wait_at_unload_stops_the_system() {
    let name = "l29_a_failed_wait_at_unload_stops_the_system";
    let text = dies(name, || unload_with_failing("NmrWaitForClientDeregisterComplete")).unwrap_or_default();
    assert!(text.contains("violation of bugcheck") && text.contains("'WSKC' (0x3, "), "{text}");
    assert!(!text.contains("the unload has returned"), "{text}");
}
