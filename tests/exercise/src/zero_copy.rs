//! Scenarios of receiving in place and of sending without copying.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::{Future, poll_fn};
use core::net::{Ipv4Addr, SocketAddr};
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;

use wsk::{
    Addresses, Binding, Bound, Buffer, Chain, Indication, Indications, IoError, Lane, NtStatus, Sleep, TcpListener, TcpStream,
    WriteHalf,
};

use crate::failure::{Doing, Failure, expect};
use crate::{Outcome, at, say};

/// Small enough to be reached soon.
const TIGHT: Bound = Bound { lists: 4, bytes: 100_000 };

/// Listens, and takes one connection.
async fn accepted(name: &str, binding: &Binding) -> Result<TcpStream, Failure> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listener = TcpListener::bind(binding, any, Addresses::OwnFamily).await.doing("bind")?;
    at(name, listener.local_address().await.doing("local address")?);
    Ok(listener.accept().await.doing("accept")?.0)
}

async fn taken(name: &str, binding: &Binding, bound: Bound) -> Result<(Indications, WriteHalf), Failure> {
    indicated(accepted(name, binding).await?, bound)
}

fn indicated(stream: TcpStream, bound: Bound) -> Result<(Indications, WriteHalf), Failure> {
    stream.into_indications(bound).map_err(|(error, _)| error).doing("into_indications")
}

/// Waits for a future, but not longer than this.
async fn within<T>(time: Duration, future: Pin<&mut impl Future<Output = T>>) -> Result<Option<T>, Failure> {
    let (mut sleep, mut future) = (Sleep::new(time).doing("a timer")?, future);
    let first = poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Pin::new(&mut sleep).poll(context).map(|()| None),
    });
    Ok(first.await)
}

/// Sends all that one side says to the other, and then its end.
async fn forwarded(mut from: Indications, mut to: WriteHalf) -> Outcome {
    while let Some(indication) = from.receive_indication().await.doing("receive an indication")? {
        to.send_chain(indication.into()).await.doing("send an indication")?;
    }
    to.finish().await.doing("finish")
}

/// Echoes one connection to its end, from the memory in which its bytes came.
pub(crate) async fn echo(binding: &Binding, _target: SocketAddr) -> Outcome {
    let (from, to) = taken("zero_copy_echo", binding, Bound::default()).await?;
    forwarded(from, to).await
}

/// The same, within a tight bound: it is reached, and left again, all the time.
pub(crate) async fn tight(binding: &Binding, _target: SocketAddr) -> Outcome {
    let (from, to) = taken("zero_copy_tight", binding, Bound { lists: 1, bytes: 1 }).await?;
    forwarded(from, to).await
}

/// Echoes by reading in place and copying into buffers that do not fit, sent as one chain.
pub(crate) async fn copies(binding: &Binding, _target: SocketAddr) -> Outcome {
    let (mut from, mut to) = taken("zero_copy_copies", binding, TIGHT).await?;
    while let Some(indication) = from.receive_indication().await.doing("receive an indication")? {
        expect(indication.chunks().map(<[u8]>::len).sum::<usize>() == indication.len(), "the chunks to be all of it")?;
        let (mut chain, mut done) = (Chain::new(), 0);
        while done < indication.len() {
            let mut buffer = Buffer::new(1021).doing("a buffer")?;
            done += indication.copy_to(done, &mut buffer);
            chain.push(buffer).doing("a longer chain")?;
            // An empty one among them does no harm.
            chain.push(Buffer::new(1).doing("a buffer")?).doing("a longer chain")?;
        }
        expect(chain.len() == indication.len(), "the chain to be all of it")?;
        drop(indication);
        let chain = to.send_chain(chain).await.doing("send a chain")?;
        expect(chain.into_buffers().all(|buffer| buffer.capacity() <= 1021), "the buffers again")?;
    }
    to.finish().await.doing("finish")
}

/// Sends parts of buffers, chains and what has nothing; the peer knows what it has to get.
pub(crate) async fn vectors(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut stream = TcpStream::connect(binding, target).await.doing("connect")?;
    let letters = |text: &str| {
        let mut buffer = Buffer::new(64).doing("a buffer")?;
        buffer.write(text.as_bytes());
        Ok::<_, Failure>(buffer)
    };
    let part = Chain::part(letters("(one)")?, 1..4).doing("a part")?;
    let back = stream.send_chain(part).await.doing("send a part")?;
    let whole = back.into_buffers().next().ok_or_else(|| Failure::new("expected", "the buffer"))?;
    expect(whole.filled() == b"(one)", "the whole buffer again")?;
    expect(Chain::part(whole, 3..6).is_err(), "no part beyond the end")?;
    let mut chain = Chain::new();
    for text in [" two", "", " three", " four"] {
        chain.push(letters(text)?).doing("a longer chain")?;
    }
    // The same chain again: it was unlinked in between.
    let chain = stream.send_chain(chain).await.doing("send a chain")?;
    let chain = stream.send_chain(chain).await.doing("send it again")?;
    for buffer in chain.into_buffers() {
        let buffer = stream.send(buffer).await.doing("send a buffer that was linked")?;
        expect(buffer.capacity() == 64, "as large as before")?;
    }
    stream.send_chain(Chain::new()).await.doing("send nothing")?;
    stream.finish().await.doing("finish")
}

/// Takes all that the bound allows, shows that nothing more comes, and that everything comes when it is given back.
pub(crate) async fn bound(binding: &Binding, _target: SocketAddr) -> Outcome {
    let (mut from, mut to) = taken("zero_copy_bound", binding, TIGHT).await?;
    let mut held: [Option<Indication>; 8] = [const { None }; 8];
    let mut total = 0;
    for place in &mut held {
        let next = pin!(from.receive_indication());
        let Some(next) = within(Duration::from_secs(2), next).await? else { break };
        *place = next.doing("receive an indication")?;
        total += place.as_ref().map_or(0, Indication::len);
    }
    let count = held.iter().flatten().count();
    say("zero_copy_bound", format_args!("holding {count} lists of {total} bytes"));
    expect(count <= 4, "at most four lists")?;
    expect(total <= TIGHT.bytes || count == 1, "at most 100000 bytes, but for one list")?;
    held = [const { None }; 8];
    expect(held.iter().all(Option::is_none), "nothing held")?;
    while let Some(indication) = from.receive_indication().await.doing("receive the rest")? {
        total += indication.len();
    }
    say("zero_copy_bound", format_args!("received {total}"));
    to.finish().await.doing("finish")
}

/// Holds what came until the stream has ended in whatever way, and then reads it still.
pub(crate) async fn hold(binding: &Binding, _target: SocketAddr) -> Outcome {
    let (mut from, to) = taken("zero_copy_hold", binding, TIGHT).await?;
    let first = from.receive_indication().await.doing("receive")?.ok_or_else(|| Failure::new("expected", "data"))?;
    say("zero_copy_hold", "holding");
    let sum = |indication: &Indication| indication.chunks().flatten().fold(0u32, |sum, byte| sum.wrapping_add((*byte).into()));
    let before = sum(&first);
    // The second stays in the queue, for the library to give back, if the end is not the stream's own.
    let end = loop {
        match from.receive_indication().await {
            Ok(Some(_)) => {}
            Ok(None) => break "FIN",
            Err(IoError::Detached) => break "detached",
            Err(IoError::Provider(NtStatus::CONNECTION_RESET)) => break "reset",
            Err(error) => return Err(Failure::new("receive", error)),
        }
    };
    say("zero_copy_hold", format_args!("ended {end}"));
    drop((from, to));
    Sleep::new(Duration::from_millis(50)).doing("a timer")?.await;
    expect(sum(&first) == before, "the bytes as they were")
}

/// Has lists in the queue that it never takes, until the binding ends.
pub(crate) async fn queue(binding: &Binding, _target: SocketAddr) -> Outcome {
    let (mut from, _to) = taken("zero_copy_queue", binding, TIGHT).await?;
    let first = from.receive_indication().await.doing("receive")?;
    expect(first.is_some(), "data")?;
    drop(first);
    say("zero_copy_queue", "queueing");
    while binding.is_open() {
        Sleep::new(Duration::from_millis(5)).doing("a timer")?.await;
    }
    Ok(())
}

/// Sends an indication to a peer that takes nothing any more, and drops the future: the send has it until it is cancelled, in its
/// completion routine.
pub(crate) async fn dropped(binding: &Binding, target: SocketAddr) -> Outcome {
    let mut out = TcpStream::connect(binding, target).await.doing("connect")?;
    let (mut from, mut to) = taken("zero_copy_dropped", binding, TIGHT).await?;
    let mut sent = 0;
    loop {
        let received = from.receive_indication().await.doing("receive")?;
        let indication = received.ok_or_else(|| Failure::new("expected", "more data"))?;
        let length = indication.len();
        let send = pin!(out.send_chain(indication.into()));
        match within(Duration::from_millis(500), send).await? {
            Some(done) => drop(done.doing("send")?),
            None => break,
        }
        sent += length;
    }
    say("zero_copy_dropped", format_args!("dropped after {sent}"));
    // What the send had counts no more: the stream goes on.
    while from.receive_indication().await.doing("receive the rest")?.is_some() {}
    to.finish().await.doing("finish")
}

/// Forwards one connection to the target, both ways at once, until both directions have ended.
pub(crate) async fn forward(binding: &Binding, target: SocketAddr) -> Outcome {
    let one = accepted("zero_copy_forward", binding).await?;
    let other = TcpStream::connect(binding, target).await.doing("connect")?;
    let (from_one, to_one) = indicated(one, TIGHT)?;
    let (from_other, to_other) = indicated(other, TIGHT)?;
    let back = async move {
        match forwarded(from_other, to_one).await {
            Ok(()) => say("zero_copy_forward", "back ok"),
            Err(failure) => say("zero_copy_forward", format_args!("back {failure}")),
        }
    };
    binding.executor().spawn(Lane::Dispatch, back).doing("spawn")?;
    say("zero_copy_forward", "forwarding");
    forwarded(from_one, to_other).await
}
