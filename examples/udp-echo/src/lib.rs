//! A UDP echo server: several tasks share one socket, so that several datagrams are under way at once.
#![no_std]

use wsk::entry::Parameters;
use wsk::{Addresses, Binding, Buffer, Error, Lane, Passive, UdpSocket};

wsk::driver! { name: "udp-echo", module: 0x8e21_b7f4_51c9_4d06_b3aa_06f5_7d18_c940, main: main }

/// How many datagrams may be received or answered at the same time.
const TASKS: usize = 4;
/// The largest datagram that UDP can carry.
const LARGEST: usize = 65_507;

async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let address = Parameters::open(passive)?.address("Address")?;
    let socket = UdpSocket::bind(&binding, address, Addresses::OwnFamily).await?;
    wdk::println!("udp-echo: listening at {}", socket.local_address().await?);
    for _ in 0..TASKS {
        // Clones are the same socket; the last one that is dropped closes it.
        drop(binding.executor().spawn(Lane::Dispatch, answer(socket.clone()))?);
    }
    Ok(())
}

/// Answers datagrams until the binding ends.
async fn answer(socket: UdpSocket) {
    if let Err(error) = echo(&socket).await {
        wdk::println!("udp-echo: {error}");
    }
}

/// A service that others can reach should not answer everybody: whoever forges the sender's address turns it against a third.
/// See how the driver `wskclient` limits it.
async fn echo(socket: &UdpSocket) -> Result<(), Error> {
    let mut buffer = Buffer::new(LARGEST)?;
    loop {
        let (received, datagram) = socket.receive_from(buffer).await?;
        buffer = socket.send_to(received, datagram.from).await?;
    }
}
