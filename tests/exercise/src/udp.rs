//! UDP: what a socket can do with a peer that does as it should.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wsk::{Addresses, Batch, BindError, BindOptions, Binding, Buffer, Chain, Control, Ecn, Lane, PacketInfo, Sent, UdpSocket};

use crate::failure::{Doing, Failure, expect};
use crate::{Outcome, at, say, wire};

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

/// As [`echo`], on the IPv6 wildcard for both families; IPv4 addresses are given back as they are, not mapped.
pub(crate) async fn dual(binding: &Binding, _target: SocketAddr) -> Outcome {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let socket = UdpSocket::bind(binding, any, Addresses::Both).await.doing("binding")?;
    at("udp_dual", socket.local_address().await.doing("asking for the address")?);
    let mut buffer = Buffer::new(64).doing("a buffer")?;
    loop {
        let (filled, received) = socket.receive_from(buffer).await.doing("receiving")?;
        let last = filled.filled() == END;
        let to = SocketAddr::new(received.from.ip().to_canonical(), received.from.port());
        buffer = socket.send_to(filled, to).await.doing("sending")?;
        if last {
            return Ok(());
        }
    }
}

/// Receives ten bytes into four, and then ten into sixteen.
pub(crate) async fn truncated(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = UdpSocket::bind(binding, target, Addresses::OwnFamily).await.doing("binding")?;
    at("udp_truncated", socket.local_address().await.doing("asking for the address")?);
    let small = Buffer::new(4).doing("a buffer")?;
    let (small, received) = socket.receive_from(small).await.doing("receiving too much")?;
    expect(received.truncated, "to be told of the rest")?;
    expect(small.filled() == b"0123", "the first four bytes")?;
    let (whole, received) = socket.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving")?;
    expect(!received.truncated, "a whole datagram")?;
    expect(whole.filled() == b"0123456789", "ten bytes")
}

/// Has six receives in flight from clones of one socket; each is answered.
pub(crate) async fn in_flight(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = UdpSocket::bind(binding, target, Addresses::OwnFamily).await.doing("binding")?;
    let mut tasks = [const { None }; 6];
    for task in &mut tasks {
        let socket = socket.clone();
        let answer = async move {
            let (filled, received) = socket.receive_from(Buffer::new(64).doing("a buffer")?).await.doing("receiving")?;
            socket.send_to(filled, received.from).await.doing("sending").map(|_| ())
        };
        *task = Some(binding.executor().spawn(Lane::Dispatch, answer).doing("spawning")?);
    }
    at("udp_in_flight", socket.local_address().await.doing("asking for the address")?);
    for task in tasks.into_iter().flatten() {
        task.await.doing("joining")??;
    }
    Ok(())
}

/// Sends as many datagrams as the target wants to see, in batches of 5: to it by address, and then, once it is fixed, to it
/// without; says how they went.
pub(crate) async fn batch(binding: &Binding, target: SocketAddr) -> Outcome {
    let any = SocketAddr::new(target.ip(), 0);
    let socket = UdpSocket::bind(binding, any, Addresses::OwnFamily).await.doing("binding")?;
    let mut batch = Batch::new(5).doing("a batch")?;
    while batch.len() < 5 {
        let mut buffer = Buffer::new(16).doing("a buffer")?;
        buffer.write(&[batch.len() as u8; 10]);
        expect(batch.push(buffer).is_ok(), "room for five")?;
    }
    expect(batch.push(Buffer::new(1).doing("a buffer")?).is_err(), "no room for a sixth")?;
    let (batch, sent) = socket.send_messages(batch, Some(target), &Control::NONE).await.doing("sending to an address")?;
    say("udp_batch", if sent == Sent::Together { "together" } else { "singly" });
    expect(batch.len() == 5 && batch.buffers().iter().all(|buffer| buffer.filled().len() == 10), "all buffers back")?;
    socket.set_send_to(Some(target)).await.doing("fixing the destination")?;
    let (_, again) = socket.send_messages(batch, None, &Control::NONE).await.doing("sending to the fixed address")?;
    expect(again == sent, "the same way twice")
}

/// Talks to the target alone, then to everybody while sending to the target.
pub(crate) async fn fixed(binding: &Binding, target: SocketAddr) -> Outcome {
    let any = SocketAddr::new(target.ip(), 0);
    let socket = UdpSocket::bind(binding, any, Addresses::OwnFamily).await.doing("binding")?;
    let buffer = Buffer::new(16).doing("a buffer")?;
    let error = socket.send(buffer).await.err();
    expect(error.is_some_and(|error| error.buffer.is_some()), "a refusal without a destination, with the buffer")?;
    socket.set_remote(Some(target)).await.doing("fixing the peer")?;
    at("udp_fixed", socket.local_address().await.doing("asking for the address")?);
    let receive = async || socket.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving");
    let (buffer, received) = receive().await?;
    expect(received.from == target && buffer.filled() == b"peer", "the peer alone")?;
    socket.send(buffer).await.doing("sending to the peer")?;
    socket.set_remote(None).await.doing("freeing the peer")?;
    socket.set_send_to(Some(target)).await.doing("fixing the destination")?;
    say("udp_fixed", "open");
    let (buffer, received) = receive().await?;
    expect(received.from != target && buffer.filled() == b"other", "somebody else")?;
    socket.send(buffer).await.doing("sending to the destination")?;
    Ok(())
}

/// Every option, once on and once off.
pub(crate) async fn options(binding: &Binding, target: SocketAddr) -> Outcome {
    let addresses = if target.is_ipv6() { Addresses::Both } else { Addresses::OwnFamily };
    let options = BindOptions::new().addresses(addresses).reuse_address(true);
    let socket = UdpSocket::bind_with(binding, target, &options).await.doing("binding")?;
    let local = socket.local_address().await.doing("asking for the address")?;
    let refused = UdpSocket::bind_with(binding, local, &BindOptions::new().addresses(addresses)).await.map(drop);
    expect(matches!(refused, Err(BindError::Bind(_))), "an address that is taken, without the option")?;
    let _second = UdpSocket::bind_with(binding, local, &options).await.doing("binding a second to the address")?;
    for on in [true, false] {
        socket.set_packet_info(on).await.doing("packet info")?;
        socket.set_receive_ecn(on).await.doing("ECN")?;
        socket.set_receive_traffic_class(on).await.doing("traffic class")?;
        socket.set_receive_hop_limit(on).await.doing("hop limit")?;
        socket.set_dont_fragment(on).await.doing("do not fragment")?;
        socket.set_broadcast(on).await.doing("broadcast")?;
        socket.set_unicast_interface(on.into()).await.doing("unicast interface")?;
        socket.set_send_message_size(if on { 1200 } else { 0 }).await.doing("send message size")?;
        socket.set_receive_max_coalesced_size(if on { 65527 } else { 0 }).await.doing("max coalesced size")?;
    }
    expect(socket.set_unicast_interface(0x7fff_fff0).await.is_err(), "an interface that there is not")?;
    socket.set_receive_buffer(0x2_0000).await.doing("receive buffer")?;
    socket.set_send_buffer(0x2_0000).await.doing("send buffer")
}

/// Options that the test looks for at the host's socket, first on and then off.
pub(crate) async fn settings(binding: &Binding, target: SocketAddr) -> Outcome {
    let socket = UdpSocket::bind(binding, target, Addresses::OwnFamily).await.doing("binding")?;
    at("udp_settings", socket.local_address().await.doing("asking for the address")?);
    for (on, gate) in [(true, "on"), (false, "off")] {
        socket.set_dont_fragment(on).await.doing("do not fragment")?;
        socket.set_broadcast(on).await.doing("broadcast")?;
        socket.set_hop_limit(if on { 7 } else { 9 }).await.doing("hop limit")?;
        socket.set_receive_buffer(if on { 0x8000 } else { 0x1_0000 }).await.doing("receive buffer")?;
        socket.set_send_buffer(if on { 0x8000 } else { 0x1_0000 }).await.doing("send buffer")?;
        wire::gate(binding, "udp_settings", gate).await?;
    }
    Ok(())
}

/// Says what came with a datagram, and answers it with an ECN mark and a traffic class of its own, from the address that it
/// came to.
pub(crate) async fn control(binding: &Binding, target: SocketAddr) -> Outcome {
    let addresses = if target.is_ipv6() { Addresses::Both } else { Addresses::OwnFamily };
    let socket = UdpSocket::bind(binding, target, addresses).await.doing("binding")?;
    socket.set_packet_info(true).await.doing("packet info")?;
    socket.set_receive_ecn(true).await.doing("ECN")?;
    socket.set_receive_traffic_class(true).await.doing("traffic class")?;
    socket.set_receive_hop_limit(true).await.doing("hop limit")?;
    at("udp_control", socket.local_address().await.doing("asking for the address")?);
    let (buffer, received) = socket.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving")?;
    let Control { packet_info, ecn, traffic_class, hop_limit, .. } = received.control;
    say("udp_control", format_args!("ecn {ecn:?} class {traffic_class:?} limit {hop_limit:?}"));
    let info = packet_info.ok_or(Failure::new("reading", "no packet info"))?;
    say("udp_control", format_args!("to {} at {}", info.address, info.interface));
    let answer = Control { packet_info: Some(info), ecn: Some(Ecn::Ect1), ..Control::NONE };
    let buffer = socket.send_to_with(buffer, received.from, &answer).await.doing("sending with ECN")?;
    let answer = Control { traffic_class: Some(0x2a), ..Control::NONE };
    let buffer = socket.send_to_with(buffer, received.from, &answer).await.doing("sending with a traffic class")?;
    let wrong = Control { packet_info: Some(PacketInfo { address: wrong_family(info.address), interface: 0 }), ..Control::NONE };
    let refused = socket.send_to_with(buffer, received.from, &wrong).await.err().ok_or(Failure::new("refusing", "was sent"))?;
    expect(refused.buffer.is_some(), "the buffer of what was refused")
}

fn wrong_family(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// Sends 2,500 bytes that the stack cuts by the thousand, by an option and by control data, and says what coalesced
/// datagrams come back.
pub(crate) async fn segments(binding: &Binding, target: SocketAddr) -> Outcome {
    let any = SocketAddr::new(target.ip(), 0);
    let socket = UdpSocket::bind(binding, any, Addresses::OwnFamily).await.doing("binding")?;
    let mut buffer = Buffer::new(65536).doing("a buffer")?;
    buffer.write(&[7; 2500]);
    let cut = Control { segment_size: Some(1000), ..Control::NONE };
    let buffer = socket.send_to_with(buffer, target, &cut).await.doing("sending with a segment size")?;
    socket.set_send_message_size(1000).await.doing("setting the send message size")?;
    let buffer = socket.send_to(buffer, target).await.doing("sending")?;
    socket.set_receive_max_coalesced_size(65527).await.doing("setting the coalesced size")?;
    at("udp_segments", socket.local_address().await.doing("asking for the address")?);
    let (mut buffer, mut bytes) = (buffer, 0);
    while bytes < 2500 {
        let (filled, received) = socket.receive_from(buffer).await.doing("receiving")?;
        bytes += filled.filled().len();
        say("udp_segments", format_args!("came {} of {:?}", filled.filled().len(), received.control.coalesced_size));
        buffer = filled;
    }
    expect(bytes == 2500, "no byte twice")
}

/// Sends two buffers as one datagram, a part of one, and nothing.
pub(crate) async fn chain(binding: &Binding, target: SocketAddr) -> Outcome {
    let any = SocketAddr::new(target.ip(), 0);
    let socket = UdpSocket::bind(binding, any, Addresses::OwnFamily).await.doing("binding")?;
    let mut chain = Chain::new();
    for text in [b"one and".as_slice(), b" two"] {
        let mut buffer = Buffer::new(16).doing("a buffer")?;
        buffer.write(text);
        expect(chain.push(buffer).is_ok(), "room for both")?;
    }
    let chain = socket.send_chain_to(chain, target, &Control::NONE).await.doing("sending two")?;
    let first = chain.into_buffers().next().ok_or(Failure::new("sending two", "no buffers back"))?;
    let part = Chain::part(first, 4..7).map_err(|_| Failure::new("cutting", "there is no such part"))?;
    let part = socket.send_chain_to(part, target, &Control::NONE).await.doing("sending a part")?;
    expect(part.len() == 3, "the part back")?;
    socket.send_chain_to(Chain::new(), target, &Control::NONE).await.doing("sending nothing").map(|_| ())
}

/// Sends from one socket to another, and to the target, with hop limits: of the socket, of one datagram, and of the socket again.
pub(crate) async fn hops(binding: &Binding, target: SocketAddr) -> Outcome {
    let any = SocketAddr::new(target.ip(), 0);
    let sees = UdpSocket::bind(binding, any, Addresses::OwnFamily).await.doing("binding")?;
    sees.set_receive_hop_limit(true).await.doing("asking for hop limits")?;
    let to = sees.local_address().await.doing("asking for the address")?;
    let socket = UdpSocket::bind(binding, any, Addresses::OwnFamily).await.doing("binding the sender")?;
    socket.set_hop_limit(7).await.doing("the hop limit")?;
    let once = Control { hop_limit: Some(9), ..Control::NONE };
    for (control, limit) in [(Control::NONE, 7), (once, 9), (Control::NONE, 7)] {
        for to in [to, target] {
            let mut buffer = Buffer::new(16).doing("a buffer")?;
            buffer.write(b"far");
            socket.send_to_with(buffer, to, &control).await.doing("sending")?;
        }
        let (_, received) = sees.receive_from(Buffer::new(16).doing("a buffer")?).await.doing("receiving")?;
        expect(received.control.hop_limit == Some(limit), "the hop limit that was set")?;
    }
    Ok(())
}
