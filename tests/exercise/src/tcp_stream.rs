//! Scenarios of connections: halves, flags, ends, backlogs, events, several sends at once.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::Future;
use core::net::SocketAddr;
use core::num::NonZeroU16;
use core::time::Duration;

use wsk::{Binding, Buffer, Disabling, Event, IoError, Lane, ReadHalf, TcpStream, WriteHalf, timeout};

use crate::failure::{Doing, Failure, expect};
use crate::wire::{hear, nothing_left, pause, room, say as send, text};
use crate::{Outcome, say};

async fn connected(binding: &Binding, target: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(binding, target).await.doing("connect")
}

async fn halves(binding: &Binding, target: SocketAddr) -> Result<(ReadHalf, WriteHalf), Failure> {
    Ok(connected(binding, target).await?.into_split())
}

/// A receive is pending while the other half sends; both halves make a stream again.
pub(crate) async fn halves_at_once(binding: &Binding, target: SocketAddr) -> Outcome {
    let (mut reader, mut writer) = halves(binding, target).await?;
    let reading = async move {
        hear(&mut reader, "pong").await?;
        Ok::<_, Failure>(reader)
    };
    let reading = binding.executor().spawn(Lane::Dispatch, reading).doing("a task")?;
    pause(30).await?;
    expect(!reading.is_finished(), "a receive that waits")?;
    // The peer answers to this only.
    send(&mut writer, "ping").await?;
    let reader = reading.await.doing("join")??;
    let (other, _) = halves(binding, target).await?;
    let Err((_, writer)) = other.reunite(writer) else { return Err(Failure::new("reuniting", "two streams")) };
    let mut stream = reader.reunite(writer).map_err(|_| Failure::new("reuniting", "one stream"))?;
    stream.send(text("done")?).await.doing("send")?;
    stream.finish().await.doing("finish")
}

/// A million bytes each way at once: the peer sends back what it gets.
pub(crate) async fn full_duplex(binding: &Binding, target: SocketAddr) -> Outcome {
    const CHUNKS: usize = 256;
    const CHUNK: usize = 4096;
    let (mut reader, mut writer) = halves(binding, target).await?;
    let writing = async move {
        for number in 0..CHUNKS {
            let mut buffer = room(CHUNK)?;
            buffer.write(&[number as u8; CHUNK]);
            writer.send(buffer).await.doing("send")?;
        }
        writer.finish().await.doing("finish")
    };
    let writing = binding.executor().spawn(Lane::Dispatch, writing).doing("a task")?;
    let mut buffer = room(CHUNK)?;
    for number in 0..CHUNKS {
        buffer = reader.receive_exact(buffer).await.doing("receive")?;
        let as_sent = buffer.filled().len() == CHUNK && buffer.filled().iter().all(|byte| *byte == number as u8);
        expect(as_sent, "what was sent")?;
    }
    let end = reader.receive(buffer).await.doing("receive the end")?;
    expect(end.filled().is_empty(), "the end")?;
    writing.await.doing("join")?
}

/// Half by half: the socket is closed with the second.
pub(crate) async fn one_half_goes(binding: &Binding, target: SocketAddr) -> Outcome {
    let (reader, mut writer) = halves(binding, target).await?;
    drop(reader);
    pause(20).await?;
    expect(binding.work().sockets == 1, "a socket that is open still")?;
    send(&mut writer, "alone").await?;
    // The end of the peer's stream is the sign that it has read it all.
    writer.finish().await.doing("finish")?;
    drop(writer);
    nothing_left(binding).await
}

/// The reader that goes last.
pub(crate) async fn reader_stays(binding: &Binding, target: SocketAddr) -> Outcome {
    let (mut reader, mut writer) = halves(binding, target).await?;
    writer.finish().await.doing("finish")?;
    drop(writer);
    hear(&mut reader, "still").await?;
    expect(binding.work().sockets == 1, "a socket that is open still")?;
    drop(reader);
    nothing_left(binding).await
}

/// The peer sees a reset, and the receive that waits ends.
pub(crate) async fn abort(binding: &Binding, target: SocketAddr) -> Outcome {
    let (mut reader, mut writer) = halves(binding, target).await?;
    send(&mut writer, "before").await?;
    hear(&mut reader, "go").await?;
    let reading = async move { Ok::<_, Failure>(reader.receive(room(16)?).await) };
    let reading = binding.executor().spawn(Lane::Dispatch, reading).doing("a task")?;
    pause(20).await?;
    writer.abort().await.doing("abort")?;
    let received = reading.await.doing("join")??;
    let empty = received.as_ref().is_ok_and(|buffer| buffer.filled().is_empty());
    expect(received.is_err() || empty, "nothing more")?;
    let after = writer.send(text("after")?).await;
    expect(after.is_err_and(|failed| failed.buffer.is_some()), "a send that is refused, with its buffer")
}

/// The last word goes with the FIN.
pub(crate) async fn finish_with(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    stream.set_no_delay(false);
    stream.send(text("good")?).await.doing("send")?;
    let back = stream.finish_with(text("bye")?).await.doing("finish")?;
    expect(back.filled() == b"bye", "the buffer that was sent")?;
    stream.drain().await.doing("drain")
}

/// What comes in pieces is received as a whole; at the end there is less.
pub(crate) async fn exact(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    let whole = stream.receive_exact(room(12)?).await.doing("receive")?;
    expect(whole.filled() == b"three pieces", "all pieces")?;
    let rest = stream.receive_exact(room(12)?).await.doing("receive the rest")?;
    expect(rest.filled() == b"rest", "the rest")?;
    stream.finish().await.doing("finish")
}

/// What comes is thrown away, to its end.
pub(crate) async fn drain(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    let early = timeout(Duration::from_millis(50), stream.drain()).await;
    expect(early.is_err(), "a drain that waits for the end")?;
    stream.send(text("go")?).await.doing("send")?;
    stream.drain().await.doing("drain")?;
    let end = stream.receive(room(16)?).await.doing("receive")?;
    expect(end.filled().is_empty(), "nothing after the end")?;
    stream.finish().await.doing("finish")
}

/// Both backlogs can be asked for, and the ideal one is told when it changes.
pub(crate) async fn backlogs(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    expect(stream.ideal_send_backlog().await.doing("ideal send backlog")? > 0, "a backlog")?;
    let mut come = 0;
    for _ in 0..4000 {
        come = stream.receive_backlog().await.doing("receive backlog")?;
        if come == 5 {
            break;
        }
        pause(5).await?;
    }
    expect(come == 5, "what has come")?;
    expect(stream.enable_backlog_event().doing("backlog event")?, "the event")?;
    say("tcp_stream_backlogs", "waiting");
    let ideal = stream.backlog_changed().await.doing("backlog changed")?;
    expect(ideal == 123_456, "the new backlog")?;
    expect(stream.ideal_send_backlog().await.doing("ideal send backlog")? == ideal, "the same when asked")?;
    stream.disable_event(Event::SendBacklog).await.doing("disable")?;
    say("tcp_stream_backlogs", "again");
    let told = timeout(Duration::from_millis(100), stream.backlog_changed()).await;
    expect(told.is_err(), "silence after the event was switched off")
}

/// The receive event on and off.
pub(crate) async fn events(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    timeout(Duration::from_millis(50), stream.readable()).await.doing("no wait without events")?.doing("readable")?;
    expect(stream.enable_events().doing("enable")?, "events")?;
    let early = timeout(Duration::from_millis(50), stream.readable()).await;
    expect(early.is_err(), "a wait for the event")?;
    stream.send(text("go")?).await.doing("send")?;
    stream.readable().await.doing("readable")?;
    let heard = stream.receive(room(16)?).await.doing("receive")?;
    expect(heard.filled() == b"one", "what the event told of")?;
    stream.disable_event(Event::Receive).await.doing("disable")?;
    let disabled = stream.begin_disable_event(Event::Disconnect).doing("disable")?;
    expect(disabled == Disabling::Done, "no callback under way")?;
    timeout(Duration::from_millis(50), stream.readable()).await.doing("no wait without events")?.doing("readable")?;
    expect(stream.enable_events().doing("enable again")?, "events again")?;
    stream.send(text("go")?).await.doing("send")?;
    stream.readable().await.doing("readable")?;
    let heard = stream.receive(room(16)?).await.doing("receive")?;
    expect(heard.filled() == b"two", "what the event told of")
}

/// The receive event is switched off while it is under way: without an IRP that is said, with one it is waited for.
pub(crate) async fn disabling(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    expect(stream.enable_events().doing("enable")?, "events")?;
    stream.send(text("go")?).await.doing("send")?;
    pause(50).await?;
    // When it is under way, it is held there. Until then it is on again.
    while stream.begin_disable_event(Event::Receive).doing("disable")? != Disabling::UnderWay {
        expect(stream.enable_events().doing("enable")?, "events")?;
        pause(50).await?;
    }
    expect(stream.enable_events().doing("enable again")?, "events")?;
    let mut disabling = core::pin::pin!(stream.disable_event(Event::Receive));
    let early = timeout(Duration::from_millis(50), disabling.as_mut()).await;
    expect(early.is_err(), "a wait for the callback")?;
    say("tcp_stream_disabling", "blocked");
    disabling.await.doing("disable")
}

/// Events are on without being switched on, and stay on.
pub(crate) async fn static_events(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = connected(binding, target).await?;
    let early = timeout(Duration::from_millis(50), stream.readable()).await;
    expect(early.is_err(), "a wait for the event")?;
    let refused = stream.disable_event(Event::Receive).await;
    expect(refused.is_err(), "an event that stays on")?;
    stream.send(text("go")?).await.doing("send")?;
    stream.readable().await.doing("readable")?;
    let heard = stream.receive(room(16)?).await.doing("receive")?;
    expect(heard.filled() == b"one", "what the event told of")?;
    expect(stream.enable_events().doing("enable")?, "events that are on")
}

/// Up to four sends at once, in order.
pub(crate) async fn pipeline(binding: &Binding, target: SocketAddr) -> Outcome {
    const DEPTH: NonZeroU16 = NonZeroU16::new(4).unwrap();
    let mut stream = connected(binding, target).await?;
    let (mut most, mut back) = (0, 0);
    {
        let (reader, mut writer) = stream.into_split();
        let mut pipeline = writer.pipeline(DEPTH).doing("a pipeline")?;
        for number in 0..64_u8 {
            let mut buffer = room(64 << 10)?;
            buffer.write(&[number; 64 << 10]);
            back += usize::from(pipeline.send(buffer).await.doing("send")?.is_some());
            most = most.max(pipeline.in_flight());
        }
        while let Some(sent) = pipeline.oldest().await {
            sent.doing("the oldest")?;
            back += 1;
        }
        drop(pipeline);
        stream = reader.reunite(writer).map_err(|_| Failure::new("reuniting", "one stream"))?;
    }
    expect(most == 4, "as many at once as there may be")?;
    expect(back == 64, "every buffer back")?;
    stream.finish().await.doing("finish")?;
    stream.drain().await.doing("drain")
}

/// Sends that are dropped on their way are cancelled, and leave nothing.
pub(crate) async fn pipeline_dropped(binding: &Binding, target: SocketAddr) -> Outcome {
    let (reader, mut writer) = halves(binding, target).await?;
    let mut pipeline = writer.pipeline(NonZeroU16::MIN.saturating_add(7)).doing("a pipeline")?;
    // A peer that takes no more: the oldest is not done for long.
    loop {
        let mut buffer = room(256 << 10)?;
        buffer.write(&[1; 4096]);
        match timeout(Duration::from_millis(500), pipeline.send(buffer)).await {
            Ok(sent) => sent.doing("send").map(drop)?,
            Err(_) => break,
        }
    }
    expect(pipeline.in_flight() == 8, "a full pipeline")?;
    drop(pipeline);
    drop((reader, writer));
    nothing_left(binding).await
}

/// Ends without a word, where the provider can.
pub(crate) async fn silence(binding: &Binding, target: SocketAddr) -> Outcome {
    let stream = connected(binding, target).await?;
    let outcome = stream.silence().await;
    say("tcp_stream_silence", format_args!("answer {outcome:?}"));
    nothing_left(binding).await
}

/// What each wait came to, in a task of its own.
fn wait<F>(binding: &Binding, waiting: F) -> Result<wsk::JoinHandle<Result<(), IoError>>, Failure>
where
    F: Future<Output = Result<(), IoError>> + Send + 'static,
{
    binding.executor().spawn(Lane::Dispatch, waiting).doing("a task")
}

fn small() -> Result<Buffer, IoError> {
    Buffer::new(16).map_err(|_| IoError::OutOfMemory)
}

/// Waits of every kind, each on a connection of its own, until the binding ends: each says so.
pub(crate) async fn ends(binding: &Binding, target: SocketAddr) -> Outcome {
    let (mut a, mut b, mut c) =
        (connected(binding, target).await?, connected(binding, target).await?, connected(binding, target).await?);
    let (mut d, mut e) = (connected(binding, target).await?, connected(binding, target).await?);
    let (mut reader, mut writer) = halves(binding, target).await?;
    c.enable_events().doing("events")?;
    d.enable_backlog_event().doing("backlog event")?;
    let waits = [
        wait(binding, async move { a.receive(small()?).await.map(drop).map_err(|failed| failed.error) })?,
        wait(binding, async move { b.drain().await })?,
        wait(binding, async move { c.readable().await })?,
        wait(binding, async move { d.backlog_changed().await.map(drop) })?,
        wait(binding, async move { e.receive_exact(small()?).await.map(drop).map_err(|failed| failed.error) })?,
        wait(binding, async move { reader.receive(small()?).await.map(drop).map_err(|failed| failed.error) })?,
        wait(binding, async move {
            loop {
                // The peer does not read.
                let mut buffer = Buffer::new(64 << 10).map_err(|_| IoError::OutOfMemory)?;
                buffer.write(&[1; 64 << 10]);
                writer.send(buffer).await.map_err(|failed| failed.error)?;
            }
        })?,
    ];
    pause(150).await?;
    say("tcp_stream_ends", "waiting");
    for (number, wait) in waits.into_iter().enumerate() {
        let outcome = wait.await.doing("join")?;
        if outcome != Err(IoError::Detached) {
            return Err(Failure::new("ending", format_args!("wait {number}: {outcome:?}")));
        }
    }
    Ok(())
}
