//! Short texts over connections, as most scenarios exchange them.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use wsk::{Addresses, Binding, Buffer, ReadHalf, Sleep, TcpListener, TcpStream, WriteHalf};

use crate::Outcome;
use crate::failure::{Doing, Failure, expect};

/// A buffer with this text.
pub(crate) fn text(text: &str) -> Result<Buffer, Failure> {
    let mut buffer = Buffer::new(text.len()).doing("a buffer")?;
    buffer.write(text.as_bytes());
    Ok(buffer)
}

/// A buffer of this size.
pub(crate) fn room(size: usize) -> Result<Buffer, Failure> {
    Buffer::new(size).doing("a buffer")
}

/// Sends a text.
pub(crate) async fn say(writer: &mut WriteHalf, what: &str) -> Outcome {
    writer.send(text(what)?).await.doing("send").map(drop)
}

/// Receives this text.
pub(crate) async fn hear(reader: &mut ReadHalf, what: &str) -> Outcome {
    let heard = reader.receive_exact(room(what.len())?).await.doing("receive")?;
    expect(heard.filled() == what.as_bytes(), "what the peer was to send")
}

/// Sends "hello", receives "world", and ends the stream after the peer has.
pub(crate) async fn greet(mut stream: TcpStream) -> Outcome {
    stream.send(text("hello")?).await.doing("send")?;
    let answer = stream.receive_exact(room(5)?).await.doing("receive")?;
    expect(answer.filled() == b"world", "the peer's answer")?;
    let end = stream.receive(answer).await.doing("receive the end")?;
    expect(end.filled().is_empty(), "the peer's FIN")?;
    stream.finish().await.doing("finish")
}

/// Lets time pass.
pub(crate) async fn pause(milliseconds: u64) -> Outcome {
    Sleep::new(Duration::from_millis(milliseconds)).doing("a timer")?.await;
    Ok(())
}

/// Waits until the test lets the scenario go on, by connecting to where it says so: `go <what> <address>`.
pub(crate) async fn gate(binding: &Binding, scenario: &str, what: &str) -> Outcome {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut gate = TcpListener::bind(binding, here, Addresses::OwnFamily).await.doing("a gate")?;
    crate::say(scenario, format_args!("go {what} {}", gate.local_address().await.doing("the gate's address")?));
    gate.accept().await.doing("wait at the gate").map(drop)
}

/// Waits until the binding has nothing open and nothing in flight.
pub(crate) async fn nothing_left(binding: &Binding) -> Outcome {
    for _ in 0..4000 {
        let work = binding.work();
        if (work.in_flight, work.sockets) == (0, 0) {
            return Ok(());
        }
        pause(5).await?;
    }
    Err(Failure::new("waiting until nothing is left", format_args!("{:?}", binding.work())))
}
