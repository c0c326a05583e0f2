//! Scenarios of turns: a buffer that goes round a connection.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use wsk::{Binding, Buffer, IoError, Lane, TcpStream, Turn, Turned, Went, timeout};

use crate::failure::{Doing, Failure, expect};
use crate::wire::{nothing_left, room, text};
use crate::{Outcome, say};

async fn connected(binding: &Binding, target: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(binding, target).await.doing("connect")
}

fn back(went: Went, _: &mut Buffer) -> Turn {
    if went == Went::In { Turn::Send } else { Turn::Receive }
}

/// Sends back what comes, to the peer's FIN.
pub(crate) async fn echo(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    let (_, turned) = stream.turns(room(4096)?, back).await.doing("turns")?;
    expect(matches!(turned, Turned::Finished), "the peer's FIN")?;
    stream.finish().await.doing("finish")
}

/// Sends that are done at once, and no receive between them: more than a DPC may do at a time.
pub(crate) async fn sends(binding: &Binding, target: SocketAddr) -> Outcome {
    const SENDS: u32 = 20_000;
    let mut stream = connected(binding, target).await?;
    let mut sent = 0;
    let turn = move |went, _: &mut Buffer| {
        sent += u32::from(went == Went::Out);
        if sent < SENDS { Turn::Send } else { Turn::Stop }
    };
    let (buffer, turned) = stream.turns(room(16)?, turn).await.doing("turns")?;
    expect(matches!(turned, Turned::Stopped), "as many as were wanted")?;
    expect(buffer.filled() == b"go", "what has come")?;
    stream.finish().await.doing("finish")
}

/// Dropped on the way, wherever they are, and before they have begun.
pub(crate) async fn dropped(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    drop(stream.turns(room(16)?, |_, _| Turn::Stop));
    let turn = |_, _: &mut Buffer| Turn::Send;
    let ended = timeout(Duration::from_millis(100), stream.turns(room(16)?, turn)).await;
    expect(ended.is_err(), "turns without an end")?;
    drop(stream);
    nothing_left(binding).await
}

/// A call that fails, and whose IRP comes back when the peer has been told.
pub(crate) async fn late(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    let Err(failed) = stream.turns(room(16)?, back).await else { return Err(Failure::new("turns", "no failure")) };
    expect(failed.error == IoError::OutOfMemory && failed.buffer.is_none(), "a buffer that is still out")?;
    stream.send(text("failed")?).await.doing("send")?;
    // What the peer says then is the failed receive's, and its FIN is this one's.
    let end = stream.receive(room(16)?).await.doing("receive the end")?;
    expect(end.filled().is_empty(), "the peer's FIN")?;
    stream.finish().await.doing("finish")
}

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// One that waits, or is at work, until the binding ends.
pub(crate) async fn ends(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    let turning = async move {
        let turn = |_, _: &mut Buffer| {
            TAKEN.fetch_add(1, Ordering::Relaxed);
            Turn::Send
        };
        stream.turns(Buffer::new(16).map_err(|_| IoError::OutOfMemory)?, turn).await.map(drop).map_err(|failed| failed.error)
    };
    let turning = binding.executor().spawn(Lane::Dispatch, turning).doing("a task")?;
    say("tcp_turns_ends", "waiting");
    let outcome = turning.await.doing("join")?;
    say("tcp_turns_ends", format_args!("turns {}", TAKEN.load(Ordering::Relaxed)));
    if outcome == Err(IoError::Detached) { Ok(()) } else { Err(Failure::new("ending", format_args!("{outcome:?}"))) }
}
