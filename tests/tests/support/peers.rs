//! The other ends of the driver's connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use super::peer;

/// A connection that has been echoed to once, so that it is served.
#[track_caller]
pub fn echoed(address: SocketAddr) -> TcpStream {
    peer::echo_works(address).expect("echo works")
}

/// So many connections that have been echoed to once, and then do nothing.
#[track_caller]
pub fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| echoed(address)).collect()
}

/// Whether the other side ends the connection within a while: by FIN or by reset. What still comes is thrown away.
pub fn is_ended(stream: &mut TcpStream) -> bool {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    loop {
        match stream.read(&mut [0; 65536]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// Fails unless the other side has ended all of these.
#[track_caller]
pub fn expect_all_ended(streams: &mut [TcpStream]) {
    let open = streams.iter_mut().map(is_ended).filter(|ended| !ended).count();
    assert_eq!(open, 0, "{open} of {} connections were not ended", streams.len());
}

/// A peer that sends and never reads, so that the driver's WskSend stays pending.
pub fn never_reads(address: SocketAddr) -> TcpStream {
    let mut stream = peer::connect(address).expect("a connection");
    stream.set_write_timeout(Some(Duration::from_millis(150))).expect("a time limit");
    // Not after the first time-out: the machine may have had other things to do.
    let mut refused = 0;
    while refused < 2 {
        refused = if stream.write(&[7; 65536]).is_ok() { 0 } else { refused + 1 };
    }
    stream
}

/// Peers that push random bytes and check what comes back, until the other side ends them.
pub struct Traffic(Vec<JoinHandle<()>>);

impl Traffic {
    /// Starts so many.
    pub fn start(address: SocketAddr, count: usize) -> Self {
        Self((0..count).map(|number| std::thread::spawn(move || push(address, number as u8))).collect())
    }

    /// Waits until all have been ended; fails if a byte was wrong, or one is not ended.
    pub fn expect_ended(self) {
        self.0.into_iter().for_each(|thread| thread.join().expect("each byte is right, and the connection is ended"));
    }
}

/// Sends a pattern and checks its echo, round by round, until the connection is ended.
fn push(address: SocketAddr, seed: u8) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let sent: Vec<u8> = (0..20_000_u32).map(|i| (i.wrapping_mul(31) as u8) ^ seed).collect();
    let mut back = vec![0; sent.len()];
    while stream.write_all(&sent).is_ok() {
        match stream.read_exact(&mut back) {
            Ok(()) => assert!(back == sent, "what came back is not what was sent"),
            Err(error) => {
                return assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "not ended: {error}");
            }
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Sends these bytes and half-closes; what comes back until the end.
pub fn exchange_all(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = peer::connect(to).expect("a connection");
    let mut writer = stream.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).expect("sent");
            writer.shutdown(Shutdown::Write).expect("half-closed");
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("all of it, and then a FIN");
        back
    })
}
