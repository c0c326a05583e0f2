//! The TCP side of a listening place: connections are admitted or refused, and each gets a task.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::future::{Future, pending};
use core::net::SocketAddr;
use core::pin::{Pin, pin};
use core::time::Duration;

use wsk::{AcceptError, Binding, Either, Lane, Sleep, SpawnError, TcpListener, TcpStream, first};

use super::place::{Served, Station, Waited, wait};
use super::service::count;
use super::session::Session;
use super::{chargen, discard, echo, forward};
use crate::log;
use crate::parameters::Kind;

/// How long to wait after an accept that failed for want of memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves what connects, until the service ends or the provider takes the listener away.
pub(super) async fn accept_all<E: Future>(
    station: Station,
    binding: &Binding,
    listener: &mut TcpListener,
    address: SocketAddr,
    pause: &mut Sleep,
    mut end: Pin<&mut E>,
) -> Served {
    loop {
        match first(listener.accept(), end.as_mut()).await {
            Either::Second(_) => return Served::Ended,
            Either::First(Err(AcceptError::Detached)) if binding.is_stopping() => return Served::Ended,
            Either::First(Err(AcceptError::Detached)) => return Served::Gone,
            Either::First(Ok((stream, _))) => admit(station, binding, stream),
            Either::First(Err(error)) => {
                log!(Warning, "{}: accept at {address}: {error}", station.service.name());
                if let Waited::Ended = wait(end.as_mut(), pause, ACCEPT_PAUSE, pending()).await {
                    return Served::Ended;
                }
            }
        }
    }
}

/// Serves a connection, or refuses it: then dropping the stream resets it.
fn admit(station: Station, binding: &Binding, stream: TcpStream) {
    let service = station.service;
    let served = match service.limits.admit() {
        Some(admission) => match Session::new(service, binding.clone(), admission) {
            Ok(session) => spawn(session, stream).is_ok(),
            Err(_) => false,
        },
        None => false,
    };
    count(if served { &service.counts.accepted } else { &service.counts.refused });
}

/// A task of each kind's own size. The place is free only when the socket is on its way out: the session goes last.
fn spawn(session: Session, mut stream: TcpStream) -> Result<(), SpawnError> {
    let executor = session.binding().executor().clone();
    let is_limited = session.service().settings.idle_timeout.is_some();
    let spawned = match session.service().settings.kind {
        // Idle connections are many: without an idle time-out theirs is not carried along.
        Kind::Echo if !is_limited => executor.spawn(Lane::Dispatch, async move {
            let outcome = echo::serve(&mut stream, &session).await;
            session.ended(&outcome);
            drop(stream);
            drop(session);
        }),
        Kind::Echo => executor.spawn(Lane::Dispatch, async move {
            session.over(pin!(echo::serve(&mut stream, &session))).await;
            drop(stream);
            drop(session);
        }),
        Kind::Discard => executor.spawn(Lane::Dispatch, async move {
            session.over(pin!(discard::serve(&mut stream, &session))).await;
            drop(stream);
            drop(session);
        }),
        Kind::Chargen => executor.spawn(Lane::Dispatch, async move {
            session.over(pin!(chargen::serve(stream, &session))).await;
            drop(session);
        }),
        Kind::Forward => executor.spawn(Lane::Dispatch, async move {
            session.over(pin!(forward::serve(stream, &session))).await;
            drop(session);
        }),
    };
    spawned.map(drop)
}
