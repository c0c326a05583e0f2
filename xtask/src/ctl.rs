//! `wskctl`: run on this host, and built as a program for Windows: `target/wskctl/release/wskctl.exe`.
//!
//! Where rustup has no target for that, Debian's Rust builds its library along, for `x86_64-win7-windows-gnu`: the plain
//! `x86_64-pc-windows-gnu` imports what Wine 8.0 has not.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{
    apt,
    toolchain::Rust,
    workspace::{copy_if_changed, root, run as run_to_end, target},
};

/// Its package.
pub const PACKAGE: &str = "wskctl";

const TARGET: &str = "x86_64-win7-windows-gnu";
const LINKER: &str = "x86_64-w64-mingw32-gcc";
const LINKER_PACKAGE: &str = "gcc-mingw-w64-x86-64-win32";

/// Builds it for this host and runs it with these arguments; its exit status is ours.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let mut cargo = cargo("run");
    cargo.args(["--quiet", "--package", PACKAGE, "--"]).args(arguments);
    let status = cargo.status().context("could not start cargo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Builds it for Windows; gives the path of the program.
pub fn build() -> Result<PathBuf> {
    let into = target(PACKAGE);
    let mut cargo = cargo("build");
    cargo.args(["--release", "--package", PACKAGE, "--target-dir"]).arg(&into);
    // A tool gains little from what makes the driver's builds slow.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "none").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    if cfg!(windows) {
        run_to_end(&mut cargo)?;
        return Ok(into.join("release/wskctl.exe"));
    }
    apt::ensure(&[LINKER_PACKAGE], "building wskctl.exe")?;
    let rustc = Rust::from_source("building wskctl.exe")?;
    cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env(linker_variable(), LINKER);
    cargo.args(["-Zbuild-std=std,panic_abort", "--target", TARGET]);
    run_to_end(&mut cargo)?;
    copy_if_changed(&into.join(TARGET).join("release/wskctl.exe"), into.join("release/wskctl.exe"))
}

fn linker_variable() -> String {
    format!("CARGO_TARGET_{}_LINKER", TARGET.to_uppercase().replace('-', "_"))
}

fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).arg(command);
    cargo
}
