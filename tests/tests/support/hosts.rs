//! Servers on the host, for scenarios of the library that connect.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a connection of a test may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listener on this host, and where it is.
pub fn listener() -> (TcpListener, SocketAddr) {
    listener_at(Ipv4Addr::LOCALHOST.into())
}

fn listener_at(own: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((own, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// A port at which nobody listens.
pub fn nobody() -> SocketAddr {
    listener().1
}

/// The next connection.
#[track_caller]
pub fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, peer) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time limit");
    (stream, peer)
}

/// A server for one connection, which `serve` talks over.
pub fn serve<T: Send + 'static>(serve: impl FnOnce(TcpStream, SocketAddr) -> T + Send + 'static) -> (SocketAddr, JoinHandle<T>) {
    serve_at(Ipv4Addr::LOCALHOST.into(), serve)
}

/// [`serve`] at this address.
pub fn serve_at<T: Send + 'static>(
    own: IpAddr,
    serve: impl FnOnce(TcpStream, SocketAddr) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let (listener, address) = listener_at(own);
    let served = std::thread::spawn(move || {
        let (stream, peer) = next(&listener);
        serve(stream, peer)
    });
    (address, served)
}

/// Reads this text.
#[track_caller]
pub fn hear(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).expect("what the driver was to send");
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

/// Sends a text.
#[track_caller]
pub fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("sent");
}

/// Reads to the end, which has to be a FIN after this text.
#[track_caller]
pub fn hear_last(stream: &mut TcpStream, text: &str) {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("a FIN");
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

/// Ends the sending side.
#[track_caller]
pub fn end(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("half-closed");
}

/// The other side of the scenarios' `greet`: hears "hello", says "world", and waits for the end.
#[track_caller]
pub fn greet(mut stream: TcpStream, peer: SocketAddr) -> SocketAddr {
    hear(&mut stream, "hello");
    say(&mut stream, "world");
    end(&stream);
    hear_last(&mut stream, "");
    peer
}
