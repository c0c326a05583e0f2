//! What happened, in order: typed events with time, thread and IRQL.
//!
//! The steps of a lifecycle are always kept. Events of the data path are kept when asked for ([`Level::Io`]); a caller
//! asks [`io`] before it makes one, so that the cost without them is one load.

use std::fmt;
use std::io::{self as stdio, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use nt_abi::NtStatus;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;

use crate::dbg;
use crate::etw::Fields;
use crate::ke::{irql, time};

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Steps of lifecycles.
    #[default]
    Lifecycle,
    /// Also I/O requests, DPCs, work items.
    Io,
}

/// The trace's settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {
    /// How much is kept.
    pub level: Level,
    /// Whether each event is printed to standard error as it comes.
    pub print: bool,
}

/// A side of the Network Module Registrar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Side {
    /// The client: for a WSK application, the driver.
    Client,
    /// The provider: for WSK, the bench.
    Provider,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event")]
pub enum Kind {
    /// An image was mapped.
    ImageMapped {
        /** Service. */
        service: String,
        /** Base address. */
        base: usize,
        /** Bytes. */
        size: usize,
    },
    /// An image's pages were made inaccessible.
    ImageUnmapped {
        /** Service. */
        service: String,
    },
    /// The driver's entry point is called.
    LoadBegin {
        /** Service. */
        service: String,
    },
    /// The driver's entry point has returned.
    LoadReturn {
        /** Service. */
        service: String,
        /** Its answer. */
        status: NtStatus,
    },
    /// The driver's unload routine is called.
    UnloadBegin {
        /** Service. */
        service: String,
    },
    /// The driver's unload routine has returned.
    UnloadReturn {
        /** Service. */
        service: String,
    },
    /// A module registered with the NMR.
    NmrRegister {
        /** Side. */
        side: Side,
        /** Handle. */
        registration: usize,
        /** Answer. */
        status: NtStatus,
    },
    /// A provider registered with the NMR.
    ProviderRegister {
        /** Handle. */
        registration: usize,
        /** Answer. */
        status: NtStatus,
    },
    /// An attach callback is called.
    AttachCall {
        /** Side. */
        side: Side,
        /** Binding. */
        binding: usize,
    },
    /// An attach callback has returned.
    AttachReturn {
        /** Side. */
        side: Side,
        /** Binding. */
        binding: usize,
        /** Answer. */
        status: NtStatus,
    },
    /// A deregistration has begun.
    DeregisterCall {
        /** Side. */
        side: Side,
        /** Handle. */
        registration: usize,
    },
    /// A deregistration returns.
    Deregister {
        /** Side. */
        side: Side,
        /** Handle. */
        registration: usize,
        /** Answer. */
        status: NtStatus,
    },
    /// A detach callback is called.
    DetachCall {
        /** Side. */
        side: Side,
        /** Binding. */
        binding: usize,
    },
    /// A detach callback has returned.
    DetachReturn {
        /** Side. */
        side: Side,
        /** Binding. */
        binding: usize,
        /** Answer. */
        status: NtStatus,
    },
    /// A side reported its detaching complete.
    DetachComplete {
        /** Side. */
        side: Side,
        /** Binding. */
        binding: usize,
    },
    /// A cleanup callback is called.
    Cleanup {
        /** Side. */
        side: Side,
        /** Binding. */
        binding: usize,
    },
    /// A wait for a deregistration begins.
    WaitBegin {
        /** Side. */
        side: Side,
        /** Handle. */
        registration: usize,
    },
    /// A wait for a deregistration has ended.
    WaitReturn {
        /** Side. */
        side: Side,
        /** Handle. */
        registration: usize,
        /** Answer. */
        status: NtStatus,
    },
    /// A socket was created.
    SocketCreated {
        /** Socket. */
        socket: usize,
        /** Its kind and where from. */
        detail: String,
    },
    /// A socket was closed.
    SocketClosed {
        /** Socket. */
        socket: usize,
    },
    /// Something of the WSK provider's.
    Provider {
        /** What. */
        what: &'static str,
        /** Which object. */
        object: usize,
        /** With what result. */
        status: Option<NtStatus>,
        /** More. */
        detail: String,
    },
    /// The driver printed.
    DbgPrint {
        /** Under which component. */
        component: u32,
        /** At which level. */
        level: u32,
        /** What. */
        text: String,
    },
    /// A provider of Event Tracing for Windows wrote an event, and the session took it.
    Etw {
        /** The provider's name. */
        provider: String,
        /** The event's name. */
        name: String,
        /** Its number; zero for TraceLogging. */
        id: u16,
        /** Its severity: less is more severe. */
        level: u8,
        /** Its categories. */
        keyword: u64,
        /** Its fields. */
        fields: Fields,
    },
    /// A violation was recorded.
    Violation {
        /** Rule. */
        rule: &'static str,
        /** What. */
        text: String,
    },
    /// One event of the data path.
    Io {
        /** What. */
        what: &'static str,
        /** Which object. */
        object: usize,
        /** More. */
        detail: String,
    },
    /// A remark of the bench's.
    Note {
        /** What. */
        text: String,
    },
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Time since the bench began.
    #[serde(serialize_with = "micros")]
    pub time: Duration,
    /// The thread's number.
    pub thread: u32,
    /// Its IRQL.
    pub irql: u8,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

fn micros<S: serde::Serializer>(time: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64(time.as_secs_f64() * 1e6)
}

type Subscriber = Arc<dyn Fn(&Event) + Send + Sync>;

static LEVEL: AtomicU8 = AtomicU8::new(Level::Lifecycle as u8);
static PRINT: AtomicBool = AtomicBool::new(false);
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());
static SUBSCRIBERS: RwLock<Vec<Subscriber>> = RwLock::new(Vec::new());
/// Events kept; older ones than the first this many stay, newer ones are only told to subscribers.
const LIMIT: usize = 4_000_000;

pub(crate) fn configure(trace: Trace) {
    LEVEL.store(trace.level as u8, Ordering::Relaxed);
    PRINT.store(trace.print, Ordering::Relaxed);
}

/// Whether events of the data path are wanted.
#[inline]
pub fn io() -> bool {
    LEVEL.load(Ordering::Relaxed) >= Level::Io as u8
}

/// Records an event.
pub fn emit(kind: Kind) {
    let event = Event { time: time::since_start(), thread: crate::thread::slot().id, irql: irql::current(), kind };
    if PRINT.load(Ordering::Relaxed) {
        let _ = writeln!(stdio::stderr().lock(), "{event}");
    }
    let subscribers = SUBSCRIBERS.read().clone();
    for subscriber in subscribers {
        subscriber(&event);
    }
    let mut events = EVENTS.lock();
    if events.len() < LIMIT {
        events.push(event);
    }
}

/// Has `f` called for each event from now on, on the thread that it happens on.
pub(crate) fn subscribe(f: impl Fn(&Event) + Send + Sync + 'static) {
    SUBSCRIBERS.write().push(Arc::new(f));
}

/// All events so far.
pub(crate) fn events() -> Vec<Event> {
    EVENTS.lock().clone()
}

/// How many events there are.
pub(crate) fn count() -> usize {
    EVENTS.lock().len()
}

/// The events from the `first` on.
pub(crate) fn events_from(first: usize) -> Vec<Event> {
    EVENTS.lock().get(first..).unwrap_or_default().to_vec()
}

/// The events as JSON, one a line.
///
/// # Errors
/// Those of `out`.
pub fn write_json(events: &[Event], mut out: impl Write) -> stdio::Result<()> {
    for event in events {
        serde_json::to_writer(&mut out, event)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The events in the Chrome trace-event format, which Perfetto opens.
///
/// # Errors
/// Those of `out`.
pub fn write_chrome(events: &[Event], mut out: impl Write) -> stdio::Result<()> {
    let entries: Vec<_> = events.iter().map(chrome).collect();
    serde_json::to_writer(&mut out, &serde_json::json!({ "traceEvents": entries }))?;
    out.flush()
}

fn chrome(event: &Event) -> serde_json::Value {
    let (name, phase) = event.kind.phase();
    let args = serde_json::to_value(event).unwrap_or_default();
    let ts = event.time.as_secs_f64() * 1e6;
    serde_json::json!({ "name": name, "ph": phase, "ts": ts, "pid": 1, "tid": event.thread, "s": "t", "args": args })
}

impl Kind {
    /// Name and phase in the Chrome format: begin, end, or instant.
    fn phase(&self) -> (String, &'static str) {
        let debug = format!("{self:?}");
        let name = debug.split([' ', '{']).next().unwrap_or("event").to_owned();
        let span = |name: &str| name.to_owned();
        match self {
            Kind::LoadBegin { .. } => (span("Load"), "B"),
            Kind::LoadReturn { .. } => (span("Load"), "E"),
            Kind::UnloadBegin { .. } => (span("Unload"), "B"),
            Kind::UnloadReturn { .. } => (span("Unload"), "E"),
            Kind::AttachCall { .. } => (span("Attach"), "B"),
            Kind::AttachReturn { .. } => (span("Attach"), "E"),
            Kind::DetachCall { .. } => (span("Detach"), "B"),
            Kind::DetachReturn { .. } => (span("Detach"), "E"),
            Kind::DeregisterCall { .. } => (span("Deregister"), "B"),
            Kind::Deregister { .. } => (span("Deregister"), "E"),
            Kind::WaitBegin { .. } => (span("Wait"), "B"),
            Kind::WaitReturn { .. } => (span("Wait"), "E"),
            Kind::Io { what, .. } | Kind::Provider { what, .. } => (span(what), "i"),
            Kind::Etw { name, .. } => (span(name), "i"),
            _ => (name, "i"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.as_secs_f64() * 1e3;
        write!(f, "{time:12.3} ms  thread {:<3} irql {}  {}", self.thread, self.irql, self.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::DbgPrint { component, level, text } if (*component, *level) == dbg::DEFAULT => {
                write!(f, "print  {}", text.trim_end())
            }
            Kind::DbgPrint { component, level, text } => {
                write!(f, "print  [{}] {}", dbg::filter_name(*component, *level), text.trim_end())
            }
            Kind::Etw { provider, name, fields, .. } => write!(f, "etw    {provider}/{name}{fields}"),
            Kind::Note { text } => write!(f, "note   {text}"),
            Kind::Violation { rule, text } => write!(f, "VIOLATION {rule}: {text}"),
            Kind::Io { what, object, detail } => write!(f, "{what} {object:#x} {detail}"),
            Kind::Provider { what, object, status, detail } => {
                let status = status.map(|s| format!(" {s}")).unwrap_or_default();
                write!(f, "provider {what} {object:#x}{status} {detail}")
            }
            other => fmt::Debug::fmt(other, f),
        }
    }
}
