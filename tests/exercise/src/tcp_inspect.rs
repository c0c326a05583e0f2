//! Scenarios of conditional accept.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use wsk::{Binding, InspectError, Inspection, Lane, ListenOptions, OpenError, TcpListener, timeout};

use crate::failure::{Doing, Failure, expect};
use crate::wire::{gate, hear, pause, text};
use crate::{Outcome, at, say};

const HERE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A listener that shows up to four requests at once.
async fn listening(binding: &Binding, name: &str, backlog: u16) -> Result<TcpListener, Failure> {
    let options = ListenOptions::new().conditional(4).by_event(backlog);
    let listener = TcpListener::bind_with(binding, HERE, &options).await.doing("listen")?;
    at(name, listener.local_address().await.doing("local address")?);
    Ok(listener)
}

/// Takes the connection that was accepted, and exchanges a word over it.
async fn take(listener: &mut TcpListener, inspected: (wsk::InspectionId, Option<SocketAddr>)) -> Outcome {
    let (stream, peer) = listener.accept().await.doing("take")?;
    expect(peer == inspected.1, "the peer that was inspected")?;
    expect(stream.inspection_id().doing("id")? == inspected.0, "the id that was inspected")?;
    let (mut reader, mut writer) = stream.into_split();
    writer.send(text("welcome")?).await.doing("send")?;
    hear(&mut reader, "thanks").await
}

async fn accepts_with(binding: &Binding, name: &str, backlog: u16) -> Outcome {
    let mut listener = listening(binding, name, backlog).await?;
    for _ in 0..3 {
        let inspection = listener.inspect().await.doing("inspect")?;
        expect(inspection.local().is_some_and(|local| local.ip() == HERE.ip()), "where to")?;
        expect(!inspection.is_aborted(), "a peer that is there")?;
        let inspected = (inspection.id(), inspection.remote());
        // It is not there before it has been accepted.
        expect(timeout(Duration::from_millis(30), listener.accept()).await.is_err(), "no connection yet")?;
        inspection.accept().await.doing("accept")?;
        take(&mut listener, inspected).await?;
    }
    Ok(())
}

/// Requests are accepted, and come by WskAccept.
pub(crate) async fn accepts(binding: &Binding, _: SocketAddr) -> Outcome {
    accepts_with(binding, "tcp_inspect_accepts", 0).await
}

/// Requests are accepted, and come by the event.
pub(crate) async fn accepts_by_event(binding: &Binding, _: SocketAddr) -> Outcome {
    accepts_with(binding, "tcp_inspect_accepts_by_event", 2).await
}

/// One is rejected, one is dropped, one is accepted, by a task of its own.
pub(crate) async fn decides(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_inspect_decides", 2).await?;
    let mut inspector = listener.take_inspector().ok_or(Failure::new("inspector", "none"))?;
    let deciding = async move {
        inspector.inspect().await.doing("inspect")?.reject().await.doing("reject")?;
        say("tcp_inspect_decides", "rejected");
        drop(inspector.inspect().await.doing("inspect")?);
        say("tcp_inspect_decides", "dropped");
        let third = inspector.inspect().await.doing("inspect")?;
        let inspected = (third.id(), third.remote());
        third.accept().await.doing("accept")?;
        Ok::<_, Failure>(inspected)
    };
    let deciding = binding.executor().spawn(Lane::Dispatch, deciding).doing("a task")?;
    let inspected = deciding.await.doing("join")??;
    take(&mut listener, inspected).await
}

/// A peer gives up while its request is inspected, and one while it waits to be.
pub(crate) async fn aborted(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_inspect_aborted", 2).await?;
    let inspection = listener.inspect().await.doing("inspect")?;
    say("tcp_inspect_aborted", "inspecting");
    while !inspection.is_aborted() {
        pause(2).await?;
    }
    let outcome = inspection.accept().await;
    expect(outcome == Err(InspectError::Aborted), "an accept that comes too late")?;
    say("tcp_inspect_aborted", "told");
    // The second one comes and goes meanwhile.
    gate(binding, "tcp_inspect_aborted", "second").await?;
    expect(timeout(Duration::from_millis(30), listener.inspect()).await.is_err(), "nothing to be shown")?;
    say("tcp_inspect_aborted", "next");
    let inspection = listener.inspect().await.doing("inspect")?;
    let inspected = (inspection.id(), inspection.remote());
    inspection.accept().await.doing("accept")?;
    take(&mut listener, inspected).await
}

/// Six come while four may wait: two are rejected.
pub(crate) async fn too_many(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_inspect_too_many", 4).await?;
    gate(binding, "tcp_inspect_too_many", "six").await?;
    let mut shown: [Option<Inspection>; 4] = [const { None }; 4];
    for place in &mut shown {
        *place = Some(listener.inspect().await.doing("inspect")?);
    }
    expect(timeout(Duration::from_millis(50), listener.inspect()).await.is_err(), "no more than four")?;
    for inspection in shown.into_iter().flatten() {
        let inspected = (inspection.id(), inspection.remote());
        inspection.accept().await.doing("accept")?;
        take(&mut listener, inspected).await?;
    }
    Ok(())
}

/// What came of a verdict is said, whatever it is.
pub(crate) async fn report(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_inspect_report", 2).await?;
    let inspection = listener.inspect().await.doing("inspect")?;
    let outcome = inspection.accept().await;
    say("tcp_inspect_report", format_args!("answer {outcome:?}"));
    Ok(())
}

/// The future of a verdict is dropped while it is on its way: it holds all the same.
pub(crate) async fn verdict_dropped(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_inspect_verdict_dropped", 2).await?;
    let inspection = listener.inspect().await.doing("inspect")?;
    let inspected = (inspection.id(), inspection.remote());
    expect(timeout(Duration::from_millis(20), inspection.accept()).await.is_err(), "a verdict on its way")?;
    say("tcp_inspect_verdict_dropped", "dropped");
    take(&mut listener, inspected).await
}

/// A verdict on its way that nobody waits for is not taken back: it stays in flight.
pub(crate) async fn verdict_stays(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_inspect_verdict_stays", 2).await?;
    let inspection = listener.inspect().await.doing("inspect")?;
    expect(timeout(Duration::from_millis(20), inspection.accept()).await.is_err(), "a verdict on its way")?;
    pause(50).await?;
    expect(binding.work().in_flight == 1, "a verdict that is still on its way")
}

/// Requests at every stage, and somebody who waits for more, until the binding ends.
pub(crate) async fn ends(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = listening(binding, "tcp_inspect_ends", 2).await?;
    let inspection = listener.inspect().await.doing("inspect")?;
    let dropped = listener.inspect().await.doing("inspect")?;
    let mut inspector = listener.take_inspector().ok_or(Failure::new("inspector", "none"))?;
    say("tcp_inspect_ends", "waiting");
    let outcome = loop {
        match inspector.inspect().await {
            // Dropped: rejected, if there is still somebody to be told.
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    expect(outcome == OpenError::Detached, "the end of the wait")?;
    drop(dropped);
    expect(inspection.accept().await == Err(InspectError::Detached), "the end of the request")
}

/// A listener without the option shows nothing.
pub(crate) async fn not_conditional(binding: &Binding, _: SocketAddr) -> Outcome {
    let mut listener = TcpListener::bind_with(binding, HERE, &ListenOptions::new()).await.doing("listen")?;
    expect(listener.inspect().await.is_err(), "nothing to be shown")?;
    expect(listener.take_inspector().is_none(), "no inspector")
}
