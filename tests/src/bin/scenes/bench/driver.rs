//! The process that has a driver on the bench.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use control_abi::Ask as Request;
use control_abi::sockets::Protocol;
use control_abi::traffic::{self, AskRequest, Report, StartRequest, Started};
use ntbench::profile::Profiler;
use ntbench::trace::{Event, Kind};
use ntbench::{Config, Value, Verifier};
use wskclient_tests::rig::{Listening, wait_for};
use wskclient_tests::{Loaded, Rig};
use zerocopy::{Immutable, IntoBytes};

use super::control::{Watcher, times_of_requests};
use super::server::{Answer, Ask, Memory, Service, answer_all, cpu_time};
use super::traffic::{Told, Wanted};

/// How often a job is asked how it is.
const LOOK: Duration = Duration::from_millis(20);

/// The file that a `serve-driver` process loads.
#[derive(clap::Args)]
pub struct Arguments {
    /// The driver's file
    pub image: PathBuf,
}

/// The process.
pub fn serve(image: &Path) -> Result<ExitCode> {
    // As one measures on Windows, without the costly checks: freed blocks are not kept and looked at again.
    let verifier = Verifier { quarantine: false, ..Verifier::default() };
    let rig = Arc::new(Rig::new(image, Config { verifier, ..Config::default() })?);
    let mut driver: Option<Loaded> = None;
    let mut profiler = None;
    let mut watcher: Option<Watcher> = None;
    let outcome = answer_all(|ask| match ask {
        Ask::Start(service) => {
            ensure!(driver.is_none(), "it is loaded already");
            configure(&rig, &service);
            let loaded = driver.insert(rig.load()?);
            address(loaded, &service).map(Answer::Address)
        }
        Ask::Unload => unload(driver.take().context("it is not loaded")?),
        Ask::Traffic(wanted) => {
            let loaded = driver.as_ref().context("it is not loaded")?;
            traffic(loaded, &wanted).map(Answer::Traffic)
        }
        Ask::Cpu => Ok(cpu_time()),
        Ask::Profile => {
            profiler = Some(Profiler::start());
            Ok(Answer::Done)
        }
        Ask::Profiled => {
            let profile = profiler.take().context("no profile was begun")?.stop();
            Ok(Answer::Profile { in_image: profile.in_image, time: profile.in_image_time(), cpu: profile.cpu })
        }
        Ask::Watch(watched) => {
            if let Some(watcher) = watcher.take() {
                watcher.stop()?;
            }
            watcher = watched.then(|| Watcher::start(Arc::clone(&rig)));
            Ok(Answer::Done)
        }
        Ask::Requests => times_of_requests(rig.bench()).map(Answer::Requests),
        Ask::Memory => Ok(Answer::Memory(memory(&rig))),
    });
    if let Some(driver) = driver.take() {
        unload(driver)?;
    }
    outcome
}

/// Sets what the driver reads at its load.
fn configure(rig: &Rig, service: &Service) {
    rig.clear_services();
    let add = |name: &str, protocol: &str, more: &[(&str, Value)]| {
        let place = [("Address", text("127.0.0.1")), ("Port", Value::Dword(0)), ("Protocol", text(protocol))];
        rig.add_service(name, &[&place, more].concat());
    };
    match service {
        // The driver in C has no settings, and listens at 127.0.0.1 too.
        Service::Echo => add("echo", "tcp", &[]),
        // All datagrams of the client come from one address: the most that the setting allows is beyond what can be.
        Service::UdpEcho => add("echo", "udp", &[("RatePerSource", Value::Dword(10_000_000))]),
        Service::Forward(target) => add("forward", "tcp", &[("Target", text(&target.to_string()))]),
        Service::Scenario(name) => {
            rig.set("Scenario", text(name));
            rig.set("Target", text("127.0.0.1:0"));
        }
    }
}

fn text(text: &str) -> Value {
    Value::Sz(text.to_owned())
}

/// Waits until it has said where it listens.
fn address(loaded: &Loaded, service: &Service) -> Result<SocketAddr> {
    let said = || loaded.events().iter().find_map(|event| at(event, service));
    wait_for(said).with_context(|| format!("it does not say where it listens, but: {:?}", loaded.printed()))
}

fn at(event: &Event, service: &Service) -> Option<SocketAddr> {
    if let Service::Scenario(name) = service {
        let Kind::DbgPrint { text, .. } = &event.kind else { return None };
        return text.trim().strip_prefix(&format!("exercise: {name}: at "))?.parse().ok();
    }
    let listening = Listening::of(event)?;
    (listening.datagrams == matches!(service, Service::UdpEcho)).then_some(listening.at)
}

fn unload(driver: Loaded) -> Result<Answer> {
    let unload = driver.unload()?;
    let verdict = driver.bench().verdict();
    if !verdict.is_clean() {
        bail!("verdict: {verdict}");
    }
    Ok(Answer::Time(unload.total))
}

/// A job of the driver's, from its start to its end.
fn traffic(loaded: &Loaded, wanted: &Wanted) -> Result<Told> {
    let wanted = traffic::Wanted {
        target: wanted.target,
        kind: traffic::Kind::Echo,
        protocol: Protocol::Tcp,
        detached: false,
        beyond_loopback: false,
        connections: wanted.connections as u32,
        message: wanted.message as u32,
        rate: None,
        duration: Some(wanted.time),
        count: None,
    };
    let started = request(loaded, &StartRequest::of(&wanted), size_of::<Started>())?;
    let id = Started::read(&started)?.id;
    loop {
        std::thread::sleep(LOOK);
        let report = Report::read(&request(loaded, &AskRequest::renewing(id), size_of::<Report>())?)?;
        if report.is_over() {
            ensure!(report.received > 0 && report.failed == 0, "the job went wrong: {report:?}");
            let rate = report.received as f64 / Duration::from_nanos(report.elapsed_ns).as_secs_f64();
            return Ok(Told { rate, p99: Duration::from_nanos(report.latency.p99) });
        }
    }
}

/// A request of the control device's.
fn request<A: Request + IntoBytes + Immutable>(loaded: &Loaded, asked: &A, room: usize) -> Result<Vec<u8>> {
    let device = loaded.bench().open(r"\\.\WskClient").map_err(|status| anyhow!("no device: {status}"))?;
    device.ioctl(A::REQUEST.code(), asked.as_bytes(), room).with_context(|| format!("{:?}", A::REQUEST))
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
