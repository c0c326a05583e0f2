//! The command line: what can be said, and who does it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::device::Connection;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::tool::Tool;
use crate::{activation, completions, status};

/// See and steer wskclient.sys while it runs
#[derive(Parser)]
#[command(version, styles = crate::output::STYLES, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
    /// Print JSON, for machines
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    color: colorchoice_clap::Color,
}

#[derive(Subcommand)]
enum Command {
    /// Tell how the driver is: its registration with WSK, what it serves, what it holds
    Status(status::Arguments),
    /// Have the driver take up its services again, after `deactivate`
    Activate,
    /// Have the driver end every connection and leave WSK, without unloading it
    Deactivate,
    /// Print completions of this command line for a shell
    Completions(completions::Arguments),
}

const AFTER_HELP: &str = "\
Exit status:
  0  it is done
  1  the driver could not do it, or refused to
  2  the command line is not understood
  3  there is no driver to talk to: not installed, not running, no bench
  4  not allowed: on Windows this takes an administrator
  5  the driver and this program are of different versions
  6  there is nothing of that name or number

On Windows it talks to the driver of this machine. On Linux it talks to a driver on the bench, which `cargo xtask run` starts; it
finds the bench by itself.";

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let line = CommandLine::parse();
    line.color.write_global();
    match line.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit().into()
        }
    }
}

impl CommandLine {
    fn run(self) -> Result<(), Failure> {
        let tool = Tool::new(self.connection, Output::new(self.json));
        match self.command {
            Command::Status(arguments) => status::run(&tool, &arguments),
            Command::Activate => activation::activate(&tool),
            Command::Deactivate => activation::deactivate(&tool),
            Command::Completions(arguments) => completions::run(&arguments),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
