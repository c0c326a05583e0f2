//! A TCP echo server: one task accepts, and one serves each connection.
#![no_std]

use wsk::entry::Parameters;
use wsk::{Addresses, Binding, Buffer, Error, Lane, Passive, TcpListener, TcpStream};

wsk::driver! { name: "tcp-echo", module: 0x5a7f_3c10_2d4b_4f8e_8a61_94b0_c2d3_1e77, main: main }

async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let address = Parameters::open(passive)?.address("Address")?;
    let mut listener = TcpListener::bind(&binding, address, Addresses::OwnFamily).await?;
    wdk::println!("tcp-echo: listening at {}", listener.local_address().await?);
    loop {
        let (stream, _peer) = listener.accept().await?;
        // On this lane tasks are run from DPCs, on all processors: fast, and nothing may block. What is not `Send`, as the
        // token of PASSIVE_LEVEL, does not get there. The handle is dropped: the task goes on by itself.
        drop(binding.executor().spawn(Lane::Dispatch, serve(stream))?);
    }
}

/// Serves a connection. An error is its end: dropping the stream resets it.
async fn serve(stream: TcpStream) {
    if let Err(error) = echo(stream).await {
        wdk::println!("tcp-echo: {error}");
    }
}

async fn echo(mut stream: TcpStream) -> Result<(), Error> {
    let mut buffer = Buffer::new(64 * 1024)?;
    loop {
        buffer = stream.receive(buffer).await?;
        if buffer.filled().is_empty() {
            return Ok(stream.finish().await?);
        }
        buffer = stream.send(buffer).await?;
    }
}
