//! The driver under Wine: `test` goes through its life there without hands, `run` serves until Ctrl-C.

mod compare;
mod control;
mod inf;
mod run;
mod session;
mod stop;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use wskclient_tests::wine::Programs;

/// What to do under Wine.
#[derive(Subcommand)]
pub enum Scene {
    /// Install and start the driver, and serve until Ctrl-C
    Run(run::Arguments),
    /// Install, start, use and stop the driver again and again, and compare what it does with what it does in the bench
    Test(test::Arguments),
}

/// What a session is made of. (`cargo xtask wine` makes all of it.)
#[derive(clap::Args)]
pub struct Parts {
    /// The program that starts Windows programs
    #[arg(long, value_name = "FILE")]
    wine: PathBuf,
    /// Wine's server
    #[arg(long, value_name = "FILE")]
    wineserver: PathBuf,
    /// The folder for the prefix and all that belongs to it
    #[arg(long)]
    folder: PathBuf,
    /// The shim, wdfldr.sys
    #[arg(long, value_name = "WDFLDR.SYS")]
    shim: PathBuf,
    /// The driver's file
    #[arg(value_name = "WSKCLIENT.SYS")]
    pub driver: PathBuf,
}

impl Parts {
    fn programs(&self) -> Programs {
        Programs { wine: self.wine.clone(), server: self.wineserver.clone() }
    }
}

/// Does it.
pub fn run(scene: &Scene) -> Result<ExitCode> {
    match scene {
        Scene::Run(arguments) => run::run(arguments),
        Scene::Test(arguments) => test::run(arguments),
    }
}
