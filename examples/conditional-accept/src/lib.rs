//! A server that looks at each connection request before there is a connection: one peer is refused, the others are greeted.
#![no_std]

use core::net::IpAddr;
use core::time::Duration;

use wsk::entry::Parameters;
use wsk::{Binding, Buffer, Error, Inspector, Lane, ListenOptions, Passive, TcpListener, TcpStream, timeout};

wsk::driver! { name: "conditional-accept", module: 0x61e0_3bd8_94c7_4a15_8f20_d4a9_0c5b_72ee, main: main }

/// How long a peer may take to end its side.
const PATIENCE: Duration = Duration::from_secs(5);

async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let settings = Parameters::open(passive)?;
    let (address, refused) = (settings.address("Address")?, settings.address("Refuse")?.ip());

    // At most 16 requests wait for a verdict; more are rejected at once.
    let mut listener = TcpListener::bind_with(&binding, address, &ListenOptions::new().conditional(16)).await?;
    wdk::println!("conditional-accept: listening at {}", listener.local_address().await?);
    if let Some(inspector) = listener.take_inspector() {
        drop(binding.executor().spawn(Lane::Dispatch, inspect(inspector, refused))?);
    }

    // What comes here has been accepted there.
    loop {
        let (stream, _peer) = listener.accept().await?;
        drop(binding.executor().spawn(Lane::Dispatch, greet(stream))?);
    }
}

/// Judges every request. A verdict may take its time: the peer waits, others do not.
async fn inspect(mut inspector: Inspector, refused: IpAddr) {
    while let Ok(request) = inspector.inspect().await {
        let peer = request.remote();
        let verdict = if peer.is_some_and(|peer| peer.ip() == refused) { request.reject().await } else { request.accept().await };
        if let Err(error) = verdict {
            // It gave up meanwhile, say.
            wdk::println!("conditional-accept: {peer:?}: {error}");
        }
    }
}

async fn greet(mut stream: TcpStream) {
    let greeted = async {
        let mut buffer = Buffer::new(64)?;
        buffer.write(b"welcome\n");
        stream.send(buffer).await?;
        stream.finish().await?;
        // To the peer's own end, but not for ever: a stream that is dropped before is reset, and the greeting may be lost.
        timeout(PATIENCE, stream.drain()).await??;
        Ok::<_, Error>(())
    };
    if let Err(error) = greeted.await {
        wdk::println!("conditional-accept: {error}");
    }
}
