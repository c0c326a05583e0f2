//! Scenarios of what can be asked of the provider as such: transports, their changes, security descriptors.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{Ipv4Addr, SocketAddr};
use core::pin::pin;
use core::time::Duration;

use wsk::rundown::Phase;
use wsk::{
    Addresses, Binding, Family, IoError, Lane, ListenOptions, SecurityDescriptor, Sleep, TcpListener, TcpSocket, TimeoutError,
    UdpSocket, now, timeout,
};

use crate::failure::{Doing, expect};
use crate::{Outcome, say};

const ANY: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A self-relative descriptor: no owner, no group, a DACL that lets SYSTEM and administrators do everything.
const DESCRIPTOR: [u8; 72] = *b"\x01\0\x04\x80\0\0\0\0\0\0\0\0\0\0\0\0\x14\0\0\0\
    \x02\0\x34\0\x02\0\0\0\
    \0\0\x14\0\xff\x01\x0f\0\x01\x01\0\0\0\0\0\x05\x12\0\0\0\
    \0\0\x18\0\xff\x01\x0f\0\x01\x02\0\0\0\0\0\x05\x20\0\0\0\x20\x02\0\0";

/// The transports of the host, which have TCP and UDP among them.
pub(crate) async fn transports(binding: &Binding, _: SocketAddr) -> Outcome {
    let all = binding.transports().doing("query")?;
    expect(all.iter().any(|one| one.family == 2 && one.socket_type == 1 && one.protocol == 6), "TCP")?;
    expect(all.iter().any(|one| one.family == 2 && one.socket_type == 2 && one.protocol == 17), "UDP")
}

/// Waits that are dropped, and one that sees a change.
pub(crate) async fn change(binding: &Binding, _: SocketAddr) -> Outcome {
    for _ in 0..3 {
        let waited = timeout(Duration::from_millis(5), binding.transports_changed()).await;
        expect(matches!(waited, Err(TimeoutError::Elapsed)), "no change by itself")?;
    }
    let before = binding.transports().doing("query")?.iter().count();
    let changed = binding.transports_changed();
    say("control_change", "waiting");
    changed.await.doing("change")?;
    let after = binding.transports().doing("query")?.iter().count();
    expect(after + 1 == before, "one is gone")
}

/// Waits for a change, also in a future that nobody polls, until the provider goes.
pub(crate) async fn change_at_detach(binding: &Binding, _: SocketAddr) -> Outcome {
    let unpolled = binding.transports_changed();
    let waiting = binding.executor().spawn(Lane::Dispatch, binding.transports_changed()).doing("spawn")?;
    say("control_change_at_detach", "waiting");
    expect(waiting.await == Ok(Err(IoError::Detached)), "the wait ends with the binding")?;
    expect(unpolled.await == Err(IoError::Detached), "and so does the other one")?;
    expect(binding.transports_changed().await == Err(IoError::Detached), "none begins")?;
    expect(binding.transports().err() == Some(IoError::Detached), "nor a question")
}

/// Descriptors on listeners and sockets, and bytes that are none.
pub(crate) async fn descriptors(binding: &Binding, _: SocketAddr) -> Outcome {
    let descriptor = SecurityDescriptor::cache(binding, &DESCRIPTOR).doing("cache")?;
    let options = ListenOptions::new().addresses(Addresses::OwnFamily);
    let listener = TcpListener::bind_secured(binding, ANY, &options, &descriptor).await.doing("bind")?;
    let socket = TcpSocket::new(binding, Family::V4).await.doing("socket")?;
    socket.set_security(&descriptor).await.doing("set")?;
    drop(descriptor);
    drop((listener, socket));
    damaged(binding)
}

/// Every descriptor that is cut short is refused, and so is one whose parts do not fit.
fn damaged(binding: &Binding) -> Outcome {
    for length in 0..DESCRIPTOR.len() {
        let cut = DESCRIPTOR.get(..length).unwrap_or_default();
        expect(SecurityDescriptor::cache(binding, cut).is_err(), "cut short")?;
    }
    // Revision, control, where the DACL is, its revision, its size, its count, an entry's kind and size, a SID's count.
    for (at, wrong) in [(0, 9), (3, 0), (16, 0x15), (20, 7), (22, 8), (24, 3), (28, 0x44), (30, 2), (30, 0xf0), (37, 16)] {
        let mut bytes = DESCRIPTOR;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = wrong;
        }
        expect(SecurityDescriptor::cache(binding, &bytes).is_err(), "damaged")?;
    }
    Ok(())
}

/// A descriptor that is held when the binding ends: the library has given it back by then.
pub(crate) async fn descriptor_at_detach(binding: &Binding, _: SocketAddr) -> Outcome {
    let descriptor = SecurityDescriptor::cache(binding, &DESCRIPTOR).doing("cache")?;
    let socket = TcpSocket::new(binding, Family::V4).await.doing("socket")?;
    say("control_descriptor_at_detach", "held");
    binding.ended().await.doing("wait")?;
    expect(SecurityDescriptor::cache(binding, &DESCRIPTOR).is_err(), "none is cached any more")?;
    expect(socket.set_security(&descriptor).await == Err(IoError::Detached), "nor used")?;
    // Held until nothing of the binding's is out any more, for which nobody but the library can have given it back.
    for _ in 0..4000 {
        if binding.work().phase == Phase::Done {
            return Ok(());
        }
        Sleep::new(Duration::from_millis(5)).doing("sleep")?.await;
    }
    expect(false, "given back at detach")
}

/// The local addresses of a socket's family, by the passive thread; a wait that is dropped, and one that sees a change.
pub(crate) async fn addresses(binding: &Binding, _: SocketAddr) -> Outcome {
    let listener = TcpListener::bind(binding, ANY, Addresses::OwnFamily).await.doing("bind")?;
    let udp = UdpSocket::bind(binding, ANY, Addresses::OwnFamily).await.doing("bind")?;
    let task = binding.executor().spawn_passive(|passive| async move {
        let list = listener.local_addresses(passive).doing("query")?;
        expect(list.iter().any(|address| address.ip() == ANY.ip()), "the loopback address")?;
        expect(udp.local_addresses(passive).doing("query")?.iter().eq(list.iter()), "the same of both")?;
        let waited = timeout(Duration::from_millis(5), listener.local_addresses_changed(passive)).await;
        expect(matches!(waited, Err(TimeoutError::Elapsed)), "no change by itself")?;
        let mut change = pin!(udp.local_addresses_changed(passive));
        expect(now(change.as_mut()).await.is_none(), "nor now")?;
        say("control_addresses", "waiting");
        change.await.doing("change")
    });
    task.doing("spawn")?.await.doing("join")?
}
