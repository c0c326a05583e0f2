//! A job's connection over TCP.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::pin::pin;
use core::time::Duration;

use allocator_api2::vec::Vec;
use wsk::sync::try_push;
use wsk::{Buffer, Either, IoError, ReadHalf, TcpStream, TransferError, Turn, Turned, WriteHalf, first, timeout};

use super::TrafficPool;
use super::job::{STREAM_DEPTH, now};
use super::lot::{Lot, Next};
use super::part::Part;
use super::trouble::Trouble;

/// How long the end of a connection that has done its share may take.
const FINISH_MOST: Duration = Duration::from_secs(2);
/// The largest message that is sent whole before its answer is received. A peer that does not take so much before it answers would wait
/// for us as we for it; it is also how much is received at a time of larger ones.
const TURN_MOST: usize = 16 << 10;
/// Room for what a peer sends at the end.
const REST: usize = 4096;

/// Serves one: messages go, and come back.
pub(super) async fn echo(mut part: Part) {
    let outcome = exchange_all(&mut part).await;
    part.ended(outcome);
}

async fn exchange_all(part: &mut Part) -> Result<(), Trouble> {
    let (binding, target) = (part.job.binding.clone(), part.job.wanted.target);
    let mut stream = part.opened(TcpStream::connect(&binding, target)).await?;
    if part.job.messages.length() > TURN_MOST {
        return both_ways(part, stream).await;
    }
    turns(part, &mut stream).await?;
    finish(&mut stream).await
}

/// Messages that the peer takes whole before it answers: they go, and then come.
async fn turns(part: &mut Part, stream: &mut TcpStream) -> Result<(), Trouble> {
    let mut buffer = Buffer::new(part.job.messages.length())?;
    if part.lot.begin(&mut buffer) != Turn::Send {
        return Ok(());
    }
    buffer = stream.send(buffer).await.map_err(|failed| failed.error)?;
    part.job.went();
    loop {
        let lot = part.lot.clone();
        match stream.turns(buffer, move |went, buffer| lot.turn(went, buffer)).await {
            Ok((_, Turned::Stopped)) => return Ok(()),
            Ok((_, Turned::Finished)) => return Err(Trouble::CLOSED),
            // Nothing came for a while: that is no reason for an end here.
            Err(TransferError { error: IoError::Cancelled, buffer: Some(same) }) if !stream.is_stopping() => buffer = same,
            Err(TransferError { error: IoError::Cancelled, .. }) => return Err(Trouble::DETACHED),
            Err(failed) => return Err(failed.error.into()),
        }
    }
}

/// Messages of which the peer answers the beginning before it takes the end: they come while they go.
async fn both_ways(part: &mut Part, stream: TcpStream) -> Result<(), Trouble> {
    let (mut reader, mut writer) = stream.into_split();
    let (mut out, mut into) = (Buffer::new(part.job.messages.length())?, Buffer::new(TURN_MOST)?);
    while part.lot.begin(&mut out) == Turn::Send {
        (out, into) = one_both_ways(&part.lot, (&mut reader, into), (&mut writer, out)).await?;
    }
    match reader.reunite(writer) {
        Ok(mut stream) => finish(&mut stream).await,
        Err(_) => Ok(()),
    }
}

/// One of them: the buffers, for the next.
async fn one_both_ways(
    lot: &Lot,
    (reader, into): (&mut ReadHalf, Buffer),
    (writer, out): (&mut WriteHalf, Buffer),
) -> Result<(Buffer, Buffer), Trouble> {
    let (went, came, is_counted) = {
        let (mut going, mut coming) = (pin!(writer.send(out)), pin!(come(lot, reader, into)));
        match first(going.as_mut(), coming.as_mut()).await {
            // What could not be sent is not waited for.
            Either::First(Err(failed)) => return Err(failed.error.into()),
            Either::First(went) => {
                lot.job.went();
                (went, coming.await, true)
            }
            Either::Second(Err(trouble)) => return Err(trouble),
            Either::Second(came) => (going.await, came, false),
        }
    };
    // It was back before it was known to be sent, and counted as such.
    if !is_counted && lot.is_back() {
        lot.job.tally.sent(lot.job.messages.length());
    }
    Ok((went.map_err(|failed| failed.error)?, came?))
}

/// Receives until the message is back, or is not waited for any more: the buffer, for the next.
async fn come(lot: &Lot, reader: &mut ReadHalf, mut buffer: Buffer) -> Result<Buffer, Trouble> {
    loop {
        buffer = match reader.receive(buffer).await {
            Ok(buffer) if buffer.filled().is_empty() => return Err(Trouble::CLOSED),
            Ok(buffer) if lot.came(buffer.filled()) => return Ok(buffer),
            Ok(buffer) => buffer,
            Err(TransferError { error: IoError::Cancelled, buffer: Some(same) }) if !reader.is_stopping() => same,
            Err(TransferError { error: IoError::Cancelled, .. }) => return Err(Trouble::DETACHED),
            Err(failed) => return Err(failed.error.into()),
        };
    }
}

/// Serves one: messages go.
pub(super) async fn stream(mut part: Part) {
    let outcome = send_all(&mut part).await;
    part.ended(outcome);
}

async fn send_all(part: &mut Part) -> Result<(), Trouble> {
    let (binding, target) = (part.job.binding.clone(), part.job.wanted.target);
    let (reader, mut writer) = part.opened(TcpStream::connect(&binding, target)).await?.into_split();
    pump(part, &mut writer).await?;
    match reader.reunite(writer) {
        Ok(mut stream) => finish(&mut stream).await,
        Err(_) => Ok(()),
    }
}

/// Sends until there is nothing more to be sent, and waits until all of it has gone.
async fn pump(part: &mut Part, writer: &mut WriteHalf) -> Result<(), Trouble> {
    let mut buffers: Vec<Buffer, TrafficPool> = Vec::new_in(TrafficPool::default());
    for number in 0..u64::from(STREAM_DEPTH.get()) {
        let mut buffer = Buffer::new(part.job.messages.length())?;
        part.job.messages.write(part.lot.first.wrapping_add(number), &mut buffer);
        try_push(&mut buffers, buffer)?;
    }
    let (mut times, mut pipeline) = (Times::default(), writer.pipeline(STREAM_DEPTH)?);
    while let Next::Message(_) = part.lot.next() {
        // There are as many buffers as sends in flight: one of the two has one.
        let buffer = match buffers.pop() {
            Some(buffer) => buffer,
            None => match pipeline.oldest().await {
                Some(done) => gone(part, &mut times, done)?,
                None => return Err(Trouble::NO_MEMORY),
            },
        };
        times.begin();
        pipeline.send(buffer).await.map_err(|failed| failed.error)?;
    }
    while let Some(done) = pipeline.oldest().await {
        gone(part, &mut times, done)?;
    }
    Ok(())
}

/// The oldest send is done: its buffer, for the next.
fn gone(part: &Part, times: &mut Times, done: Result<Buffer, TransferError>) -> Result<Buffer, Trouble> {
    let (buffer, took) = (done.map_err(|failed| failed.error)?, times.end());
    if !part.job.is_ending() {
        part.job.tally.sent(buffer.filled().len());
        part.job.tally.took(took);
    }
    Ok(buffer)
}

/// When the sends that are in flight began, in their order.
#[derive(Default)]
struct Times {
    began: [u64; STREAM_DEPTH.get() as usize],
    first: usize,
    next: usize,
}

impl Times {
    fn begin(&mut self) {
        let place = self.began.get_mut(self.next % usize::from(STREAM_DEPTH.get()));
        place.into_iter().for_each(|place| *place = now());
        self.next = self.next.wrapping_add(1);
    }

    /// How long ago the oldest began.
    fn end(&mut self) -> u64 {
        let began = self.began.get(self.first % usize::from(STREAM_DEPTH.get()));
        self.first = self.first.wrapping_add(1);
        began.map_or(0, |began| now().saturating_sub(*began))
    }
}

/// Ends a connection: our FIN, and what the peer still sends, to its FIN. What takes too long for that is reset.
async fn finish(stream: &mut TcpStream) -> Result<(), Trouble> {
    // How it ends is not what the job is about.
    let _ = timeout(FINISH_MOST, finish_both(stream)).await;
    Ok(())
}

async fn finish_both(stream: &mut TcpStream) -> Result<(), Trouble> {
    stream.finish().await?;
    let mut buffer = Buffer::new(REST)?;
    loop {
        buffer = stream.receive_rest(buffer).await.map_err(|failed| failed.error)?;
        if buffer.filled().is_empty() {
            return Ok(());
        }
    }
}
