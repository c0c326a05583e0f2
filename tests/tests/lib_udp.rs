//! UDP of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/udp.rs`).

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use support::exercise::{NO_TARGET, exercise};
use support::isolated;

/// A socket of the host's.
fn host(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    socket
}

isolated! {
    #[test]
    fn lib_udp_a_socket_echoes_datagrams_of_all_sizes() {
        let run = exercise("udp_echo", NO_TARGET);
        let peer = host("127.0.0.1:0");
        peer.connect(run.at()).expect("an address");
        for size in [0, 1, 512, 2048] {
            let sent = vec![size as u8; size];
            peer.send(&sent).expect("sent");
            let mut back = [0; 4096];
            let length = peer.recv(&mut back).expect("an answer");
            assert_eq!(back[..length], sent);
        }
        peer.send(b"end").expect("sent");
        run.expect_ok_and_unload();
    }
}
