//! Memory that is not there, by scenarios of the driver `wsk-exercise`: each is run once for each allocation that it makes,
//! which fails. It may end in an error, but it does end, and nothing is left.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ntbench::When;
use ntbench::trace::Kind;
use support::exercise::{Exercise, NO_TARGET, exercise_rig};
use support::{assert_nothing_left, config, isolated};
use wskclient_tests::Rig;

/// What can be lacking.
const FUNCTIONS: [&str; 4] = ["ExAllocatePool2", "IoAllocateIrp", "IoAllocateMdl", "IoSetCompletionRoutineEx"];
/// How long a scenario may take to say how it went.
const PATIENCE: Duration = Duration::from_secs(20);
/// More allocations than any scenario makes.
const MOST: u64 = 500;

/// How often a scenario went well, and how often it ended in an error.
#[derive(Debug, Default)]
struct Ends {
    well: u64,
    failed: u64,
    not_begun: u64,
}

/// Runs the scenario again and again, without the first, the second, … of each kind of allocation, until it makes no more of
/// them. `peer` does what its peer does, as often as it is called.
fn walk(scenario: &'static str, target: SocketAddr, mut peer: impl FnMut(Option<SocketAddr>)) {
    let rig = exercise_rig(config());
    let mut ends = Ends::default();
    for function in FUNCTIONS {
        let lacked = (1..=MOST).find(|number| !lacks(&rig, scenario, target, &mut peer, function, *number, &mut ends));
        assert!(lacked.is_some(), "{scenario} never came to an end of {function}");
    }
    println!("{scenario}: {ends:?}");
    assert!(ends.failed > 0 && ends.well > 0, "{scenario}: {ends:?}");
}

/// One run without the allocation of that number. `false` if that was not asked for.
#[allow(clippy::too_many_arguments)]
fn lacks(
    rig: &Rig,
    scenario: &'static str,
    target: SocketAddr,
    peer: &mut impl FnMut(Option<SocketAddr>),
    function: &'static str,
    number: u64,
    ends: &mut Ends,
) -> bool {
    rig.bench().no_faults();
    rig.bench().fail(function, When::Nth(number));
    rig.set("Scenario", ntbench::Value::Sz(scenario.to_owned()));
    rig.set("Target", ntbench::Value::Sz(target.to_string()));
    let loaded = rig.load();
    if let Ok(loaded) = loaded {
        let run = Exercise { scenario, loaded };
        match verdict(&run, peer) {
            Some(verdict) if verdict == "ok" => ends.well += 1,
            Some(_) => ends.failed += 1,
            None => ends.not_begun += 1,
        }
        run.unload_clean();
    } else {
        ends.not_begun += 1;
    }
    assert_nothing_left(rig.bench());
    rig.bench().calls().iter().any(|(name, _, failed)| *name == function && *failed > 0)
}

/// How the scenario went; `None` if it was not begun.
#[track_caller]
fn verdict(run: &Exercise, peer: &mut impl FnMut(Option<SocketAddr>)) -> Option<String> {
    let began = Instant::now();
    loop {
        let lines = run.lines();
        if let Some(verdict) = lines.iter().find(|line| *line == "ok" || line.starts_with("FAILED")) {
            return Some(verdict.clone());
        }
        if is_not_begun(run) {
            return None;
        }
        assert!(began.elapsed() < PATIENCE, "no verdict; printed: {lines:?}\n{}", support::Story::of(&run.loaded));
        peer(lines.iter().find_map(|line| line.strip_prefix("at ")?.parse().ok()));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// There was no memory for the attachment, or for the task.
fn is_not_begun(run: &Exercise) -> bool {
    let refused = |kind: &Kind| matches!(kind, Kind::AttachReturn { status, .. } if !status.is_success());
    run.loaded.printed().iter().any(|line| line.contains("no memory for the scenario") || line.contains("Scenario or Target"))
        || run.loaded.events().iter().any(|event| refused(&event.kind))
}

/// Says something, and reads what comes back.
fn converse(mut stream: TcpStream, text: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(text)?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// A peer that connects, again if it was not served.
fn client(at: Option<SocketAddr>) {
    if let Some(Ok(stream)) = at.map(|at| TcpStream::connect_timeout(&at, Duration::from_millis(200))) {
        let _ = converse(stream, b"hello");
    }
}

/// Where connections are answered with `text`, for as long as the process lives.
fn server(text: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream, text));
        }
    });
    address
}

/// Where everything is sent back, for as long as the process lives.
fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone()?, &mut stream));
        }
    });
    address
}

isolated! {
    #[test]
    fn lib_memory_lacks_for_a_connection_that_is_made() {
        walk("tcp_connect_greet_once", server(b"world"), |_| {});
    }

    #[test]
    fn lib_memory_lacks_for_a_connection_that_is_accepted() {
        walk("tcp_echo_once", NO_TARGET, client);
    }

    #[test]
    fn lib_memory_lacks_for_a_connection_that_is_read_in_place() {
        walk("zero_copy_echo", NO_TARGET, client);
    }

    #[test]
    fn lib_memory_lacks_for_datagrams() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        walk("udp_echo", NO_TARGET, |at| {
            let _ = at.map(|at| socket.send_to(b"end", at));
        });
    }

    #[test]
    fn lib_memory_lacks_for_datagrams_that_are_read_in_place() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        walk("datagrams_copies", NO_TARGET, |at| {
            let _ = at.map(|at| socket.send_to(b"end", at));
        });
    }

    #[test]
    fn lib_memory_lacks_for_a_name() {
        walk("resolve_addresses", NO_TARGET, |_| {});
    }

    #[test]
    fn lib_memory_lacks_for_the_name_of_an_address() {
        walk("resolve_names", NO_TARGET, |_| {});
    }

    #[test]
    fn lib_memory_lacks_for_limits() {
        walk("runtime_limits", mirror(), |_| {});
    }

    #[test]
    fn lib_memory_lacks_for_a_descriptor_that_is_cached() {
        walk("control_descriptors", NO_TARGET, |_| {});
    }
}
