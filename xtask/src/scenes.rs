//! `run`, `demo`, `fuzz` and `bench`: build the driver and the program that loads it in the bench, then become that program.
//!
//! This process is replaced rather than kept as a parent, so that Ctrl-C reaches the program, once, however it is sent, and its
//! exit status is the command's.

use std::{
    env,
    ffi::OsString,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;
use clap::{Args, Subcommand};

use crate::{
    build::{self, Profile},
    cdriver,
    workspace::root,
};

/// The package and its program.
const PACKAGE: &str = "wskclient-tests";
const PROGRAM: &str = "scenes";
/// The driver whose scenarios the figures compare with each other.
const EXERCISE: &str = "wsk-exercise";

#[derive(Subcommand)]
pub enum SceneCommand {
    /// Build the driver, load it in the bench and serve; Ctrl-C unloads it and tells how that went
    Run(RunArguments),
    /// Show the driver's life without hands: traffic, unload in the middle of it, deactivation, a provider that goes and returns
    Demo(DemoArguments),
    /// Send the control device requests that nobody would send, from a seed, and look at every answer
    Fuzz(FuzzArguments),
    /// Measure the driver against tokio and against a driver in C; fails if a figure is missed
    Bench(BenchArguments),
}

#[derive(Args)]
pub struct RunArguments {
    /// The port to echo at (default: 40007); 0 lets the system choose
    #[arg(long)]
    port: Option<u16>,
    /// The address to echo at: one or several, separated by commas, or * for all (default: 127.0.0.1 and ::1)
    #[arg(long, value_parser = addresses)]
    address: Option<String>,
    /// Another service beside echo, at the same addresses, with kind echo, discard, chargen or forward and protocol tcp, udp or
    /// both; a forwarder needs a target, address:port or name:port. Can be given several times
    #[arg(long = "service", value_name = "NAME=KIND,PROTOCOL,PORT[,TARGET]", value_parser = service)]
    services: Vec<String>,
    /// Where everything random begins
    #[arg(long)]
    seed: Option<u64>,
    /// Write what happened to this file, in the trace-event format that Perfetto opens
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Print each step of the lifecycle as it comes
    #[arg(long)]
    events: bool,
    /// A driver without optimization, with debug assertions
    #[arg(long)]
    debug: bool,
}

#[derive(Args)]
pub struct DemoArguments {
    /// Where everything random begins
    #[arg(long)]
    seed: Option<u64>,
    /// A driver without optimization, with debug assertions
    #[arg(long)]
    debug: bool,
}

#[derive(Args)]
pub struct FuzzArguments {
    /// How many requests
    #[arg(long, default_value_t = 10_000_000)]
    inputs: u64,
    /// For how many seconds at most
    #[arg(long)]
    seconds: Option<u64>,
    /// Where the requests begin (default: another one each time); the same seed makes the same requests
    #[arg(long)]
    seed: Option<u64>,
    /// A driver without optimization, with debug assertions
    #[arg(long)]
    debug: bool,
}

#[derive(Args)]
pub struct BenchArguments {
    /// How long each measurement of throughput lasts
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only this (can be given several times): throughput, round-trip, cpu, udp, forward, zero-copy, image, guard, unload,
    /// control
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

/// Builds what the scene needs and becomes it.
pub fn run(command: &SceneCommand) -> Result<ExitCode> {
    ensure!(cfg!(all(target_os = "linux", target_arch = "x86_64")), "the bench runs on Linux on x86-64 only");
    let (name, debug, options) = match command {
        SceneCommand::Run(arguments) => ("run", arguments.debug, arguments.options()),
        SceneCommand::Demo(arguments) => ("demo", arguments.debug, [option("--seed", &arguments.seed)].concat()),
        SceneCommand::Fuzz(arguments) => ("fuzz", arguments.debug, arguments.options()),
        SceneCommand::Bench(arguments) => ("bench", false, arguments.options()),
    };
    let names = match command {
        SceneCommand::Bench(_) => &[build::DRIVER, EXERCISE][..],
        _ => &[build::DRIVER],
    };
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let built = build::drivers(&names, if debug { Profile::Debug } else { Profile::Release })?;
    let mut scene = Command::new(program()?);
    scene.arg(name).args(options);
    if let [_, exercise] = built.as_slice() {
        scene.arg("--exercise").arg(&exercise.sys).arg("--c-driver").arg(cdriver::build("echo")?);
    }
    scene.arg("--").args(built.first().map(|driver| &driver.sys));
    become_program(scene)
}

/// The demo as a command, for a driver that is built already.
pub fn demo(sys: &Path) -> Result<Command> {
    let mut demo = Command::new(program()?);
    demo.arg("demo").arg("--").arg(sys);
    Ok(demo)
}

impl RunArguments {
    fn options(&self) -> Vec<OsString> {
        let flags = self.events.then(|| OsString::from("--events"));
        let file = self.trace.iter().flat_map(|path| ["--trace".into(), path.into()]);
        let values = [option("--port", &self.port), option("--address", &self.address), option("--seed", &self.seed)];
        let services = self.services.iter().flat_map(|service| ["--service".into(), service.into()]);
        values.concat().into_iter().chain(services).chain(file).chain(flags).collect()
    }
}

/// Requests to the control device for a while, as a command, for a driver that is built already.
pub fn fuzz(sys: &Path, seconds: u64) -> Result<Command> {
    let mut fuzz = Command::new(program()?);
    fuzz.args(["fuzz", "--seconds"]).arg(seconds.to_string()).arg("--").arg(sys);
    Ok(fuzz)
}

impl FuzzArguments {
    fn options(&self) -> Vec<OsString> {
        let inputs = option("--inputs", &Some(self.inputs));
        [inputs, option("--seconds", &self.seconds), option("--seed", &self.seed)].concat()
    }
}

impl BenchArguments {
    fn options(&self) -> Vec<OsString> {
        let file = self.json.iter().flat_map(|path| ["--json".into(), path.into()]);
        let only = self.only.iter().flat_map(|part| ["--only".into(), part.into()]);
        option("--seconds", &self.seconds).into_iter().chain(file).chain(only).collect()
    }
}

/// Checks what the driver takes for `EchoAddress`: it would go on without an address that it does not understand.
fn addresses(text: &str) -> Result<String, String> {
    let wrong = text.split(',').find(|entry| *entry != "*" && entry.parse::<IpAddr>().is_err());
    wrong.map_or_else(|| Ok(text.to_owned()), |entry| Err(format!("'{entry}' is neither an IP address nor *")))
}

/// Checks the form of a service before anything is built; the program that serves knows what the parts may be.
fn service(text: &str) -> Result<String, String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty()).map(|(_, rest)| rest.splitn(4, ',').count());
    match parts {
        Some(3 | 4) => Ok(text.to_owned()),
        _ => Err("not of the form NAME=KIND,PROTOCOL,PORT[,TARGET]".to_owned()),
    }
}

fn option(name: &str, value: &Option<impl ToString>) -> Vec<OsString> {
    value.iter().flat_map(|value| [name.into(), value.to_string().into()]).collect()
}

/// Builds the program of the scenes, optimized; gives its path.
pub fn program() -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--profile", "host", "--package", PACKAGE, "--bin", PROGRAM]);
    cargo.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    let mut child = cargo.spawn().context("could not start cargo")?;
    let messages = Message::parse_stream(std::io::BufReader::new(child.stdout.take().context("cargo has no output")?));
    let mut path = None;
    for message in messages {
        if let Message::CompilerArtifact(artifact) = message.context("could not read what cargo says")? {
            path = artifact.executable.filter(|_| artifact.target.name == PROGRAM).or(path);
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "the program that loads the driver could not be built ({status})");
    path.map(Into::into).context("cargo built no program of that name")
}

/// Replaces this process by the program.
#[cfg(unix)]
pub fn become_program(mut program: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = program.exec();
    bail!("could not start {}: {error}", program.get_program().display())
}

#[cfg(not(unix))]
pub fn become_program(_: Command) -> Result<ExitCode> {
    bail!("the bench runs on Linux on x86-64 only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_built() {
        assert!(addresses("127.0.0.1,::1").is_ok());
        assert!(addresses("*").is_ok());
        assert!(addresses("localhost").is_err());
        assert!(addresses("127.0.0.1,").is_err());
    }

    #[test]
    fn services_are_checked_before_anything_is_built() {
        assert!(service("lines=chargen,both,40019").is_ok());
        assert!(service("web=forward,tcp,8080,example.org:80").is_ok());
        assert!(service("chargen").is_err());
        assert!(service("=chargen,tcp,1").is_err());
        assert!(service("lines=chargen,tcp").is_err());
    }
}
