//! The forwarder: what comes over a connection goes to the target, and what the target answers comes back, both ways at once and in
//! the memory in which the network brought it.
//!
//! Each direction ends on its own: a FIN is passed on when everything before it has been, and the other direction goes on. A
//! reset, or any other failure, resets both connections. A reader that is slow slows its writer down: a direction holds no
//! more of the network's memory than its [`Bound`].
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::Future;
use core::net::SocketAddr;
use core::pin::pin;
use core::sync::atomic::Ordering;

use wsk::{
    Bound, Buffer, Either, Hints, Indications, IoError, ReadHalf, TcpStream, TransferError, WriteHalf, first, resolve, timeout,
};

use super::exchange::{FINISH_MOST, Fin};
use super::session::Session;
use crate::lacking::{connect, told};
use crate::limits::{Claim, SMALLEST_BUFFER};
use crate::log;
use crate::parameters::{HostName, Target};

/// Lists of received data that a direction holds at most.
const MOST_LISTS: u16 = 16;
/// Addresses of a name that are tried, one after the other.
const MOST_ADDRESSES: usize = 8;

/// One connection's end that is read.
enum Source {
    InPlace(Indications),
    /// The provider tells of nothing: it is received into a buffer.
    Copying(ReadHalf),
}

/// Serves one connection.
pub(super) async fn serve(stream: TcpStream, session: &Session) -> Result<(), IoError> {
    let other = match first(pin!(connected(session)), session.stopping()).await {
        Either::First(connected) => connected?,
        Either::Second(_) => return Err(IoError::Cancelled),
    };
    let (bound, _claim) = bound(session);
    let (from_client, to_client) = halves(stream, bound)?;
    let (from_target, to_target) = halves(other, bound)?;
    let mut up = pin!(passed_on(from_client, to_target, session));
    let mut down = pin!(passed_on(from_target, to_client, session));
    match first(up.as_mut(), down.as_mut()).await {
        Either::First(ended) => {
            follow(ended?, down).await
        }
        Either::Second(ended) => {
            follow(ended?, up).await
        }
    }
}

/// When one direction has ended, the other goes on; unless the FIN could not be passed on: then both connections are closed.
async fn follow(ended: Fin, other: impl Future<Output = Result<Fin, IoError>>) -> Result<(), IoError> {
    match ended {
        Fin::Sent => other.await.map(drop),
        Fin::Lacking => Ok(()),
    }
}

/// The connection to the target. That it cannot be had is traced when that is new.
async fn connected(session: &Session) -> Result<TcpStream, IoError> {
    let service = session.service();
    let Some(target) = &service.settings.target else { return Err(IoError::Cancelled) };
    let outcome = match target {
        Target::Address(address) => connected_to(session, &[Some(*address)]).await,
        Target::Name { host, port } => match addresses(session, *host, *port).await {
            Some(addresses) => connected_to(session, &addresses).await,
            None => None,
        },
    };
    let was_away = service.target_away.swap(outcome.is_none(), Ordering::Relaxed);
    match (&outcome, was_away) {
        (None, false) => log!(Warning, "{}: {target} cannot be reached", service.name()),
        (Some(_), true) => log!("{}: {target} can be reached again", service.name()),
        _ => {}
    }
    outcome.ok_or(IoError::Cancelled)
}

/// A connection to the first of the addresses that takes one.
async fn connected_to(session: &Session, addresses: &[Option<SocketAddr>]) -> Option<TcpStream> {
    for address in addresses.iter().flatten() {
        if let Ok(stream) = connect(session.binding(), *address).await {
            // For the list of sockets, which shows what was asked for.
            let _ = told(stream.local_address().await, *address);
            return Some(stream);
        }
    }
    None
}

/// The addresses of a name, which are asked for on the passive thread.
async fn addresses(session: &Session, host: HostName, port: u16) -> Option<[Option<SocketAddr>; MOST_ADDRESSES]> {
    let binding = session.binding().clone();
    let asked = session.binding().executor().spawn_passive(move |passive| async move {
        let answer = resolve(passive, &binding, host.as_str(), "", Hints::default()).await.ok()?;
        let mut addresses = [None; MOST_ADDRESSES];
        for (place, address) in addresses.iter_mut().zip(answer.iter()) {
            *place = Some(SocketAddr::new(address.ip(), port));
        }
        Some(addresses)
    });
    asked.ok()?.await.ok()?
}

/// How much each direction may hold: twice a buffer, if the service may have it, so that one can come while another goes.
fn bound(session: &Session) -> (Bound, Option<Claim>) {
    let wished = session.service().settings.buffer_size.saturating_mul(2);
    let claim = session.claim(wished.saturating_sub(SMALLEST_BUFFER).saturating_mul(2));
    let bytes = if claim.is_some() { wished } else { SMALLEST_BUFFER };
    (Bound { lists: MOST_LISTS, bytes: bytes as usize }, claim)
}

fn halves(stream: TcpStream, bound: Bound) -> Result<(Source, WriteHalf), IoError> {
    match stream.into_indications(bound) {
        Ok((indications, writer)) => Ok((Source::InPlace(indications), writer)),
        Err((IoError::Provider(_), stream)) => {
            let (reader, writer) = stream.into_split();
            Ok((Source::Copying(reader), writer))
        }
        Err((error, _)) => Err(error),
    }
}

/// One direction, to its end.
async fn passed_on(from: Source, to: WriteHalf, session: &Session) -> Result<Fin, IoError> {
    match from {
        Source::InPlace(from) => passed_in_place(from, to, session).await,
        Source::Copying(from) => copied(from, to, session).await,
    }
}

async fn passed_in_place(mut from: Indications, mut to: WriteHalf, session: &Session) -> Result<Fin, IoError> {
    loop {
        let indication = match from.receive_indication().await {
            Ok(Some(indication)) => indication,
            Ok(None) => return finish(&mut to).await,
            Err(IoError::Cancelled) if from.is_stopping() => break,
            Err(error) => return Err(error),
        };
        let length = indication.len();
        session.received(length);
        to.send_chain(indication.into()).await.map_err(|failed| failed.error)?;
        session.sent(length);
    }
    // The service is being stopped: our FIN, and what the peer still sends is thrown away, to its FIN.
    let fin = finish(&mut to).await?;
    while fin == Fin::Sent && from.receive_rest().await?.is_some() {}
    Ok(fin)
}

async fn copied(mut from: ReadHalf, mut to: WriteHalf, session: &Session) -> Result<Fin, IoError> {
    let mut buffer = Buffer::new(SMALLEST_BUFFER as usize).map_err(|_| IoError::OutOfMemory)?;
    loop {
        buffer = match from.receive(buffer).await {
            Ok(received) if received.filled().is_empty() => return finish(&mut to).await,
            Ok(received) => received,
            Err(TransferError { error: IoError::Cancelled, buffer: Some(buffer) }) if from.is_stopping() => {
                return stop(from, to, buffer).await;
            }
            // Idle: that is no reason for an end here.
            Err(TransferError { error: IoError::Cancelled, buffer: Some(buffer) }) => buffer,
            Err(failed) => return Err(failed.error),
        };
        let length = buffer.filled().len();
        session.received(length);
        buffer = to.send(buffer).await.map_err(|failed| failed.error)?;
        session.sent(length);
    }
}

async fn stop(mut from: ReadHalf, mut to: WriteHalf, mut buffer: Buffer) -> Result<Fin, IoError> {
    if finish(&mut to).await? == Fin::Lacking {
        return Ok(Fin::Lacking);
    }
    loop {
        buffer = from.receive_rest(buffer).await.map_err(|failed| failed.error)?;
        if buffer.filled().is_empty() {
            return Ok(Fin::Sent);
        }
    }
}

/// Passes a FIN on. A peer that takes nothing may keep it from ever being done: then the connections are reset.
async fn finish(to: &mut WriteHalf) -> Result<Fin, IoError> {
    Fin::of(timeout(FINISH_MOST, to.finish()).await)
}
