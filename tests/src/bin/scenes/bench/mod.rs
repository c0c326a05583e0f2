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
use figures::{Figure, Limit, least, median};
use indicatif::{HumanBytes, HumanCount};
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
/// How often the driver is unloaded with idle connections, and with how many.
const UNLOADS: usize = 7;
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
    /// Measure only this (can be given several times)
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Echo throughput
    Throughput,
    /// Round-trip time
    RoundTrip,
    /// CPU time
    Cpu,
    /// Unloading with idle connections, and what memory these cost
    Unload,
}

const PARTS: [Part; 4] = [Part::Throughput, Part::RoundTrip, Part::Cpu, Part::Unload];

/// Measures everything; success means that no figure was missed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!((0.05..=600.0).contains(&arguments.seconds), "--seconds must be from 0.05 to 600");
    peer::allow_files(8192)?;
    let time = Duration::from_secs_f64(arguments.seconds);
    let wanted = |part: &Part| arguments.only.is_empty() || arguments.only.contains(part);
    let mut figures = Vec::new();
    for part in PARTS.into_iter().filter(wanted) {
        let (driver, tokio) = (Server::driver(&arguments.image.path)?, Server::tokio()?);
        let mut measurement = Measurement { driver, tokio, time, figures };
        measurement.take(part)?;
        figures = measurement.figures;
    }
    println!("\n{}\n", figures::table(&figures));
    if let Some(path) = &arguments.json {
        write_json(path, &figures, arguments.seconds)?;
    }
    Ok(conclude(&figures))
}

fn write_json(path: &Path, figures: &[Figure], seconds: f64) -> Result<()> {
    let processors = std::thread::available_parallelism()?;
    let report = serde_json::json!({ "processors": processors, "seconds": seconds, "rounds": ROUNDS, "figures": figures });
    let text = serde_json::to_string_pretty(&report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("could not write {}", path.display()))
}

fn conclude(figures: &[Figure]) -> ExitCode {
    let missed = figures.iter().filter(|figure| !figure.pass).count();
    if missed == 0 {
        println!("all figures are met");
        return ExitCode::SUCCESS;
    }
    println!("{missed} of {} figures are missed", figures.len());
    ExitCode::FAILURE
}

/// The two servers, how long each measurement lasts, and the figures so far.
struct Measurement {
    driver: Server,
    tokio: Server,
    time: Duration,
    figures: Vec<Figure>,
}

/// Where the two servers listen.
#[derive(Clone, Copy)]
struct Addresses {
    driver: SocketAddr,
    tokio: SocketAddr,
}

impl Measurement {
    fn take(&mut self, part: Part) -> Result<()> {
        if part == Part::Unload {
            return self.unloading();
        }
        let addresses = Addresses { driver: self.driver.start()?, tokio: self.tokio.start()? };
        match part {
            Part::Throughput => SHAPES.iter().try_for_each(|shape| self.throughput(addresses, *shape)),
            Part::RoundTrip => self.round_trip(addresses),
            _ => [SHAPES[1], SHAPES[4]].iter().try_for_each(|shape| self.cpu(addresses, *shape)),
        }
    }

    /// Messages per second, medians of rounds in which the servers take turns.
    fn throughput(&mut self, addresses: Addresses, shape: Shape) -> Result<()> {
        let name = format!("echo of {shape}");
        announce(&name);
        let mut loads = [Load::connect(addresses.driver, shape)?, Load::connect(addresses.tokio, shape)?];
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (load, rates) in loads.iter_mut().zip(&mut rates) {
                load.run(WARM_UP)?;
                rates.push(load.run(self.time)?);
            }
        }
        let [driver, tokio] = rates.map(median);
        let show = |rate: f64| match shape.message {
            ..1024 => format!("{}/s", HumanCount(rate as u64)),
            bytes => format!("{}/s", HumanBytes((rate * bytes as f64) as u64)),
        };
        self.figures.push(Figure::ratio(name, driver, tokio, show, THROUGHPUT));
        Ok(())
    }

    /// The median time from a message's sending to its return, in rounds in which the servers take turns.
    fn round_trip(&mut self, addresses: Addresses) -> Result<()> {
        let name = "round trip of 64 B, 1 connection";
        announce(name);
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (address, times) in [addresses.driver, addresses.tokio].into_iter().zip(&mut times) {
                load::round_trip(address, WARM_UP)?;
                times.push(load::round_trip(address, self.time)?.as_secs_f64() * 1e6);
            }
        }
        let [driver, tokio] = times.map(median);
        let show = |time: f64| format!("{time:.1} us");
        self.figures.push(Figure::ratio(name, driver, tokio, show, ROUND_TRIP));
        Ok(())
    }

    /// CPU time per message: of the two processes, and inside the driver's image.
    fn cpu(&mut self, addresses: Addresses, shape: Shape) -> Result<()> {
        announce(&format!("CPU time per {shape}"));
        let driver = self.driver.cpu_per_message(addresses.driver, shape, self.time)?;
        let tokio = self.tokio.cpu_per_message(addresses.tokio, shape, self.time)?;
        let show = |time: f64| format!("{time:.2} us");
        self.figures.push(Figure::ratio(format!("CPU time per {shape}"), driver, tokio, show, Limit::None));
        let inside = self.driver.cpu_in_image(addresses.driver, shape, self.time)?;
        self.figures.push(Figure::alone("  of that inside the driver's image", inside, "us", Limit::None));
        Ok(())
    }

    /// Unloads with few and with many idle connections, in turns; on the way, what an idle connection costs. How it grows is told
    /// by the fastest ones: what else the machine does makes only single ones slow, and the longer ones rather.
    fn unloading(&mut self) -> Result<()> {
        announce("unload with idle connections");
        let (mut few, mut many, mut pool) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..UNLOADS {
            few.push(self.unload_idle(FEW)?.0);
            let (time, bytes) = self.unload_idle(MANY)?;
            many.push(time);
            pool.push(bytes);
        }
        let (least_few, least_many) = (least(&few), least(&many));
        let name = format!("  the same, to that with {FEW} (fastest: {least_many:.2} ms, {least_few:.2} ms)");
        let growth = Figure::alone(name, least_many / least_few, "times", UNLOAD_GROWTH);
        self.figures.push(Figure::alone(
            format!("unload with {} idle connections", HumanCount(MANY as u64)),
            median(many),
            "ms",
            UNLOAD_MS,
        ));
        self.figures.push(growth);
        self.figures.push(Figure::alone("nonpaged memory per idle connection", median(pool), "B", POOL));
        Ok(())
    }

    /// Unloads with so many idle connections: milliseconds, and bytes that each connection cost.
    fn unload_idle(&mut self, count: usize) -> Result<(f64, f64)> {
        let address = self.driver.start()?;
        let before = self.driver.memory()?;
        let mut streams = peer::open_idle(address, count)?;
        streams.iter_mut().try_for_each(|stream| peer::exchange(stream, 1))?;
        std::thread::sleep(UNTIL_IDLE);
        let cost = bytes(&self.driver.memory()?) as f64 - bytes(&before) as f64;
        let time = self.driver.unload()?;
        peer::expect_ended(&mut streams)?;
        Ok((time.as_secs_f64() * 1e3, cost / count as f64))
    }
}

impl Server {
    /// CPU time of its process per message, in microseconds.
    fn cpu_per_message(&mut self, address: SocketAddr, shape: Shape, time: Duration) -> Result<f64> {
        let mut load = Load::connect(address, shape)?;
        load.run(WARM_UP)?;
        let (before, began) = (load.messages(), self.cpu()?);
        load.run(time)?;
        let used = self.cpu()? - began;
        Ok(used.as_secs_f64() * 1e6 / (load.messages() - before) as f64)
    }

    /// CPU time inside the driver's image per message, in microseconds.
    fn cpu_in_image(&mut self, address: SocketAddr, shape: Shape, time: Duration) -> Result<f64> {
        let mut load = Load::connect(address, shape)?;
        load.run(WARM_UP)?;
        let before = load.messages();
        let (inside, _) = self.profile(|| load.run(2 * time))?;
        Ok(inside.as_secs_f64() * 1e6 / (load.messages() - before) as f64)
    }
}

/// Says what is being measured.
fn announce(what: &str) {
    eprintln!("measuring: {what}");
}

/// What this would be on Windows.
fn bytes(memory: &Memory) -> u64 {
    memory.bytes + memory.blocks * POOL_HEADER + memory.irps * (IRP + POOL_HEADER) + memory.mdls * (MDL + POOL_HEADER)
}
