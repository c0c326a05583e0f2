//! The servers that are measured, each in a process of its own: the driver on the bench, and the same echo with tokio.
//!
//! Such a process is this program started anew. It reads an [`Ask`] a line from its standard input and writes an
//! [`Answer`] a line to its standard output, until its input ends.

use std::io::{BufRead, BufReader, Lines, Write, stdin, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ntbench::profile::Profiler;
use ntbench::{Config, Verifier};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wskclient_tests::{Loaded, Rig};

/// What a server can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// To start; the address comes back.
    Start,
    /// To unload the driver.
    Unload,
    /// How much CPU time the process has used.
    Cpu,
    /// To begin with a profile.
    Profile,
    /// To end it.
    Profiled,
    /// What memory the driver has.
    Memory,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Address(SocketAddr),
    Time(Duration),
    Profile { samples: u64, in_image: u64, cpu: Duration },
    Memory(Memory),
    Done,
    Failed(String),
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

    /// The echo with tokio.
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

    /// Starts it: the address where it listens.
    pub fn start(&mut self) -> Result<SocketAddr> {
        match self.ask(&Ask::Start)? {
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

    /// What memory the driver has now.
    pub fn memory(&mut self) -> Result<Memory> {
        match self.ask(&Ask::Memory)? {
            Answer::Memory(memory) => Ok(memory),
            other => bail!("the server answered {other:?}"),
        }
    }

    /// Takes a profile while `work` is done: CPU time inside the image, with what `work` answered.
    pub fn profile<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
        self.ask(&Ask::Profile)?;
        let outcome = work();
        let Answer::Profile { samples, in_image, cpu } = self.ask(&Ask::Profiled)? else { bail!("the server has no profile") };
        ensure!(samples > 0, "the profile has no samples");
        Ok((cpu.mul_f64(in_image as f64 / samples as f64), outcome?))
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
fn answer_all(mut answer: impl FnMut(Ask) -> Result<Answer>) -> Result<ExitCode> {
    for line in stdin().lines() {
        let answer = serde_json::from_str(&line?).map_err(Into::into).and_then(&mut answer);
        let answer = answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
        writeln!(stdout(), "{}", serde_json::to_string(&answer)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cpu_time() -> Answer {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Answer::Time(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32))
}

/// The process that has the driver.
pub fn serve_driver(image: &Path) -> Result<ExitCode> {
    // As one measures on Windows, without the costly checks: freed blocks are not kept and looked at again.
    let verifier = Verifier { quarantine: false, ..Verifier::default() };
    let rig = Rig::new(image, Config { verifier, ..Config::default() })?;
    rig.set_port(0);
    rig.set_address("127.0.0.1");
    let mut driver: Option<Loaded> = None;
    let mut profiler = None;
    let outcome = answer_all(|ask| match ask {
        Ask::Start => {
            let loaded = driver.insert(rig.load()?);
            loaded.address().map(Answer::Address)
        }
        Ask::Unload => unload(driver.take().context("it is not loaded")?),
        Ask::Cpu => Ok(cpu_time()),
        Ask::Profile => {
            profiler = Some(Profiler::start());
            Ok(Answer::Done)
        }
        Ask::Profiled => {
            let profile = profiler.take().context("no profile was begun")?.stop();
            Ok(Answer::Profile { samples: profile.samples, in_image: profile.in_image, cpu: profile.cpu })
        }
        Ask::Memory => Ok(Answer::Memory(memory(&rig))),
    });
    if let Some(driver) = driver.take() {
        unload(driver)?;
    }
    outcome
}

fn unload(driver: Loaded) -> Result<Answer> {
    let unload = driver.unload()?;
    let verdict = driver.bench().verdict();
    ensure!(verdict.is_clean(), "verdict: {verdict}");
    Ok(Answer::Time(unload.total))
}

fn memory(rig: &Rig) -> Memory {
    let stats = rig.bench().stats();
    Memory {
        blocks: stats.pool.nonpaged.blocks,
        bytes: stats.pool.nonpaged.bytes,
        irps: stats.irps,
        mdls: stats.mdls,
        allocated: stats.pool.all.total_blocks + stats.irps_total,
    }
}

/// The process that has the echo with tokio.
pub fn serve_tokio() -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    answer_all(|ask| match ask {
        Ask::Start => {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
            let address = listener.local_addr()?;
            runtime.spawn(accept_all(listener));
            Ok(Answer::Address(address))
        }
        Ask::Cpu => Ok(cpu_time()),
        other => bail!("this server cannot {other:?}"),
    })
}

async fn accept_all(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(echo(stream));
    }
}

/// As the driver does it: receive into one buffer, send that buffer, and so on.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

/// The file that a `serve-driver` process loads.
#[derive(clap::Args)]
pub struct DriverArguments {
    /// The driver's file
    pub image: PathBuf,
}
