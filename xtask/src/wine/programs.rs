//! Finds Wine's programs, or has apt install them.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::apt;

/// Debian's package of Wine for 64-bit programs, which brings the rest of it that is needed.
const PACKAGES: &[&str] = &["wine64"];
/// Where Debian has the programs, and how they are called there and elsewhere.
const FOLDER: &str = "/usr/lib/wine";
const WINE: &[&str] = &["wine64", "wine"];
const SERVER: &[&str] = &["wineserver64", "wineserver"];

/// Wine's programs.
pub struct Programs {
    /// What starts Windows programs.
    pub wine: PathBuf,
    /// Its server.
    pub server: PathBuf,
}

impl Programs {
    /// The programs of Debian's Wine, or those on the PATH; if there are none, they are installed.
    pub fn find() -> Result<Self> {
        if let Some(found) = Self::present() {
            return Ok(found);
        }
        apt::ensure(PACKAGES, "running the driver under Wine")?;
        match Self::present() {
            Some(found) => Ok(found),
            None => {
                bail!("{} is installed, but wine64 and wineserver are neither in {FOLDER} nor on the PATH", PACKAGES.join(" "))
            }
        }
    }

    fn present() -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = std::iter::once(PathBuf::from(FOLDER)).chain(env::split_paths(&path)).collect();
        Some(Self { wine: find(&folders, WINE)?, server: find(&folders, SERVER)? })
    }
}

/// The first of the names that is in one of the folders, the folders in their order.
fn find(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_absolute() && path.is_file()
}
