//! The driver that the tests look at: two services, a forwarder that cannot listen, some sockets.

use std::net::SocketAddr;

use control_abi::events::{Event, EventKind};
use control_abi::resolve::{MOST_ADDRESSES, Outcome, Resolved};
use control_abi::services::{Origin, Service, ServiceState};
use control_abi::settings::{Kind, OVER_TCP, OVER_UDP, Settings, TargetKind};
use control_abi::sockets::{Protocol, Socket, SocketKind, SocketState};
use control_abi::state::{Peaks, PoolUse};
use control_abi::traffic::End;
use control_abi::version::{CAN_CHANGE_SERVICES, CAN_LIST_SOCKETS, CAN_TELL_EVENTS, Version};
use control_abi::{Gate, Registration, State, Text, Totals, VERSION, WireAddress};

use super::fake::{Fake, Says, service};

/// 2026-01-02 03:04:05 UTC as FILETIME.
const MORNING: u64 = 134_118_110_450_000_000;
const ADDRESS_TAKEN: i32 = 0xc000_020a_u32 as i32;

/// A driver that serves.
pub(crate) fn driver() -> Fake {
    let version = Version {
        version: VERSION,
        driver: [0, 1, 0, 0],
        capabilities: CAN_LIST_SOCKETS | CAN_CHANGE_SERVICES | CAN_TELL_EVENTS,
        most_services: 32,
        most_events: 1024,
        ..Version::default()
    };
    let events = events();
    Fake::new(Says {
        version,
        state: state(),
        sockets: sockets(),
        services: services(),
        events,
        oldest: 1,
        resolved: Some(resolved()),
        jobs: super::traffic::jobs(),
        looks: 3,
        end: End::Duration,
        shut: None,
        refuses: None,
    })
}

fn totals() -> Totals {
    Totals {
        connections: 2,
        accepted: 1_234,
        refused: 1,
        failed: 3,
        received: 5 << 20,
        sent: 5 << 20,
        held: 256 << 10,
        most_held: 1 << 20,
        idle: 1,
        datagrams: 40,
        answered: 39,
        ignored: 1,
    }
}

fn state() -> State {
    let mut state = State {
        version: VERSION,
        registration: Registration::In.to_wire(),
        gate: Gate::Open.to_wire(),
        in_flight: 7,
        inside: 1,
        sockets: 5,
        generation: 2,
        wsk_version: 0x100,
        provider_versions: 0x101 << 16 | 0x100,
        loaded_us: 3_725_000_000,
        attached_us: 62_500_000,
        totals: totals(),
        since_attach: Totals { accepted: 2, ..Totals::default() },
        peaks: Peaks { sockets: 12, pool: 3 << 20 },
        tags: 2,
        ..State::default()
    };
    state.pool[0] = PoolUse { tag: *b"WskB", reserved: 0, bytes: 256 << 10, allocations: 4, peak: 2 << 20 };
    state.pool[1] = PoolUse { tag: *b"WskC", reserved: 0, bytes: 1_000, allocations: 5, peak: 1 << 20 };
    state
}

fn text<const N: usize>(text: &str) -> Text<N> {
    Text::new(text).expect("it fits")
}

fn address(text: &str) -> WireAddress {
    text.parse::<SocketAddr>().expect("an address").into()
}

fn services() -> Vec<Service> {
    let echo = Settings { protocols: OVER_TCP | OVER_UDP, ..Settings::new(text("echo"), Kind::Echo) };
    let web = Settings {
        port: 80,
        target_kind: TargetKind::Name.to_wire(),
        target_name: text("localhost"),
        target_port: 8080,
        ..Settings::new(text("web"), Kind::Forward)
    };
    let saved = Origin::Saved.to_wire();
    vec![
        Service { origin: saved, totals: totals(), ..service(3, echo, ServiceState::Running) },
        Service { status: ADDRESS_TAKEN, ..service(8, web, ServiceState::Starting) },
        Service { origin: saved, ..service(9, Settings::new(text("chargen"), Kind::Chargen), ServiceState::Stopped) },
        service(11, Settings { port: 0, ..Settings::new(text("sink"), Kind::Discard) }, ServiceState::Stopped),
    ]
}

fn sockets() -> Vec<Socket> {
    let listener = Socket {
        id: 1,
        binding: 2,
        owner: 3,
        kind: SocketKind::Listener.to_wire(),
        protocol: Protocol::Tcp.to_wire(),
        state: SocketState::Bound.to_wire(),
        calls: 1,
        age_us: 62_000_000,
        local: address("127.0.0.1:40007"),
        ..Socket::default()
    };
    let connection = Socket {
        id: 5,
        kind: SocketKind::Connection.to_wire(),
        state: SocketState::Connected.to_wire(),
        age_us: 4_500_000,
        received: 3 << 20,
        sent: 3 << 20,
        remote: address("127.0.0.1:51000"),
        ..listener
    };
    vec![
        listener,
        Socket { id: 2, local: address("[::1]:40007"), ..listener },
        Socket { id: 3, kind: SocketKind::Datagram.to_wire(), protocol: Protocol::Udp.to_wire(), received: 900, ..listener },
        connection,
        Socket { id: 6, state: SocketState::Connecting.to_wire(), owner: 77, calls: 2, age_us: 900, ..connection },
        Socket { id: 7, state: 99, owner: 0, local: WireAddress::NONE, remote: WireAddress::NONE, ..connection },
    ]
}

fn events() -> Vec<Event> {
    let event = |kind: EventKind, event: Event| Event { kind: kind.to_wire(), ..event };
    let of_echo = Event { subject: 3, name: text("echo"), ..Event::default() };
    let of_socket = Event { subject: 5, binding: 1, ..Event::default() };
    let named = |event_of: Event| Event { address: address("127.0.0.1:40007"), ..event_of };
    let events = [
        event(EventKind::Attaching, Event { a: 0x100, b: 0x101, ..Event::default() }),
        event(EventKind::Attached, Event { binding: 1, ..Event::default() }),
        event(EventKind::ServiceStarted, of_echo),
        event(EventKind::ServiceListening, Event { a: 6, ..named(of_echo) }),
        event(EventKind::SocketOpened, Event { a: 2, b: 6, ..of_socket }),
        event(EventKind::ServiceFailed, Event { status: ADDRESS_TAKEN, ..named(of_echo) }),
        event(EventKind::LimitHit, Event { a: 1, ..of_echo }),
        event(EventKind::SocketClosed, Event { a: 3, ..of_socket }),
        event(EventKind::ServiceStopped, Event { a: 2, ..of_echo }),
        event(EventKind::TrafficStarted, Event { subject: 12, ..Event::default() }),
        event(EventKind::TrafficEnded, Event { subject: 12, ..Event::default() }),
        event(EventKind::Deactivated, Event::default()),
        event(EventKind::DetachBegun, Event { binding: 1, a: 3, b: 1, ..Event::default() }),
        event(EventKind::DetachCompleted, Event { binding: 1, ..Event::default() }),
        event(EventKind::CleanedUp, Event { binding: 1, ..Event::default() }),
        event(EventKind::Fault, Event { status: 0xc000_009a_u32 as i32, ..named(of_echo) }),
        Event { kind: 999, a: 1, b: 2, ..Event::default() },
    ];
    let numbered =
        |(index, event): (usize, &Event)| Event { number: index as u64 + 1, time: MORNING + index as u64 * 1_230_000, ..*event };
    events.iter().enumerate().map(numbered).collect()
}

fn resolved() -> Resolved {
    let mut addresses = [WireAddress::NONE; MOST_ADDRESSES];
    (addresses[0], addresses[1], addresses[2]) = (address("[::1]:80"), address("127.0.0.1:80"), address("[fe80::1%7]:80"));
    Resolved {
        version: VERSION,
        outcome: Outcome::Found.to_wire(),
        status: 0,
        total: 3,
        count: 3,
        reserved: 0,
        took_us: 1_500,
        canonical_name: text("localhost.example"),
        addresses,
    }
}
