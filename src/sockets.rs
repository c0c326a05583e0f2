//! What `wsk` tells of sockets, in the words of the control device and of the events.
//!
//! # IRQL
//! Any.

use control_abi::WireAddress;
use control_abi::events::CloseReason;
use control_abi::sockets::{Protocol, Socket, SocketKind, SocketState};
use wsk::{SocketInfo, SocketStage};

/// What a socket is for.
pub(crate) const fn kind_of(kind: wsk::SocketKind) -> SocketKind {
    match kind {
        wsk::SocketKind::Listener => SocketKind::Listener,
        wsk::SocketKind::Connection => SocketKind::Connection,
        wsk::SocketKind::Datagram => SocketKind::Datagram,
        wsk::SocketKind::Stream => SocketKind::Stream,
    }
}

/// The protocol of a socket of that kind.
pub(crate) const fn protocol_of(kind: wsk::SocketKind) -> Protocol {
    match kind {
        wsk::SocketKind::Datagram => Protocol::Udp,
        _ => Protocol::Tcp,
    }
}

/// Why it was closed.
pub(crate) const fn reason_of(reason: wsk::CloseReason) -> CloseReason {
    match reason {
        wsk::CloseReason::Done => CloseReason::Done,
        wsk::CloseReason::Reset => CloseReason::Reset,
        wsk::CloseReason::Detached => CloseReason::Detached,
        wsk::CloseReason::Gone => CloseReason::Gone,
    }
}

const fn state_of(stage: SocketStage) -> SocketState {
    match stage {
        SocketStage::Open => SocketState::Open,
        SocketStage::Bound => SocketState::Bound,
        SocketStage::Connecting => SocketState::Connecting,
        SocketStage::Connected => SocketState::Connected,
        SocketStage::PeerEnded => SocketState::PeerEnded,
        SocketStage::Closing => SocketState::Closing,
    }
}

/// A socket of a binding, for tools.
pub(crate) fn to_wire(socket: &SocketInfo, binding: u64) -> Socket {
    Socket {
        id: socket.id.0,
        binding,
        owner: socket.owner,
        kind: kind_of(socket.kind).to_wire(),
        protocol: protocol_of(socket.kind).to_wire(),
        state: state_of(socket.stage).to_wire(),
        calls: socket.calls,
        age_us: socket.age.as_micros() as u64,
        received: socket.received,
        sent: socket.sent,
        local: WireAddress::from(socket.local),
        remote: WireAddress::from(socket.remote),
    }
}
