//! [`Rig`]: a bench, the file of the driver, and what the driver prints; [`Loaded`]: the driver on it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use control_abi::{Request, RequestHeader, State};
use ntbench::bugcheck::Named;
use ntbench::trace::{Event, Kind};
use ntbench::{Bench, Config, Driver, NtStatus, Unload, UnloadRefused, Value};
use zerocopy::{FromBytes, IntoBytes};

#[cfg(unix)]
use crate::ControlSocket;

/// The name under which the driver is installed.
pub const SERVICE: &str = "wskclient";
/// The control device, as programs open it.
const DEVICE: &str = r"\\.\WskClient";
/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often to look whether something has come about.
const LOOK: Duration = Duration::from_millis(1);

/// The driver's bug checks, as docs/lifecycle.md has them.
const BUG_CHECKS: [Named; 3] = [
    Named { code: OWN_CODE, first: 1, meaning: "a thread of the driver's has no object to be joined by" },
    Named { code: OWN_CODE, first: 2, meaning: "NmrDeregisterClient failed at unload (L29)" },
    Named { code: OWN_CODE, first: 3, meaning: "NmrWaitForClientDeregisterComplete failed at unload (L29)" },
];
const OWN_CODE: u32 = u32::from_be_bytes(*b"WSKC");

/// A bench with a driver's file, not loaded yet.
pub struct Rig {
    bench: Arc<Bench>,
    service: &'static str,
    image: PathBuf,
}

/// The driver, loaded.
pub struct Loaded {
    bench: Arc<Bench>,
    driver: Driver,
    /// Events before this one are not of this load.
    first: usize,
}

impl Rig {
    /// A bench for the driver in the file `image`. One per process.
    pub fn new(image: &Path, config: Config) -> Result<Self> {
        Self::of_service(SERVICE, image, config)
    }

    /// A bench for another driver, which is installed as `service`. One per process.
    pub fn of_service(service: &'static str, image: &Path, mut config: Config) -> Result<Self> {
        config.verifier.no_rust_tag = true;
        config.bug_checks = BUG_CHECKS.to_vec();
        let bench = Arc::new(Bench::new(config)?);
        Ok(Self { bench, service, image: image.to_owned() })
    }

    /// The bench.
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// Serves its devices to tools in other processes, where they look by themselves.
    #[cfg(unix)]
    pub fn serve_tools(&self) -> Result<ControlSocket> {
        ControlSocket::serve(Arc::clone(&self.bench))
    }

    /// The same, at `<name>.sock` in a folder.
    #[cfg(unix)]
    pub fn serve_tools_in(&self, folder: &Path, name: &str) -> Result<ControlSocket> {
        ControlSocket::serve_in(Arc::clone(&self.bench), folder, name)
    }

    /// Sets a value under the driver's `Parameters`.
    pub fn set(&self, name: &str, value: Value) {
        self.bench.set_parameter(self.service, name, value);
    }

    /// Sets `EchoPort`; 0 lets the system choose.
    pub fn set_port(&self, port: u16) {
        self.set("EchoPort", Value::Dword(port.into()));
    }

    /// Sets `EchoAddress`.
    pub fn set_address(&self, address: &str) {
        self.set("EchoAddress", Value::Sz(address.to_owned()));
    }

    /// Adds a service of that name, with these values. From the first one on `EchoPort` and its like do nothing.
    pub fn add_service(&self, name: &str, values: &[(&str, Value)]) {
        let key = format!(r"Services\{name}");
        self.bench.create_parameters_key(SERVICE, &key);
        values.iter().for_each(|(value, data)| self.bench.set_parameter_below(SERVICE, &key, value, data.clone()));
    }

    /// Takes all services away, and the key above them.
    pub fn clear_services(&self) {
        self.bench.remove_parameters_key(SERVICE, "Services");
    }

    /// Loads the driver.
    pub fn load(&self) -> Result<Loaded> {
        let first = self.bench.trace().len();
        // The error's text has its causes in it.
        let failed = |error| anyhow!("could not load {}: {error}", self.image.display());
        let driver = self.bench.load(self.service, &self.image).map_err(failed)?;
        Ok(Loaded { bench: Arc::clone(&self.bench), driver, first })
    }
}

impl Loaded {
    /// The bench it is on.
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// What happened since it was loaded.
    pub fn events(&self) -> Vec<Event> {
        self.bench.trace().split_off(self.first)
    }

    /// A position in the trace: now.
    pub fn now(&self) -> usize {
        self.bench.trace().len()
    }

    /// The IPv4 address at which it says that it listens, for the first time since its load.
    pub fn address(&self) -> Result<SocketAddr> {
        self.address_since(self.first)
    }

    /// The same, but only what it said since the position `first` in the trace.
    pub fn address_since(&self, first: usize) -> Result<SocketAddr> {
        let said = || self.bench.trace().get(first..)?.iter().filter_map(listening).find(SocketAddr::is_ipv4);
        wait_for(said).ok_or_else(|| anyhow!("the driver has not said within {PATIENCE:?} that it listens"))
    }

    /// Sends a request to the control device.
    pub fn control(&self, request: Request, answer: usize) -> Result<Vec<u8>> {
        let device = self.bench.open(DEVICE).map_err(|status| anyhow!("{DEVICE} cannot be opened: {status}"))?;
        let answer = device.ioctl(request as u32, RequestHeader::CURRENT.as_bytes(), answer);
        answer.with_context(|| format!("the request {request:?}"))
    }

    /// Asks the driver for its state.
    pub fn state(&self) -> Result<State> {
        let answer = self.control(Request::State, size_of::<State>())?;
        let state = State::read_from_bytes(&answer);
        state.map_err(|_| anyhow!("the driver answered with {} bytes for its state", answer.len()))
    }

    /// Waits until the driver's state is as `wanted` says.
    pub fn wait_for_state(&self, wanted: impl Fn(&State) -> bool) -> Result<State> {
        let state = wait_for(|| self.state().ok().filter(&wanted));
        state.ok_or_else(|| anyhow!("after {PATIENCE:?} the driver's state is still {:?}", self.state()))
    }

    /// Has it leave WSK, or come back.
    pub fn set_active(&self, active: bool) -> Result<()> {
        self.control(if active { Request::Activate } else { Request::Deactivate }, 0).map(drop)
    }

    /// What the driver has printed since the position `first` in the trace, line by line.
    pub fn printed_since(&self, first: usize) -> Vec<String> {
        let events = self.bench.trace();
        let printed = events.get(first..).unwrap_or_default().iter().filter_map(|event| match &event.kind {
            Kind::DbgPrint { text, .. } => Some(text.trim_end().to_owned()),
            _ => None,
        });
        printed.collect()
    }

    /// What the driver has printed since it was loaded, line by line.
    pub fn printed(&self) -> Vec<String> {
        self.printed_since(self.first)
    }

    /// Unloads it.
    pub fn unload(&self) -> Result<Unload, UnloadRefused> {
        self.driver.unload()
    }
}

/// Where the service `echo` says that it listens for connections: `echo: listening at 127.0.0.1:40007`.
pub fn listening(event: &Event) -> Option<SocketAddr> {
    Listening::of(event).filter(|listening| listening.service == "echo" && !listening.datagrams).map(|listening| listening.at)
}

/// What a service says when it listens: `echo: listening at 127.0.0.1:40007`, with `, udp` behind it for datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Which.
    pub service: String,
    /// Where.
    pub at: SocketAddr,
    /// Whether for datagrams.
    pub datagrams: bool,
}

impl Listening {
    /// Reads it from what the driver printed.
    pub fn of(event: &Event) -> Option<Self> {
        let Kind::DbgPrint { text, .. } = &event.kind else { return None };
        let (service, place) = text.trim().split_once(": listening at ")?;
        let service = service.rsplit(' ').next()?.to_owned();
        let at = place.strip_suffix(", udp");
        Some(Self { service, datagrams: at.is_some(), at: at.unwrap_or(place).parse().ok()? })
    }
}

/// Looks until there is something, but not for ever.
pub fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        match look() {
            None if began.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            found => return found,
        }
    }
}

/// Fails unless nobody listens at the address.
pub fn expect_refused(address: SocketAddr) -> Result<()> {
    match TcpStream::connect(address) {
        Ok(_) => bail!("{address} takes connections still"),
        Err(_) => Ok(()),
    }
}

/// Where the rig's driver listens if it is not told otherwise.
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Whether the events show a new attachment (of the client's side) before the cleanup of an older binding.
pub fn attached_while_draining(events: &[Event]) -> bool {
    let cleanup = |event: &Event| matches!(event.kind, Kind::Cleanup { side: ntbench::trace::Side::Client, .. });
    let attached = |event: &Event| {
        matches!(event.kind, Kind::AttachReturn { side: ntbench::trace::Side::Client, status: NtStatus::SUCCESS, .. })
    };
    let first_cleanup = events.iter().position(cleanup);
    first_cleanup.is_some_and(|cleanup| events[..cleanup].iter().any(attached))
}
