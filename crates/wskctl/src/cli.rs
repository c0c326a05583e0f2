//! The command line: what can be said, and who does it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::device::Connection;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::tool::Tool;
use crate::{activation, completions, events, metrics, resolve, services, sockets, status, top, traffic};

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
    /// List the driver's sockets
    Sockets(sockets::Arguments),
    /// List, start, stop, change and save what the driver serves
    Services(services::Arguments),
    /// Have the driver take up its services again, after `deactivate`
    Activate,
    /// Have the driver end every connection and leave WSK, without unloading it
    Deactivate,
    /// Resolve a name, in the kernel
    Resolve(resolve::Arguments),
    /// Tell what happened to the driver, and what happens
    Events(events::Arguments),
    /// Print figures as OpenMetrics text, for Prometheus and its like
    ///
    /// For the textfile collector of windows_exporter, write them to a file in its folder again and again:
    /// wskctl metrics --output "C:\Program Files\windows_exporter\textfile_inputs\wskclient.prom"
    #[command(verbatim_doc_comment)]
    Metrics(metrics::Arguments),
    /// Show the driver at a glance, again and again, on the whole terminal
    Top(top::Arguments),
    /// Have the driver connect to a target and send messages, and measure what comes back
    Traffic(traffic::Arguments),
    /// Print completions of this command line for a shell
    Completions(completions::Arguments),
}

const AFTER_HELP: &str = "\
Examples:
  wskctl status                          how it is
  wskctl sockets --sort bytes            who talks to whom, and how much
  wskctl services set web --kind forward --port 8080 --target localhost:80 --start
                                         forward connections to port 8080
  wskctl services stop web               and no more
  wskctl events --follow                 what happens, as it happens
  wskctl deactivate                      everything ends, and the driver leaves WSK
  wskctl activate                        and comes back
  wskctl top                             all of it, again and again

Exit status:
  0  it is done
  1  the driver could not do it, or refused to
  2  the command line is not understood
  3  there is no driver to talk to: not installed, not running, no bench
  4  not allowed: on Windows this takes an administrator
  5  the driver and this program are of different versions
  6  there is nothing of that name or number
  130  Ctrl-C ended it

On Windows it talks to the driver of this machine. On Linux it talks to a driver on the bench,
which `cargo xtask run` starts; it finds the bench by itself.";

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
        self.command.run(&Tool::new(self.connection, Output::new(self.json)))
    }
}

impl Command {
    fn run(&self, tool: &Tool) -> Result<(), Failure> {
        match self {
            Self::Status(arguments) => status::run(tool, arguments),
            Self::Sockets(arguments) => sockets::run(tool, arguments),
            Self::Services(arguments) => services::run(tool, arguments),
            Self::Activate => activation::activate(tool),
            Self::Deactivate => activation::deactivate(tool),
            Self::Resolve(arguments) => resolve::run(tool, arguments),
            Self::Events(arguments) => events::run(tool, arguments),
            Self::Metrics(arguments) => metrics::run(tool, arguments),
            Self::Top(arguments) => top::run(tool, arguments),
            Self::Traffic(arguments) => traffic::run(tool, arguments),
            Self::Completions(arguments) => completions::run(arguments),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::device::Device;

    /// Does what a command line says, with another device and elsewhere than on standard output.
    pub(crate) fn run_with(
        device: impl Device + 'static,
        arguments: &[&str],
        output: impl FnOnce(bool) -> Output,
    ) -> Result<(), Failure> {
        let line = CommandLine::try_parse_from(["wskctl"].iter().chain(arguments));
        let line = line.map_err(|error| Failure::usage(error.to_string()))?;
        line.command.run(&Tool::new(device, output(line.json)))
    }

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
