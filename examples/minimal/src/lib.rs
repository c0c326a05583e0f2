//! The smallest driver that talks: it connects to the address of its setting `Peer`, sends a line, and prints what comes back.
#![no_std]

use wsk::entry::Parameters;
use wsk::{Binding, Buffer, Error, Passive, TcpStream};

// All that a driver needs besides: its entry point, its unload routine, what is done on a panic. The number is its name in
// the Network Module Registrar: make one of your own (`uuidgen`).
wsk::driver! { name: "minimal", module: 0x0f8f_a1d2_6a2e_4c52_9d0b_37c1_5e6a_b904, main: main }

/// Runs when WSK is there, and is dropped where it waits if WSK goes or the driver is unloaded. `passive` says that this is
/// PASSIVE_LEVEL, where the registry may be read.
async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let peer = Parameters::open(passive)?.address("Peer")?;
    let mut stream = TcpStream::connect(&binding, peer).await?;
    wdk::println!("minimal: connected to {peer}");

    // An operation owns its buffer while it is under way, and gives it back.
    let mut buffer = Buffer::new(4096)?;
    buffer.write(b"hello from the kernel\n");
    buffer = stream.send(buffer).await?;
    stream.finish().await?;

    // To the peer's own end, which is a receive of nothing.
    loop {
        buffer = stream.receive(buffer).await?;
        if buffer.filled().is_empty() {
            wdk::println!("minimal: the end");
            return Ok(());
        }
        wdk::println!("minimal: received {}", buffer.filled().escape_ascii());
    }
}
