//! Waiting, but not for ever: a limit for connecting, one for an answer, and a task that is ended from outside.
//!
//! Every operation is cancelled by dropping its future. The buffer of a dropped operation is freed when WSK has let go of
//! it, which nobody needs to wait for.
#![no_std]

use core::time::Duration;

use wsk::entry::Parameters;
use wsk::{Binding, Buffer, Either, Error, JoinError, Lane, Passive, Sleep, TcpStream, TimeoutError, first, timeout};

wsk::driver! { name: "timeout", module: 0x39b5_0e7a_c482_4db1_90f6_c57d_8e13_a26b, main: main }

/// How long the peer may take to be reached, and to say something.
const PATIENCE: Duration = Duration::from_secs(2);

async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let peer = Parameters::open(passive)?.address("Peer")?;

    // A limit around any future. What is not ready in time is dropped.
    let mut stream = timeout(PATIENCE, TcpStream::connect(&binding, peer)).await??;
    match timeout(PATIENCE, stream.receive(Buffer::new(512)?)).await {
        Ok(received) => wdk::println!("timeout: the peer said {}", received?.filled().escape_ascii()),
        Err(TimeoutError::Elapsed) => wdk::println!("timeout: the peer said nothing"),
        Err(error) => return Err(error.into()),
    }

    // The first of two. The connection is still good: only the wait was given up.
    match first(stream.receive(Buffer::new(512)?), Sleep::new(PATIENCE)?).await {
        Either::First(received) => wdk::println!("timeout: then it said {}", received?.filled().escape_ascii()),
        Either::Second(()) => wdk::println!("timeout: then it said nothing either"),
    }

    // A task that would wait for ever, ended by its handle.
    let waiting =
        binding.executor().spawn(Lane::Dispatch, async move { stream.receive(Buffer::new(512)?).await.map_err(Error::from) })?;
    waiting.abort();
    match waiting.await {
        Err(JoinError::Aborted) => wdk::println!("timeout: the task was aborted"),
        other => wdk::println!("timeout: the task came to {other:?}"),
    }

    // A wait without end hinders nobody: when the driver is unloaded, `main` is dropped where it waits.
    loop {
        Sleep::new(Duration::from_secs(3600))?.await;
    }
}
