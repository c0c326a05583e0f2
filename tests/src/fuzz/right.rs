//! Requests with nothing wrong in them.

use control_abi::events::{EventsRequest, WITH_SOCKETS};
use control_abi::page::room;
use control_abi::resolve::{CANONICAL_NAME, ResolveRequest};
use control_abi::services::{
    AND_START, FROM_REGISTRY, ONLY_NEW, RemoveRequest, SaveRequest, Service, ServicesRequest, SetRequest, StartRequest,
    StopRequest,
};
use control_abi::settings::{Kind, MOST_NAME, OVER_TCP, OVER_UDP, Settings, TargetKind};
use control_abi::sockets::{Cursor, Protocol, Socket, SocketsRequest};
use control_abi::traffic::{self, AskRequest, Asked, CancelRequest, ListRequest, Report};
use control_abi::{Ask, Request, RequestHeader, Text, WireAddress, events};
use fastrand::Rng;
use zerocopy::IntoBytes;

use super::{Input, edge};

/// A request of some kind.
pub(super) fn any(rng: &mut Rng) -> Input {
    let request = Request::ALL[rng.usize(..Request::ALL.len())];
    match request {
        Request::Sockets => sockets(rng),
        Request::Services => with_room(&ServicesRequest::at(rng.u64(..40)), room::<Service>(rng.usize(1..40))),
        Request::Events => events(rng),
        Request::ServiceStart => plain(&StartRequest::new(name(rng), 0)),
        Request::ServiceStop => plain(&StopRequest::new(name(rng), rng.u32(..100))),
        Request::ServiceSave => plain(&SaveRequest::new(name(rng), 0)),
        Request::ServiceRemove => plain(&RemoveRequest::new(name(rng), rng.u32(..=FROM_REGISTRY))),
        Request::ServiceSet => plain(&SetRequest::new(settings(rng), rng.u32(..=AND_START | ONLY_NEW))),
        Request::Resolve => plain(&resolve(rng)),
        Request::TrafficStart => plain(&traffic(rng)),
        Request::TrafficAsk if rng.bool() => plain(&AskRequest::renewing(rng.u64(..40))),
        Request::TrafficAsk => plain(&AskRequest::looking(rng.u64(..40))),
        Request::TrafficCancel => plain(&CancelRequest::of(rng.u64(..40))),
        Request::TrafficList => with_room(&ListRequest::at(rng.u64(..40)), room::<Report>(rng.usize(1..10))),
        // The header alone is what they have.
        _ => Input { code: request.code(), bytes: RequestHeader::CURRENT.as_bytes().to_vec(), room: 4096 },
    }
}

fn plain<A: Ask>(asked: &A) -> Input {
    with_room(asked, A::LEAST_ROOM)
}

fn with_room<A: Ask>(asked: &A, room: usize) -> Input {
    Input { code: A::REQUEST.code(), bytes: asked.as_bytes().to_vec(), room }
}

fn sockets(rng: &mut Rng) -> Input {
    let cursor = match rng.u32(..3) {
        0 => Cursor::FIRST,
        1 => Cursor { binding: rng.u64(1..4), slot: rng.u32(..64) },
        _ => Cursor { binding: edge(rng) >> 20, slot: edge(rng) as u32 & 0xf_ffff },
    };
    with_room(&SocketsRequest::at(cursor.to_wire()), room::<Socket>(rng.usize(1..300)))
}

fn events(rng: &mut Rng) -> Input {
    let after = if rng.bool() { rng.u64(..3000) } else { edge(rng) };
    let mut asked = EventsRequest::after(after, if rng.u32(..50) == 0 { rng.u32(..=1000) } else { 0 });
    asked.flags = rng.u32(..=WITH_SOCKETS);
    with_room(&asked, room::<events::Event>(rng.usize(1..300)))
}

/// Few names, so that requests meet the services of others.
fn name(rng: &mut Rng) -> Text<MOST_NAME> {
    let names = ["echo", "a", "b", "c d", "forward", "0123456789abcdef0123456789abcdef"];
    Text::cut(names[rng.usize(..names.len())])
}

fn settings(rng: &mut Rng) -> Settings {
    let kind = Kind::ALL[rng.usize(..Kind::ALL.len())];
    let mut settings = Settings { port: 0, ..Settings::new(name(rng), kind) };
    if kind == Kind::Forward {
        settings.target_kind = TargetKind::Address.to_wire();
        settings.target_address = WireAddress::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
        if rng.bool() {
            settings.target_kind = TargetKind::Name.to_wire();
            (settings.target_address, settings.target_name, settings.target_port) =
                (WireAddress::NONE, Text::cut("localhost"), 9);
        }
    } else {
        settings.protocols = rng.u32(1..=OVER_TCP | OVER_UDP);
    }
    if rng.bool() {
        settings.clear_addresses();
        (0..rng.u8(1..=8)).for_each(|last| _ = settings.add_address([127, 0, 0, 1 + last].into()));
    }
    settings
}

fn resolve(rng: &mut Rng) -> ResolveRequest {
    let host = ["localhost", "127.0.0.1", "::1"][rng.usize(..3)];
    let mut asked = ResolveRequest::new(host).unwrap_or_else(|| unreachable!("{host} is a host"));
    asked.family = [0, 4, 6][rng.usize(..3)];
    asked.flags = rng.u32(..=CANONICAL_NAME);
    asked
}

/// A short job, for a port at which nobody is.
fn traffic(rng: &mut Rng) -> traffic::StartRequest {
    let kind = traffic::Kind::ALL[rng.usize(..traffic::Kind::ALL.len())];
    let protocol = [Protocol::Tcp, Protocol::Udp][rng.usize(..2)];
    let asked = Asked {
        target: WireAddress::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9))),
        kind: kind.to_wire(),
        protocol: protocol.to_wire(),
        flags: rng.u32(..=traffic::flags::ALL),
        connections: rng.u32(1..=4),
        message: rng.u32(8..=64),
        duration_ms: rng.u64(1..=20),
        ..Asked::default()
    };
    traffic::StartRequest { header: RequestHeader::CURRENT, asked }
}
