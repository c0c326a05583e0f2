//! Builds, checks, runs and tests wskclient: `cargo xtask <command>`.
//!
//! One module per concern: [`toolchain`] finds Rust, LLVM and the kit's folder, [`apt`] installs what is missing,
//! [`kit`] makes a small WDK out of `sdk/`, [`shim`] lets wdk-build run on hosts that are not Windows, [`build`]
//! builds drivers ([`outside`] one that is no member of the workspace), [`ctl`] the tool, [`panics`], [`layouts`] and
//! [`imports`] judge the result, [`scenes`] shows it at work, [`wine`] in another kernel, [`tidy`]
//! judges the sources, and [`commands`] is the command line.

mod apt;
mod build;
mod cdriver;
mod commands;
mod compile_fail;
mod constants;
mod ctl;
mod image;
mod imports;
mod kit;
mod layouts;
mod outside;
mod panics;
mod report;
mod scenes;
mod shim;
mod suite;
mod tidy;
mod toolchain;
mod wine;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    if shim::is_requested() {
        return conclude(shim::run());
    }
    conclude(commands::run())
}

/// Prints an error with its causes and turns the outcome into an exit status.
fn conclude(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
