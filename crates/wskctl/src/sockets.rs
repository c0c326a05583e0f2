//! `wskctl sockets`.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use control_abi::services::Service;
use control_abi::sockets::{Protocol, Socket, SocketKind, SocketState};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{new_table, right};
use crate::text::{address, bytes, micros, name, seconds};
use crate::tool::{Tool, name_of};

/// Which sockets to list, and in which order.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only those of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only those of this kind
    #[arg(long)]
    kind: Option<KindChoice>,
    /// The order: by number, the oldest first, or those with the most bytes first
    #[arg(long, value_name = "BY", default_value = "id")]
    sort: Order,
}

#[derive(Clone, Copy, ValueEnum)]
enum KindChoice {
    Listener,
    Connection,
    Datagram,
    Stream,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Id,
    Age,
    Bytes,
}

/// What `--json` prints of each. Times are seconds.
#[derive(Serialize)]
struct Listed {
    id: u64,
    kind: Cow<'static, str>,
    protocol: Cow<'static, str>,
    state: Cow<'static, str>,
    /// The service's name, if a service has it.
    service: Option<String>,
    /// The number of the service or of the traffic job, 0 for none.
    owner: u64,
    /// The attachment it belongs to.
    attachment: u64,
    local: Option<String>,
    remote: Option<String>,
    age_s: f64,
    received_bytes: u64,
    sent_bytes: u64,
    calls: u32,
}

/// Prints them.
pub(crate) fn run(tool: &Tool, arguments: &Arguments) -> Result<(), Failure> {
    let mut sockets = tool.sockets()?;
    let owners = Owners::of_sockets(tool, &sockets)?;
    if let Some(wanted) = &arguments.service {
        let service = tool.service(wanted)?;
        sockets.retain(|socket| socket.owner == service.id);
    }
    if let Some(kind) = arguments.kind {
        sockets.retain(|socket| socket.kind == kind.to_wire());
    }
    match arguments.sort {
        Order::Id => sockets.sort_by_key(|socket| socket.id),
        Order::Age => sockets.sort_by_key(|socket| Reverse(socket.age_us)),
        Order::Bytes => sockets.sort_by_key(|socket| Reverse(socket.received.saturating_add(socket.sent))),
    }
    if tool.output().is_json() {
        return tool.output().json(&sockets.iter().map(|socket| Listed::of(socket, &owners)).collect::<Vec<_>>());
    }
    print(tool, &sockets, &owners)
}

fn print(tool: &Tool, sockets: &[Socket], owners: &Owners) -> Result<(), Failure> {
    if sockets.is_empty() {
        return tool.output().line("no sockets");
    }
    let headings = ["id", "kind", "proto", "state", "local", "remote", "owner", "age", "received", "sent", "calls"];
    let mut table = new_table(&headings);
    for socket in sockets {
        table.add_row([
            socket.id.to_string(),
            kind(socket).into(),
            protocol(socket).into(),
            state(socket).into(),
            address(&socket.local),
            address(&socket.remote),
            owners.text(socket.owner),
            micros(socket.age_us),
            bytes(socket.received),
            bytes(socket.sent),
            socket.calls.to_string(),
        ]);
    }
    right(&mut table, &[0, 7, 8, 9, 10]);
    tool.output().table(table, &[10, 2, 9, 8, 7, 6])
}

impl Listed {
    fn of(socket: &Socket, owners: &Owners) -> Self {
        let text = |address: &control_abi::WireAddress| address.address().map(|address| address.to_string());
        Self {
            id: socket.id,
            kind: kind(socket),
            protocol: protocol(socket),
            state: state(socket),
            service: owners.service(socket.owner).map(str::to_owned),
            owner: socket.owner,
            attachment: socket.binding,
            local: text(&socket.local),
            remote: text(&socket.remote),
            age_s: seconds(socket.age_us),
            received_bytes: socket.received,
            sent_bytes: socket.sent,
            calls: socket.calls,
        }
    }
}

/// What a socket is for.
pub(crate) fn kind(socket: &Socket) -> Cow<'static, str> {
    name(SocketKind::from_wire(socket.kind).map(SocketKind::name), socket.kind)
}

/// Its protocol.
pub(crate) fn protocol(socket: &Socket) -> Cow<'static, str> {
    name(Protocol::from_wire(socket.protocol).map(Protocol::name), socket.protocol)
}

/// Where it stands.
pub(crate) fn state(socket: &Socket) -> Cow<'static, str> {
    name(SocketState::from_wire(socket.state).map(SocketState::name), socket.state)
}

impl KindChoice {
    const fn to_wire(self) -> u32 {
        match self {
            Self::Listener => SocketKind::Listener,
            Self::Connection => SocketKind::Connection,
            Self::Datagram => SocketKind::Datagram,
            Self::Stream => SocketKind::Stream,
        }
        .to_wire()
    }
}

/// Services by their numbers.
#[derive(Default)]
pub(crate) struct Owners(BTreeMap<u64, String>);

impl Owners {
    /// Those that are there now.
    pub(crate) fn of(services: &[Service]) -> Self {
        Self(services.iter().map(|service| (service.id, name_of(service).to_owned())).collect())
    }

    /// Those of these sockets; asks only if there are some.
    fn of_sockets(tool: &Tool, sockets: &[Socket]) -> Result<Self, Failure> {
        match sockets.iter().any(|socket| socket.owner != 0) {
            true => Ok(Self::of(&tool.services()?)),
            false => Ok(Self::default()),
        }
    }

    /// The service's name, if this is a service.
    pub(crate) fn service(&self, owner: u64) -> Option<&str> {
        self.0.get(&owner).map(String::as_str)
    }

    /// For people: a service by its name, or whatever else it is.
    pub(crate) fn text(&self, owner: u64) -> String {
        match (owner, self.service(owner)) {
            (0, _) => "-".to_owned(),
            (_, Some(service)) => service.to_owned(),
            (number, None) => format!("job {number}"),
        }
    }
}
