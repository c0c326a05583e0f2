//! Installs Debian packages that a command needs, or says which ones to install.

use std::{collections::BTreeSet, io::IsTerminal, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::workspace::{output, run};

/// Makes sure that these packages are there: asks apt for what is missing, as root or with sudo.
pub fn ensure(packages: &[&str], purpose: &str) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("{purpose} needs what Debian calls {}: install it with this system's package manager", packages.join(", "));
    }
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let Some(prefix) = root_prefix() else {
        bail!("{purpose} needs packages that are not installed. Run: sudo apt-get install {}", missing.join(" "));
    };
    eprintln!("installing {} for {purpose}", missing.join(" "));
    let names: Vec<&str> = missing.iter().map(String::as_str).collect();
    if install(prefix, &names).is_err() {
        run(&mut apt(prefix, &["update"]))?;
        install(prefix, &names)?;
    }
    Ok(())
}

/// Whether all of these packages are installed.
pub fn installed(packages: &[&str]) -> bool {
    missing(packages).is_ok_and(|missing| missing.is_empty())
}

fn missing(packages: &[&str]) -> Result<Vec<String>> {
    let listed = output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Abbrev} ${Package}\n"]))?;
    Ok(not_in_list(packages, &listed))
}

/// The packages that dpkg's list (status, blank, name in each line) does not show as installed.
fn not_in_list(packages: &[&str], listed: &str) -> Vec<String> {
    let present: BTreeSet<&str> = listed.lines().filter_map(|line| line.strip_prefix("ii")).map(str::trim).collect();
    packages.iter().filter(|package| !present.contains(*package)).map(ToString::to_string).collect()
}

/// How to become root: not at all, by sudo (which may ask for a password where there is a terminal), or not possible.
fn root_prefix() -> Option<&'static [&'static str]> {
    let id = output(Command::new("id").arg("-u")).ok()?;
    if id.trim() == "0" {
        return Some(&[]);
    }
    if output(Command::new("sudo").args(["-n", "true"])).is_ok() {
        return Some(&["sudo", "-n"]);
    }
    let may_ask = std::io::stdin().is_terminal() && output(Command::new("sudo").arg("-V")).is_ok();
    may_ask.then_some(&["sudo"])
}

fn install(prefix: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = apt(prefix, &["install", "-y", "-qq", "--no-remove", "--no-install-recommends"]);
    run(command.args(packages))
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Command {
    let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=600"], arguments];
    let mut words = words.concat().into_iter();
    let mut command = Command::new(words.next().unwrap_or("env"));
    command.args(words);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_counts_only_when_fully_installed() {
        let listed = "ii  clang-19\nrc  lld-19\nii  llvm-19\n";
        assert_eq!(not_in_list(&["clang-19", "lld-19", "llvm-19", "rustc-web"], listed), ["lld-19", "rustc-web"]);
    }
}
