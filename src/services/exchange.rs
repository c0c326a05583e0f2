//! What services over TCP do with what a peer sends: receive it with as little memory as the traffic deserves, and
//! answer it or not, until the peer's FIN.
//!
//! Between bursts a connection holds no buffer if the provider tells when data comes, and the smallest otherwise. It begins
//! with a receive in any case: what came before the events were switched on is not promised to be indicated.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::time::Duration;

use wsk::{Buffer, IoError, TcpStream, TimeoutError, TransferError, Turn, Turned, Went, timeout};

use super::session::Session;
use crate::lacking::{Lacking, is_lacked};
use crate::limits::SMALLEST_BUFFER;

/// How long our FIN may take.
pub(super) const FINISH_MOST: Duration = Duration::from_secs(30);

/// What becomes of what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is sent back.
    Same,
    /// Nothing is.
    Nothing,
}

/// How a burst of traffic ended.
enum Burst {
    /// With the peer's FIN.
    Ended,
    /// The service is being stopped.
    Stopped,
    /// Nothing came for a while.
    Idle,
    /// Data flows: it is worth a larger buffer.
    Grow,
}

/// Receives and answers until the peer's FIN, which is answered by ours when everything has.
pub(super) async fn serve(stream: &mut TcpStream, session: &Session, answer: Answer) -> Result<(), IoError> {
    let (events, large) = (enable_events(stream)?, session.service().settings.buffer_size);
    let mut wished = SMALLEST_BUFFER;
    loop {
        match burst(stream, session, answer, wished).await? {
            Burst::Ended => return finish(stream).await.map(drop),
            Burst::Stopped => return stop(stream).await,
            Burst::Idle => wished = if events { large } else { SMALLEST_BUFFER },
            Burst::Grow => {
                // There may be more already, of which nothing was said.
                wished = large;
                continue;
            }
        }
        match stream.readable().await {
            Ok(()) => {}
            Err(IoError::Cancelled) => return stop(stream).await,
            Err(error) => return Err(error),
        }
    }
}

/// Serves with one buffer until nothing comes for a while.
async fn burst(stream: &mut TcpStream, session: &Session, answer: Answer, wished: u32) -> Result<Burst, IoError> {
    let claim = session.claim(wished.saturating_sub(SMALLEST_BUFFER));
    let size = if claim.is_some() { wished } else { SMALLEST_BUFFER };
    let buffer = Buffer::new(size as usize).map_err(|_| IoError::OutOfMemory)?;
    let grow = wished == SMALLEST_BUFFER && size < session.service().settings.buffer_size;
    let meter = session.meter().clone();
    let turn = move |went, buffer: &mut Buffer| {
        let length = buffer.filled().len();
        match went {
            Went::In => meter.received(length),
            Went::Out => meter.sent(length),
        }
        match (went, answer) {
            (Went::In, Answer::Same) => Turn::Send,
            _ if grow => Turn::Stop,
            _ => Turn::Receive,
        }
    };
    match stream.turns(buffer, turn).await {
        Ok((_, Turned::Finished)) => Ok(Burst::Ended),
        Ok((_, Turned::Stopped)) => Ok(Burst::Grow),
        Err(TransferError { error: IoError::Cancelled, .. }) if stream.is_stopping() => Ok(Burst::Stopped),
        Err(TransferError { error: IoError::Cancelled, .. }) => Ok(Burst::Idle),
        Err(failed) => Err(failed.error),
    }
}

/// Ends a connection from our side: our FIN, then what the peer still sends, to its FIN.
pub(super) async fn stop(stream: &mut TcpStream) -> Result<(), IoError> {
    if finish(stream).await? == Fin::Lacking {
        return Ok(());
    }
    let mut buffer = Buffer::new(SMALLEST_BUFFER as usize).map_err(|_| IoError::OutOfMemory)?;
    loop {
        buffer = stream.receive_rest(buffer).await.map_err(|failed| failed.error)?;
        if buffer.filled().is_empty() {
            return Ok(());
        }
    }
}

/// Sends our FIN. A peer that takes nothing may keep it from ever being done: then the connection is reset.
pub(super) async fn finish(stream: &mut TcpStream) -> Result<Fin, IoError> {
    Fin::of(timeout(FINISH_MOST, stream.finish()).await)
}

/// What became of our FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    /// It was sent.
    Sent,
    /// The provider has no graceful disconnect: the connection is to be closed instead.
    Lacking,
}

impl Fin {
    /// From the outcome of a disconnect with a time limit.
    pub(super) fn of(outcome: Result<Result<(), IoError>, TimeoutError>) -> Result<Self, IoError> {
        match outcome {
            Ok(Ok(())) => Ok(Self::Sent),
            Ok(Err(error)) if is_lacked(error) => {
                Lacking::Disconnect.tell(error);
                Ok(Self::Lacking)
            }
            Ok(Err(error)) => Err(error),
            Err(TimeoutError::Elapsed) => Err(IoError::Cancelled),
            Err(TimeoutError::OutOfMemory) => Err(IoError::OutOfMemory),
        }
    }
}

/// Has the provider tell when data comes, if it can.
pub(super) fn enable_events(stream: &mut TcpStream) -> Result<bool, IoError> {
    let enabled = stream.enable_events()?;
    if !enabled {
        Lacking::Events.tell("refused");
    }
    Ok(enabled)
}
