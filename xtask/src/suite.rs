//! `cargo xtask test`: every check there is but the figures (`cargo xtask bench`), in the order in which a failure is cheapest to find, each step timed.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    cdriver, commands, compile_fail, outside, scenes, tidy, wine,
    workspace::{root, run, target},
};

/// How many seconds the control device gets requests that nobody would send.
const FUZZING: u64 = 20;

/// Runs everything. The first step that fails ends it; the tests themselves all run, and are counted.
pub fn test() -> Result<ExitCode> {
    let begun = Instant::now();
    step("tidy", tidied)?;
    step("kit: layouts, constants, imports, panic sites", commands::check_kit)?;
    step("lints of what runs in the kernel", build::check)?;
    step("mistakes that do not compile", compile_fail::run)?;
    step("documentation of every crate", build::document)?;
    let drivers = build::packages()?;
    let release = step("drivers, release", || build_all(&drivers, Profile::Release))?;
    let debug = step("drivers, debug", || build_all(&drivers, Profile::Debug))?;
    step("drivers in C", || cdriver::NAMES.iter().try_for_each(|name| cdriver::build(name).map(drop)))?;
    step("a driver outside of the workspace, of WDM", outside::build)?;
    let mut count = Count::default();
    step("models of the state that decides (loom)", || count.add(&mut loom()))?;
    step("demo", || run(&mut scenes::demo(&release)?))?;
    step("the driver under Wine", || run(&mut wine::test(&release)?))?;
    step("requests that nobody would send", || run(&mut scenes::fuzz(&release, FUZZING)?))?;
    step("tests, release driver", || count.add(&mut tests(&release, &drivers)))?;
    step("rule tests, debug driver", || count.add(&mut rule_tests(&debug)?))?;
    println!("\nall of it: {:.0} s", begun.elapsed().as_secs_f64());
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tidied() -> Result<()> {
    if tidy::run()? != ExitCode::SUCCESS {
        bail!("the code is not as promised; see above");
    }
    Ok(())
}

fn step<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n== {name}");
    let begun = Instant::now();
    let outcome = action().with_context(|| format!("step `{name}`"));
    println!("== {name}: {}, {:.1} s", if outcome.is_ok() { "ok" } else { "FAILED" }, begun.elapsed().as_secs_f64());
    outcome
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

fn loom() -> Command {
    let mut cargo = cargo();
    cargo
        .args([
            "test",
            "--release",
            "--package",
            "wsk-lifecycle",
            "--test",
            "loom",
            "--test",
            "loom_job",
            "--test",
            "loom_op",
            "--test",
            "loom_task",
            "--test",
            "loom_turns",
            "--target-dir",
        ])
        .arg(target("loom"));
    cargo.env("RUSTFLAGS", "--cfg loom");
    cargo
}

/// Builds every driver; gives the path of the one that this repository is about.
fn build_all(drivers: &[String], profile: Profile) -> Result<PathBuf> {
    let built = drivers.iter().zip(build::drivers(drivers, profile)?);
    let mut paths = built.filter_map(|(name, artifacts)| (name == build::DRIVER).then_some(artifacts.sys));
    paths.next().context("the driver is not among the drivers")
}

/// The tests of the host's packages; drivers and the crates that need a WDK have none of their own.
fn tests(sys: &Path, drivers: &[String]) -> Command {
    let mut cargo = cargo();
    cargo.args(["test", "--no-fail-fast", "--workspace", "--exclude", "wsk", "--exclude", "wsk-sys"]);
    cargo.args(drivers.iter().flat_map(|name| ["--exclude", name])).env("WSKCLIENT_SYS", sys);
    cargo
}

/// The tests that load the driver itself, once more for another build of it. What is about the library, the examples or
/// drivers in C has nothing to gain from that.
fn rule_tests(sys: &Path) -> Result<Command> {
    const OTHERS: [&str; 4] = ["lib_", "examples", "c_driver", "drivers"];
    let mut cargo = cargo();
    cargo.args(["test", "--no-fail-fast", "--package", "wskclient-tests"]).env("WSKCLIENT_SYS", sys);
    for entry in fs::read_dir(root().join("tests/tests")).context("could not read tests/tests")? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "rs") && !OTHERS.iter().any(|other| name.starts_with(other)) {
            cargo.args(["--test", name]);
        }
    }
    Ok(cargo)
}

/// What the runners' summaries add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Count {
    /// Runs the tests, shows what they print, and counts. Fails only if they could not be run.
    fn add(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("could not start cargo")?;
        let output = child.stdout.take().context("cargo has no output")?;
        let failed_before = self.failed;
        for line in BufReader::new(output).lines() {
            let line = line.context("could not read what the tests print")?;
            self.read(&line);
            writeln!(std::io::stdout().lock(), "{line}")?;
        }
        let status = child.wait()?;
        if !status.success() && self.failed == failed_before {
            bail!("the tests could not be run ({status})");
        }
        Ok(())
    }

    /// Adds a runner's closing line, `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn read(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let before = summary.split(word).next().filter(|before| *before != summary)?;
            before.trim_end().rsplit(' ').next()?.parse::<u64>().ok()
        };
        self.passed += number(" passed").unwrap_or(0);
        self.failed += number(" failed").unwrap_or(0);
        self.skipped += number(" ignored").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up() {
        let mut count = Count::default();
        count.read("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.66s");
        count.read("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        count.read("test l01_passed_and_failed ... ok");
        assert_eq!(count, Count { passed: 15, failed: 2, skipped: 1 });
    }
}
