//! The command line: one enum of commands, each handed to the module that does it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::build::{self, Artifacts, Profile};

/// Builds, checks, runs and tests wskclient.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    command: XtaskCommand,
}

#[derive(Subcommand)]
enum XtaskCommand {
    /// Build wskclient.sys with its .pdb and .map (release unless --debug is given)
    Build(BuildArguments),
    /// Check wsk-sys, wsk and the driver quickly, without linking (with clippy where it is installed)
    Check,
}

#[derive(Args)]
struct BuildArguments {
    /// Without optimization, with debug assertions
    #[arg(long, conflicts_with = "release")]
    debug: bool,
    /// Optimized (the default)
    #[arg(long)]
    release: bool,
}

/// Parses the command line and does what it says.
pub fn run() -> Result<ExitCode> {
    match CommandLine::parse().command {
        XtaskCommand::Build(arguments) => build_driver(&arguments),
        XtaskCommand::Check => build::check().map(|()| ExitCode::SUCCESS),
    }
}

fn build_driver(arguments: &BuildArguments) -> Result<ExitCode> {
    let profile = if arguments.debug { Profile::Debug } else { Profile::Release };
    let Artifacts { sys, pdb, map } = build::driver(profile)?;
    for path in [sys, pdb, map] {
        println!("{:>9} bytes  {}", path.metadata()?.len(), path.display());
    }
    Ok(ExitCode::SUCCESS)
}
