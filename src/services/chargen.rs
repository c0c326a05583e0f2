//! Character generator (RFC 864): lines of rotating characters for as long as the peer takes them. What it sends is thrown
//! away; its FIN ends the lines.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::convert::Infallible;

use service_limits::chargen::{LINE_WITH_END, LINES as LINES_OF_PATTERN, PATTERN, byte, datagram_length};
use wsk::{Buffer, Either, IoError, ReadHalf, TcpStream, TransferError, WriteHalf, first};

use super::exchange::{enable_events, finish, stop};
use super::session::Session;
use crate::limits::SMALLEST_BUFFER;

/// The whole pattern, after which it begins anew.
static LINES: [u8; PATTERN] = {
    let (mut lines, mut at) = ([0; PATTERN], 0);
    while at < PATTERN {
        lines[at] = byte(at);
        at += 1;
    }
    lines
};

/// Why there is to be an end.
enum End {
    /// The peer's FIN.
    Peer,
    /// The service is being stopped.
    Stop,
}

/// Serves one connection.
pub(super) async fn serve(mut stream: TcpStream, session: &Session) -> Result<(), IoError> {
    enable_events(&mut stream)?;
    let (mut reader, mut writer) = stream.into_split();
    let end = match first(throw_away(&mut reader, session), send_lines(&mut writer, session)).await {
        Either::First(end) => end?,
        Either::Second(error) => return error.map(|never| match never {}),
    };
    let Ok(mut stream) = reader.reunite(writer) else { return Err(IoError::Cancelled) };
    match end {
        End::Peer => finish(&mut stream).await.map(drop),
        End::Stop => stop(&mut stream).await,
    }
}

/// Sends the pattern again and again; the same buffer each time, for it holds all of it.
async fn send_lines(writer: &mut WriteHalf, session: &Session) -> Result<Infallible, IoError> {
    let mut buffer = Buffer::new(PATTERN).map_err(|_| IoError::OutOfMemory)?;
    let length = buffer.write(&LINES);
    loop {
        buffer = writer.send(buffer).await.map_err(|failed| failed.error)?;
        session.sent(length);
    }
}

/// Receives until there is a reason to end.
async fn throw_away(reader: &mut ReadHalf, session: &Session) -> Result<End, IoError> {
    loop {
        let buffer = Buffer::new(SMALLEST_BUFFER as usize).map_err(|_| IoError::OutOfMemory)?;
        match reader.receive(buffer).await {
            Ok(received) if received.filled().is_empty() => return Ok(End::Peer),
            Ok(received) => session.received(received.filled().len()),
            Err(TransferError { error: IoError::Cancelled, .. }) if reader.is_stopping() => return Ok(End::Stop),
            Err(TransferError { error: IoError::Cancelled, .. }) => match reader.readable().await {
                Ok(()) => {}
                Err(IoError::Cancelled) => return Ok(End::Stop),
                Err(error) => return Err(error),
            },
            Err(failed) => return Err(failed.error),
        }
    }
}

/// Puts the answer to a datagram into its buffer: so many characters as the number says, from some line on.
pub(super) fn write_datagram(buffer: &mut Buffer, random: u64) {
    let line = (random >> 32) as usize % LINES_OF_PATTERN;
    let (start, length) = (line * LINE_WITH_END, datagram_length(random & 0xffff_ffff));
    // Where the pattern ends before the datagram does, the datagram is of its last characters.
    let start = start.min(PATTERN - length);
    buffer.write(LINES.get(start..start + length).unwrap_or_default());
}
