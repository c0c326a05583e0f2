//! UDP in the provider's own memory: read in place, held, sent on.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{Ipv4Addr, SocketAddr};
use core::pin::pin;
use core::time::Duration;

use wsk::{Addresses, Binding, Bound, Buffer, Control, DatagramIndications, IoError, Sleep, UdpSocket, now, timeout};

use crate::failure::{Doing, Failure, expect};
use crate::{Outcome, at, say};

async fn indicated(binding: &Binding, own: SocketAddr, bound: Bound) -> Result<(UdpSocket, DatagramIndications), Failure> {
    let own = SocketAddr::new(own.ip(), 0);
    let socket = UdpSocket::bind(binding, own, Addresses::OwnFamily).await.doing("binding")?;
    let indications = socket.enable_indications(bound).doing("switching the event on")?;
    let second = socket.enable_indications(bound).err();
    expect(second.is_some(), "no second reader")?;
    Ok((socket, indications))
}

/// Answers each datagram with a copy and what came with it, until one says "end".
pub(crate) async fn copies(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, mut indications) = indicated(binding, target, Bound::default()).await?;
    socket.set_packet_info(true).await.doing("packet info")?;
    at("datagrams_copies", socket.local_address().await.doing("asking for the address")?);
    let mut last = false;
    while !last {
        let datagrams = indications.receive().await.doing("receiving")?;
        for datagram in datagrams.iter() {
            let mut buffer = Buffer::new(65536).doing("a buffer")?;
            expect(datagram.copy_to(&mut buffer) == datagram.len(), "all of it")?;
            expect(datagram.chunks().map(<[u8]>::len).sum::<usize>() == datagram.len(), "the same in pieces")?;
            expect(datagram.control().packet_info.is_some_and(|info| info.address == target.ip()), "where it came to")?;
            let from = datagram.from().ok_or(Failure::new("reading", "no sender"))?;
            last |= buffer.filled() == b"end";
            socket.send_to(buffer, from).await.doing("answering")?;
        }
    }
    expect(indications.missed() == 0, "nothing missed")
}

/// Holds a list while there is room for no other, until something was missed; then goes on.
pub(crate) async fn bound(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, mut indications) = indicated(binding, target, Bound { lists: 1, bytes: 4096 }).await?;
    at("datagrams_bound", socket.local_address().await.doing("asking for the address")?);
    let held = indications.receive().await.doing("receiving")?;
    say("datagrams_bound", "holding");
    while indications.missed() < 3 {
        Sleep::new(Duration::from_millis(5)).doing("a timer")?.await;
    }
    expect(held.iter().all(|one| one.chunks().all(|chunk| chunk == b"held")), "what is held stays as it was")?;
    drop(held);
    say("datagrams_bound", "free");
    let after = indications.receive().await.doing("receiving again")?;
    expect(after.iter().all(|one| one.chunks().all(|chunk| chunk == b"after")), "what came later")
}

/// Sends what comes on to the target, without copying it, until it was an "end".
pub(crate) async fn forward(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, mut indications) = indicated(binding, target, Bound::default()).await?;
    at("datagrams_forward", socket.local_address().await.doing("asking for the address")?);
    let mut last = false;
    while !last {
        let mut datagrams = indications.receive().await.doing("receiving")?;
        for number in 0..datagrams.iter().count() {
            last |= datagrams.iter().nth(number).is_some_and(|one| one.chunks().any(|chunk| chunk == b"end"));
            datagrams = socket.forward(datagrams, number, target, &Control::NONE).await.doing("forwarding")?;
        }
        let beyond = datagrams.iter().count();
        let refused = socket.forward(datagrams, beyond, target, &Control::NONE).await.err();
        expect(refused.is_some_and(|error| error.datagrams.is_some()), "a refusal of what is not there")?;
    }
    Ok(())
}

/// Gives up forwards that do not complete, and then waits for one until the binding ends.
pub(crate) async fn stuck(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, mut indications) = indicated(binding, target, Bound { lists: 4, bytes: 4096 }).await?;
    at("datagrams_stuck", socket.local_address().await.doing("asking for the address")?);
    for number in 0..2 {
        let datagrams = indications.receive().await.doing("receiving")?;
        let mut forwarding = pin!(socket.forward(datagrams, 0, target, &Control::NONE));
        expect(now(forwarding.as_mut()).await.is_none(), "a send that does not complete")?;
        say("datagrams_stuck", format_args!("begun {number}"));
    }
    let datagrams = indications.receive().await.doing("receiving")?;
    let mut forwarding = pin!(socket.forward(datagrams, 0, target, &Control::NONE));
    expect(now(forwarding.as_mut()).await.is_none(), "a send that does not complete")?;
    say("datagrams_stuck", "waiting");
    let error = forwarding.await.err().ok_or(Failure::new("waiting", "it was sent"))?;
    expect(error.error == IoError::Detached, "the end of the binding")?;
    expect(error.datagrams.is_some(), "the list back")
}

/// Holds one list, with others in the queue, while the binding ends.
pub(crate) async fn held(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, mut indications) = indicated(binding, target, Bound::default()).await?;
    at("datagrams_held", socket.local_address().await.doing("asking for the address")?);
    let held = indications.receive().await.doing("receiving")?;
    say("datagrams_held", "holding");
    binding.ended().await.doing("waiting for the end")?;
    expect(held.iter().all(|one| one.chunks().all(|chunk| chunk == b"held")), "what is held stays as it was")?;
    drop(held);
    loop {
        match indications.receive().await {
            Ok(queued) => drop(queued),
            Err(IoError::Detached) => return Ok(()),
            Err(error) => return Err(error).doing("receiving at the end"),
        }
    }
}

/// Switches the event off; what comes then is for a receive.
pub(crate) async fn disable(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, mut indications) = indicated(binding, target, Bound::default()).await?;
    at("datagrams_disable", socket.local_address().await.doing("asking for the address")?);
    let first = indications.receive().await.doing("receiving by the event")?;
    expect(first.iter().count() == 1, "one datagram")?;
    drop(first);
    indications.disable().await.doing("switching the event off")?;
    say("datagrams_disable", "off");
    let (buffer, _) = socket.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving")?;
    expect(buffer.filled() == b"after", "what came after")
}

/// The event is switched off while it is under way, which is waited for; and again when it is off.
pub(crate) async fn disabling(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, mut indications) = indicated(binding, target, Bound::default()).await?;
    at("datagrams_disabling", socket.local_address().await.doing("asking for the address")?);
    loop {
        Sleep::new(Duration::from_millis(50)).doing("a timer")?.await;
        let mut disabling = pin!(indications.disable());
        // When it is under way, it is held there. Until then it is on again.
        match timeout(Duration::from_millis(50), disabling.as_mut()).await {
            Ok(disabled) => disabled.doing("switching the event off")?,
            Err(_) => {
                say("datagrams_disabling", "blocked");
                return disabling.await.doing("switching the event off");
            }
        }
        indications = socket.enable_indications(Bound::default()).doing("switching the event on again")?;
    }
}

/// The event is on without being switched on: what comes before somebody reads is for a receive, and the reader has the rest.
pub(crate) async fn from_the_start(binding: &Binding, target: SocketAddr) -> Outcome {
    let own = SocketAddr::new(target.ip(), 0);
    let socket = UdpSocket::bind(binding, own, Addresses::OwnFamily).await.doing("binding")?;
    at("datagrams_from_the_start", socket.local_address().await.doing("asking for the address")?);
    let receive = async || socket.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving");
    let (buffer, _) = receive().await?;
    expect(buffer.filled() == b"first", "what came while nobody read in place")?;
    let mut indications = socket.enable_indications(Bound::default()).doing("reading in place")?;
    say("datagrams_from_the_start", "reading");
    let datagrams = indications.receive().await.doing("receiving in place")?;
    expect(datagrams.iter().all(|one| one.chunks().all(|chunk| chunk == b"second")), "what the event brought")?;
    drop(datagrams);
    indications.disable().await.doing("reading no more")?;
    say("datagrams_from_the_start", "no more");
    let (buffer, _) = receive().await?;
    expect(buffer.filled() == b"third", "what came after")
}

/// Says how what comes was addressed, by the event and then by a receive.
pub(crate) async fn cast(binding: &Binding, _target: SocketAddr) -> Outcome {
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let (socket, mut indications) = indicated(binding, everywhere, Bound::default()).await?;
    at("datagrams_cast", socket.local_address().await.doing("asking for the address")?);
    for number in 0..2 {
        let datagrams = indications.receive().await.doing("receiving in place")?;
        say("datagrams_cast", format_args!("list {number} {:?}", datagrams.cast()));
    }
    indications.disable().await.doing("switching the event off")?;
    say("datagrams_cast", "off");
    let (_, received) = socket.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving")?;
    say("datagrams_cast", format_args!("received {:?}", received.cast));
    Ok(())
}

/// Drops the reader of the event; what comes then is for a receive.
pub(crate) async fn forgotten(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, indications) = indicated(binding, target, Bound::default()).await?;
    drop(indications);
    at("datagrams_forgotten", socket.local_address().await.doing("asking for the address")?);
    let (buffer, _) = socket.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving")?;
    expect(buffer.filled() == b"after", "what came after")
}

/// Sees the socket die, by the event and by a receive.
pub(crate) async fn gone(binding: &Binding, target: SocketAddr) -> Outcome {
    let (socket, mut indications) = indicated(binding, target, Bound::default()).await?;
    at("datagrams_gone", socket.local_address().await.doing("asking for the address")?);
    expect(matches!(indications.receive().await, Err(IoError::Detached)), "the end, by the event")?;
    let error = socket.receive_from(Buffer::new(16).doing("a buffer")?).await.err();
    let error = error.ok_or(Failure::new("receiving", "something came"))?;
    expect(error.error == IoError::Detached && error.buffer.is_some(), "the end, by a receive")
}
