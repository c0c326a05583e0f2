//! `wine run` and `wine test`: the driver in Wine's kernel. Installs Wine if it is missing, builds the driver and the shim, then
//! hands over to the program of the scenes, which does the rest (`tests/src/bin/scenes/wine`).

mod package;
mod programs;

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

use crate::{
    build::{self, Profile},
    ctl, scenes,
    workspace::target,
};
use programs::Programs;

#[derive(Subcommand)]
pub enum WineCommand {
    /// Install the driver in Wine, start it and serve; Ctrl-C stops it and tells how that went
    Run(RunArguments),
    /// Go through the driver's life in Wine without hands, and compare it with that in the bench
    Test(TestArguments),
}

#[derive(Args)]
pub struct RunArguments {
    /// The port to echo at
    #[arg(long, default_value_t = 40007, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// A driver without optimization, with debug assertions
    #[arg(long)]
    debug: bool,
}

#[derive(Args)]
pub struct TestArguments {
    /// How often the driver is started and stopped in a row
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    cycles: u32,
    /// A driver without optimization, with debug assertions
    #[arg(long)]
    debug: bool,
}

/// Builds what is needed, and becomes the program of the scenes.
pub fn run(command: &WineCommand) -> Result<ExitCode> {
    let (name, debug, options) = match command {
        WineCommand::Run(arguments) => ("run", arguments.debug, arguments.options()),
        WineCommand::Test(arguments) => ("test", arguments.debug, arguments.options()),
    };
    let programs = prepare()?;
    let built = build::drivers(&[build::DRIVER.to_owned()], if debug { Profile::Debug } else { Profile::Release })?;
    let drivers = built.iter().map(|driver| driver.sys.as_path());
    let scene = drivers.map(|sys| scene(name, &programs, &options, sys)).next_back();
    scenes::become_program(scene.unwrap_or_else(|| unreachable!("one driver was asked for"))?)
}

/// `wine test` as a command, for a driver that is built already.
pub fn test(sys: &Path) -> Result<Command> {
    scene("test", &prepare()?, &[], sys)
}

/// Looks for Wine before anything is built, which takes longer.
fn prepare() -> Result<Programs> {
    ensure!(cfg!(all(target_os = "linux", target_arch = "x86_64")), "Wine is used on Linux on x86-64 only");
    Programs::find()
}

fn scene(name: &str, programs: &Programs, options: &[OsString], sys: &Path) -> Result<Command> {
    let folder = target("wine");
    let mut scene = Command::new(scenes::program()?);
    scene.args(["wine", name]).args(options);
    scene.arg("--wine").arg(&programs.wine).arg("--wineserver").arg(&programs.server);
    scene.arg("--folder").arg(&folder).arg("--shim").arg(build::wine_shim()?);
    if name == "test" {
        scene.arg("--package").arg(package::make(sys, &folder.join("package"))?);
        scene.arg("--wskctl").arg(ctl::build()?);
    }
    scene.arg("--").arg(sys);
    Ok(scene)
}

impl RunArguments {
    fn options(&self) -> Vec<OsString> {
        vec!["--port".into(), self.port.to_string().into()]
    }
}

impl TestArguments {
    fn options(&self) -> Vec<OsString> {
        vec!["--cycles".into(), self.cycles.to_string().into()]
    }
}
