//! What comes and goes with a datagram.

use std::net::{IpAddr, SocketAddr};

/// What the network says of a datagram, or is told about one. What is not there was not said.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Ancillary {
    /// The local address that it came to or is to come from, and the index of the interface.
    pub local: Option<(IpAddr, u32)>,
    /// How many routers it could have passed.
    pub hop_limit: Option<u32>,
    /// The traffic class, whose low two bits are the ECN codepoint.
    pub class: Option<u8>,
    /// The size of the datagrams that were received as one, or are to be sent as several; the last may be smaller.
    pub segment: Option<u32>,
}

impl Ancillary {
    /// Datagrams that may be sent as one segmented one.
    pub const SEGMENTS: usize = 64;
}

/// A datagram that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Who sent it.
    pub from: SocketAddr,
    /// Bytes of it that are in memory.
    pub bytes: usize,
    /// There were more.
    pub cut: bool,
    /// It was sent to all.
    pub broadcast: bool,
    /// What else there is to say.
    pub about: Ancillary,
}

/// Room for one datagram of any size.
pub struct Slot {
    /// The room.
    pub room: Box<[u8]>,
    /// What is in it.
    pub received: Option<Received>,
}

impl Slot {
    /// The largest datagram, and the largest that several are received as.
    pub const SIZE: usize = 65_536;
}

impl Default for Slot {
    fn default() -> Self {
        Self { room: vec![0; Self::SIZE].into_boxed_slice(), received: None }
    }
}
