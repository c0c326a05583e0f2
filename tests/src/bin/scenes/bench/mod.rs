//! The figures: the driver on the bench against the same services written with tokio, and against a driver in C, by the same
//! clients, in turns.
//!
//! One file per part: [`tcp`], [`udp`], [`traffic`], [`forward`], [`zero_copy`], [`image`], [`guard`], [`unload`], [`control`]. [`server`] is the servers
//! as these see them ([`driver`] and [`rivals`] are what runs in their processes), [`load`] and [`datagrams`] the clients,
//! [`figures`] what a figure is.

mod control;
mod datagrams;
pub mod driver;
mod figures;
mod forward;
mod guard;
mod image;
mod load;
pub mod rivals;
mod server;
mod tcp;
pub mod traffic;
mod udp;
mod unload;
mod zero_copy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use figures::{Figure, Verdict, median};
use load::Work;
use server::Server;
use wskclient_tests::peer;

use crate::Image;

/// How often each thing is measured, the servers taking turns.
const ROUNDS: usize = 5;
/// Each round of throughput is this many short ones: what else the machine does for a while then meets all alike.
const SLICES: u32 = 3;
/// How long one runs before it is measured when it has run before.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a load runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    image: Image,
    /// The echo driver in C that the CPU time is compared with
    #[arg(long, value_name = "ECHO.SYS")]
    c_driver: Option<PathBuf>,
    /// The driver whose scenarios are compared with each other
    #[arg(long, value_name = "WSK-EXERCISE.SYS")]
    exercise: Option<PathBuf>,
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
    /// Echo throughput over TCP
    Throughput,
    /// Round-trip time
    RoundTrip,
    /// CPU time
    Cpu,
    /// Echo throughput over UDP
    Udp,
    /// The driver as client, against a tokio client
    Traffic,
    /// Throughput of the forwarder
    Forward,
    /// Receiving in place against copying
    ZeroCopy,
    /// CPU time inside the driver, against a driver in C, and allocations
    Image,
    /// The in-flight guard
    Guard,
    /// Unloading with idle connections, and what memory these cost
    Unload,
    /// Requests of the control device, and what watching costs
    Control,
}

const PARTS: [Part; 11] = [
    Part::Throughput,
    Part::RoundTrip,
    Part::Cpu,
    Part::Udp,
    Part::Traffic,
    Part::Forward,
    Part::ZeroCopy,
    Part::Image,
    Part::Guard,
    Part::Unload,
    Part::Control,
];

/// Measures everything; success means that no figure was missed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!((0.05..=600.0).contains(&arguments.seconds), "--seconds must be from 0.05 to 600");
    peer::allow_files(8192)?;
    let driver = arguments.image.path.clone();
    let images = Images { driver, c: arguments.c_driver.clone(), exercise: arguments.exercise.clone() };
    let time = Duration::from_secs_f64(arguments.seconds);
    let wanted = |part: &Part| arguments.only.is_empty() || arguments.only.contains(part);
    let mut measurement = Measurement { images, time, figures: Vec::new() };
    for part in PARTS.into_iter().filter(wanted) {
        measurement.take(part)?;
    }
    let figures = measurement.figures;
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
    let count = |verdict| figures.iter().filter(|figure| figure.verdict == verdict).count();
    let (missed, unknown) = (count(Verdict::Missed), count(Verdict::Unknown));
    if missed + unknown == 0 {
        println!("all figures are met");
        return ExitCode::SUCCESS;
    }
    println!("of {} figures {missed} are missed, {unknown} cannot be judged", figures.len());
    ExitCode::FAILURE
}

/// The drivers that are measured.
struct Images {
    driver: PathBuf,
    c: Option<PathBuf>,
    exercise: Option<PathBuf>,
}

/// What is measured, how long each measurement lasts, and the figures so far.
struct Measurement {
    images: Images,
    time: Duration,
    figures: Vec<Figure>,
}

impl Measurement {
    fn take(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Throughput => self.tcp_throughput(),
            Part::RoundTrip => self.tcp_round_trip(),
            Part::Cpu => self.tcp_cpu(),
            Part::Udp => self.udp(),
            Part::Traffic => self.traffic(),
            Part::Forward => self.forwarding(),
            Part::ZeroCopy => self.zero_copy(),
            Part::Image => self.image(),
            Part::Guard => self.guard(),
            Part::Unload => self.unloading(),
            Part::Control => self.control(),
        }
    }

    /// The driver, in a process of its own.
    fn driver(&self) -> Result<Server> {
        Server::driver(&self.images.driver)
    }

    /// Messages per second of each, medians of rounds in which they take turns.
    fn rates<const N: usize>(&self, works: &mut [impl Work; N]) -> Result<[f64; N]> {
        let mut rates = [const { Vec::new() }; N];
        for work in &mut *works {
            work.run(WARM_UP)?;
        }
        for round in 0..ROUNDS * SLICES as usize {
            for turn in 0..N {
                // Each is once before and once after the others.
                let turn = if round % 2 == 0 { turn } else { N - 1 - turn };
                works[turn].run(SETTLE)?;
                rates[turn].push(works[turn].run(self.time / SLICES)?);
            }
        }
        Ok(rates.map(median))
    }
}

/// Says what is being measured.
fn announce(what: &str) {
    eprintln!("measuring: {what}");
}
