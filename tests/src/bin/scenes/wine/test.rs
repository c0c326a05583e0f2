//! `wine test`: the driver's life under Wine without hands.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wskclient_tests::rig::{expect_refused, wait_for};
use wskclient_tests::wine::log::Line;
use wskclient_tests::wine::{Mark, State, story};
use wskclient_tests::{peer, timeline};

use super::session::{PATIENCE, Session, free_port};
use super::stop::{Stopped, stop};
use super::{Parts, compare, control, inf};
use crate::steps::Steps;

/// Bytes over so many connections at once, one after the other.
const ECHOES: &[(u64, u64)] = &[(1, 1), (1_000, 1), (65_536, 8), (1_048_577, 4), (8 << 20, 2)];
/// Connections that are open when the driver is stopped, and those of them over which bytes go.
const OPEN: usize = 100;
const TRANSFERS: usize = 8;
/// What the driver misses in Wine's WSK, with the service that it has by default and one connection that its peer ends.
const LACKS: &[&str] =
    &["local addresses", "IPv6", "changes of transports", "changes of addresses", "receive events", "a graceful disconnect"];
/// Bytes that are back by then.
const UNDER_WAY: u64 = 1 << 20;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    parts: Parts,
    /// The INF of the driver's package, with the driver beside it
    #[arg(long, value_name = "WSKCLIENT.INF")]
    package: PathBuf,
    /// The control tool as a program for Windows
    #[arg(long, value_name = "WSKCTL.EXE")]
    wskctl: PathBuf,
    /// How often the driver is started and stopped in a row
    #[arg(long, default_value_t = 10)]
    cycles: u32,
}

/// Goes through all steps. A failure shows what the driver, the shim and Wine said since the step before it.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    peer::allow_files(4096)?;
    let began = Instant::now();
    let mut steps = Steps::new();
    let session = steps.take("open a prefix with the driver and the shim in it", || {
        let session = Session::open(&arguments.parts)?;
        let version = session.prefix().version()?;
        Ok((session, format!("{version}, in {}", arguments.parts.folder.display())))
    })?;
    let outcome = all(&session, &mut steps, arguments);
    println!("\n{}\n", steps.table());
    if outcome.is_err() {
        eprintln!("{}", session.relevant());
    }
    outcome?;
    steps.take("end Wine", || {
        session.expect_same(&arguments.parts.driver)?;
        Ok((session.close()?, "nothing of it runs any more; the driver's file is as it was built".to_owned()))
    })?;
    println!("under Wine the driver did as it should: {:.1} s", began.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn all(session: &Session, steps: &mut Steps, arguments: &Arguments) -> Result<()> {
    let port = free_port()?;
    steps.take("sc create", || {
        session.create(port)?;
        ensure!(session.service().state()? == State::Stopped, "a service that was just made is not stopped");
        Ok(((), format!("echo at port {port}")))
    })?;
    busy_end(session, steps)?;
    provider_returns(session, steps)?;
    steps.take("start while another program has the port", || port_taken(session, port))?;
    cycles(session, steps, arguments.cycles)?;
    steps.take("wskctl.exe, a program of Windows", || control::steer(session, &arguments.wskctl))?;
    session.service().delete()?;
    steps.take("the same scenario in the bench, compared", || compare::compare(session, &arguments.parts.driver))?;
    steps.take("install the INF by Wine's setupapi", || inf::install(session, &arguments.package))?;
    steps.take("set a port, install it again, start and stop the driver", || inf::use_it(session, &arguments.package))
}

/// Starts the driver, has it serve, and stops it while it has much to do.
fn busy_end(session: &Session, steps: &mut Steps) -> Result<()> {
    let address = start(session, steps)?;
    steps.take("sc query", || {
        let state = session.service().state()?;
        ensure!(state == State::Running, "sc query says {state:?}");
        Ok(((), format!("{state:?}")))
    })?;
    steps.take("echo, from ordinary clients", || echo(address))?;
    let mark = session.mark();
    let (mut idle, transfers) = steps.take("open 100 connections, bytes going over 8 of them", || {
        let idle = peer::open_idle(address, OPEN - TRANSFERS)?;
        let transfers = peer::Transfers::start(address, TRANSFERS, 7)?;
        let bytes = wait_for(|| (transfers.bytes() >= UNDER_WAY).then(|| transfers.bytes()));
        let bytes = bytes.context("the transfers stand still")?;
        let accepted = || session.log().since(mark).iter().filter(|line| is_connection(line)).count();
        wait_for(|| (accepted() >= OPEN).then_some(())).with_context(|| format!("{} of {OPEN} were accepted", accepted()))?;
        Ok(((idle, transfers), format!("{} KiB are back, more under way", bytes >> 10)))
    })?;
    take_stop(session, steps, "sc stop, in the middle of them")?;
    steps.take("see every connection ended", || {
        let bytes = transfers.finish()?;
        peer::expect_ended(&mut idle)?;
        expect_refused(address)?;
        let told = session.story(mark);
        told.expect_sockets_closed()?;
        Ok(((), format!("{} KiB came back over the transfers, all as sent", bytes >> 10)))
    })
}

/// Whether it says that the driver has a connection.
fn is_connection(line: &Line) -> bool {
    line.shim_says("SocketCreated ") && line.text.trim_end().ends_with(" connection")
}

/// A second start; the provider goes while connections are open, and comes back.
fn provider_returns(session: &Session, steps: &mut Steps) -> Result<()> {
    let begin = session.log().now();
    let address = start(session, steps)?;
    let mut stream = peer::echo_works(address)?;
    let mark = session.mark();
    steps.take("take the provider away", || {
        session.set_provider(false)?;
        peer::expect_ended(std::slice::from_mut(&mut stream))?;
        let what = "the provider's deregistration has not been waited for";
        session.log().wait_for(mark, PATIENCE, what, |line| line.shim_says("Cleanup client").then_some(()))?;
        Ok(((), "connections ended, the binding cleaned up".to_owned()))
    })?;
    let again = steps.take("bring it back", || {
        session.set_provider(true)?;
        let again = session.listening(mark)?;
        // The driver listens from a thread of its own, perhaps before its attach callback has returned.
        let what = "the attach callback has not returned";
        session.log().wait_for(mark, PATIENCE, what, |line| line.shim_says("AttachReturn client").then_some(()))?;
        session.story(mark).expect(story::PROVIDER_RETURNED)?;
        drop(peer::echo_works(again)?);
        Ok((again, format!("a new binding, echo again at {again}")))
    })?;
    ensure!(again == address, "echo came back at {again}, not at {address}");
    steps.take("read what is done without what Wine lacks", || lacks_told(session, begin))?;
    take_stop(session, steps, "sc stop")?;
    // The rest of what it prints has come by now.
    lacks_told(session, begin).map(drop)
}

/// What Wine's WSK lacks is traced, each lack once since the driver was loaded, and none is taken for a failure.
fn lacks_told(session: &Session, begin: Mark) -> Result<((), String)> {
    for lack in LACKS {
        let what = format!("that WSK lacks {lack} has not been said");
        session.log().wait_for(begin, PATIENCE, &what, |line| line.driver_says(&format!("WSK lacks {lack} (")).then_some(()))?;
    }
    let lines = session.log().since(begin);
    let told = lines.iter().filter(|line| line.driver_says("WSK lacks ")).count();
    ensure!(told == LACKS.len(), "{told} lines say what WSK lacks, not {}", LACKS.len());
    let failure = lines.iter().find(|line| line.driver_says("cannot listen at"));
    ensure!(failure.is_none(), "{}", failure.map_or("", |line| &line.text));
    Ok(((), format!("{} lacks, each said once", LACKS.len())))
}

fn start(session: &Session, steps: &mut Steps) -> Result<SocketAddr> {
    steps.take("sc start", || {
        let (address, took) = session.start()?;
        Ok((address, format!("in {}, listening at {address}", timeline::milliseconds(took))))
    })
}

fn take_stop(session: &Session, steps: &mut Steps, name: &str) -> Result<()> {
    steps.take(name, || {
        let Stopped { took, unload } = stop(session)?;
        let state = session.service().state()?;
        ensure!(state == State::Stopped, "sc query says {state:?}");
        let (took, unload) = (timeline::milliseconds(took), timeline::milliseconds(unload));
        Ok(((), format!("in {took}, of which the unload took {unload}; nothing left")))
    })
}

/// What was sent over each connection comes back, by its SHA-256.
fn echo(address: SocketAddr) -> Result<((), String)> {
    let progress = std::sync::atomic::AtomicU64::new(0);
    for &(bytes, connections) in ECHOES {
        let pushed: Result<Vec<()>> = std::thread::scope(|scope| {
            let push = |number| {
                scope.spawn({
                    let progress = &progress;
                    move || peer::push(address, bytes, bytes + number, progress)
                })
            };
            let threads: Vec<_> = (0..connections).map(push).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a client panicked"))).collect()
        });
        pushed.with_context(|| format!("{bytes} bytes over each of {connections} connections"))?;
    }
    let total = progress.into_inner();
    Ok(((), format!("{} KiB in {} sizes, the same SHA-256 each time", total >> 10, ECHOES.len())))
}

/// The driver starts without the port, and takes it when it is free.
fn port_taken(session: &Session, port: u16) -> Result<((), String)> {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("the port that the driver has left cannot be had")?;
    let mark = session.mark();
    session.start_service(mark)?;
    let what = "the driver has not said that it cannot listen";
    let refused = session.log().wait_for(mark, PATIENCE, what, |line| {
        line.driver_says(&format!("echo: cannot listen at 127.0.0.1:{port}")).then(|| line.text.clone())
    })?;
    drop(other);
    let address = session.listening(mark)?;
    let stream = peer::echo_works(address)?;
    stop(session)?;
    drop(stream);
    Ok(((), format!("it said `{refused}`, and listened when the port was free")))
}

/// Again and again, with a connection open each time.
fn cycles(session: &Session, steps: &mut Steps, count: u32) -> Result<()> {
    steps.take(&format!("start, echo and stop, {count} times"), || {
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for cycle in 1..=count {
            let outcome = cycle_once(session);
            let (start, stop) = outcome.with_context(|| format!("cycle {cycle} of {count}"))?;
            starts.push(start);
            stops.push(stop);
        }
        Ok(((), format!("start {}; stop {}; nothing left", spread(&mut starts), spread(&mut stops))))
    })
}

fn cycle_once(session: &Session) -> Result<(Duration, Duration)> {
    let (address, took) = session.start()?;
    let stream = peer::echo_works(address)?;
    let stopped = stop(session)?;
    peer::expect_ended(&mut [stream])?;
    Ok((took, stopped.took))
}

/// The median and the most of some times.
fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let (Some(middle), Some(most)) = (times.get(times.len() / 2), times.last()) else { return "not done".to_owned() };
    format!("{} (at most {})", timeline::milliseconds(*middle), timeline::milliseconds(*most))
}
