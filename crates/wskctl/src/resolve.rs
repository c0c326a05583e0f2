//! `wskctl resolve`: names, resolved by the provider in the kernel.

use std::time::Duration;

use clap::Args;
use control_abi::resolve::{CANONICAL_NAME, Outcome, ResolveRequest, Resolved, TIMEOUT_MS};
use control_abi::{Text, WireAddress};
use jiff::SignedDuration;
use serde::Serialize;

use crate::failure::Failure;
use crate::ntstatus::NtStatus;
use crate::output::{FAINT, styled};
use crate::text::{micros, seconds};
use crate::tool::Tool;

/// Which name, and what is wanted of it.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A host's name, or an address
    host: String,
    /// A port, or the name of a service, as `http`, whose port is wanted too
    port: Option<String>,
    /// Only IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
    /// The canonical name, too
    #[arg(long)]
    canonical: bool,
    /// How long to wait, up to 10s
    #[arg(long, value_name = "SPAN", default_value = "5s")]
    timeout: SignedDuration,
}

/// What `--json` prints. Times are seconds.
#[derive(Serialize)]
struct Answer {
    outcome: &'static str,
    addresses: Vec<String>,
    /// How many addresses the provider gave; there is room for 32.
    total: u32,
    canonical_name: Option<String>,
    took_s: f64,
}

/// Prints the addresses, best first.
pub(crate) fn run(tool: &Tool, arguments: &Arguments) -> Result<(), Failure> {
    let resolved = tool.resolve(&arguments.request()?)?;
    let outcome = Outcome::from_wire(resolved.outcome).ok_or(Failure::Nonsense { what: "resolving" })?;
    let host = || arguments.host.clone();
    match outcome {
        Outcome::Found => print(tool, arguments, &resolved),
        Outcome::NotFound => Err(Failure::NoSuchHost(host())),
        Outcome::TimedOut => Err(Failure::NoAnswerInTime(host())),
        Outcome::Failed => Err(Failure::Refused { what: "resolving", status: NtStatus(resolved.status as u32) }),
        Outcome::Detached => Err(Failure::Refused { what: "resolving", status: NtStatus::DEVICE_NOT_READY }),
    }
}

fn print(tool: &Tool, arguments: &Arguments, resolved: &Resolved) -> Result<(), Failure> {
    let with_port = arguments.port.is_some();
    let addresses: Vec<_> = resolved.addresses().iter().filter_map(|address| text(address, with_port)).collect();
    let canonical_name = resolved.canonical_name.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    if tool.output().is_json() {
        let (total, took_s) = (resolved.total, seconds(resolved.took_us));
        return tool.output().json(&Answer { outcome: Outcome::Found.name(), addresses, total, canonical_name, took_s });
    }
    addresses.iter().try_for_each(|address| tool.output().line(address))?;
    if arguments.canonical {
        let name = canonical_name.as_deref().unwrap_or("(the provider gave none)");
        tool.output().line(&format!("canonical name: {name}"))?;
    }
    let more = match resolved.total.saturating_sub(resolved.count) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let (shown, took) = (addresses.len(), micros(resolved.took_us));
    eprint(&format!("{shown} of {}{more}, in {took}", arguments.host));
    Ok(())
}

/// What is no answer, for people who look on.
fn eprint(text: &str) {
    use std::io::{IsTerminal, Write};
    if std::io::stdout().is_terminal() {
        let _ = writeln!(anstream::stderr(), "{}", styled(FAINT, text));
    }
}

fn text(address: &WireAddress, with_port: bool) -> Option<String> {
    let address = address.address()?;
    Some(match address {
        address if with_port => address.to_string(),
        std::net::SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        address => address.ip().to_string(),
    })
}

impl Arguments {
    fn request(&self) -> Result<ResolveRequest, Failure> {
        let request =
            ResolveRequest::new(&self.host).ok_or_else(|| Failure::usage(format!("{:?} is no host's name", self.host)))?;
        let family = match (self.ipv4, self.ipv6) {
            (true, _) => 4,
            (false, true) => 6,
            (false, false) => 0,
        };
        let port = self.port.as_deref().unwrap_or_default();
        let request = ResolveRequest {
            service: Text::new(port).ok_or_else(|| Failure::usage(format!("{port} is no port and no service's name")))?,
            family,
            flags: if self.canonical { CANONICAL_NAME } else { 0 },
            timeout_ms: self.timeout_ms()?,
            ..request
        };
        request.checked().map_err(|refusal| Failure::usage(refusal.to_string()))?;
        Ok(request)
    }

    fn timeout_ms(&self) -> Result<u32, Failure> {
        let span = Duration::try_from(self.timeout).ok().and_then(|span| u32::try_from(span.as_millis()).ok());
        span.filter(|span| TIMEOUT_MS.contains(span)).ok_or_else(|| Failure::usage("--timeout takes 1ms to 10s".to_owned()))
    }
}
