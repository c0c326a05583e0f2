//! [`Failure`]: everything that a command can end with but success: what it was, what to do about it, and the exit status.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use crate::ntstatus::NtStatus;
use crate::output::{BAD, FAINT};

/// Exit statuses, as the help has them. 2 is clap's too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Refused = 1,
    Usage = 2,
    NoDriver = 3,
    NoRights = 4,
    OtherVersion = 5,
    NoSuchThing = 6,
    Interrupted = 130,
}

/// Why a command has not done what it should.
#[derive(Debug, thiserror::Error)]
#[allow(dead_code)] // some can only be on Windows, others only with a bench
pub(crate) enum Failure {
    /// There is no service of the driver's name.
    #[error("the driver is not installed")]
    NotInstalled,
    /// The service is there, and is not running; with the state that it is in.
    #[error("the driver is not running{}", .0.map(|state| format!(" (its service is {state})")).unwrap_or_default())]
    NotRunning(Option<&'static str>),
    /// No bench of this user runs.
    #[error("no bench is running")]
    NoBench,
    /// More than one bench runs, and none was chosen.
    #[error("{} benches are running", .0.len())]
    SeveralBenches(Vec<PathBuf>),
    /// Nobody listens at the socket that was named.
    #[error("no bench listens at {}: {}", .0.display(), .1)]
    NotABench(PathBuf, std::io::Error),
    /// The bench runs, and the driver is not loaded on it.
    #[error("the bench has no driver loaded")]
    NotLoaded,
    /// The device can only be opened by administrators.
    #[error("access to the driver is denied")]
    NoRights,
    /// The device could not be opened for another reason.
    #[error("the driver's device cannot be opened: {0}")]
    Unopened(String),
    /// It talks another version of the protocol.
    #[error("the driver talks version {driver} of the control protocol, this program version {ours}")]
    OtherVersion { driver: u32, ours: u32 },
    /// It went away, or was unloaded, during the request.
    #[error("the driver went away before it answered")]
    Gone,
    /// A request that the driver refused.
    #[error("{what} failed: {status}")]
    Refused { what: &'static str, status: NtStatus },
    /// An answer that cannot be one of this version.
    #[error("{what} failed: the driver's answer is not of this version")]
    Nonsense { what: &'static str },
    /// There is no service of that name.
    #[error("there is no service {name}")]
    NoSuchService { name: String, there_are: Vec<String> },
    /// There is one of that name already.
    #[error("there is a service {0} already")]
    ServiceExists(String),
    /// A new service, and what it does was not said.
    #[error("there is no service {0}, and a new one needs a --kind")]
    KindMissing(String),
    /// A service was started, and listens nowhere; with what is in the way.
    #[error("{name} runs, but listens nowhere{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotListening { name: String, why: Option<String> },
    /// A service was told to stop, and has not after all that time.
    #[error("{0} has not stopped yet")]
    NotStopped(String),
    /// There are no addresses.
    #[error("there is no host {0}")]
    NoSuchHost(String),
    /// The provider did not answer.
    #[error("nobody has answered in time what the addresses of {0} are")]
    NoAnswerInTime(String),
    /// A job of traffic ended before its time; with why.
    #[error("the job has ended before its time: {0}")]
    TrafficEnded(&'static str),
    /// Ctrl-C, and everything that is to be said has been.
    #[error("interrupted")]
    Interrupted,
    /// What is on the command line fits its grammar, but means nothing.
    #[error("{0}")]
    Usage(String),
    /// A file could not be written.
    #[error("could not write {}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    /// What a command made could not be written.
    #[error("could not write the output: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// A command line that means nothing.
    pub(crate) const fn usage(what: String) -> Self {
        Self::Usage(what)
    }

    /// The exit status.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotInstalled
            | Self::NotRunning(_)
            | Self::NoBench
            | Self::SeveralBenches(_)
            | Self::NotABench(..)
            | Self::NotLoaded
            | Self::Unopened(_)
            | Self::Gone => Exit::NoDriver,
            Self::NoRights => Exit::NoRights,
            Self::OtherVersion { .. } | Self::Nonsense { .. } => Exit::OtherVersion,
            Self::NoSuchService { .. } | Self::NoSuchHost(_) | Self::Refused { status: NtStatus::NOT_FOUND, .. } => {
                Exit::NoSuchThing
            }
            Self::Usage(_) | Self::KindMissing(_) => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
            // Whoever reads it has seen enough.
            Self::Output(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Done,
            Self::Refused { .. }
            | Self::ServiceExists(_)
            | Self::NotListening { .. }
            | Self::NotStopped(_)
            | Self::NoAnswerInTime(_)
            | Self::File(..)
            | Self::TrafficEnded(_)
            | Self::Output(_) => Exit::Refused,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotInstalled => {
                "install it: sc create wskclient type= kernel start= demand binPath= C:\\path\\to\\wskclient.sys".to_owned()
            }
            Self::NotRunning(Some("stopping")) => "wait until it has stopped, then start it: sc start wskclient".to_owned(),
            Self::NotRunning(_) => "start it, as administrator: sc start wskclient".to_owned(),
            Self::NoBench => "start one in another terminal, with `cargo xtask run`; or name its socket with --socket".to_owned(),
            Self::SeveralBenches(paths) => {
                let lines = paths.iter().map(|path| format!("\n        --socket {}", path.display()));
                format!("choose one:{}", lines.collect::<String>())
            }
            Self::NotABench(..) => {
                "`cargo xtask run` prints the path of its socket; without --socket it is found by itself".to_owned()
            }
            Self::NotLoaded => "it is being unloaded, or could not be loaded: see the terminal of `cargo xtask run`".to_owned(),
            Self::NoRights => "run this program as administrator (a terminal opened with \"Run as administrator\")".to_owned(),
            Self::OtherVersion { driver, ours } if driver > ours => {
                "the driver is newer: use the wskctl that came with it".to_owned()
            }
            Self::OtherVersion { .. } => "the driver is older: update it, or use the wskctl that came with it".to_owned(),
            Self::Nonsense { .. } => "use the wskctl that came with the driver".to_owned(),
            Self::NoSuchService { there_are, .. } if there_are.is_empty() => {
                "there are none; `wskctl services set` makes one".to_owned()
            }
            Self::NoSuchService { there_are, .. } => {
                format!("there are {}; `wskctl services set` makes another", there_are.join(", "))
            }
            Self::ServiceExists(_) => "without --new it is changed".to_owned(),
            Self::KindMissing(_) => "--kind echo, discard, chargen or forward; or see `wskctl services`".to_owned(),
            Self::NotListening { .. } => "it goes on trying; `wskctl services set` gives it another port".to_owned(),
            Self::NotStopped(_) => "see `wskctl sockets`; `wskctl services stop --grace 0s` resets its connections".to_owned(),
            Self::NoAnswerInTime(_) => "try a longer --timeout".to_owned(),
            Self::Usage(_) => "see --help".to_owned(),
            Self::Gone => "see whether it is still running: `wskctl status`".to_owned(),
            Self::Refused { status, .. } => return status.hint().map(str::to_owned),
            Self::Unopened(_)
            | Self::NoSuchHost(_)
            | Self::TrafficEnded(_)
            | Self::Interrupted
            | Self::File(..)
            | Self::Output(_) => return None,
        })
    }

    /// Tells it on standard error; says nothing where there is nobody who wants to know.
    pub(crate) fn print(&self) {
        if matches!(self.exit(), Exit::Done | Exit::Interrupted) {
            return;
        }
        let mut out = anstream::stderr().lock();
        let _ = writeln!(out, "{BAD}error:{BAD:#} {self}");
        if let Some(hint) = self.hint() {
            let _ = writeln!(out, "{FAINT}  hint:{FAINT:#} {hint}");
        }
    }
}
