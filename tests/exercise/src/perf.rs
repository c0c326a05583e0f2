//! Three ways to echo over TCP that the figures compare (`cargo xtask bench`): each scenario listens, and serves every connection
//! to its end, until the binding ends.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use core::net::{Ipv4Addr, SocketAddr};

use wsk::{Addresses, Binding, Bound, Buffer, Indications, Lane, TcpListener, TcpStream, WriteHalf};

use crate::failure::{Doing, Failure};
use crate::{Outcome, at};

/// What fits into a buffer of those that have one: as much as the provider tells of at once.
const ROOM: usize = 64 << 10;

/// How received bytes are taken.
#[derive(Clone, Copy)]
enum Way {
    /// In the memory in which the network brought them, in which they are sent on.
    InPlace,
    /// Told of in the same manner, but copied into a buffer, which is sent.
    Copied,
    /// Received into a buffer, which is sent.
    Buffered,
}

pub(crate) async fn zero_copy(binding: &Binding, _target: SocketAddr) -> Outcome {
    serve("perf_zero_copy", binding, Way::InPlace).await
}

pub(crate) async fn copying(binding: &Binding, _target: SocketAddr) -> Outcome {
    serve("perf_copying", binding, Way::Copied).await
}

pub(crate) async fn buffered(binding: &Binding, _target: SocketAddr) -> Outcome {
    serve("perf_buffered", binding, Way::Buffered).await
}

async fn serve(name: &str, binding: &Binding, way: Way) -> Outcome {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listener = TcpListener::bind(binding, any, Addresses::OwnFamily).await.doing("bind")?;
    at(name, listener.local_address().await.doing("local address")?);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) if !binding.is_open() => return Ok(()),
            Err(error) => return Err(Failure::new("accept", format_args!("{error:?}"))),
        };
        // How a connection ends is its peer's affair.
        let served = async move { drop(echo(stream, way).await) };
        binding.executor().spawn(Lane::Dispatch, served).doing("spawn")?;
    }
}

async fn echo(stream: TcpStream, way: Way) -> Outcome {
    if let Way::Buffered = way {
        return echo_buffered(stream).await;
    }
    let (from, to) = stream.into_indications(Bound::default()).map_err(|(error, _)| error).doing("into_indications")?;
    match way {
        Way::InPlace => echo_in_place(from, to).await,
        _ => echo_copied(from, to).await,
    }
}

async fn echo_in_place(mut from: Indications, mut to: WriteHalf) -> Outcome {
    while let Some(indication) = from.receive_indication().await.doing("receive an indication")? {
        to.send_chain(indication.into()).await.doing("send an indication")?;
    }
    to.finish().await.doing("finish")
}

async fn echo_copied(mut from: Indications, mut to: WriteHalf) -> Outcome {
    let mut buffer = Buffer::new(ROOM).doing("a buffer")?;
    while let Some(indication) = from.receive_indication().await.doing("receive an indication")? {
        let mut done = 0;
        while done < indication.len() {
            buffer.write(&[]);
            done += indication.copy_to(done, &mut buffer);
            buffer = to.send(buffer).await.doing("send")?;
        }
    }
    to.finish().await.doing("finish")
}

async fn echo_buffered(mut stream: TcpStream) -> Outcome {
    let mut buffer = Buffer::new(ROOM).doing("a buffer")?;
    loop {
        buffer = stream.receive(buffer).await.doing("receive")?;
        if buffer.filled().is_empty() {
            return stream.finish().await.doing("finish");
        }
        buffer = stream.send(buffer).await.doing("send")?;
    }
}
