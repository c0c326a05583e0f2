//! The driver's life without hands: traffic, unload in the middle of it, deactivation, a provider that goes and comes back.

use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use control_abi::{Gate, Registration};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use ntbench::verifier::VIOLATION_EXIT;
use ntbench::wsk::Faults;
use ntbench::{Config, NtStatus, OnViolation, Verdict};
use wskclient_tests::rig::{attached_while_draining, expect_refused, wait_for};
use wskclient_tests::{Loaded, Rig, peer, timeline};

use crate::Image;
use crate::steps::Steps;

/// Bytes pushed through, over so many connections.
const BYTES: u64 = 256 << 20;
const CONNECTIONS: u64 = 64;
/// Connections that do nothing.
const IDLE: usize = 1000;
/// Transfers in the middle of which the driver is unloaded, and bytes that are back by then.
const TRANSFERS: usize = 64;
const UNDER_WAY: u64 = 64 << 20;
/// How long the old binding drains at least while the new one is taken.
const CLOSE_DELAY: Duration = Duration::from_millis(500);
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    image: Image,
    /// Where everything random begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Goes through all steps; success means that every byte matched and that the verifier's verdict is clean.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    peer::allow_files(8192)?;
    let config = Config { seed: arguments.seed, on_violation: OnViolation::Record, ..Config::default() };
    let rig = Rig::new(&arguments.image.path, config)?;
    rig.set_port(0);
    let mut steps = Steps::new();
    let outcome = traffic(&rig, &mut steps, arguments.seed).and_then(|()| lifecycle(&rig, &mut steps));
    println!("\n{}\n", steps.table());
    let verdict = rig.bench().verdict();
    println!("verdict: {verdict}");
    outcome?;
    Ok(conclude(&verdict))
}

fn conclude(verdict: &Verdict) -> ExitCode {
    if verdict.is_clean() {
        println!("every byte matched");
        return ExitCode::SUCCESS;
    }
    ExitCode::from(VIOLATION_EXIT as u8)
}

/// Much traffic, many connections, and an unload in the middle of it.
fn traffic(rig: &Rig, steps: &mut Steps, seed: u64) -> Result<()> {
    let (driver, address) = load(rig, steps)?;
    steps.take("push 256 MiB of random bytes over 64 connections", || push(address, seed))?;
    let mut idle = steps.take("open 1,000 idle connections", || {
        let streams = peer::open_idle(address, IDLE)?;
        let state = driver.wait_for_state(|state| state.totals.connections == IDLE as u64)?;
        Ok((streams, format!("{} held by the driver for them", HumanBytes(state.totals.held))))
    })?;
    let transfers = steps.take("start 64 transfers more", || {
        let transfers = peer::Transfers::start(address, TRANSFERS, seed + CONNECTIONS)?;
        let under_way = wait_for(|| (transfers.bytes() >= UNDER_WAY).then_some(transfers.bytes()));
        let bytes = under_way.context("the transfers stand still")?;
        Ok((transfers, format!("{} are back, more under way", HumanBytes(bytes))))
    })?;
    unload(&driver, steps, "unload in the middle of them")?;
    steps.take("see every connection ended", || {
        let bytes = transfers.finish()?;
        peer::expect_ended(&mut idle)?;
        expect_refused(address)?;
        Ok(((), format!("{} came back over the transfers, all as sent", HumanBytes(bytes))))
    })
}

/// A freshly loaded driver is taken out of WSK and put back, by its own request and by the provider's.
fn lifecycle(rig: &Rig, steps: &mut Steps) -> Result<()> {
    let (driver, address) = load(rig, steps)?;
    let stream = steps.take("echo", || echo(address))?;
    steps.take("deactivate", || deactivate(&driver, address, stream))?;
    let address = steps.take("activate", || {
        let first = driver.now();
        driver.set_active(true)?;
        Ok((driver.address_since(first)?, "listening again".to_owned()))
    })?;
    let stream = steps.take("echo", || echo(address))?;
    provider_returns(&driver, steps, stream)?;
    unload(&driver, steps, "unload")
}

fn load(rig: &Rig, steps: &mut Steps) -> Result<(Loaded, SocketAddr)> {
    steps.take("load", || {
        let driver = rig.load()?;
        let address = driver.address()?;
        Ok(((driver, address), format!("listening at {address}")))
    })
}

fn unload(driver: &Loaded, steps: &mut Steps, name: &str) -> Result<()> {
    steps.take(name, || {
        let first = driver.now();
        let unload = driver.unload()?;
        let events = driver.bench().trace().split_off(first);
        println!("{}", timeline::of_unload(&unload, &events));
        Ok(((), format!("{} from call to return", timeline::milliseconds(unload.total))))
    })
}

/// Pushes everything through, with a bar that shows how far it is.
fn push(address: SocketAddr, seed: u64) -> Result<((), String)> {
    let bar = ProgressBar::new(BYTES);
    bar.set_style(ProgressStyle::with_template("    {bar:40} {bytes} of {total_bytes}, {binary_bytes_per_sec}")?);
    let (progress, began) = (AtomicU64::new(0), Instant::now());
    let push = |number| peer::push(address, BYTES / CONNECTIONS, seed + number, &progress);
    let outcome = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || push(number))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            bar.set_position(progress.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(50));
        }
        bar.finish_and_clear();
        let join =
            |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| thread.join().unwrap_or_else(|_| bail!("a client panicked"));
        threads.into_iter().try_for_each(join)
    });
    outcome?;
    let rate = HumanBytes((BYTES as f64 / began.elapsed().as_secs_f64()) as u64);
    Ok(((), format!("the same SHA-256 on all connections, {rate}/s each way")))
}

fn echo(address: SocketAddr) -> Result<(TcpStream, String)> {
    Ok((peer::echo_works(address)?, "what was sent came back".to_owned()))
}

fn deactivate(driver: &Loaded, address: SocketAddr, stream: TcpStream) -> Result<((), String)> {
    driver.set_active(false)?;
    let state = driver.state()?;
    ensure!(state.registration == Registration::Out as u32, "the driver is still registered: {state:?}");
    peer::expect_ended(&mut [stream])?;
    expect_refused(address)?;
    Ok(((), "connections ended, new ones refused".to_owned()))
}

/// The provider goes, and comes back before the driver has let go of what it had.
fn provider_returns(driver: &Loaded, steps: &mut Steps, stream: TcpStream) -> Result<()> {
    let provider = driver.bench().provider();
    let first = driver.now();
    let departure = steps.take("take the provider away", || {
        provider.set_faults(Faults { close_delay: Some(CLOSE_DELAY), ..Faults::default() });
        let departure = provider.depart();
        ensure!(departure.answer() == NtStatus::PENDING, "NmrDeregisterProvider answered {}", departure.answer());
        Ok((departure, format!("{}: the old binding drains", NtStatus::PENDING)))
    })?;
    let address = steps.take("bring it back at once", || {
        let status = provider.arrive();
        ensure!(status == NtStatus::SUCCESS, "NmrRegisterProvider answered {status}");
        driver.wait_for_state(|state| state.gate == Gate::Open as u32)?;
        Ok((driver.address_since(first)?, "a new binding, listening again".to_owned()))
    })?;
    let second = steps.take("echo while the old binding drains", || {
        let (stream, _) = echo(address)?;
        ensure!(!departure.is_complete(), "the old binding has drained already: nothing was shown");
        Ok((stream, "what was sent came back".to_owned()))
    })?;
    steps.take("see the old binding off", || {
        let (status, time) = departure.wait();
        ensure!(status == NtStatus::SUCCESS, "the provider's deregistration ended with {status}");
        provider.set_faults(Faults::default());
        let events = driver.bench().trace().split_off(first);
        ensure!(attached_while_draining(&events), "the trace shows no attach before the cleanup of the old binding");
        peer::expect_ended(&mut [stream])?;
        Ok(((), format!("cleaned up {} after the departure, after the new attach", timeline::milliseconds(time))))
    })?;
    steps.take("echo over the connection made meanwhile", || {
        let mut stream = second;
        peer::exchange(&mut stream, 99)?;
        Ok(((), format!("what was sent came back; {} connections so far", HumanCount(provider.stats().connections_total))))
    })
}
