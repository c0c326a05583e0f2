//! A provider that lacks what Wine's WSK lacks: the driver does without, and traces each lack once.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{NtStatus, Value};
use support::peers::{echoed, is_ended};
use support::serving::{add, bare_rig};
use support::{Loaded, SERVICE, Story, address, isolated, load, rig, state_when, unload_clean, until};

const NOT_THERE: Action = Action::Fail(NtStatus::NOT_IMPLEMENTED);

fn lacking(function: Function, when: When) -> Rule {
    Rule { function, when, action: NOT_THERE }
}

/// What the driver has traced of what is lacking.
fn told(loaded: &Loaded) -> Vec<String> {
    let story = Story::of(loaded);
    let lines = story.printed("WSK lacks ").into_iter();
    lines.filter_map(|line| line.split_once("WSK lacks ").map(|(_, rest)| rest.to_owned())).collect()
}

#[track_caller]
fn expect_told_once(loaded: &Loaded, wanted: &[&str]) {
    let told = told(loaded);
    let count = |what: &str| told.iter().filter(|line| line.starts_with(what)).count();
    assert!(wanted.iter().all(|what| count(what) == 1) && told.len() == wanted.len(), "wanted {wanted:?} once each: {told:#?}");
}

/// Sends and gets back, ends its side, and sees the other one end.
fn visit(mut stream: TcpStream) {
    stream.write_all(b"once more").expect("sent");
    let mut back = [0; 9];
    stream.read_exact(&mut back).expect("it comes back");
    assert_eq!(&back, b"once more");
    stream.shutdown(Shutdown::Write).expect("half-closed");
    assert!(is_ended(&mut stream), "the connection goes on");
}

isolated! {
    #[test]
    fn service_without_addresses_events_and_disconnect_echoes_and_closes() {
        let rig = rig();
        // The first listener tells its port, for the test's sake; the others cannot.
        rig.bench().set_parameter(SERVICE, "EchoAddress", Value::Sz("127.0.0.1 127.0.0.2 127.0.0.3".to_owned()));
        rig.bench().provider().set_faults(Faults {
            rules: vec![lacking(Function::GetLocalAddress, When::From(2))],
            refuse_events: Some(NtStatus::NOT_IMPLEMENTED),
            refuse_disconnect: Some(NtStatus::NOT_IMPLEMENTED),
            ..Faults::default()
        });
        let loaded = load(&rig);
        let where_to = address(&loaded);
        for _ in 0..3 {
            visit(echoed(where_to));
        }
        let totals = state_when(&loaded, |state| state.totals.connections == 0).totals;
        assert_eq!((totals.accepted, totals.failed), (3, 0), "a refused disconnect is no failure");
        expect_told_once(&loaded, &["local addresses", "receive events", "a graceful disconnect"]);
        unload_clean(&loaded);
    }

    #[test]
    fn service_without_datagram_sockets_takes_it_for_no_failure() {
        let rig = bare_rig();
        add(&rig, "echo", "echo", "udp", &[]);
        rig.bench().provider().set_faults(Faults { rules: vec![lacking(Function::Socket, When::Always)], ..Faults::default() });
        let loaded = load(&rig);
        until(&loaded, "the lack is told", || !told(&loaded).is_empty());
        // Nothing waits for a change: what is lacking does not come.
        state_when(&loaded, |state| state.sockets == 0 && state.in_flight == 0);
        assert!(Story::of(&loaded).printed("cannot listen at").is_empty(), "it is taken for a failure");
        expect_told_once(&loaded, &["datagram sockets"]);
        unload_clean(&loaded);
    }

    /// The provider does not say what transports it has, and no bind at an IPv6 address succeeds.
    #[test]
    fn service_without_ipv6_takes_it_for_no_failure() {
        let rig = rig();
        rig.bench().set_parameter(SERVICE, "EchoAddress", Value::Sz("::1".to_owned()));
        let rules = vec![
            lacking(Function::ControlClient, When::Always),
            Rule { function: Function::Bind, when: When::Always, action: Action::Fail(NtStatus::INVALID_ADDRESS_COMPONENT) },
        ];
        rig.bench().provider().set_faults(Faults { rules, ..Faults::default() });
        let loaded = load(&rig);
        until(&loaded, "both are told", || told(&loaded).len() >= 2);
        assert!(Story::of(&loaded).printed("cannot listen at").is_empty(), "it is taken for a failure");
        expect_told_once(&loaded, &["IPv6", "changes of transports"]);
        unload_clean(&loaded);
    }

    /// Where there is IPv6, a bind that fails is a failure.
    #[test]
    fn service_with_ipv6_that_cannot_bind_says_so() {
        let rig = rig();
        rig.bench().set_parameter(SERVICE, "EchoAddress", Value::Sz("::1".to_owned()));
        rig.bench().provider().set_faults(Faults { absent_address: u32::MAX, ..Faults::default() });
        let loaded = load(&rig);
        until(&loaded, "the bind has failed", || !Story::of(&loaded).printed("cannot listen at [::1]").is_empty());
        expect_told_once(&loaded, &[]);
        unload_clean(&loaded);
    }
}
