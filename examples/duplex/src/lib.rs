//! A connection split into halves, with an operation of each direction under way at once: a task sends numbers, another one
//! sums up what comes back, and both are waited for.
#![no_std]

use wsk::entry::Parameters;
use wsk::{Binding, Buffer, Error, Lane, Passive, ReadHalf, TcpStream, WriteHalf};

wsk::driver! { name: "duplex", module: 0xd1c4_66fe_0b93_4f2a_a7d5_3e98_21b7_f05c, main: main }

/// How many buffers are sent, and how large each is.
const ROUNDS: u32 = 256;
const SIZE: usize = 16 * 1024;

async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let peer = Parameters::open(passive)?.address("Peer")?;
    let (reader, writer) = TcpStream::connect(&binding, peer).await?.into_split();
    let sent = binding.executor().spawn(Lane::Dispatch, send(writer))?;
    let received = binding.executor().spawn(Lane::Dispatch, receive(reader))?;
    // A handle is a future of what its task comes to.
    let (sent, received) = (sent.await??, received.await??);
    wdk::println!("duplex: sum {sent:#x} sent, {received:#x} came back");
    Ok(())
}

/// Sends, and says what the bytes add up to. It need not wait for the reader: both directions go at once.
async fn send(mut writer: WriteHalf) -> Result<u64, Error> {
    let mut buffer = Buffer::new(SIZE)?;
    let mut sum = 0;
    for round in 0..ROUNDS {
        buffer.write(&[round as u8; SIZE]);
        sum += add_up(buffer.filled());
        buffer = writer.send(buffer).await?;
    }
    writer.finish().await?;
    Ok(sum)
}

/// Receives to the end, and says what the bytes add up to.
async fn receive(mut reader: ReadHalf) -> Result<u64, Error> {
    let mut buffer = Buffer::new(SIZE)?;
    let mut sum = 0;
    loop {
        buffer = reader.receive(buffer).await?;
        if buffer.filled().is_empty() {
            return Ok(sum);
        }
        sum += add_up(buffer.filled());
    }
}

fn add_up(bytes: &[u8]) -> u64 {
    bytes.iter().copied().map(u64::from).sum()
}
