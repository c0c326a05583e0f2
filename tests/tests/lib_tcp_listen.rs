//! Listening, of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/tcp_listen.rs`).

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use ntbench::wsk::{Action, Faults, Function, When};
use ntbench::{NtStatus, Value};
use support::exercise::{Exercise, NO_TARGET, exercise, exercise_on, exercise_rig};
use support::{config, hosts, isolated, peer, peers, until};

/// A word, there and back, and both ends.
#[track_caller]
fn echoed(address: SocketAddr) {
    let mut stream = peer::connect(address).expect("a connection");
    stream.write_all(b"hello").expect("sent");
    stream.shutdown(Shutdown::Write).expect("half-closed");
    let mut back = String::new();
    stream.read_to_string(&mut back).expect("all of it, and then a FIN");
    assert_eq!(back, "hello");
}

fn echoes(run: &Exercise, count: usize) {
    let address = run.at();
    (0..count).for_each(|_| echoed(address));
}

fn on(port: u16, ip: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

/// Whether the other side has reset, or ended, a connection over which nothing came.
fn was_refused(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a time limit");
    match stream.read(&mut [0; 1]) {
        Ok(length) => length == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

isolated! {
    #[test]
    fn lib_tcp_listen_by_event() {
        let run = exercise("tcp_listen_by_event", NO_TARGET);
        echoes(&run, 20);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_listen_by_accepts_where_the_provider_has_no_events() {
        let rig = exercise_rig(config());
        rig.bench().provider().set_faults(Faults { refuse_events: Some(NtStatus::NOT_SUPPORTED), ..Faults::default() });
        let run = exercise_on(&rig, "tcp_listen_whichever", NO_TARGET);
        assert_eq!(run.said("by event"), "false");
        echoes(&run, 3);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_listen_by_event_where_all_have_it() {
        let rig = exercise_rig(config());
        rig.set("StaticEvents", Value::Dword(1));
        let run = exercise_on(&rig, "tcp_listen_static_event", NO_TARGET);
        echoes(&run, 20);
        run.expect_ok_and_unload();
    }

    #[test]
    fn l14_an_accept_event_without_a_reserve_is_refused() {
        let run = exercise("tcp_listen_refuses", NO_TARGET);
        let address = run.at();
        let mut three: Vec<_> = (0..3).map(|_| peer::connect(address).expect("a connection")).collect();
        run.said("refused");
        let refused = three.iter_mut().map(was_refused).filter(|refused| *refused).count();
        assert_eq!(refused, 2, "one was reserved for");
        for stream in &three {
            let _ = stream.shutdown(Shutdown::Write);
        }
        echoed(address);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_listen_bequeaths_events() {
        let run = exercise("tcp_listen_inherits", NO_TARGET);
        let mut stream = peer::connect(run.at()).expect("a connection");
        run.said("waiting");
        stream.write_all(b"hello").expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        hosts::hear_last(&mut stream, "hello");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_listen_dropped_takes_what_nobody_accepted_with_it() {
        let run = exercise("tcp_listen_dropped", NO_TARGET);
        let mut three: Vec<_> = (0..3).map(|_| peer::connect(run.at()).expect("a connection")).collect();
        run.expect_ok();
        peers::expect_all_ended(&mut three);
        run.unload_clean();
    }

    #[test]
    fn lib_tcp_listen_for_both_families() {
        let run = exercise("tcp_listen_both_families", NO_TARGET);
        let port = run.at().port();
        echoed(on(port, Ipv4Addr::LOCALHOST));
        echoed(on(port, Ipv6Addr::LOCALHOST));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_listen_for_one_family() {
        let run = exercise("tcp_listen_one_family", NO_TARGET);
        let port = run.at().port();
        assert!(TcpStream::connect(on(port, Ipv4Addr::LOCALHOST)).is_err(), "IPv4 is not served");
        echoed(on(port, Ipv6Addr::LOCALHOST));
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_listen_where_somebody_else_does() {
        let (_taken, address) = hosts::listener();
        let run = exercise("tcp_listen_address_in_use", address);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_listen_by_a_stream_socket() {
        let run = exercise("tcp_listen_stream_socket", NO_TARGET);
        echoes(&run, 3);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_listen_by_a_stream_socket_and_the_event() {
        let run = exercise("tcp_listen_stream_socket_by_event", NO_TARGET);
        echoes(&run, 10);
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_accepts_end_at_unload() {
        let run = exercise("tcp_listen_ends", NO_TARGET);
        let mut stream = peer::connect(run.at()).expect("a connection");
        run.said("waiting");
        run.unload_clean();
        assert!(peers::is_ended(&mut stream));
        run.expect_ok();
    }

    #[test]
    fn lib_tcp_listener_that_outlives_its_binding_has_no_reserves() {
        let run = exercise("tcp_listen_kept", NO_TARGET);
        drop(peer::connect(run.at()).expect("a connection"));
        run.unload_clean();
        run.expect_ok();
    }

    #[test]
    fn lib_tcp_accepts_end_when_the_provider_departs() {
        let run = exercise("tcp_listen_ends", NO_TARGET);
        let _stream = peer::connect(run.at()).expect("a connection");
        run.said("waiting");
        support::depart(run.bench());
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_accepts_end_when_the_sockets_function_no_more() {
        let run = exercise("tcp_listen_ends", NO_TARGET);
        run.said("waiting");
        run.bench().provider().break_sockets();
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_tcp_accept_events_while_the_driver_goes() {
        let run = exercise("tcp_listen_by_event", NO_TARGET);
        let address = run.at();
        let pouring = std::thread::spawn(move || {
            let stream = || TcpStream::connect(address).ok();
            std::iter::from_fn(stream).take(2000).collect::<Vec<_>>().len()
        });
        until(&run.loaded, "they come", || run.bench().provider().stats().connections > 0 || pouring.is_finished());
        run.unload_clean();
        assert!(pouring.join().expect("the peers") > 0);
    }

    #[test]
    fn lib_tcp_listen_when_the_accepted_are_late() {
        let rig = exercise_rig(config());
        let late = Faults::rule(Function::Accept, When::Always, Action::Late(Duration::from_millis(10)));
        rig.bench().provider().set_faults(Faults { refuse_events: Some(NtStatus::NOT_SUPPORTED), ..late });
        let run = exercise_on(&rig, "tcp_listen_whichever", NO_TARGET);
        echoes(&run, 3);
        run.expect_ok_and_unload();
    }
}
