//! The command line: one enum of commands, each handed to the module that does it.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::{
    build::{self, Profile},
    cdriver, compile_fail, constants, ctl, imports, layouts, outside, panics, report,
    scenes::{self, SceneCommand},
    suite, tidy,
    toolchain::Llvm,
    wine::{self, WineCommand},
};

/// Builds, checks, runs and tests wskclient.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    command: XtaskCommand,
}

#[derive(Subcommand)]
enum XtaskCommand {
    /// Build wskclient.sys, or other drivers, with .pdb and .map (release unless --debug is given), or wskctl.exe
    Build(BuildArguments),
    /// Check wsk-sys, wsk and the drivers quickly, without linking (with clippy where it is installed)
    Check,
    /// Run wskctl: `cargo xtask ctl status`
    #[command(disable_help_flag = true)]
    Ctl(CtlArguments),
    /// Show that mistakes with rights and IRQL do not compile (crates/wsk/compile-fail)
    CompileFail,
    /// Document every crate; a warning is an error
    Doc,
    /// The hand-made kit in sdk/, and what it makes of the driver
    #[command(subcommand)]
    Kit(KitCommand),
    #[command(flatten)]
    Scene(SceneCommand),
    /// The driver under Wine
    #[command(subcommand)]
    Wine(WineCommand),
    /// Check the arrows between crates, lengths, SAFETY and `# IRQL` comments, citations of rules
    Tidy,
    /// Every check there is but the figures, as in CI: tidy, kit, lints, loom, demo, tests
    Test,
}

#[derive(Subcommand)]
enum KitCommand {
    /// Compare sdk/ and the driver's imports with mingw-w64, Wine and windows-sys, and the panic sites with their list
    Check,
}

#[derive(Args)]
struct CtlArguments {
    /// What wskctl is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Args)]
struct BuildArguments {
    /// The package to build: a driver of this workspace (may be repeated), or wskctl, the tool for Windows
    #[arg(long, short, value_name = "NAME", default_value = build::DRIVER)]
    package: Vec<String>,
    /// Build every driver of this workspace
    #[arg(long, conflicts_with = "package")]
    all_drivers: bool,
    /// Build a driver outside of this workspace that depends on wsk by path (target/outside, release)
    #[arg(long, conflicts_with_all = ["package", "all_drivers", "debug"])]
    outside: bool,
    /// Build wdfldr.sys, which drivers need under Wine (release)
    #[arg(long, conflicts_with_all = ["package", "all_drivers", "outside", "debug"])]
    wine_shim: bool,
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
        XtaskCommand::Ctl(arguments) => ctl::run(&arguments.arguments),
        XtaskCommand::CompileFail => compile_fail::run().map(|()| ExitCode::SUCCESS),
        XtaskCommand::Doc => build::document().map(|()| ExitCode::SUCCESS),
        XtaskCommand::Kit(KitCommand::Check) => check_kit().map(|()| ExitCode::SUCCESS),
        XtaskCommand::Scene(command) => scenes::run(&command),
        XtaskCommand::Wine(command) => wine::run(&command),
        XtaskCommand::Tidy => tidy::run(),
        XtaskCommand::Test => suite::test(),
    }
}

fn build_driver(arguments: &BuildArguments) -> Result<ExitCode> {
    let profile = if arguments.debug { Profile::Debug } else { Profile::Release };
    if arguments.package == [ctl::PACKAGE] {
        println!("{}", ctl::build()?.display());
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.outside {
        report::drivers(&[outside::build()?])?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.wine_shim {
        println!("{}", build::wine_shim()?.display());
        return Ok(ExitCode::SUCCESS);
    }
    let names = if arguments.all_drivers { build::packages()? } else { arguments.package.clone() };
    match build::drivers(&names, profile)?.as_slice() {
        [artifacts] => report::driver(artifacts, profile)?,
        several => report::drivers(several)?,
    }
    if names.iter().all(|name| name != build::DRIVER) {
        return Ok(ExitCode::SUCCESS);
    }
    println!("drivers in C, for tests and figures:");
    for name in cdriver::NAMES {
        println!("    {}", cdriver::build(name)?.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that can be said about the kit without running the driver; `cargo xtask test` begins with it.
pub fn check_kit() -> Result<()> {
    let llvm = Llvm::find()?;
    layouts::check(&llvm)?;
    constants::check(&llvm)?;
    let names = build::packages()?;
    let drivers = build::drivers(&names, Profile::Release)?;
    let mut unlisted = 0;
    for (name, artifacts) in names.iter().zip(&drivers) {
        imports::check(&artifacts.sys)?;
        let sites = panics::sites(artifacts)?;
        let new = panics::unlisted(&sites)?;
        report::unlisted_panic_sites(name, &sites, &new);
        unlisted += new.len();
    }
    if unlisted > 0 {
        bail!("{unlisted} panic sites of the drivers are not in {}", panics::ALLOWED);
    }
    Ok(())
}
