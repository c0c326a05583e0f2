//! The driver's package as `cargo make` lays it out, as far as it can be made without a WDK: the stamped INF beside the driver.
//! There is no catalogue.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::workspace::{copy_if_changed, output, root, write_if_changed};

/// Makes the package in this folder; gives the path of its INF.
pub fn make(sys: &Path, folder: &Path) -> Result<PathBuf> {
    let inx = root().join("inf/wskclient.inx");
    let text = fs::read_to_string(&inx).with_context(|| format!("could not read {}", inx.display()))?;
    let today = output(Command::new("date").args(["-u", "+%m/%d/%Y"]))?;
    let inf = folder.join("wskclient.inf");
    write_if_changed(&inf, stamped(&text, today.trim(), env!("CARGO_PKG_VERSION"))?.as_bytes())?;
    copy_if_changed(sys, folder.join("wskclient.sys"))?;
    Ok(inf)
}

/// What stampinf does: it fills in `DriverVer`, with four numbers for the version, and ends lines as Windows does.
fn stamped(inx: &str, date: &str, version: &str) -> Result<String> {
    let is_version = |line: &&str| line.split('=').next().is_some_and(|name| name.trim() == "DriverVer");
    ensure!(inx.lines().filter(is_version).count() == 1, "the .inx has not one line `DriverVer`");
    let stamp =
        |line: &str| if is_version(&line) { format!("DriverVer   = {date},{version}.0\r\n") } else { format!("{line}\r\n") };
    Ok(inx.lines().map(stamp).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_and_a_version_are_filled_in() {
        let made = stamped("[Version]\nDriverVer   =\n", "01/31/2026", "0.1.0").unwrap();
        assert_eq!(made, "[Version]\r\nDriverVer   = 01/31/2026,0.1.0.0\r\n");
        assert!(stamped("[Version]\n", "01/31/2026", "0.1.0").is_err());
    }
}
