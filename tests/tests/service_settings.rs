//! Where the service listens, its limits, and settings that cannot be used.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ntbench::Value;
use ntbench::wsk::Faults;
use support::peers::{echoed, idle, is_ended, never_reads};
use support::{
    Loaded, Rig, SERVICE, Story, address, assert_clean, isolated, load, peer, rig, serving, state_when, unload_clean, until,
};

/// Where it says that it listens, once it listens at so many places.
#[track_caller]
fn places(loaded: &Loaded, count: usize) -> Vec<SocketAddr> {
    let heard = || loaded.events().iter().filter_map(wskclient_tests::rig::listening).collect::<Vec<_>>();
    until(loaded, "enough listeners", || heard().len() >= count);
    heard()
}

fn with(name: &str, value: Value) -> Rig {
    let rig = rig();
    rig.bench().set_parameter(SERVICE, name, value);
    rig
}

fn at(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

/// Fails unless the driver has loaded and traced a line with all these parts.
#[track_caller]
fn expect_traced(loaded: &Loaded, parts: &[&str]) {
    let story = Story::of(loaded);
    let line = story.printed(parts[0]).into_iter().find(|line| parts.iter().all(|part| line.contains(part)));
    assert!(line.is_some(), "no line with {parts:?} in\n{story}");
}

/// Loads with a value that cannot be used: it is traced, the default is used, and the service works.
fn falls_back(rig: &Rig, name: &'static str, value: Value, parts: &[&str]) {
    rig.bench().set_parameter(SERVICE, name, value.clone());
    let loaded = load(rig);
    let parts: Vec<&str> = [name].into_iter().chain(parts.iter().copied()).collect();
    expect_traced(&loaded, &parts);
    if name == "EchoPort" {
        // The default port may be somebody else's here: then it says that it cannot have it.
        until(&loaded, "port 40007 is tried", || {
            !Story::of(&loaded).printed("listen at 127.0.0.1:40007").is_empty() || is_at_40007(&loaded)
        });
    } else {
        drop(echoed(address(&loaded)));
    }
    unload_clean(&loaded);
    rig.bench().clear_parameter(SERVICE, name);
    rig.set_port(0);
    rig.set_address("127.0.0.1");
}

fn is_at_40007(loaded: &Loaded) -> bool {
    loaded.events().iter().filter_map(wskclient_tests::rig::listening).any(|place| place == at(Ipv4Addr::LOCALHOST, 40007))
}

/// Values that no number can be, of other types, too short, too long; and what of them has to be shown.
fn no_numbers() -> [(Value, &'static str); 7] {
    let text = "12345".to_owned();
    let binary = |length| Value::Binary(vec![1; length]);
    [
        (Value::Sz(text.clone()), "'12345'"),
        (Value::MultiSz(vec![text]), "'12345'"),
        (Value::Sz("%s%n".to_owned()), "'%s%n'"),
        (Value::Qword(5000), "88 13 00"),
        (binary(4), "01 01 01 01"),
        (binary(0), "type 3"),
        (binary(3000), "3000 bytes"),
    ]
}

isolated! {
    /// One more than MaxConnections is refused and counted; a place that is free again is used again.
    #[test]
    fn service_max_connections_refuses_and_counts() {
        let loaded = load(&with("MaxConnections", Value::Dword(5)));
        let where_to = address(&loaded);
        let mut served = idle(where_to, 5);
        let mut refused: Vec<_> = (0..3).map(|_| peer::connect(where_to).expect("accepted, and then reset")).collect();
        assert!(refused.iter_mut().all(is_ended), "a connection above the limit was not ended");
        let state = state_when(&loaded, |state| state.totals.refused == 3);
        assert_eq!((state.totals.connections, state.totals.accepted), (5, 5), "{state:?}");
        for stream in &mut served {
            peer::exchange(stream, 1).expect("those within it go on");
        }
        served.truncate(3);
        state_when(&loaded, |state| state.totals.connections == 3);
        served.extend(idle(where_to, 2));
        assert_eq!(loaded.state().expect("the state").totals.refused, 3);
        unload_clean(&loaded);
    }

    /// MaxBytes bounds what connections hold: further ones are refused, large buffers not given, and both work on.
    #[test]
    fn service_max_bytes_refuses_and_counts() {
        const MOST: u32 = 128 << 10;
        let loaded = load(&with("MaxBytes", Value::Dword(MOST)));
        let where_to = address(&loaded);
        let mut served = Vec::new();
        while let Ok(mut stream) = peer::connect(where_to) {
            if peer::exchange(&mut stream, 1).is_err() || served.len() > 100 {
                break;
            }
            served.push(stream);
        }
        assert!(served.len() > 5 && served.len() < 40, "{} connections in {MOST} bytes", served.len());
        let state = state_when(&loaded, |state| state.totals.refused > 0);
        assert!(state.totals.most_held <= MOST.into(), "{state:?}");
        let pool = loaded.bench().stats().pool;
        let held: u64 = ["WskB", "WskS", "WskT", "WskO"].iter().filter_map(|tag| pool.tags.get(*tag)).map(|tag| tag.bytes).sum();
        assert!(held <= u64::from(MOST) + 8192, "{held} bytes are held, {MOST} are allowed");
        for stream in &mut served {
            peer::exchange(stream, 2).expect("those within it go on");
        }
        drop(served);
        state_when(&loaded, |state| state.totals.held == 0);
        drop(echoed(where_to));
        unload_clean(&loaded);
    }

    /// Connections that have large buffers keep no others out: a quarter of the bytes is not given for those.
    #[test]
    fn service_large_buffers_leave_room_for_connections() {
        const MOST: u32 = 512 << 10;
        let loaded = load(&with("MaxBytes", Value::Dword(MOST)));
        let where_to = address(&loaded);
        let busy: Vec<_> = (0..12).map(|_| never_reads(where_to)).collect();
        let state = state_when(&loaded, |state| state.totals.connections == 12 && state.totals.held > u64::from(MOST) / 2);
        assert!(state.totals.most_held <= MOST.into(), "{state:?}");
        let others = idle(where_to, 5);
        assert_eq!(loaded.state().expect("the state").totals.refused, 0, "kept out by large buffers");
        drop((busy, others));
        unload_clean(&loaded);
    }

    /// The wildcard: one listener for both families.
    #[test]
    fn service_the_wildcard_is_served_by_one_listener_of_both_families() {
        let loaded = load(&with("EchoAddress", Value::Sz("*".to_owned())));
        let places = places(&loaded, 1);
        assert_eq!(places.len(), 1, "{places:?}");
        assert_eq!(places[0].ip(), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        drop(echoed(at(Ipv4Addr::LOCALHOST, places[0].port())));
        drop(echoed(at(Ipv6Addr::LOCALHOST, places[0].port())));
        assert_eq!(loaded.bench().provider().stats().listeners, 1);
        unload_clean(&loaded);
    }

    /// The same on a provider that has no dual-stack sockets: one listener for each family.
    #[test]
    fn service_the_wildcard_is_served_by_two_listeners_where_there_are_no_dual_stack_sockets() {
        let rig = with("EchoAddress", Value::Sz("*".to_owned()));
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        rig.set_port(port);
        rig.bench().provider().set_faults(Faults { refuse_dual_stack: true, ..Faults::default() });
        let loaded = load(&rig);
        let mut places = places(&loaded, 2);
        places.sort();
        assert_eq!(places, [at(Ipv4Addr::UNSPECIFIED, port), at(Ipv6Addr::UNSPECIFIED, port)]);
        drop(echoed(at(Ipv4Addr::LOCALHOST, port)));
        drop(echoed(at(Ipv6Addr::LOCALHOST, port)));
        assert_eq!(loaded.bench().provider().stats().listeners, 2, "the first socket was not closed");
        expect_traced(&loaded, &["both families", "one for each"]);
        unload_clean(&loaded);
    }

    /// The wildcard is served only if asked for.
    #[test]
    fn service_other_addresses_than_those_asked_for_are_not_served() {
        let loaded = load(&with("EchoAddress", Value::Sz("127.0.0.2".to_owned())));
        let where_to = address(&loaded);
        assert_eq!(where_to.ip(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
        assert!(TcpStream::connect(at(Ipv4Addr::LOCALHOST, where_to.port())).is_err());
        unload_clean(&loaded);
    }

    #[test]
    fn service_several_addresses_in_every_spelling() {
        let list = Value::MultiSz(vec!["127.0.0.1".into(), "127.0.0.2, ::1".into(), "\t127.0.0.3 ".into()]);
        let loaded = load(&with("EchoAddress", list));
        let mut ips: Vec<_> = places(&loaded, 4).into_iter().map(|place| place.ip().to_string()).collect();
        ips.sort();
        assert_eq!(ips, ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"]);
        unload_clean(&loaded);
    }

    /// An address that is not there yet, as at boot: it is tried again, until it is. (The two sockets that watch for changes meet
    /// the same provider.)
    #[test]
    fn service_an_address_that_comes_later_is_tried_again() {
        let rig = rig();
        // It is not there before the load is over, whatever that waits for.
        rig.bench().provider().set_faults(Faults { absent_address: u32::MAX, ..Faults::default() });
        let loaded = load(&rig);
        until(&loaded, "a bind fails", || !Story::of(&loaded).printed("cannot listen").is_empty());
        rig.bench().provider().set_faults(Faults { absent_address: 5, ..Faults::default() });
        drop(echoed(address(&loaded)));
        expect_traced(&loaded, &["cannot listen at 127.0.0.1"]);
        assert_eq!(Story::of(&loaded).printed("cannot listen").len(), 1, "each try is traced");
        unload_clean(&loaded);
    }

    /// A listener that the provider takes away is told of, and made anew; so is a socket for datagrams.
    #[test]
    fn service_a_socket_that_is_taken_away_is_made_anew() {
        let rig = serving::bare_rig();
        serving::add(&rig, "it", "echo", "both", &[("Address", Value::Sz("127.0.0.1".to_owned()))]);
        let loaded = load(&rig);
        drop(echoed(serving::place_of(&loaded, "it", false)));
        let to = serving::place_of(&loaded, "it", true);
        // The place that follows the first one.
        let second = |datagrams| {
            let again = || serving::listening(&loaded).into_iter().filter(|place| place.datagrams == datagrams).nth(1);
            until(&loaded, "a second socket", || again().is_some());
            again().expect("a second socket").at
        };
        rig.bench().provider().break_sockets();
        drop(echoed(second(false)));
        assert_eq!(Story::of(&loaded).printed("is gone").len(), 1);
        rig.bench().provider().set_faults(Faults { break_datagrams: true, ..Faults::default() });
        serving::datagram_peer(to).send(b"breaks it").expect("sent");
        until(&loaded, "the socket is gone", || Story::of(&loaded).printed("is gone").len() == 2);
        rig.bench().provider().set_faults(Faults::default());
        let peer = serving::datagram_peer(second(true));
        peer.send(b"again").expect("sent");
        assert_eq!(serving::next_datagram(&peer, Duration::from_secs(10)), Some(b"again".to_vec()));
        unload_clean(&loaded);
    }

    /// A port that somebody else has: it is tried again, and taken when it is free.
    #[test]
    fn service_a_port_that_is_taken_is_tried_again() {
        let other = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = other.local_addr().expect("its address").port();
        let rig = rig();
        rig.set_port(port);
        let loaded = load(&rig);
        until(&loaded, "a bind fails", || !Story::of(&loaded).printed("cannot listen").is_empty());
        std::thread::sleep(Duration::from_millis(300));
        drop(other);
        assert_eq!(address(&loaded), at(Ipv4Addr::LOCALHOST, port));
        drop(echoed(at(Ipv4Addr::LOCALHOST, port)));
        unload_clean(&loaded);
    }

    /// Every number, of every wrong type and on both sides of its range.
    #[test]
    fn service_settings_that_are_no_numbers_are_traced_and_replaced() {
        let rig = rig();
        let numbers =
            [("EchoPort", 40007), ("MaxConnections", 16384), ("MaxBytes", 256 << 20), ("BufferSize", 65_536), ("StopGraceMs", 0)];
        for (name, default) in numbers {
            for (value, shown) in no_numbers() {
                falls_back(&rig, name, value, &[shown, "REG_DWORD", &format!("using {default}")]);
            }
        }
    }

    #[test]
    fn service_numbers_out_of_range_are_traced_and_replaced() {
        let rig = rig();
        let cases: [(&str, u32, &str); 9] = [
            ("EchoPort", 65_536, "40007"),
            ("EchoPort", u32::MAX, "40007"),
            ("MaxConnections", 0, "16384"),
            ("MaxConnections", u32::MAX, "16384"),
            ("MaxBytes", 1000, "268435456"),
            ("BufferSize", 4095, "65536"),
            ("BufferSize", (1 << 20) + 1, "65536"),
            ("BufferSize", 0, "65536"),
            ("StopGraceMs", u32::MAX, "0"),
        ];
        for (name, value, default) in cases {
            falls_back(&rig, name, Value::Dword(value), &[&format!(" {value},"), &format!("using {default}")]);
        }
    }

    #[test]
    fn service_numbers_at_the_ends_of_their_ranges_are_taken() {
        let rig = rig();
        for (name, value) in [("BufferSize", 4096), ("BufferSize", 1 << 20), ("MaxConnections", 1), ("MaxBytes", u32::MAX), ("StopGraceMs", 1)] {
            rig.bench().set_parameter(SERVICE, name, Value::Dword(value));
            let loaded = load(&rig);
            peer::push(address(&loaded), 3_000_000, 1, &std::sync::atomic::AtomicU64::new(0)).expect("echo works");
            let story = Story::of(&loaded);
            assert_eq!(story.printed(name), Vec::<&str>::new());
            unload_clean(&loaded);
            rig.bench().clear_parameter(SERVICE, name);
        }
    }

    #[test]
    fn service_addresses_that_are_none_are_traced_and_replaced() {
        let rig = rig();
        let text = |text: &str| Value::Sz(text.to_owned());
        let cases = [
            (text("nowhere"), "'nowhere'"),
            (text("127.0.0.1:80"), "'127.0.0.1:80'"),
            (text("999.0.0.1"), "'999.0.0.1'"),
            (text(""), "loopback"),
            (text(&"x".repeat(200)), "xxx"),
            (text(&"127.0.0.1 ".repeat(300)), "loopback"),
            (text("ümläut %s%n%d"), "%s%n%d"),
            (Value::Dword(0x7f00_0001), "type 4"),
            (Value::Qword(1), "type 11"),
            (Value::Binary(vec![0xff; 7]), "type 3"),
            (Value::Binary(Vec::new()), "type 3"),
            (Value::MultiSz(Vec::new()), "loopback"),
        ];
        for (value, part) in cases {
            falls_back(&rig, "EchoAddress", value, &[part]);
        }
    }

    #[test]
    fn service_a_bad_address_among_good_ones_is_left_out() {
        let loaded = load(&with("EchoAddress", Value::Sz("bad 127.0.0.2".to_owned())));
        assert_eq!(address(&loaded).ip().to_string(), "127.0.0.2");
        expect_traced(&loaded, &["EchoAddress", "'bad'"]);
        unload_clean(&loaded);
    }

    #[test]
    fn service_more_addresses_than_it_takes_are_traced() {
        let list: Vec<String> = (1..=10).map(|last| format!("127.0.0.{last}")).collect();
        let loaded = load(&with("EchoAddress", Value::Sz(list.join(" "))));
        assert_eq!(places(&loaded, 8).len(), 8);
        expect_traced(&loaded, &["EchoAddress", "127.0.0.9"]);
        expect_traced(&loaded, &["EchoAddress", "127.0.0.10"]);
        unload_clean(&loaded);
        assert_clean(loaded.bench());
    }
}
