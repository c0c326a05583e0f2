//! `wskctl events`: what happened to the driver, and, as it comes, what happens.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use control_abi::events::{CloseReason, Event, EventKind, EventsRequest, Limit, MOST_WAIT_MS, WITH_SOCKETS};
use control_abi::sockets::{Protocol, SocketKind};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::failure::Failure;
use crate::ntstatus::NtStatus;
use crate::output::{BAD, FAINT, GOOD, WARNING, styled};
use crate::status::wsk;
use crate::text::{counted, name, timestamp};
use crate::tool::Tool;

/// The width of the longest name of an event.
const NAME_WIDTH: usize = 17;

/// Which events, and for how long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Begin after the event of this number, or so long ago (10m, 1h30m); without it, with the oldest that the driver remembers
    #[arg(long, value_name = "NUMBER|SPAN", value_parser = Since::parse)]
    since: Option<Since>,
    /// End after so many events
    #[arg(short = 'n', long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Sockets that are opened and closed, too
    #[arg(long)]
    sockets: bool,
}

#[derive(Clone, Copy)]
enum Since {
    Number(u64),
    Ago(Duration),
}

/// What `--json` prints of each, on a line.
#[derive(Serialize)]
struct Told {
    number: u64,
    time: String,
    event: String,
    /// In words.
    text: String,
    status: Option<String>,
    attachment: u64,
    subject: u64,
    service: Option<String>,
    address: Option<String>,
    a: u64,
    b: u64,
}

/// What `--json` prints instead where events were forgotten before they were read.
#[derive(Serialize)]
struct Lost {
    lost: u64,
}

/// Prints them.
pub(crate) fn run(tool: &Tool, arguments: &Arguments) -> Result<(), Failure> {
    let (mut after, since) = match arguments.since {
        None => (0, None),
        Some(Since::Number(number)) => (number, None),
        Some(Since::Ago(span)) => (0, Timestamp::now().checked_sub(span).ok()),
    };
    let flags = if arguments.sockets { WITH_SOCKETS } else { 0 };
    let wait_ms = if arguments.follow { MOST_WAIT_MS } else { 0 };
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let asked_for_all = after == 0;
    let mut first = true;
    while left > 0 {
        let page = tool.events(&EventsRequest { flags, ..EventsRequest::after(after, wait_ms) })?;
        if page.newest < after {
            // The driver was loaded anew meanwhile, and counts from 1 again.
            after = 0;
            continue;
        }
        // Who asks for all that is remembered has lost nothing by that.
        if page.lost > 0 && !(first && asked_for_all) {
            lost(tool, page.lost)?;
        }
        for event in page.events.iter().filter(|event| since.is_none_or(|since| timestamp(event.time) >= since)) {
            if left == 0 {
                break;
            }
            print(tool, event)?;
            left -= 1;
        }
        (first, after) = (false, page.next);
        if !arguments.follow && page.events.is_empty() {
            break;
        }
    }
    Ok(())
}

fn lost(tool: &Tool, lost: u64) -> Result<(), Failure> {
    match tool.output().is_json() {
        true => tool.output().json_line(&Lost { lost }),
        false => tool.output().line(&styled(WARNING, &format!("({} not seen: too many at once)", counted(lost, "event")))),
    }
}

fn print(tool: &Tool, event: &Event) -> Result<(), Failure> {
    if tool.output().is_json() {
        return tool.output().json_line(&Told::of(event));
    }
    tool.output().line(&line(event, tool.output().zone()))
}

/// An event, for people.
pub(crate) fn line(event: &Event, zone: &TimeZone) -> String {
    let time = timestamp(event.time).to_zoned_datetime(zone.clone()).strftime("%F %T%.3f").to_string();
    let (name, text) = (kind(event), sentence(event));
    let (time, name) = (styled(FAINT, &time), styled(style(event), &format!("{name:NAME_WIDTH$}")));
    format!("{time}  {name}  {text}").trim_end().to_owned()
}

fn style(event: &Event) -> anstyle::Style {
    match EventKind::from_wire(event.kind) {
        Some(EventKind::Fault | EventKind::AttachFailed | EventKind::ServiceFailed) => BAD,
        Some(EventKind::LimitHit | EventKind::DetachBegun | EventKind::Deactivated) => WARNING,
        Some(EventKind::Attached | EventKind::Activated | EventKind::ServiceListening) => GOOD,
        _ => anstyle::Style::new(),
    }
}

impl Since {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let span: SignedDuration = text.parse().map_err(|_| "a number, or a span as 10m or 1h30m")?;
        Duration::try_from(span).map(Self::Ago).map_err(|_| "a span to go back is not negative".to_owned())
    }
}

impl Told {
    fn of(event: &Event) -> Self {
        let name = event.name.as_str().filter(|name| !name.is_empty());
        Self {
            number: event.number,
            time: timestamp(event.time).to_string(),
            event: kind(event),
            text: sentence(event),
            status: (event.status != 0).then(|| format!("{:#010x}", event.status)),
            attachment: event.binding,
            subject: event.subject,
            service: name.map(str::to_owned),
            address: event.address.address().map(|address| address.to_string()),
            a: event.a,
            b: event.b,
        }
    }
}

fn kind(event: &Event) -> String {
    name(EventKind::from_wire(event.kind).map(EventKind::name), event.kind).into_owned()
}

/// What happened, in words.
pub(crate) fn sentence(event: &Event) -> String {
    let Some(kind) = EventKind::from_wire(event.kind) else { return format!("a {}, b {}", event.a, event.b) };
    let (status, binding) = (NtStatus(event.status as u32), event.binding);
    let of_b = |number| name(Protocol::from_wire(number as u32).map(Protocol::name), number as u32);
    match kind {
        EventKind::Attaching => format!("a provider offers WSK {} to {}", wsk(event.a as u32), wsk(event.b as u32)),
        EventKind::AttachFailed => format!("not attached: {status}"),
        EventKind::Attached => format!("attachment {binding}"),
        EventKind::DetachBegun => {
            let (calls, sockets) = (counted(event.a, "call"), counted(event.b, "socket"));
            format!("attachment {binding} is being taken away, with {calls} in flight and {sockets} open")
        }
        EventKind::DetachCompleted => format!("attachment {binding} has ended"),
        EventKind::CleanedUp => format!("attachment {binding} is gone"),
        EventKind::Deactivated => "the driver was asked to leave WSK".to_owned(),
        EventKind::Activated => "the driver was asked to come back to WSK".to_owned(),
        EventKind::ServiceListening => format!("{} at {} over {}", event.name, address(event), of_b(event.a)),
        EventKind::ServiceFailed => format!("{} cannot listen at {}: {status}", event.name, address(event)),
        EventKind::ServiceStopped => format!("{}, with {} to reset", event.name, counted(event.a, "connection")),
        EventKind::ServiceStarted | EventKind::ServiceChanged | EventKind::ServiceSaved | EventKind::ServiceRemoved => {
            event.name.to_string()
        }
        EventKind::LimitHit => {
            let limit = name(Limit::from_wire(event.a as u32).map(Limit::name), event.a as u32);
            format!("{}: the limit of {limit} is reached", event.name)
        }
        EventKind::SocketOpened => {
            let kind = name(SocketKind::from_wire(event.a as u32).map(SocketKind::name), event.a as u32);
            format!("socket {}: {kind} over {}", event.subject, of_b(event.b))
        }
        EventKind::SocketClosed => {
            let reason = name(CloseReason::from_wire(event.a as u32).map(CloseReason::name), event.a as u32);
            format!("socket {}: {reason}", event.subject)
        }
        EventKind::Fault => fault(event, status),
        EventKind::TrafficStarted => format!("job {}", event.subject),
        EventKind::TrafficEnded => format!("job {}: {status}", event.subject),
    }
}

fn fault(event: &Event, status: NtStatus) -> String {
    let mut text = status.to_string();
    if !event.name.is_empty() {
        let _ = write!(text, ", of {}", event.name);
    }
    if let Some(address) = event.address.address() {
        let _ = write!(text, ", at {address}");
    }
    text
}

fn address(event: &Event) -> String {
    crate::text::address(&event.address)
}
