//! Traffic: the driver as client. A job is started, asked about and cancelled by short requests; it runs in the driver.
//!
//! Who started a job asks about it again and again, and so [renews](AskRequest::renewing) its lease: a job whose lease has run
//! out ends, unless it was started [detached](flags::DETACH). What came of the last jobs can be asked for until newer ones
//! need their places.

use core::net::SocketAddr;
use core::time::Duration;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::page::{self, Malformed, PageRequest, read_one};
use crate::sockets::Protocol;
use crate::wire::wire_enum;
use crate::{Ask, Refusal, Request, RequestHeader, WireAddress};

/// How many jobs run at once.
pub const MOST_RUNNING: usize = 4;
/// How many jobs can be asked about: those that run, and the last that have ended.
pub const MOST_JOBS: usize = 8;
/// How many connections a job has.
pub const MOST_CONNECTIONS: u32 = 4096;
/// How large a message is over TCP, in bytes.
pub const MOST_MESSAGE: u32 = 1 << 20;
/// How large a message is over UDP, in bytes: what fits into a datagram of IPv4.
pub const MOST_DATAGRAM: u32 = 65_507;
/// How small a message is that is echoed over UDP, in bytes: it has a number, by which a late answer is told from the next.
pub const LEAST_ECHOED_DATAGRAM: u32 = 8;
/// How long a job runs.
pub const MOST_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// How many messages per second may be asked for.
pub const MOST_RATE: u32 = 10_000_000;
/// How many bytes of nonpaged pool the jobs that run hold together.
pub const MOST_BYTES: u64 = 256 << 20;
/// A job that was not started detached ends when nobody has renewed its lease for so long.
pub const LEASE: Duration = Duration::from_secs(5);

/// What a job is started with, beside its numbers.
pub mod flags {
    /// It goes on when nobody asks about it any more.
    pub const DETACH: u32 = 1;
    /// The target need not be an address of this machine's loopback.
    pub const BEYOND_LOOPBACK: u32 = 2;
    /// All of them.
    pub const ALL: u32 = DETACH | BEYOND_LOOPBACK;
}

wire_enum! {
    /// What a connection of a job does.
    Kind {
        /// It sends a message, waits until that has come back, and sends the next.
        Echo = 1 "echo",
        /// It sends messages, and waits for no answer.
        Stream = 2 "stream",
    }
}

wire_enum! {
    /// Where a job stands.
    Phase {
        /// Its connections are being made; all begin when the last is there, or is known to have failed.
        Connecting = 1 "connecting",
        /// It runs.
        Running = 2 "running",
        /// Its end is decided; what was begun is being finished, for a short time.
        Ending = 3 "ending",
        /// It is over.
        Over = 4 "over",
    }
}

wire_enum! {
    /// Why a job ends.
    End {
        /// Its time was over.
        Duration = 1 "duration",
        /// All messages have been sent, and come back.
        Count = 2 "count",
        /// Somebody has cancelled it.
        Cancelled = 3 "cancelled",
        /// Nobody has renewed its lease.
        Abandoned = 4 "abandoned",
        /// None of its connections was left.
        Failed = 5 "failed",
        /// The driver was deactivated.
        Deactivated = 6 "deactivated",
        /// The provider went.
        ProviderGone = 7 "provider gone",
        /// The driver, or the system, went.
        Shutdown = 8 "shutdown",
    }
}

wire_enum! {
    /// What went wrong with a connection, or on it.
    ErrorKind {
        /// Nobody listens there.
        Refused = 1 "refused",
        /// There is no way there.
        Unreachable = 2 "unreachable",
        /// No connection came about in time.
        TimedOut = 3 "timed out",
        /// The peer ended the connection before everything had come back.
        Closed = 4 "closed by the peer",
        /// The connection was reset.
        Reset = 5 "reset",
        /// A message was not answered until the end.
        Silent = 6 "no answer",
        /// The driver had no memory.
        NoMemory = 7 "no memory",
        /// The provider or the driver went.
        Detached = 8 "taken away",
        /// Anything else; the status says what.
        Other = 9 "other",
    }
}

/// How many kinds of errors there are.
pub const ERROR_KINDS: usize = ErrorKind::ALL.len();

/// Asks for a job. [`Started`] comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StartRequest {
    /// How every request begins.
    pub header: RequestHeader,
    /// What is asked for.
    pub asked: Asked,
}

/// What a job is asked to do, as it goes over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Asked {
    /// Where to.
    pub target: WireAddress,
    /// A [`Kind`].
    pub kind: u32,
    /// A [`Protocol`].
    pub protocol: u32,
    /// Of [`flags`].
    pub flags: u32,
    /// How many connections.
    pub connections: u32,
    /// The size of a message in bytes.
    pub message: u32,
    /// How many messages per second the job sends at most; 0 for as many as it can. For [`Kind::Stream`] over UDP alone.
    pub rate: u32,
    /// How long it runs, in milliseconds; 0 for no limit, if there is a count.
    pub duration_ms: u64,
    /// How many messages it sends in all; 0 for no limit, if there is a duration.
    pub count: u64,
}

/// What a job is to do, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where to: an address of one host, with a port.
    pub target: SocketAddr,
    /// What its connections do.
    pub kind: Kind,
    /// Over which protocol.
    pub protocol: Protocol,
    /// Whether it goes on when nobody asks about it.
    pub detached: bool,
    /// Whether the target may be beyond loopback.
    pub beyond_loopback: bool,
    /// How many connections, from 1.
    pub connections: u32,
    /// The size of a message in bytes, from 1.
    pub message: u32,
    /// Messages per second at most.
    pub rate: Option<u32>,
    /// How long.
    pub duration: Option<Duration>,
    /// How many messages.
    pub count: Option<u64>,
}

impl Asked {
    /// What is wanted.
    ///
    /// # Errors
    /// [`Refusal::Field`] of what cannot be, alone or together with the rest.
    pub fn checked(&self) -> Result<Wanted, Refusal> {
        let target = self.target.checked("target")?.filter(is_one_host).ok_or(Refusal::Field("target"))?;
        let kind = Kind::from_wire(self.kind).ok_or(Refusal::Field("kind"))?;
        let protocol = Protocol::from_wire(self.protocol).ok_or(Refusal::Field("protocol"))?;
        let flag = |flag| self.flags & flag != 0;
        let wanted = Wanted {
            target,
            kind,
            protocol,
            detached: flag(flags::DETACH),
            beyond_loopback: flag(flags::BEYOND_LOOPBACK),
            connections: self.connections,
            message: self.message,
            rate: (self.rate != 0).then_some(self.rate),
            duration: (self.duration_ms != 0).then_some(Duration::from_millis(self.duration_ms)),
            count: (self.count != 0).then_some(self.count),
        };
        let wrong = [
            (self.flags & !flags::ALL != 0, "flags"),
            (!(1..=MOST_CONNECTIONS).contains(&self.connections), "connections"),
            (!wanted.messages().contains(&self.message), "message"),
            (self.rate > MOST_RATE || (self.rate != 0 && !wanted.can_have_a_rate()), "rate"),
            (wanted.duration.is_some_and(|duration| duration > MOST_DURATION), "duration"),
            (wanted.duration.is_none() && wanted.count.is_none(), "duration or count"),
            (wanted.count.is_some_and(|count| count < u64::from(self.connections)), "count"),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, name)) => Err(Refusal::Field(name)),
            None => Ok(wanted),
        }
    }
}

impl Wanted {
    /// How large a message of such a job can be.
    pub const fn messages(&self) -> core::ops::RangeInclusive<u32> {
        match (self.protocol, self.kind) {
            (Protocol::Tcp, _) => 1..=MOST_MESSAGE,
            (Protocol::Udp, Kind::Echo) => LEAST_ECHOED_DATAGRAM..=MOST_DATAGRAM,
            (Protocol::Udp, Kind::Stream) => 1..=MOST_DATAGRAM,
        }
    }

    /// Whether such a job can be told how many messages per second to send.
    pub const fn can_have_a_rate(&self) -> bool {
        matches!((self.protocol, self.kind), (Protocol::Udp, Kind::Stream))
    }

    /// Whether it may be sent there: to this machine's loopback, or anywhere if that was said.
    pub const fn may_go_there(&self) -> bool {
        self.beyond_loopback || self.target.ip().to_canonical().is_loopback()
    }

    /// As it goes over the wire.
    pub fn to_wire(&self) -> Asked {
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        Asked {
            target: self.target.into(),
            kind: self.kind.to_wire(),
            protocol: self.protocol.to_wire(),
            flags: flag(self.detached, flags::DETACH) | flag(self.beyond_loopback, flags::BEYOND_LOOPBACK),
            connections: self.connections,
            message: self.message,
            rate: self.rate.unwrap_or(0),
            duration_ms: self.duration.map_or(0, |duration| duration.as_millis() as u64),
            count: self.count.unwrap_or(0),
        }
    }
}

/// Whether it is the address of one host, with a port.
fn is_one_host(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_broadcast = matches!(ip, core::net::IpAddr::V4(v4) if v4.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

impl StartRequest {
    /// For this job.
    pub fn of(wanted: &Wanted) -> Self {
        Self { header: RequestHeader::CURRENT, asked: wanted.to_wire() }
    }
}

impl Ask for StartRequest {
    const REQUEST: Request = Request::TrafficStart;
    const LEAST_ROOM: usize = size_of::<Started>();
}

/// A job has been started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Started {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// 0.
    pub reserved: u32,
    /// Its number, which no other job has while the driver is loaded.
    pub id: u64,
}

impl Started {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(answer: &[u8]) -> Result<Self, Malformed> {
        read_one(answer, |started: &Self| started.version)
    }
}

/// Asks how a job is. A [`Report`] comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AskRequest {
    /// How every request begins.
    pub header: RequestHeader,
    /// Its number.
    pub id: u64,
    /// 1 if this renews its lease, else 0.
    pub renew: u32,
    /// 0.
    pub reserved: u32,
}

impl AskRequest {
    /// By whoever started it.
    pub const fn renewing(id: u64) -> Self {
        Self { header: RequestHeader::CURRENT, id, renew: 1, reserved: 0 }
    }

    /// By anybody.
    pub const fn looking(id: u64) -> Self {
        Self { renew: 0, ..Self::renewing(id) }
    }

    /// The job's number, and whether its lease is renewed.
    ///
    /// # Errors
    /// [`Refusal`].
    pub const fn checked(&self) -> Result<(u64, bool), Refusal> {
        match (self.renew, self.reserved) {
            (0 | 1, 0) => Ok((self.id, self.renew == 1)),
            (0 | 1, _) => Err(Refusal::Reserved),
            _ => Err(Refusal::Field("renew")),
        }
    }
}

impl Ask for AskRequest {
    const REQUEST: Request = Request::TrafficAsk;
    const LEAST_ROOM: usize = size_of::<Report>();
}

/// Asks for the end of a job. Nothing comes back: it ends soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CancelRequest {
    /// How every request begins.
    pub header: RequestHeader,
    /// Its number.
    pub id: u64,
}

impl CancelRequest {
    /// For this job.
    pub const fn of(id: u64) -> Self {
        Self { header: RequestHeader::CURRENT, id }
    }
}

impl Ask for CancelRequest {
    const REQUEST: Request = Request::TrafficCancel;
    const LEAST_ROOM: usize = 0;
}

/// Asks for a page of [`Report`]s: all jobs that can be asked about, by their numbers. The cursor is that of the last one seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct ListRequest(pub PageRequest);

impl ListRequest {
    /// For the page at a cursor.
    pub const fn at(cursor: u64) -> Self {
        Self(PageRequest { header: RequestHeader::CURRENT, cursor })
    }
}

impl Ask for ListRequest {
    const REQUEST: Request = Request::TrafficList;
    const LEAST_ROOM: usize = page::room::<Report>(1);
}

/// How a job is, or what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Report {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// A [`Phase`].
    pub phase: u32,
    /// Its number.
    pub id: u64,
    /// What was asked for.
    pub asked: Asked,
    /// An [`End`]; 0 while that is not decided.
    pub end: u32,
    /// Connections that are there now.
    pub open: u32,
    /// Connections that came about.
    pub connected: u32,
    /// Connections that did not come about, or ended before they should have.
    pub failed: u32,
    /// How long it has run, or did, in nanoseconds, from when the last connection was there.
    pub elapsed_ns: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that have come back as they were sent.
    pub received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes that have come back.
    pub bytes_received: u64,
    /// Messages that have come back and are not what was sent.
    pub mismatched: u64,
    /// Datagrams that had not come back within the time for that.
    pub lost: u64,
    /// Those of them that came back after it.
    pub late: u64,
    /// How often what went wrong: of each [`ErrorKind`], in their order.
    pub errors: [u64; ERROR_KINDS],
    /// The [`ErrorKind`] of the first error; 0 if there was none.
    pub first_error: u32,
    /// Its NTSTATUS, 0 if it has none.
    pub first_status: u32,
    /// Of an echo: the time from a message's sending to its having come back whole. Of a stream: that until its sending is done.
    pub latency: Latency,
}

/// Times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Latency {
    /// How many there are; if none, all is 0.
    pub count: u64,
    /// The shortest.
    pub least: u64,
    /// Their mean.
    pub mean: u64,
    /// Half of them are at most so long (within 1/128, as the three below).
    pub p50: u64,
    /// 90 of 100.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// The longest.
    pub most: u64,
}

impl Report {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(answer: &[u8]) -> Result<Self, Malformed> {
        read_one(answer, |report: &Self| report.version)
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over.to_wire()
    }

    /// How often what went wrong, of what did.
    pub fn errors(&self) -> impl Iterator<Item = (ErrorKind, u64)> {
        ErrorKind::ALL.iter().copied().zip(self.errors).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests;
