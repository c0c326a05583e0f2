//! The figures: the driver on the bench against the same echo written with tokio, by the same client, in turns.
//!
//! [`server`] is the two servers, [`load`] the client, [`figures`] what a figure is.

mod figures;
mod load;
pub mod server;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use figures::{Figure, Limit, median};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use load::{Load, Shape};
use server::{Memory, Server};
use wskclient_tests::peer;

use crate::Image;

/// How often each thing is measured, the two servers taking turns.
const ROUNDS: usize = 5;
/// How long a load runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long connections do nothing until they are idle in the driver's eyes.
const UNTIL_IDLE: Duration = Duration::from_millis(2500);
/// With so many idle connections the driver is unloaded.
const FEW: usize = 100;
const MANY: usize = 1000;

/// The limits.
const THROUGHPUT: Limit = Limit::AtLeast(0.6);
const ROUND_TRIP: Limit = Limit::AtMost(2.0);
const UNLOAD_MS: Limit = Limit::AtMost(100.0);
const UNLOAD_GROWTH: Limit = Limit::AtMost(12.0);
const POOL: Limit = Limit::AtMost(2048.0);

/// Sizes on Windows x64: an IRP with one stack location, an MDL of one page, the header of a pool block.
const IRP: u64 = 208 + 72;
const MDL: u64 = 48 + 8;
const POOL_HEADER: u64 = 16;

/// What is echoed: connections, message size, messages under way per connection.
const SHAPES: [Shape; 6] = [
    Shape { connections: 1, message: 64 << 10, depth: 4 },
    Shape { connections: 64, message: 64 << 10, depth: 1 },
    Shape { connections: 1000, message: 64 << 10, depth: 1 },
    Shape { connections: 1, message: 64, depth: 16 },
    Shape { connections: 64, message: 64, depth: 1 },
    Shape { connections: 1000, message: 64, depth: 1 },
];

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    image: Image,
    /// How long each measurement of throughput lasts
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    seconds: f64,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures everything; success means that no figure was missed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!((0.05..=600.0).contains(&arguments.seconds), "--seconds must be from 0.05 to 600");
    peer::allow_files(8192)?;
    let time = Duration::from_secs_f64(arguments.seconds);
    let bar = ProgressBar::new(SHAPES.len() as u64 + 3);
    bar.set_style(ProgressStyle::with_template("{bar:30} {msg}")?);
    let mut figures = Vec::new();
    traffic(&arguments.image.path, time, &bar, &mut figures)?;
    bar.set_message("unloading with idle connections");
    unloading(&arguments.image.path, &mut figures)?;
    bar.finish_and_clear();
    report(&figures, arguments.json.as_deref())
}

fn report(figures: &[Figure], json: Option<&Path>) -> Result<ExitCode> {
    println!("{}", figures::table(figures));
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(figures)?;
        std::fs::write(path, text + "\n").with_context(|| format!("could not write {}", path.display()))?;
    }
    let missed = figures.iter().filter(|figure| !figure.pass).count();
    if missed == 0 {
        println!("all figures are met");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{missed} of {} figures are missed", figures.len());
    Ok(ExitCode::FAILURE)
}

/// The two servers.
struct Pair {
    driver: Server,
    tokio: Server,
    driver_address: SocketAddr,
    tokio_address: SocketAddr,
}

fn traffic(image: &Path, time: Duration, bar: &ProgressBar, figures: &mut Vec<Figure>) -> Result<()> {
    let (mut driver, mut tokio) = (Server::driver(image)?, Server::tokio()?);
    let (driver_address, tokio_address) = (driver.start()?, tokio.start()?);
    let mut pair = Pair { driver, tokio, driver_address, tokio_address };
    for shape in SHAPES {
        bar.set_message(describe(&shape));
        figures.push(pair.throughput(shape, time)?);
        bar.inc(1);
    }
    bar.set_message("round trips");
    figures.push(pair.round_trip(time / 2)?);
    bar.inc(1);
    bar.set_message("CPU time");
    for shape in [SHAPES[1], SHAPES[4]] {
        pair.cpu(shape, (2 * time).max(Duration::from_secs(1)), figures)?;
    }
    bar.inc(1);
    pair.driver.unload().map(drop)
}

fn describe(shape: &Shape) -> String {
    let plural = if shape.connections == 1 { "" } else { "s" };
    format!("{} connection{plural}, messages of {}, {} under way each", shape.connections, HumanBytes(shape.message as u64), shape.depth)
}

impl Pair {
    /// Messages per second, medians of rounds in which the servers take turns.
    fn throughput(&self, shape: Shape, time: Duration) -> Result<Figure> {
        let mut loads = [Load::connect(self.driver_address, shape)?, Load::connect(self.tokio_address, shape)?];
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (load, rates) in loads.iter_mut().zip(&mut rates) {
                load.run(WARM_UP)?;
                rates.push(load.run(time)?);
            }
        }
        let [driver, tokio] = rates.map(median);
        let show = |rate: f64| match shape.message {
            ..1024 => format!("{}/s", HumanCount(rate as u64)),
            bytes => format!("{}/s", HumanBytes((rate * bytes as f64) as u64)),
        };
        Ok(Figure::ratio(format!("echo: {}", describe(&shape)), driver, tokio, show, THROUGHPUT))
    }

    fn round_trip(&self, time: Duration) -> Result<Figure> {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (address, times) in [self.driver_address, self.tokio_address].into_iter().zip(&mut times) {
                load::round_trip(address, WARM_UP)?;
                times.push(load::round_trip(address, time)?.as_secs_f64() * 1e6);
            }
        }
        let [driver, tokio] = times.map(median);
        Ok(Figure::ratio("round trip: 64 B, 1 connection", driver, tokio, |time| format!("{time:.1} us"), ROUND_TRIP))
    }

    /// CPU time per message: of the two processes, and inside the driver's image.
    fn cpu(&mut self, shape: Shape, time: Duration, figures: &mut Vec<Figure>) -> Result<()> {
        let (driver, _) = per_message(&mut self.driver, self.driver_address, shape, time)?;
        let (tokio, _) = per_message(&mut self.tokio, self.tokio_address, shape, time)?;
        let show = |time: f64| format!("{time:.2} us");
        let what = describe(&shape);
        figures.push(Figure::ratio(format!("CPU time of the process per message: {what}"), driver, tokio, show, Limit::None));
        let mut load = Load::connect(self.driver_address, shape)?;
        load.run(WARM_UP)?;
        let before = load.messages();
        let (inside, _) = self.driver.profile(|| load.run(time))?;
        let each = inside.as_secs_f64() * 1e6 / (load.messages() - before) as f64;
        figures.push(Figure::alone(format!("CPU time inside the driver's image per message: {what}"), each, "us", Limit::None));
        Ok(())
    }
}

/// CPU time of the server's process per message, in microseconds, and the messages' number.
fn per_message(server: &mut Server, address: SocketAddr, shape: Shape, time: Duration) -> Result<(f64, u64)> {
    let mut load = Load::connect(address, shape)?;
    load.run(WARM_UP)?;
    let (before, began) = (load.messages(), server.cpu()?);
    load.run(time)?;
    let (messages, used) = (load.messages() - before, server.cpu()? - began);
    Ok((used.as_secs_f64() * 1e6 / messages as f64, messages))
}

/// Unloads with few and with many idle connections, in turns; on the way, what an idle connection costs.
fn unloading(image: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let mut driver = Server::driver(image)?;
    let (mut few, mut many, mut pool) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        few.push(unload_idle(&mut driver, FEW)?.0);
        let (time, bytes) = unload_idle(&mut driver, MANY)?;
        many.push(time);
        pool.push(bytes);
    }
    let (few, many) = (median(few), median(many));
    let ms = |time: f64| format!("{time:.2} ms");
    let growth = Figure { driver: format!("{} : {}", ms(many), ms(few)), ..Figure::alone("", many / few, "", UNLOAD_GROWTH) };
    figures.push(Figure::alone(format!("unload with {MANY} idle connections"), many, "ms", UNLOAD_MS));
    figures.push(Figure { name: format!("the same, to that with {FEW}"), ..growth });
    figures.push(Figure::alone("nonpaged memory per idle connection", median(pool), "B", POOL));
    Ok(())
}

/// Unloads with so many idle connections: milliseconds, and bytes that each connection cost.
fn unload_idle(driver: &mut Server, count: usize) -> Result<(f64, f64)> {
    let address = driver.start()?;
    let before = driver.memory()?;
    let mut streams = peer::open_idle(address, count)?;
    streams.iter_mut().try_for_each(|stream| peer::exchange(stream, 1))?;
    std::thread::sleep(UNTIL_IDLE);
    let cost = bytes(&driver.memory()?) as f64 - bytes(&before) as f64;
    let time = driver.unload()?;
    peer::expect_ended(&mut streams)?;
    Ok((time.as_secs_f64() * 1e3, cost / count as f64))
}

/// What this would be on Windows.
fn bytes(memory: &Memory) -> u64 {
    memory.bytes + memory.blocks * POOL_HEADER + memory.irps * (IRP + POOL_HEADER) + memory.mdls * (MDL + POOL_HEADER)
}
