//! What a job can be, and what not.

use super::*;

fn good() -> Asked {
    Asked {
        target: SocketAddr::from(([127, 0, 0, 1], 7)).into(),
        kind: Kind::Echo.to_wire(),
        protocol: Protocol::Tcp.to_wire(),
        connections: 1,
        message: 64,
        duration_ms: 1000,
        ..Asked::default()
    }
}

#[test]
fn what_is_wanted_comes_back() {
    for (kind, protocol, rate) in [(1, 6, 0), (2, 6, 0), (1, 17, 0), (2, 17, 0), (2, 17, 1000)] {
        for (duration_ms, count) in [(1, 0), (0, 10), (86_400_000, u64::MAX)] {
            let asked = Asked { kind, protocol, rate, duration_ms, count, flags: 3, ..good() };
            assert_eq!(asked.checked().expect("it is right").to_wire(), asked);
        }
    }
}

#[test]
fn every_field_is_checked() {
    let target = |text: &str| WireAddress::from(text.parse::<SocketAddr>().expect("an address"));
    let udp = Asked { protocol: 17, ..good() };
    let wrong = [
        (Asked { target: WireAddress::NONE, ..good() }, "target"),
        (Asked { target: target("127.0.0.1:0"), ..good() }, "target"),
        (Asked { target: target("0.0.0.0:7"), ..good() }, "target"),
        (Asked { target: target("[::]:7"), ..good() }, "target"),
        (Asked { target: target("[::ffff:0.0.0.0]:7"), ..good() }, "target"),
        (Asked { target: target("224.0.0.1:7"), ..good() }, "target"),
        (Asked { target: target("[ff02::1]:7"), ..good() }, "target"),
        (Asked { target: target("255.255.255.255:7"), ..good() }, "target"),
        (Asked { kind: 0, ..good() }, "kind"),
        (Asked { kind: 3, ..good() }, "kind"),
        (Asked { protocol: 0, ..good() }, "protocol"),
        (Asked { flags: 4, ..good() }, "flags"),
        (Asked { connections: 0, ..good() }, "connections"),
        (Asked { connections: MOST_CONNECTIONS + 1, ..good() }, "connections"),
        (Asked { message: 0, ..good() }, "message"),
        (Asked { message: MOST_MESSAGE + 1, ..good() }, "message"),
        (Asked { message: MOST_DATAGRAM + 1, ..udp }, "message"),
        (Asked { message: LEAST_ECHOED_DATAGRAM - 1, ..udp }, "message"),
        (Asked { rate: 1, ..good() }, "rate"),
        (Asked { rate: 1, ..udp }, "rate"),
        (Asked { rate: MOST_RATE + 1, kind: 2, ..udp }, "rate"),
        (Asked { duration_ms: 86_400_001, ..good() }, "duration"),
        (Asked { duration_ms: u64::MAX, ..good() }, "duration"),
        (Asked { duration_ms: 0, ..good() }, "duration or count"),
        (Asked { connections: 3, count: 2, ..good() }, "count"),
    ];
    for (asked, name) in wrong {
        assert_eq!(asked.checked(), Err(Refusal::Field(name)), "{asked:?}");
    }
}

#[test]
fn beyond_loopback_is_where_it_must_be_said() {
    let goes = |text: &str, flags| {
        let target = text.parse::<SocketAddr>().expect("an address").into();
        Asked { target, flags, ..good() }.checked().expect("it is right").may_go_there()
    };
    for text in ["127.0.0.1:7", "127.1.2.3:7", "[::1]:7", "[::ffff:127.0.0.1]:7"] {
        assert!(goes(text, 0), "{text}");
    }
    for text in ["10.0.0.1:7", "192.0.2.1:7", "[2001:db8::1]:7", "[fe80::1%2]:7", "[::ffff:10.0.0.1]:7"] {
        assert!(!goes(text, 0), "{text}");
        assert!(goes(text, flags::BEYOND_LOOPBACK), "{text}");
    }
}

#[test]
fn who_asks_says_whether_that_renews() {
    assert_eq!(AskRequest::renewing(7).checked(), Ok((7, true)));
    assert_eq!(AskRequest::looking(7).checked(), Ok((7, false)));
    assert_eq!(AskRequest { renew: 2, ..AskRequest::looking(7) }.checked(), Err(Refusal::Field("renew")));
    assert_eq!(AskRequest { reserved: 1, ..AskRequest::looking(7) }.checked(), Err(Refusal::Reserved));
}
