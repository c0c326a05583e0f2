//! Scenarios of connecting.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use wsk::{Binding, ConnectError, Family, KeepAlive, OpenError, TcpSocket, TcpStream, timeout};

use crate::failure::{Doing, Failure, expect};
use crate::wire::{greet, nothing_left, room, text};
use crate::{Outcome, say};

const ANY_PORT: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// In one call; both addresses are what they are.
pub(crate) async fn greet_once(binding: &Binding, target: SocketAddr) -> Outcome {
    let stream = TcpStream::connect(binding, target).await.doing("connect")?;
    expect(stream.peer_address().await.doing("peer address")? == target, "the peer's address")?;
    say("tcp_connect_greet_once", format_args!("from {}", stream.local_address().await.doing("local address")?));
    greet(stream).await
}

/// By a socket with options, bound to an address of its own.
pub(crate) async fn bound(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut socket = TcpSocket::new(binding, Family::of(target)).await.doing("a socket")?;
    let times = KeepAlive { time: Some(Duration::from_secs(7)), interval: Some(Duration::from_secs(2)), count: Some(3) };
    socket.set_keep_alive(Some(times)).await.doing("keep-alive")?;
    socket.set_receive_buffer(32 << 10).await.doing("receive buffer")?;
    socket.set_send_buffer(32 << 10).await.doing("send buffer")?;
    socket.set_no_delay_option(true).await.doing("no delay")?;
    socket.bind(ANY_PORT).await.doing("bind")?;
    let local = socket.local_address().await.doing("local address")?;
    say("tcp_connect_bound", format_args!("from {local}"));
    let stream = socket.connect(target).await.doing("connect")?;
    expect(stream.local_address().await.doing("local address")? == local, "the address it was bound to")?;
    greet(stream).await
}

/// Options of a stream, while it is connected.
pub(crate) async fn options(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = TcpStream::connect(binding, target).await.doing("connect")?;
    stream.set_keep_alive(Some(KeepAlive::default())).await.doing("keep-alive on")?;
    stream.set_keep_alive(None).await.doing("keep-alive off")?;
    stream.set_no_delay_option(true).await.doing("no delay")?;
    stream.set_send_buffer(48 << 10).await.doing("send buffer")?;
    stream.set_receive_buffer(40 << 10).await.doing("receive buffer")?;
    say("tcp_connect_options", format_args!("from {}", stream.local_address().await.doing("local address")?));
    stream.receive_exact(room(2)?).await.doing("receive")?;
    stream.finish().await.doing("finish")
}

/// By a socket that was not bound.
pub(crate) async fn unbound(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = TcpSocket::new(binding, Family::of(target)).await.doing("a socket")?;
    greet(socket.connect(target).await.doing("connect")?).await
}

/// By a stream socket.
pub(crate) async fn stream_socket(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = TcpSocket::stream(binding, Family::of(target)).await.doing("a socket")?;
    let stream = socket.connect(target).await.doing("connect")?;
    expect(stream.peer_address().await.doing("peer address")? == target, "the peer's address")?;
    greet(stream).await
}

/// With "hello" in the connecting.
pub(crate) async fn with_data(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = TcpSocket::new(binding, Family::of(target)).await.doing("a socket")?;
    match socket.connect_with(target, text("hello")?).await {
        Ok((mut stream, buffer)) => {
            expect(buffer.filled() == b"hello", "the buffer that was sent")?;
            stream.send(text(", world")?).await.doing("send")?;
            stream.finish().await.doing("finish")?;
            stream.drain().await.doing("drain")
        }
        Err(failed) => {
            expect(failed.buffer.is_some_and(|buffer| buffer.filled() == b"hello"), "the buffer comes back")?;
            say("tcp_connect_with_data", format_args!("answer {:?}", failed.error));
            Ok(())
        }
    }
}

/// Says how it went, whatever that is, and leaves nothing.
pub(crate) async fn report(binding: &Binding, target: SocketAddr) -> Outcome {
    let outcome = TcpStream::connect(binding, target).await.map(drop);
    say("tcp_connect_report", format_args!("answer {outcome:?}"));
    nothing_left(binding).await
}

/// As [`report`], by a socket, which is bound and connected in two calls.
pub(crate) async fn report_in_steps(binding: &Binding, target: SocketAddr) -> Outcome {
    let outcome = match TcpSocket::new(binding, Family::of(target)).await {
        Ok(socket) => socket.connect(target).await.map(drop),
        Err(error) => Err(error.into()),
    };
    say("tcp_connect_report_in_steps", format_args!("answer {outcome:?}"));
    nothing_left(binding).await
}

/// The future is dropped while the call is out; whatever comes of it is closed.
pub(crate) async fn dropped(binding: &Binding, target: SocketAddr) -> Outcome {
    let limited = timeout(Duration::from_millis(30), TcpStream::connect(binding, target)).await;
    expect(limited.is_err(), "a connect that takes long")?;
    say("tcp_connect_dropped", "dropped");
    nothing_left(binding).await
}

/// The socket in the middle of its way is dropped with its future.
pub(crate) async fn dropped_in_steps(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = TcpSocket::new(binding, Family::of(target)).await.doing("a socket")?;
    let limited = timeout(Duration::from_millis(30), socket.connect(target)).await;
    expect(limited.is_err(), "a connect that takes long")?;
    say("tcp_connect_dropped_in_steps", "dropped");
    nothing_left(binding).await
}

/// Waits for connections that never come to be, until the binding ends: each says so.
pub(crate) async fn ends(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = TcpSocket::new(binding, Family::of(target)).await.doing("a socket")?;
    let one = binding.clone();
    let by_one_call = async move { TcpStream::connect(&one, target).await.map(drop) };
    let handle = binding.executor().spawn(wsk::Lane::Dispatch, by_one_call).doing("a task")?;
    say("tcp_connect_ends", "waiting");
    let in_steps = socket.connect(target).await.map(drop);
    let by_one_call = handle.await.doing("join")?;
    if in_steps != Err(ConnectError::Detached) || by_one_call != Err(ConnectError::Detached) {
        return Err(Failure::new("ending", format_args!("{in_steps:?}, {by_one_call:?}")));
    }
    let more = TcpSocket::new(binding, Family::V4).await.map(drop);
    expect(more == Err(OpenError::Detached), "no new socket after the end")
}
