//! UDP: what a socket can do with a peer that does as it should.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::SocketAddr;

use wsk::{Addresses, Binding, Buffer, UdpSocket};

use crate::failure::{Doing, expect};
use crate::{Outcome, at};

/// Ends a conversation.
const END: &[u8] = b"end";

/// Answers each datagram with itself, at the family of the target, until one says "end".
pub(crate) async fn echo(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = UdpSocket::bind(binding, target, Addresses::OwnFamily).await.doing("binding")?;
    at("udp_echo", socket.local_address().await.doing("asking for the address")?);
    let mut buffer = Buffer::new(2048).doing("a buffer")?;
    loop {
        let (filled, received) = socket.receive_from(buffer).await.doing("receiving")?;
        expect(!received.truncated, "whole datagrams")?;
        expect(received.control.is_none(), "no control data that was not asked for")?;
        let last = filled.filled() == END;
        buffer = socket.send_to(filled, received.from).await.doing("sending")?;
        if last {
            return Ok(());
        }
    }
}
