//! What `cargo xtask run`, `demo`, `fuzz` and `bench` start: the built driver in the bench, before people, before nonsense and before
//! clocks.

mod bench;
mod demo;
mod fuzz;
mod run;
mod steps;
mod wine;
mod wish;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Loads wskclient.sys in the bench and shows what it does. (`cargo xtask run`, `demo` and `bench` build it first.)
#[derive(Parser)]
#[command(name = "scenes")]
struct CommandLine {
    #[command(subcommand)]
    scene: Scene,
}

#[derive(Subcommand)]
enum Scene {
    /// Serve until Ctrl-C, then unload and tell how it went
    Run(run::Arguments),
    /// Echo, unload, deactivate, activate, lose the provider and get it back; check every byte
    Demo(demo::Arguments),
    /// Send the control device requests that nobody would send, and look at every answer
    Fuzz(fuzz::Arguments),
    /// Measure the driver against the same services written with tokio, and against a driver in C
    Bench(bench::Arguments),
    /// Load the driver in Wine's kernel instead of the bench's
    #[command(subcommand)]
    Wine(wine::Scene),
    /// A server that the measurements start
    #[command(hide = true)]
    ServeDriver(bench::driver::Arguments),
    /// A server that the measurements start
    #[command(hide = true)]
    ServeTokio,
}

/// The driver's file.
#[derive(clap::Args)]
struct Image {
    /// The driver's file
    #[arg(value_name = "WSKCLIENT.SYS")]
    path: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().scene {
        Scene::Run(arguments) => run::run(&arguments),
        Scene::Demo(arguments) => demo::run(&arguments),
        Scene::Fuzz(arguments) => fuzz::run(&arguments),
        Scene::Bench(arguments) => bench::run(&arguments),
        Scene::Wine(scene) => wine::run(&scene),
        Scene::ServeDriver(arguments) => bench::driver::serve(&arguments.image),
        Scene::ServeTokio => bench::rivals::serve(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
