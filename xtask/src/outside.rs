//! Shows that `wsk` is of use outside of this workspace: makes a package under `target/outside` that depends on it by path,
//! and builds it with the same kit. Its source is that of `examples/minimal`; it is a WDM driver, whereas those of the
//! workspace are all of KMDF.

use std::fs;

use anyhow::{Context, Result};

use crate::{
    build::{self, Artifacts},
    workspace::{copy_if_changed, root, target, write_if_changed},
};

const MANIFEST: &str = include_str!("outside.toml");
const NAME: &str = "outside";

/// Makes the package and builds it; gives what came out.
pub fn build() -> Result<Artifacts> {
    let folder = target(NAME);
    let wsk = root().join("crates/wsk");
    write_if_changed(&folder.join("Cargo.toml"), MANIFEST.replace("@WSK@", &wsk.display().to_string()).as_bytes())?;
    for file in ["build.rs", "src/lib.rs"] {
        copy_if_changed(&root().join("examples/minimal").join(file), folder.join(file))?;
    }
    // The versions of the workspace, for no others were tried; cargo takes out what is not needed.
    if !folder.join("Cargo.lock").exists() {
        fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).context("could not copy Cargo.lock")?;
    }
    build::elsewhere(NAME, &folder)
}

/// Removes what was made of older headers.
pub fn forget() -> Result<()> {
    let made = target(NAME).join("target");
    if !made.exists() {
        return Ok(());
    }
    fs::remove_dir_all(&made).with_context(|| format!("could not remove {}", made.display()))
}
