//! Settings as they go over the wire, from and to. What comes has been checked by `control-abi`, within the same limits as the
//! values of the registry.
//!
//! # IRQL
//! Any.

use core::net::IpAddr;
use core::time::Duration;

use control_abi::settings::{Kind as WireKind, OVER_TCP, OVER_UDP, Settings as Wire, TargetKind};
use control_abi::{Text as WireText, WireAddress};

use super::addresses::AddressList;
use super::settings::{Kind, Protocols, Settings, Target};
use super::value::Text;

impl Settings {
    /// The settings that a tool sent; `None` if they are none, which the checks rule out.
    pub(crate) fn of_wire(wire: &Wire) -> Option<Self> {
        let kind = Kind::of_wire(WireKind::from_wire(wire.kind)?);
        Some(Self {
            name: text(wire.name.as_str()?),
            kind,
            protocols: Protocols { tcp: wire.protocols & OVER_TCP != 0, udp: wire.protocols & OVER_UDP != 0 },
            addresses: AddressList::of(wire.hosts(), wire.everywhere == 1),
            port: wire.port,
            target: if kind == Kind::Forward { Some(target(wire)?) } else { None },
            max_connections: wire.max_connections,
            max_bytes: wire.max_bytes,
            buffer_size: wire.buffer_size,
            idle_timeout: (wire.idle_timeout_ms > 0).then(|| Duration::from_millis(wire.idle_timeout_ms.into())),
            rate_per_source: wire.rate_per_source,
        })
    }

    /// The settings for a tool.
    pub(crate) fn to_wire(self) -> Wire {
        let mut wire = Wire::new(WireText::cut(self.name.as_str()), self.kind.to_wire());
        wire.clear_addresses();
        self.addresses.iter().for_each(|address: IpAddr| _ = wire.add_address(address));
        wire.everywhere = self.addresses.everywhere().into();
        wire.protocols = u32::from(self.protocols.tcp) * OVER_TCP + u32::from(self.protocols.udp) * OVER_UDP;
        match self.target {
            None => {}
            Some(Target::Address(address)) => {
                (wire.target_kind, wire.target_address) = (TargetKind::Address.to_wire(), WireAddress::from(address));
            }
            Some(Target::Name { host, port }) => {
                wire.target_kind = TargetKind::Name.to_wire();
                (wire.target_name, wire.target_port) = (WireText::cut(host.as_str()), port.into());
            }
        }
        Wire {
            port: self.port,
            max_connections: self.max_connections,
            max_bytes: self.max_bytes,
            buffer_size: self.buffer_size,
            idle_timeout_ms: self.idle_timeout.map_or(0, |limit| limit.as_millis() as u32),
            rate_per_source: self.rate_per_source,
            ..wire
        }
    }
}

impl Kind {
    const fn of_wire(kind: WireKind) -> Self {
        match kind {
            WireKind::Echo => Self::Echo,
            WireKind::Discard => Self::Discard,
            WireKind::Chargen => Self::Chargen,
            WireKind::Forward => Self::Forward,
        }
    }

    const fn to_wire(self) -> WireKind {
        match self {
            Self::Echo => WireKind::Echo,
            Self::Discard => WireKind::Discard,
            Self::Chargen => WireKind::Chargen,
            Self::Forward => WireKind::Forward,
        }
    }
}

fn target(wire: &Wire) -> Option<Target> {
    match TargetKind::from_wire(wire.target_kind)? {
        TargetKind::None => None,
        TargetKind::Address => Some(Target::Address(wire.target_address.address()?)),
        TargetKind::Name => {
            let port = u16::try_from(wire.target_port).ok()?;
            Some(Target::Name { host: text(wire.target_name.as_str()?), port })
        }
    }
}

fn text<const N: usize>(text: &str) -> Text<N> {
    let mut copy = Text::EMPTY;
    text.bytes().for_each(|byte| copy.push(byte));
    copy
}
