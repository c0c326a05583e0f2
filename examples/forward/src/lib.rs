//! A TCP forwarder that copies nothing: what WSK indicates is kept, sent on as it lies there, and given back.
//!
//! Each direction goes at its own pace, and ends by itself: a FIN is passed on, and the other direction continues.
#![no_std]

use core::net::SocketAddr;

use wsk::entry::Parameters;
use wsk::{Addresses, Binding, Bound, Chain, Error, Indications, Lane, Passive, TcpListener, TcpStream, WriteHalf};

wsk::driver! { name: "forward", module: 0x7c9e_15a3_d08b_4e67_b1f2_6a34_90dd_c85f, main: main }

async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let settings = Parameters::open(passive)?;
    let (address, target) = (settings.address("Address")?, settings.address("Target")?);
    let mut listener = TcpListener::bind(&binding, address, Addresses::OwnFamily).await?;
    wdk::println!("forward: listening at {}", listener.local_address().await?);
    loop {
        let (stream, _peer) = listener.accept().await?;
        let forwarding = forward(binding.clone(), stream, target);
        let task = async {
            if let Err(error) = forwarding.await {
                wdk::println!("forward: {error}");
            }
        };
        drop(binding.executor().spawn(Lane::Dispatch, task)?);
    }
}

/// Connects to the target, and forwards until both directions have ended.
async fn forward(binding: Binding, peer: TcpStream, target: SocketAddr) -> Result<(), Error> {
    let target = TcpStream::connect(&binding, target).await?;
    // The memory that is kept is the network's own, so that there is a bound: beyond it TCP's window closes.
    let (from_peer, to_peer) = peer.into_indications(Bound::default())?;
    let (from_target, to_target) = target.into_indications(Bound::default())?;
    let there = binding.executor().spawn(Lane::Dispatch, pass_on(from_peer, to_target))?;
    let back = pass_on(from_target, to_peer).await;
    if back.is_err() {
        there.abort();
    }
    back.and(there.await?)
}

/// Passes on what comes, to the FIN.
async fn pass_on(mut from: Indications, mut to: WriteHalf) -> Result<(), Error> {
    while let Some(indication) = from.receive_indication().await? {
        // When it has been sent, it comes back and is dropped, which gives it back to WSK.
        to.send_chain(Chain::from(indication)).await?;
    }
    Ok(to.finish().await?)
}
