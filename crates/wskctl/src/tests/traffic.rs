//! `wskctl traffic`: what it prints, what it starts, and what it ends with.

use std::net::SocketAddr;
use std::time::Duration;

use control_abi::WireAddress;
use control_abi::sockets::Protocol;
use control_abi::traffic::{Asked, End, ErrorKind, Kind, Latency, Phase, Report};
use insta::assert_snapshot;

use super::{example, outcome, printed};
use crate::failure::{Exit, Failure};
use crate::ntstatus::NtStatus;

/// A job that has run for a while.
pub(super) fn job(id: u64) -> Report {
    Report {
        version: control_abi::VERSION,
        phase: Phase::Running.to_wire(),
        id,
        asked: Asked {
            target: address("127.0.0.1:40007"),
            kind: Kind::Echo.to_wire(),
            protocol: Protocol::Tcp.to_wire(),
            connections: 10,
            message: 64,
            duration_ms: 10_000,
            ..Asked::default()
        },
        open: 10,
        connected: 10,
        elapsed_ns: 2_500_000_000,
        sent: 250_010,
        received: 250_000,
        bytes_sent: 250_010 * 64,
        bytes_received: 250_000 * 64,
        latency: Latency {
            count: 250_000,
            least: 21_000,
            mean: 99_000,
            p50: 95_300,
            p90: 141_000,
            p99: 312_000,
            p999: 1_250_000,
            most: 17_400_000,
        },
        ..Report::default()
    }
}

/// One that runs, one that lost something, and one that failed.
pub(super) fn jobs() -> Vec<Report> {
    let over = |id, end: End| Report { phase: Phase::Over.to_wire(), end: end.to_wire(), open: 0, ..job(id) };
    let datagrams = Asked { protocol: Protocol::Udp.to_wire(), target: address("[::1]:7"), ..job(2).asked };
    let streams = Asked { kind: Kind::Stream.to_wire(), message: 1 << 16, ..job(3).asked };
    let mut errors = [0; ErrorKind::ALL.len()];
    (errors[0], errors[4]) = (9, 1);
    vec![
        job(1),
        Report { asked: datagrams, received: 249_990, lost: 19, late: 4, mismatched: 1, ..over(2, End::Count) },
        Report {
            asked: streams,
            connected: 1,
            failed: 10,
            received: 0,
            bytes_received: 0,
            bytes_sent: 250_010 << 16,
            errors,
            first_error: ErrorKind::Refused.to_wire(),
            first_status: 0xc000_0236,
            ..over(3, End::Failed)
        },
    ]
}

fn address(text: &str) -> WireAddress {
    text.parse::<SocketAddr>().expect("an address").into()
}

fn failure(line: &str) -> Failure {
    outcome(&example::driver(), line, None).1.expect_err(line)
}

#[test]
fn jobs_for_people() {
    let fake = example::driver();
    assert_snapshot!("traffic_list", printed(&fake, "traffic list"));
    assert_snapshot!("traffic_list_at_80", outcome(&fake, "traffic list", Some(80)).0);
    let shown = ["1", "2", "3"].map(|id| printed(&fake, &format!("traffic show {id}")));
    assert_snapshot!("traffic_show", shown.join("\n"));
    fake.change(|says| says.jobs.clear());
    assert_eq!(printed(&fake, "traffic list"), "no jobs\n");
}

#[test]
fn jobs_for_machines() {
    let fake = example::driver();
    let pretty = |line: &str| {
        let value = serde_json::from_str::<serde_json::Value>(&printed(&fake, line)).expect("JSON");
        serde_json::to_string_pretty(&value).expect("it was JSON")
    };
    assert_snapshot!("traffic_list_json", pretty("traffic list --json"));
    assert_snapshot!("traffic_show_json", pretty("traffic show 3 --json"));
}

/// It asks until the job is over, and prints once.
#[test]
fn a_job_is_seen_to_its_end() {
    let fake = example::driver();
    assert_snapshot!("traffic_echo", printed(&fake, "traffic echo 127.0.0.1:40007 -c 10"));
    assert_eq!(fake.asked(), 4, "started, and asked three times");
    fake.with(|says| {
        let wanted = says.jobs.last().expect("a job").asked.checked().expect("it was checked");
        assert_eq!((wanted.connections, wanted.message, wanted.kind), (10, 64, Kind::Echo));
        assert_eq!((wanted.duration, wanted.count, wanted.detached), (Some(Duration::from_secs(10)), None, false));
    });
    let json = printed(&example::driver(), "traffic stream [::1]:9 --udp --rate 100 -m 1KiB -n 5 --json");
    let value = serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    assert_eq!((&value["kind"], &value["protocol"], &value["end"]), (&"stream".into(), &"udp".into(), &"duration".into()));
    assert_eq!((&value["message_bytes"], &value["target"]), (&1024.into(), &"[::1]:9".into()));
}

#[test]
fn a_detached_job_is_only_started() {
    let fake = example::driver();
    let text = printed(&fake, "traffic stream 127.0.0.1:9 --for 2m -n 100 --detach");
    assert_eq!(text, "job 7 has begun; see `wskctl traffic show 7`\n");
    assert_eq!(fake.asked(), 1);
    fake.with(|says| {
        let wanted = says.jobs.last().expect("a job").asked.checked().expect("it was checked");
        assert_eq!((wanted.duration, wanted.count, wanted.detached), (Some(Duration::from_secs(120)), Some(100), true));
    });
    assert_eq!(printed(&fake, "traffic cancel 7"), "job 7 ends; see `wskctl traffic show 7`\n");
    assert!(printed(&fake, "traffic show 7").contains("over: cancelled"));
    assert_eq!(printed(&fake, "traffic cancel 1 --json"), "{\"job\":1}\n");
}

/// A job that somebody else ended, or the driver: what there is, and then why.
#[test]
fn a_job_that_ends_before_its_time_is_a_failure() {
    for (end, why) in [(End::Failed, "failed"), (End::Cancelled, "cancelled"), (End::Deactivated, "deactivated")] {
        let fake = example::driver();
        fake.change(|says| says.end = end);
        let (text, result) = outcome(&fake, "traffic echo 127.0.0.1:7", None);
        let failure = result.expect_err("it ended before its time");
        assert_eq!((failure.exit(), failure.to_string()), (Exit::Refused, format!("the job has ended before its time: {why}")));
        assert!(text.contains(&format!("over: {why}")), "{text}");
    }
}

/// Every field that can be wrong is told by the option's name, and the driver is not asked.
#[test]
fn nonsense_is_told_by_the_name_of_its_option() {
    let lines = [
        ("echo 127.0.0.1:0", "127.0.0.1:0 is not"),
        ("echo 224.0.0.1:7", "224.0.0.1:7 is not"),
        ("echo 192.0.2.1:7", "--beyond-loopback"),
        ("echo 127.0.0.1:7 -c 0", "--connections"),
        ("echo 127.0.0.1:7 -c 4097", "--connections"),
        ("echo 127.0.0.1:7 -m 0", "--message"),
        ("echo 127.0.0.1:7 -m 2MiB", "--message"),
        ("echo 127.0.0.1:7 -u -m 7", "8 to 65507"),
        ("stream 127.0.0.1:7 -u -m 64KiB", "--message"),
        ("stream 127.0.0.1:7 -u -r 10000001", "--rate"),
        ("echo 127.0.0.1:7 --for 25h", "--for"),
        ("echo 127.0.0.1:7 --for 0s", "--for"),
        ("echo 127.0.0.1:7 --for=-1s", "--for"),
        ("echo 127.0.0.1:7 -n 0", "--count"),
        ("echo 127.0.0.1:7 -n 2 -c 3", "--count"),
        ("stream 127.0.0.1:7 -r 5", "--udp"),
        ("echo localhost", "TARGET"),
        ("show", "JOB"),
        ("show first", "JOB"),
        ("", "traffic"),
    ];
    for (line, why) in lines {
        let failure = failure(&format!("traffic {line}"));
        assert_eq!(failure.exit(), Exit::Usage, "{line}");
        assert!(failure.to_string().contains(why), "{line}: {failure}");
    }
    assert!(
        printed(&example::driver(), "traffic echo 192.0.2.1:7 --beyond-loopback")
            .starts_with("job 7: echo over tcp to 192.0.2.1:7")
    );
}

#[test]
fn what_the_driver_refuses_has_a_hint() {
    for line in ["show 99", "cancel 99"] {
        assert_eq!(failure(&format!("traffic {line}")).exit(), Exit::NoSuchThing);
    }
    let fake = example::driver();
    fake.change(|says| says.refuses = Some(NtStatus::DEVICE_BUSY));
    let failure = outcome(&fake, "traffic echo 127.0.0.1:7", None).1.expect_err("as many run as may");
    assert!(failure.to_string().starts_with("starting traffic failed: as many run as may at once"), "{failure}");
    assert!(failure.hint().is_some_and(|hint| hint.contains("traffic list")));
}
