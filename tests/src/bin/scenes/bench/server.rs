//! The servers that are measured, each in a process of its own: a driver on the bench, or the same service with tokio.
//!
//! Such a process is this program started anew ([`super::driver`], [`super::rivals`]). It reads an [`Ask`] a line from its
//! standard input and writes an [`Answer`] a line to its standard output, until its input ends.

use std::io::{BufRead, BufReader, Lines, Write, stdin, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::traffic::{Told, Wanted};

/// What a server serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Service {
    /// Echo over TCP.
    Echo,
    /// Echo over UDP.
    UdpEcho,
    /// Over TCP: everything goes to this address, and what is answered comes back.
    Forward(SocketAddr),
    /// This scenario of the driver that exercises the library.
    Scenario(String),
}

/// What a server can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// To start; the address comes back.
    Start(Service),
    /// To unload the driver.
    Unload,
    /// To be a client for a time, while it serves or not.
    Traffic(Wanted),
    /// How much CPU time the process has used.
    Cpu,
    /// To begin with a profile.
    Profile,
    /// To end it.
    Profiled,
    /// What memory the driver has.
    Memory,
    /// To look at the driver as `wskctl top` does, from now on or no longer.
    Watch(bool),
    /// How long a request that does nothing takes, and one for the state.
    Requests,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Address(SocketAddr),
    Time(Duration),
    Profile { in_image: u64, time: Duration, cpu: Duration },
    Memory(Memory),
    Traffic(Told),
    Requests([Duration; 2]),
    Done,
    Failed(String),
}

/// CPU time of the driver's process.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// Samples inside the driver's image.
    pub samples: u64,
    /// The time that they stand for.
    pub in_image: Duration,
    /// All of it, the host's kernel included.
    pub process: Duration,
}

/// Memory that the driver has.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Blocks of nonpaged pool.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// IRPs.
    pub irps: u64,
    /// MDLs.
    pub mdls: u64,
    /// Blocks and IRPs ever allocated.
    pub allocated: u64,
}

/// A server, from outside.
pub struct Server {
    child: Child,
    asks: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// The driver in this file, on the bench.
    pub fn driver(image: &Path) -> Result<Self> {
        Self::spawn(&["serve-driver".as_ref(), image.as_ref()])
    }

    /// The services with tokio.
    pub fn tokio() -> Result<Self> {
        Self::spawn(&["serve-tokio".as_ref()])
    }

    fn spawn(arguments: &[&std::ffi::OsStr]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("could not start a server")?;
        let asks = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("a server has no output")?).lines();
        Ok(Self { child, asks, answers })
    }

    fn ask(&mut self, ask: &Ask) -> Result<Answer> {
        let mut asks = self.asks.as_ref().context("the server's input is closed")?;
        writeln!(asks, "{}", serde_json::to_string(ask)?).context("the server reads no more")?;
        let line = self.answers.next().with_context(|| format!("the server ended when it was to {ask:?}"))??;
        match serde_json::from_str(&line)? {
            Answer::Failed(why) => bail!("the server could not {ask:?}: {why}"),
            answer => Ok(answer),
        }
    }

    /// Starts it: the address where it serves.
    pub fn start(&mut self, service: &Service) -> Result<SocketAddr> {
        match self.ask(&Ask::Start(service.clone()))? {
            Answer::Address(address) => Ok(address),
            other => bail!("the server answered {other:?}"),
        }
    }

    /// CPU time that it has used so far.
    pub fn cpu(&mut self) -> Result<Duration> {
        self.time(&Ask::Cpu)
    }

    /// Unloads the driver: how long it took from call to return.
    pub fn unload(&mut self) -> Result<Duration> {
        self.time(&Ask::Unload)
    }

    fn time(&mut self, ask: &Ask) -> Result<Duration> {
        match self.ask(ask)? {
            Answer::Time(time) => Ok(time),
            other => bail!("the server answered {other:?}"),
        }
    }

    /// What comes of its being a client.
    pub fn traffic(&mut self, wanted: Wanted) -> Result<Told> {
        match self.ask(&Ask::Traffic(wanted))? {
            Answer::Traffic(told) => Ok(told),
            other => bail!("the client answered {other:?}"),
        }
    }

    /// What memory the driver has now.
    pub fn memory(&mut self) -> Result<Memory> {
        match self.ask(&Ask::Memory)? {
            Answer::Memory(memory) => Ok(memory),
            other => bail!("the server answered {other:?}"),
        }
    }

    /// Has it looked at as `wskctl top` does, or no longer.
    pub fn watch(&mut self, watched: bool) -> Result<()> {
        match self.ask(&Ask::Watch(watched))? {
            Answer::Done => Ok(()),
            other => bail!("the server answered {other:?}"),
        }
    }

    /// How long a request that does nothing takes, and one for the state.
    pub fn requests(&mut self) -> Result<[Duration; 2]> {
        match self.ask(&Ask::Requests)? {
            Answer::Requests(times) => Ok(times),
            other => bail!("the server answered {other:?}"),
        }
    }

    /// Takes a profile while `work` is done: CPU time, with what `work` answered.
    pub fn profile<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<(CpuTime, T)> {
        self.ask(&Ask::Profile)?;
        let outcome = work();
        let Answer::Profile { in_image, time, cpu } = self.ask(&Ask::Profiled)? else { bail!("the server has no profile") };
        Ok((CpuTime { samples: in_image, in_image: time, process: cpu }, outcome?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.asks.take());
        let _ = self.child.wait();
    }
}

/// Answers what is asked on standard input until that ends.
pub fn answer_all(mut answer: impl FnMut(Ask) -> Result<Answer>) -> Result<ExitCode> {
    for line in stdin().lines() {
        let answer = serde_json::from_str(&line?).map_err(Into::into).and_then(&mut answer);
        let answer = answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
        writeln!(stdout(), "{}", serde_json::to_string(&answer)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// CPU time that this process has used.
pub fn cpu_time() -> Answer {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Answer::Time(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32))
}
