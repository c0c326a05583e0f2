//! `wskctl services set`.

use std::net::{IpAddr, SocketAddr};

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use control_abi::services::{AND_START, ONLY_NEW, SetRequest};
use control_abi::settings::{
    BUFFER_SIZE, IDLE_TIMEOUT_MS, Kind, MAX_BYTES, MAX_CONNECTIONS, OVER_TCP, OVER_UDP, RATE_PER_SOURCE, Settings, TargetKind,
    is_host_name,
};
use control_abi::{Refusal, Text, WireAddress};
use jiff::SignedDuration;

use super::{new_name, running, told};
use crate::failure::Failure;
use crate::tool::Tool;

/// A service, and what it is to be like.
#[derive(Args)]
pub(super) struct Arguments {
    /// The service
    name: String,
    /// What it does; needed for a new one
    #[arg(long)]
    kind: Option<KindChoice>,
    /// Over what [default: tcp]
    #[arg(long, value_delimiter = ',', value_name = "tcp|udp|tcp,udp")]
    protocol: Vec<ProtocolChoice>,
    /// The port it listens at, 0 for one that the system chooses [default: that of its kind, from 40007]
    #[arg(long)]
    port: Option<u16>,
    /// The addresses it listens at, * for all [default: 127.0.0.1,::1]
    #[arg(long, value_delimiter = ',')]
    address: Vec<String>,
    /// Where a forwarder connects to, as `127.0.0.1:80`, `[::1]:80` or `localhost:80`
    #[arg(long, value_name = "HOST:PORT", value_parser = Target::parse)]
    target: Option<Target>,
    /// How many connections it has at most [default: 16384]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(i64::from(*MAX_CONNECTIONS.start())..=i64::from(*MAX_CONNECTIONS.end())))]
    max_connections: Option<u32>,
    /// How much of a connection is in memory at a time, as 64KiB [default: 64KiB]
    #[arg(long, value_name = "SIZE")]
    buffer_size: Option<ByteSize>,
    /// How much memory all connections together may hold, as 256MiB [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<ByteSize>,
    /// How long a connection may be silent, as 30s; 0s for ever [default: 0s]
    #[arg(long, value_name = "SPAN")]
    idle_timeout: Option<SignedDuration>,
    /// How many datagrams a second are answered to one address [default: 100]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(i64::from(*RATE_PER_SOURCE.start())..=i64::from(*RATE_PER_SOURCE.end())))]
    rate_per_source: Option<u32>,
    /// Start it, and wait until it listens
    #[arg(long)]
    start: bool,
    /// Only make it: fail if there is one of that name
    #[arg(long, requires = "kind")]
    new: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum KindChoice {
    Echo,
    Discard,
    Chargen,
    Forward,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProtocolChoice {
    Tcp,
    Udp,
}

#[derive(Clone)]
enum Target {
    Address(SocketAddr),
    Name(String, u16),
}

/// Sets it.
pub(super) fn run(tool: &Tool, arguments: &Arguments) -> Result<(), Failure> {
    let services = tool.services()?;
    let found = services.iter().find(|service| super::name_of(service).eq_ignore_ascii_case(&arguments.name));
    let settings = match (found, arguments.kind) {
        (Some(_), _) if arguments.new => return Err(Failure::ServiceExists(arguments.name.clone())),
        (Some(service), _) => service.settings,
        (None, Some(kind)) => Settings::new(new_name(&arguments.name)?, kind.kind()),
        (None, None) => return Err(Failure::KindMissing(arguments.name.clone())),
    };
    let settings = arguments.applied_to(settings)?;
    settings.checked().map_err(|refusal| Failure::usage(why(refusal)))?;
    let flags = if arguments.start { AND_START } else { 0 } | if arguments.new { ONLY_NEW } else { 0 };
    tool.order("setting the service", &SetRequest::new(settings, flags))?;
    let name = settings.name.as_str().unwrap_or(&arguments.name);
    match (arguments.start, found) {
        (true, _) => running::started(tool, name),
        (false, Some(_)) => told(tool, name, "changed"),
        (false, None) => told(tool, name, &format!("made; start it: wskctl services start {name}")),
    }
}

impl Arguments {
    fn applied_to(&self, mut settings: Settings) -> Result<Settings, Failure> {
        if let Some(kind) = self.kind {
            settings.kind = kind.kind().to_wire();
            if kind.kind() != Kind::Forward {
                Target::clear(&mut settings);
            }
        }
        if !self.protocol.is_empty() {
            settings.protocols = self.protocol.iter().fold(0, |all, one| all | one.bit());
        }
        settings.port = self.port.unwrap_or(settings.port);
        if !self.address.is_empty() {
            settings.clear_addresses();
            self.address.iter().try_for_each(|address| add_address(&mut settings, address))?;
        }
        if let Some(target) = &self.target {
            target.apply_to(&mut settings);
        }
        settings.max_connections = self.max_connections.unwrap_or(settings.max_connections);
        settings.rate_per_source = self.rate_per_source.unwrap_or(settings.rate_per_source);
        if let Some(size) = self.buffer_size {
            settings.buffer_size = u32::try_from(size.as_u64()).unwrap_or(u32::MAX);
        }
        settings.max_bytes = self.max_bytes.map_or(settings.max_bytes, |size| size.as_u64());
        if let Some(span) = self.idle_timeout {
            settings.idle_timeout_ms = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        }
        Ok(settings)
    }
}

fn add_address(settings: &mut Settings, text: &str) -> Result<(), Failure> {
    if text == "*" {
        settings.everywhere = 1;
        return Ok(());
    }
    let address: IpAddr = text.parse().map_err(|_| Failure::usage(format!("--address takes addresses and *, not {text:?}")))?;
    match settings.add_address(address) {
        true => Ok(()),
        false => Err(Failure::usage("--address takes 8 addresses at most".to_owned())),
    }
}

/// What is wrong, by the option that it was said with.
fn why(refusal: Refusal) -> String {
    let size = |bytes: u64| ByteSize::b(bytes).display().iec().to_string();
    match refusal {
        Refusal::Field("protocols") => "a forwarder is for tcp alone".to_owned(),
        Refusal::Field("target_kind") => "a forwarder needs a --target, and nothing else has one".to_owned(),
        Refusal::Field("addresses" | "address_count") => "--address: each address once, and one at least".to_owned(),
        Refusal::Field("buffer_size") => {
            format!("--buffer-size takes {} to {}", size((*BUFFER_SIZE.start()).into()), size((*BUFFER_SIZE.end()).into()))
        }
        Refusal::Field("max_bytes") => format!("--max-bytes takes {} to less than 4 GiB", size(*MAX_BYTES.start())),
        Refusal::Field("idle_timeout_ms") => format!("--idle-timeout takes 0s to {}h", IDLE_TIMEOUT_MS.end() / 3_600_000),
        refusal => refusal.to_string(),
    }
}

impl KindChoice {
    const fn kind(self) -> Kind {
        match self {
            Self::Echo => Kind::Echo,
            Self::Discard => Kind::Discard,
            Self::Chargen => Kind::Chargen,
            Self::Forward => Kind::Forward,
        }
    }
}

impl ProtocolChoice {
    const fn bit(self) -> u32 {
        match self {
            Self::Tcp => OVER_TCP,
            Self::Udp => OVER_UDP,
        }
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err("port 0 is none".to_owned()) } else { Ok(Self::Address(address)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or("a host and a port, as localhost:80")?;
        match port.parse() {
            Ok(port @ 1..) if is_host_name(host) => Ok(Self::Name(host.to_owned(), port)),
            Ok(_) => Err(format!("{host:?} is neither an address nor a host's name")),
            Err(_) => Err(format!("{port:?} is no port")),
        }
    }

    fn clear(settings: &mut Settings) {
        settings.target_kind = TargetKind::None.to_wire();
        (settings.target_address, settings.target_name, settings.target_port) = (WireAddress::NONE, Text::EMPTY, 0);
    }

    fn apply_to(&self, settings: &mut Settings) {
        Self::clear(settings);
        match self {
            Self::Address(address) => {
                settings.target_kind = TargetKind::Address.to_wire();
                settings.target_address = (*address).into();
            }
            Self::Name(name, port) => {
                settings.target_kind = TargetKind::Name.to_wire();
                settings.target_name = Text::new(name).unwrap_or(Text::EMPTY);
                settings.target_port = (*port).into();
            }
        }
    }
}
