//! `wskctl traffic`: the driver as client. A job runs in the driver; [`watch`] asks it how it is until it is over, [`told`] says what came of
//! it, [`jobs`] are the commands about the jobs that there are.

mod jobs;
mod told;
mod watch;

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use control_abi::Refusal;
use control_abi::sockets::Protocol;
use control_abi::traffic::{
    Kind, LEAST_ECHOED_DATAGRAM, MOST_CONNECTIONS, MOST_DATAGRAM, MOST_MESSAGE, MOST_RATE, StartRequest, Started, Wanted,
};
use jiff::SignedDuration;

use crate::failure::Failure;
use crate::tool::Tool;

/// What a job is to do, or what is asked about one.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Send messages that the target sends back; each connection waits for a message before it sends the next
    Echo(Job),
    /// Send messages to a target that sends nothing back
    Stream(Stream),
    /// List the jobs that run, and the last that are over
    List,
    /// Tell how a job is, or what came of it
    Show(jobs::Which),
    /// Have a job end
    Cancel(jobs::Which),
}

#[derive(Args)]
struct Job {
    /// Where to, as `127.0.0.1:7` or `[::1]:7`
    target: SocketAddr,
    /// Over UDP in place of TCP
    #[arg(short, long)]
    udp: bool,
    /// How many connections
    #[arg(short, long, value_name = "NUMBER", default_value_t = 1)]
    connections: u32,
    /// The size of a message, as 64 or 16KiB
    #[arg(short, long, value_name = "SIZE", default_value = "64")]
    message: ByteSize,
    /// For how long, as 500ms, 10s or 2m [default: 10s, if there is no --count]
    #[arg(short = 't', long = "for", value_name = "SPAN")]
    duration: Option<SignedDuration>,
    /// How many messages in all
    #[arg(short = 'n', long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Only start it; it goes on without this program. `traffic show` and `cancel` find it again
    #[arg(long)]
    detach: bool,
    /// The target may be beyond this machine's loopback
    #[arg(long)]
    beyond_loopback: bool,
}

#[derive(Args)]
struct Stream {
    #[command(flatten)]
    job: Job,
    /// How many messages a second, over UDP [default: as many as it can]
    #[arg(short, long, value_name = "NUMBER", requires = "udp")]
    rate: Option<u32>,
}

/// How long a job runs of which nobody says it.
const DURATION: Duration = Duration::from_secs(10);

/// Does it.
pub(crate) fn run(tool: &Tool, arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.action {
        Action::Echo(job) => job.run(tool, Kind::Echo, None),
        Action::Stream(Stream { job, rate }) => job.run(tool, Kind::Stream, *rate),
        Action::List => jobs::list(tool),
        Action::Show(which) => jobs::show(tool, which),
        Action::Cancel(which) => jobs::cancel(tool, which),
    }
}

impl Job {
    fn run(&self, tool: &Tool, kind: Kind, rate: Option<u32>) -> Result<(), Failure> {
        let wanted = self.wanted(kind, rate)?;
        let what = "starting traffic";
        let answer = tool.ask(what, &StartRequest::of(&wanted), size_of::<Started>())?;
        let id = Started::read(&answer).map_err(|_| Failure::Nonsense { what })?.id;
        if self.detach {
            return jobs::started(tool, id);
        }
        watch::to_the_end(tool, id, &wanted)
    }

    fn wanted(&self, kind: Kind, rate: Option<u32>) -> Result<Wanted, Failure> {
        let wanted = Wanted {
            target: self.target,
            kind,
            protocol: if self.udp { Protocol::Udp } else { Protocol::Tcp },
            detached: self.detach,
            beyond_loopback: self.beyond_loopback,
            connections: self.connections,
            message: u32::try_from(self.message.as_u64()).unwrap_or(u32::MAX),
            rate,
            duration: self.duration()?.or(self.count.is_none().then_some(DURATION)),
            count: self.count,
        };
        wanted.to_wire().checked().map_err(|refusal| Failure::usage(in_words(&wanted, refusal)))?;
        if !wanted.may_go_there() {
            let target = self.target;
            return Err(Failure::usage(format!("{target} is beyond this machine's loopback, which takes --beyond-loopback")));
        }
        Ok(wanted)
    }

    fn duration(&self) -> Result<Option<Duration>, Failure> {
        let duration = self.duration.map(Duration::try_from).transpose();
        match duration {
            Ok(duration) if duration.is_none_or(|duration| duration.as_millis() > 0) => Ok(duration),
            _ => Err(Failure::usage("--for takes 1ms to 24h".to_owned())),
        }
    }
}

/// What is wrong with a job, as whoever wrote the command line knows it.
fn in_words(wanted: &Wanted, refusal: Refusal) -> String {
    let (least, connections) = (wanted.messages().start().to_owned(), wanted.connections);
    match refusal {
        Refusal::Field("target") => format!("{} is not the address and the port of one host", wanted.target),
        Refusal::Field("connections") => format!("--connections takes 1 to {MOST_CONNECTIONS}"),
        Refusal::Field("message") if wanted.protocol == Protocol::Tcp => {
            format!("--message takes 1 to {MOST_MESSAGE} bytes over TCP")
        }
        Refusal::Field("message") if least == LEAST_ECHOED_DATAGRAM => {
            format!("--message takes {least} to {MOST_DATAGRAM} bytes for an echo over UDP, whose messages have a number")
        }
        Refusal::Field("message") => format!("--message takes {least} to {MOST_DATAGRAM} bytes over UDP"),
        Refusal::Field("rate") => format!("--rate takes 1 to {MOST_RATE}"),
        Refusal::Field("duration") => "--for takes 1ms to 24h".to_owned(),
        Refusal::Field("count") => format!("--count takes at least one message for each of {connections} connections"),
        Refusal::Field("duration or count") => "--count takes 1 message or more".to_owned(),
        other => other.to_string(),
    }
}
