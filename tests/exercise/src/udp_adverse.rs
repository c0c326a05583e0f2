//! UDP with a provider that does as it should not, futures that are dropped, and the end of the binding.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::SocketAddr;
use core::pin::pin;
use core::time::Duration;

use wsk::{Addresses, Batch, Binding, Buffer, Control, IoError, Sleep, TransferError, UdpSocket, now};

use crate::failure::{Doing, Failure, expect};
use crate::{Outcome, at, say};

async fn bound(binding: &Binding, target: SocketAddr) -> Result<UdpSocket, Failure> {
    UdpSocket::bind(binding, SocketAddr::new(target.ip(), 0), Addresses::OwnFamily).await.doing("binding")
}

/// How an operation went, and whether the buffer came back.
fn outcome(result: &Result<(), TransferError>) -> &'static str {
    match result {
        Ok(()) => "done",
        Err(TransferError { buffer: Some(_), .. }) => "failed",
        Err(TransferError { buffer: None, .. }) => "failed and kept",
    }
}

/// Sends four datagrams to the target and receives four, and says how each went.
pub(crate) async fn faults(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = bound(binding, target).await?;
    at("udp_adverse_faults", socket.local_address().await.doing("asking for the address")?);
    for number in 0..4_u8 {
        let mut buffer = Buffer::new(16).doing("a buffer")?;
        buffer.write(&[number; 5]);
        let sent = socket.send_to(buffer, target).await.map(|_| ());
        say("udp_adverse_faults", format_args!("send {number}: {}", outcome(&sent)));
    }
    // So that they are there: what an answer means that is given before a receive is complete is another matter.
    Sleep::new(Duration::from_millis(200)).doing("a timer")?.await;
    for number in 0..4 {
        let received = socket.receive_from(Buffer::new(16).doing("a buffer")?).await;
        if let Ok((buffer, _)) = &received {
            expect(buffer.filled() == b"hello", "what was sent")?;
        }
        say("udp_adverse_faults", format_args!("receive {number}: {}", outcome(&received.map(|_| ()))));
    }
    Ok(())
}

/// Drops receives and sends at once after their start; the socket works on.
pub(crate) async fn dropped(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = bound(binding, target).await?;
    for _ in 0..20 {
        let mut receive = pin!(socket.receive_from(Buffer::new(16).doing("a buffer")?));
        expect(now(receive.as_mut()).await.is_none(), "nothing to receive")?;
    }
    // Over loopback a send completes inline as a rule; the provider's faults make it pend.
    for number in 0..20_u8 {
        let mut buffer = Buffer::new(16).doing("a buffer")?;
        buffer.write(&[number; 5]);
        let mut send = pin!(socket.send_to(buffer, target));
        let _ = now(send.as_mut()).await;
    }
    at("udp_adverse_dropped", socket.local_address().await.doing("asking for the address")?);
    let (buffer, _) = socket.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving")?;
    expect(buffer.filled() == b"hello", "what was sent")
}

/// Has a receive in flight when the binding ends; afterwards everything says so.
pub(crate) async fn ended(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = bound(binding, target).await?;
    at("udp_adverse_ended", socket.local_address().await.doing("asking for the address")?);
    let buffer = Buffer::new(16).doing("a buffer")?;
    let error = socket.receive_from(buffer).await.err().ok_or(Failure::new("receiving", "something came"))?;
    expect(error.error == IoError::Detached, "a receive that says that it ended")?;
    let buffer = error.buffer.ok_or(Failure::new("receiving", "no buffer back"))?;
    let error = socket.send_to(buffer, target).await.err().ok_or(Failure::new("sending", "it was sent"))?;
    expect(error.error == IoError::Detached, "a send that says so")?;
    let buffer = error.buffer.ok_or(Failure::new("sending", "no buffer back"))?;
    let mut batch = Batch::new(1).doing("a batch")?;
    expect(batch.push(buffer).is_ok(), "room for one")?;
    let error = socket.send_messages(batch, Some(target), &Control::NONE).await.err();
    expect(error.is_some_and(|error| error.error == IoError::Detached && error.batch.is_some()), "a batch that says so")?;
    expect(socket.local_address().await == Err(IoError::Detached), "an address that says so")?;
    expect(socket.set_broadcast(true).await == Err(IoError::Detached), "an option that says so")?;
    expect(socket.set_remote(Some(target)).await == Err(IoError::Detached), "a fixed peer that says so")?;
    let indications = socket.enable_indications(wsk::Bound::default());
    expect(matches!(indications, Err(IoError::Detached)), "an event that says so")?;
    let again = UdpSocket::bind(binding, target, Addresses::OwnFamily).await.err();
    expect(again == Some(wsk::BindError::Open(wsk::OpenError::Detached)), "a new socket that says so")
}
