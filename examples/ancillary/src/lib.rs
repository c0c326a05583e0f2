//! What goes with a datagram beside its bytes: where it was sent to, how far it has come, whether the network is congested.
//! The answer goes out from the very address that was asked, which a socket bound to all addresses would not do by itself.
#![no_std]

use wsk::entry::Parameters;
use wsk::{Addresses, Binding, Buffer, Control, Ecn, Error, Passive, UdpSocket};

wsk::driver! { name: "ancillary", module: 0xb04d_92f1_7e36_4c88_a1d9_5f60_e27c_38ab, main: main }

async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let address = Parameters::open(passive)?.address("Address")?;
    let socket = UdpSocket::bind(&binding, address, Addresses::OwnFamily).await?;
    // Each of these has to be asked for.
    socket.set_packet_info(true).await?;
    socket.set_receive_hop_limit(true).await?;
    socket.set_receive_ecn(true).await?;
    wdk::println!("ancillary: listening at {}", socket.local_address().await?);

    let mut buffer = Buffer::new(2048)?;
    loop {
        let (received, datagram) = socket.receive_from(buffer).await?;
        let Control { packet_info, hop_limit, ecn, .. } = datagram.control;
        let asked = packet_info.map(|info| info.address);
        wdk::println!("ancillary: asked at {asked:?}, hop limit {hop_limit:?}, {ecn:?}");

        // The same address as the source, and a mark that this side understands congestion notification.
        let control = Control { packet_info, ecn: Some(Ecn::Ect0), ..Control::NONE };
        buffer = socket.send_to_with(received, datagram.from, &control).await?;
    }
}
