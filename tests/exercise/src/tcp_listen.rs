//! Scenarios of listening: connections brought by the accept event, options, both families, stream sockets.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use wsk::{Addresses, BindError, Binding, Family, IoError, ListenOptions, OpenError, TcpListener, TcpSocket, TcpStream, timeout};

use crate::failure::{Doing, Failure, expect};
use crate::wire::{nothing_left, pause, room};
use crate::{Outcome, at, say};

const HERE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const EVERYWHERE: SocketAddr = SocketAddr::new(core::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

async fn listening(binding: &Binding, name: &str, options: &ListenOptions) -> Result<TcpListener, Failure> {
    listening_at(binding, name, HERE, options).await
}

async fn listening_at(
    binding: &Binding,
    name: &str,
    where_to: SocketAddr,
    options: &ListenOptions,
) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind_with(binding, where_to, options).await.doing("listen")?;
    at(name, listener.local_address().await.doing("local address")?);
    Ok(listener)
}

/// Echoes to the end of the stream.
async fn echo(mut stream: TcpStream) -> Outcome {
    let mut buffer = room(4096)?;
    loop {
        buffer = stream.receive(buffer).await.doing("receive")?;
        if buffer.filled().is_empty() {
            return stream.finish().await.doing("finish");
        }
        buffer = stream.send(buffer).await.doing("send")?;
    }
}

/// So many connections, one after the other, each from where it says.
async fn echo_some(listener: &mut TcpListener, count: usize) -> Outcome {
    for _ in 0..count {
        let (stream, peer) = listener.accept().await.doing("accept")?;
        expect(stream.peer_address().await.doing("peer address")? == peer.ok_or(Failure::new("peer", "none"))?, "the peer")?;
        echo(stream).await?;
    }
    Ok(())
}

/// Twenty connections, brought by an event for which two are reserved.
pub(crate) async fn by_event(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_listen_by_event", &ListenOptions::new().by_event(2)).await?;
    expect(listener.is_by_event(), "the event")?;
    echo_some(&mut listener, 20).await?;
    expect(listener.refused() == 0, "none refused")
}

/// The same on a provider without events, or with others.
pub(crate) async fn whichever(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_listen_whichever", &ListenOptions::new().by_event(2)).await?;
    say("tcp_listen_whichever", format_args!("by event {}", listener.is_by_event()));
    echo_some(&mut listener, 3).await
}

/// A listener that did not ask for the event, where all have it.
pub(crate) async fn static_event(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_listen_static_event", &ListenOptions::new()).await?;
    expect(listener.is_by_event(), "the event")?;
    echo_some(&mut listener, 20).await
}

/// Three come while one is reserved: two are refused.
pub(crate) async fn refuses(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_listen_refuses", &ListenOptions::new().by_event(1)).await?;
    while listener.refused() < 2 {
        pause(5).await?;
    }
    say("tcp_listen_refuses", "refused");
    echo_some(&mut listener, 1).await?;
    // There is room again.
    echo_some(&mut listener, 1).await?;
    expect(listener.refused() == 2, "no more refused")
}

/// Connections come with their events on.
pub(crate) async fn inherits(binding: &Binding, _: SocketAddr) -> Outcome {
    let options = ListenOptions::new().by_event(2).with_events(true);
    let mut listener = listening(binding, "tcp_listen_inherits", &options).await?;
    let (mut stream, _) = listener.accept().await.doing("accept")?;
    let early = timeout(Duration::from_millis(50), stream.readable()).await;
    expect(early.is_err(), "a wait for the event")?;
    say("tcp_listen_inherits", "waiting");
    stream.readable().await.doing("readable")?;
    echo(stream).await
}

/// Connections that nobody accepts go with the listener, and so do the reserves.
pub(crate) async fn dropped(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_listen_dropped", &ListenOptions::new().by_event(8)).await?;
    let accepting = timeout(Duration::from_secs(10), listener.accept()).await.doing("wait")?;
    let (first, _) = accepting.doing("accept")?;
    // The other two are there by now, or will be refused.
    pause(50).await?;
    drop(listener);
    drop(first);
    nothing_left(binding).await
}

/// IPv4 and IPv6 at one address, or IPv6 alone.
pub(crate) async fn both_families(binding: &Binding, _: SocketAddr) -> Outcome {
    let options = ListenOptions::new().addresses(Addresses::Both).by_event(4);
    let mut listener = listening_at(binding, "tcp_listen_both_families", EVERYWHERE, &options).await?;
    echo_some(&mut listener, 2).await
}

/// IPv6 alone, on the wildcard.
pub(crate) async fn one_family(binding: &Binding, _: SocketAddr) -> Outcome {
    let options = ListenOptions::new().addresses(Addresses::OwnFamily).by_event(4);
    let mut listener = listening_at(binding, "tcp_listen_one_family", EVERYWHERE, &options).await?;
    echo_some(&mut listener, 1).await
}

/// The address of the target is taken, and so is that of a listener of our own: refused without the option, shared with it (on
/// the bench's host: if both have it).
pub(crate) async fn address_in_use(binding: &Binding, target: SocketAddr) -> Outcome {
    let (alone, shared) = (ListenOptions::new(), ListenOptions::new().reuse_address(true));
    let is_taken = async |address, options| {
        let taken = TcpListener::bind_with(binding, address, options).await.map(drop);
        expect(matches!(taken, Err(BindError::Bind(IoError::Provider(_)))), "an address that is taken")
    };
    is_taken(target, &alone).await?;
    let first = TcpListener::bind_with(binding, HERE, &shared).await.doing("listen with the option")?;
    let address = first.local_address().await.doing("local address")?;
    is_taken(address, &alone).await?;
    let second = TcpListener::bind_with(binding, address, &shared).await.doing("listen there too")?;
    expect(second.local_address().await.doing("local address")? == address, "the same address")
}

/// A stream socket listens; a connection socket cannot.
pub(crate) async fn stream_socket(binding: &Binding, _: SocketAddr) -> Outcome {
    let wrong = TcpSocket::new(binding, Family::V4).await.doing("a socket")?;
    let wrong = wrong.listen(HERE, &ListenOptions::new()).await.map(drop);
    expect(matches!(wrong, Err(BindError::Listen(IoError::Provider(_)))), "a connection socket does not listen")?;
    let mut socket = TcpSocket::stream(binding, Family::V4).await.doing("a stream socket")?;
    socket.bind(HERE).await.doing("bind")?;
    let mut listener = socket.listen(HERE, &ListenOptions::new()).await.doing("listen")?;
    at("tcp_listen_stream_socket", listener.local_address().await.doing("local address")?);
    echo_some(&mut listener, 3).await
}

/// The same, by event, bound by the listening itself.
pub(crate) async fn stream_socket_by_event(binding: &Binding, _: SocketAddr) -> Outcome {
    let socket = TcpSocket::stream(binding, Family::V4).await.doing("a stream socket")?;
    let mut listener = socket.listen(HERE, &ListenOptions::new().by_event(2)).await.doing("listen")?;
    expect(listener.is_by_event(), "the event")?;
    at("tcp_listen_stream_socket_by_event", listener.local_address().await.doing("local address")?);
    echo_some(&mut listener, 10).await
}

/// Waits for connections until the binding ends, or the provider breaks the sockets.
pub(crate) async fn ends(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut pending = TcpListener::bind_with(binding, HERE, &ListenOptions::new()).await.doing("listen")?;
    let mut indicated = listening(binding, "tcp_listen_ends", &ListenOptions::new().by_event(3)).await?;
    let accepting = async move { pending.accept().await.map(drop) };
    let accepting = binding.executor().spawn(wsk::Lane::Dispatch, accepting).doing("a task")?;
    // One is brought, and stays where it is.
    pause(30).await?;
    say("tcp_listen_ends", "waiting");
    let first = indicated.accept().await;
    let outcome = match first {
        Ok(_) => indicated.accept().await.map(drop),
        Err(error) => Err(error),
    };
    expect(outcome == Err(OpenError::Detached), "the end of the accept by event")?;
    expect(accepting.await.doing("join")? == Err(OpenError::Detached), "the end of the pending accept")
}

/// A listener whose owner keeps it long after the binding has gone: its reserves went with its close.
pub(crate) async fn kept(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_listen_kept", &ListenOptions::new().by_event(8)).await?;
    binding.ended().await.doing("wait for the end")?;
    pause(300).await?;
    expect(listener.accept().await.map(drop) == Err(OpenError::Detached), "the end")?;
    drop(listener);
    Ok(())
}
