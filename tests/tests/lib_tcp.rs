//! TCP of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/tcp.rs`).

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;

use support::exercise::{NO_TARGET, exercise};
use support::{isolated, peer};

isolated! {
    #[test]
    fn lib_tcp_a_listener_takes_a_connection_and_echoes_it_to_its_end() {
        let run = exercise("tcp_echo_once", NO_TARGET);
        let mut stream = peer::connect(run.at()).expect("a connection");
        stream.write_all(b"hello").expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        let mut back = String::new();
        stream.read_to_string(&mut back).expect("all of it, and then a FIN");
        assert_eq!(back, "hello");
        run.expect_ok_and_unload();
    }
}
