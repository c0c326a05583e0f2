//! Makes a small WDK under `target/kit` out of `sdk/`: headers by link, libraries from lists and C sources.
//!
//! wdk-build takes it by `WDKContentRoot` and `Version_Number`, before it looks for an installed WDK.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    toolchain::Llvm,
    workspace::{root, run, target, write_if_changed},
};

/// The version of the WDK whose layout `sdk/` follows.
pub const VERSION: &str = "10.0.26100.0";
/// The version of KMDF that the driver asks for in Cargo.toml.
const KMDF: &str = "1.31";

/// Import libraries, by the name of their list in `sdk/lib`.
const IMPORTS: &[&str] = &["ntoskrnl", "hal", "netio", "WdfLdr"];
/// Libraries that wdk-build names and that have nothing we need.
const EMPTY: &[&str] = &["wmilib", "BufferOverflowFastFailK", "rpcrt4"];

/// A kit that is ready to be built with.
pub struct Kit {
    root: PathBuf,
}

impl Kit {
    /// Makes the kit, or brings it up to date.
    pub fn prepare(llvm: &Llvm) -> Result<Self> {
        let kit = Self { root: target("kit") };
        kit.link_headers()?;
        let scratch = kit.root.join(format!("scratch-{}", std::process::id()));
        fs::create_dir_all(&scratch).with_context(|| format!("could not create {}", scratch.display()))?;
        let made = kit.make_libraries(llvm, &scratch);
        fs::remove_dir_all(&scratch).with_context(|| format!("could not remove {}", scratch.display()))?;
        made?;
        Ok(kit)
    }

    /// What `WDKContentRoot` is set to.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The library of a kernel module.
    pub fn library(&self, name: &str) -> PathBuf {
        self.root.join("Lib").join(VERSION).join("km/x64").join(name).with_extension("lib")
    }

    /// Whether the headers are others than when this was asked last, and `renewed` has been done about it.
    pub fn renew_for_headers(&self, renewed: impl FnOnce() -> Result<()>) -> Result<()> {
        let (stamp, now) = (self.root.join("headers.stamp"), headers_stamp()?);
        if fs::read_to_string(&stamp).is_ok_and(|before| before == now) {
            return Ok(());
        }
        renewed()?;
        fs::write(&stamp, now).with_context(|| format!("could not write {}", stamp.display()))
    }

    fn link_headers(&self) -> Result<()> {
        let (link, headers) = (self.root.join("Include"), root().join("sdk/Include"));
        match fs::read_link(&link) {
            Ok(there) if there == headers => return Ok(()),
            // The target folder has come from another copy of the repository.
            Ok(_) => fs::remove_file(&link).with_context(|| format!("could not remove {}", link.display()))?,
            Err(_) => {}
        }
        fs::create_dir_all(&self.root).with_context(|| format!("could not create {}", self.root.display()))?;
        link_folder(&headers, &link).with_context(|| format!("could not link {}", link.display()))
    }

    fn make_libraries(&self, llvm: &Llvm, scratch: &Path) -> Result<()> {
        let kernel = self.root.join("Lib").join(VERSION).join("km/x64");
        let kmdf = self.root.join("Lib/wdf/kmdf/x64").join(KMDF);
        for name in IMPORTS {
            let import = import_library(llvm, scratch, name)?;
            let parts = if *name == "netio" { vec![import, compile(llvm, scratch, "wskid")?] } else { vec![import] };
            let folder = if *name == "WdfLdr" { &kmdf } else { &kernel };
            archive(llvm, scratch, &parts, &folder.join(format!("{name}.lib")))?;
        }
        let empty = compile(llvm, scratch, "empty")?;
        for name in EMPTY {
            archive(llvm, scratch, std::slice::from_ref(&empty), &kernel.join(format!("{name}.lib")))?;
        }
        let entry = compile(llvm, scratch, "FxDriverEntry")?;
        archive(llvm, scratch, &[entry], &kmdf.join("WdfDriverEntry.lib"))
    }
}

/// A number that changes when a header does, or when this folder is another one.
fn headers_stamp() -> Result<String> {
    let mut hasher = DefaultHasher::new();
    let mut folders = vec![root().join("sdk/Include")];
    while let Some(folder) = folders.pop() {
        let entries = folder.read_dir().with_context(|| format!("could not read {}", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            path.hash(&mut hasher);
            if path.is_dir() {
                folders.push(path);
            } else {
                fs::read(&path).with_context(|| format!("could not read {}", path.display()))?.hash(&mut hasher);
            }
        }
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

/// The folders of `sdk/Include` that C sources are compiled with, in the order of wdk-build.
pub fn include_folders() -> Vec<PathBuf> {
    let include = root().join("sdk/Include");
    let version = include.join(VERSION);
    vec![version.join("km"), version.join("shared"), include.join("wdf/kmdf").join(KMDF)]
}

/// The macros that wdk-build defines for a KMDF driver on x64.
pub const DEFINITIONS: &[&str] = &["_WIN64", "_AMD64_", "AMD64", "_KERNEL_MODE", "KMDF_VERSION_MAJOR=1", "KMDF_VERSION_MINOR=31"];

fn import_library(llvm: &Llvm, scratch: &Path, name: &str) -> Result<PathBuf> {
    let list = root().join("sdk/lib").join(format!("{name}.def"));
    let library = scratch.join(format!("{name}.import.lib"));
    run(Command::new(llvm.tool("llvm-dlltool")).args(["-m", "i386:x86-64", "-d"]).arg(list).arg("-l").arg(&library))?;
    Ok(library)
}

fn compile(llvm: &Llvm, scratch: &Path, name: &str) -> Result<PathBuf> {
    let object = scratch.join(format!("{name}.obj"));
    let mut command = Command::new(llvm.tool("clang-cl"));
    command.args(["--target=x86_64-pc-windows-msvc", "/c", "/O2", "/GS-", "/W4", "/WX", "/X", "/kernel", "/Brepro"]);
    // No default libraries are named, and anonymous members are the WDK's way.
    command.args(["/Zl", "-fno-builtin", "-fms-extensions", "-Wno-microsoft-anon-tag", "-Wno-missing-declarations"]);
    command.arg("-Wno-unused-command-line-argument");
    command.args(DEFINITIONS.iter().map(|definition| format!("/D{definition}")));
    command.args(include_folders().iter().map(|folder| format!("/I{}", folder.display())));
    command.arg(format!("/Fo{}", object.display())).arg("--").arg(root().join("sdk/src").join(format!("{name}.c")));
    run(&mut command)?;
    Ok(object)
}

fn archive(llvm: &Llvm, scratch: &Path, parts: &[PathBuf], library: &Path) -> Result<()> {
    let made = scratch.join("made.lib");
    // Names inside the archive are relative, so that no path of this machine gets into it.
    let names = parts.iter().filter_map(|part| part.file_name());
    let out = "/out:made.lib";
    run(Command::new(llvm.tool("llvm-lib")).current_dir(scratch).args(["/nologo", out]).args(names))?;
    let contents = fs::read(&made).with_context(|| format!("could not read {}", made.display()))?;
    write_if_changed(library, &contents)
}

#[cfg(unix)]
fn link_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(windows)]
fn link_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_dir(from, to)
}
