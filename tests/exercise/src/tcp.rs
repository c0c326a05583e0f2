//! Scenarios of TCP.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{Ipv4Addr, SocketAddr};

use wsk::{Addresses, Binding, Buffer, TcpListener};

use crate::failure::{Doing, expect};
use crate::{Outcome, at};

/// Takes one connection and echoes what comes over it, to its end.
pub(crate) async fn echo_once(binding: &Binding, _target: SocketAddr) -> Outcome {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listener = TcpListener::bind(binding, any, Addresses::OwnFamily).await.doing("bind")?;
    at("tcp_echo_once", listener.local_address().await.doing("local address")?);
    let (mut stream, peer) = listener.accept().await.doing("accept")?;
    expect(peer.is_some_and(|peer| peer.ip() == any.ip()), "a peer on this host")?;
    let mut buffer = Buffer::new(4096).doing("a buffer")?;
    loop {
        buffer = stream.receive(buffer).await.doing("receive")?;
        if buffer.filled().is_empty() {
            return stream.finish().await.doing("finish");
        }
        buffer = stream.send(buffer).await.doing("send")?;
    }
}
