//! Builds the drivers in C under `tests/drivers` with `sdk/`, as anybody's driver in C would be built with a WDK.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    kit::{self, Kit},
    toolchain::Llvm,
    workspace::{root, run, target},
};

/// All of them.
pub const NAMES: &[&str] = &["echo"];

/// Builds `tests/drivers/<name>.c`, unless it is built already: the path of its .sys, which has its .pdb beside it.
pub fn build(name: &str) -> Result<PathBuf> {
    let llvm = Llvm::find()?;
    let kit = Kit::prepare(&llvm)?;
    let source = root().join("tests/drivers").join(name).with_extension("c");
    let folder = target("c-drivers");
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    let (object, image) = (folder.join(name).with_extension("obj"), folder.join(name).with_extension("sys"));
    if !is_newer(&image, &[&source, &root().join("sdk/Include"), &kit.library("ntoskrnl"), &kit.library("netio")]) {
        compile(&llvm, &source, &object)?;
        link(&llvm, &kit, &object, &image)?;
    }
    Ok(image)
}

fn compile(llvm: &Llvm, source: &Path, object: &Path) -> Result<()> {
    let mut command = Command::new(llvm.tool("clang-cl"));
    command.args(["--target=x86_64-pc-windows-msvc", "/c", "/O2", "/Z7", "/GS-", "/W4", "/WX", "/X", "/kernel", "/Brepro"]);
    command.args(["/Zl", "-fms-extensions", "-Wno-microsoft-anon-tag", "-Wno-missing-declarations", "-Wno-unused-value"]);
    command.arg("-Wno-missing-field-initializers");
    command.args(kit::DEFINITIONS.iter().map(|definition| format!("/D{definition}")));
    command.args(kit::include_folders().iter().map(|folder| format!("/I{}", folder.display())));
    run(command.arg(format!("/Fo{}", object.display())).arg("--").arg(source))
}

fn link(llvm: &Llvm, kit: &Kit, object: &Path, image: &Path) -> Result<()> {
    let mut command = Command::new(llvm.tool("lld-link"));
    command.args(["/driver", "/subsystem:native", "/entry:DriverEntry", "/nodefaultlib", "/debug", "/dynamicbase", "/Brepro"]);
    command.arg(format!("/out:{}", image.display())).arg(object).arg(kit.library("ntoskrnl")).arg(kit.library("netio"));
    run(&mut command)
}

/// Whether a file is newer than all that it is made from; a folder counts with all that is in it.
fn is_newer(made: &Path, sources: &[&Path]) -> bool {
    let Ok(made) = fs::metadata(made).and_then(|made| made.modified()) else { return false };
    sources.iter().all(|source| newest(source).is_ok_and(|source| source <= made))
}

fn newest(path: &Path) -> std::io::Result<std::time::SystemTime> {
    let own = fs::metadata(path)?;
    let mut newest_one = own.modified()?;
    if own.is_dir() {
        for entry in fs::read_dir(path)? {
            newest_one = newest_one.max(newest(&entry?.path())?);
        }
    }
    Ok(newest_one)
}
