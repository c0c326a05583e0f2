//! Finds the tools that build a Windows driver on this host: LLVM, and Rust for `x86_64-pc-windows-msvc`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{apt, workspace::output};

/// The target of every driver build.
pub const TARGET: &str = "x86_64-pc-windows-msvc";

/// Debian's packages of LLVM and libclang (bindgen), and of Rust with the sources of its library.
const LLVM_PACKAGES: &[&str] = &["clang-19", "clang-tools-19", "lld-19", "llvm-19", "libclang-19-dev"];
const RUST_PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];

/// What compiles the driver's Rust.
pub enum Rust {
    /// The toolchain that runs this program: it has the target installed.
    Installed,
    /// A compiler with the sources of its library, which is built along with the driver.
    FromSource { rustc: PathBuf },
}

/// The programs of one LLVM installation.
pub struct Llvm {
    bin: PathBuf,
    libclang: PathBuf,
}

/// All that a driver build needs.
pub struct Toolchain {
    pub llvm: Llvm,
    pub rust: Rust,
}

impl Toolchain {
    /// Finds everything, installing what is missing where that is possible.
    pub fn find() -> Result<Self> {
        Ok(Self { llvm: Llvm::find()?, rust: Rust::find()? })
    }
}

impl Llvm {
    /// Debian's LLVM, or one that is on the PATH (with LIBCLANG_PATH, if libclang is not in the `lib` beside it).
    pub fn find() -> Result<Self> {
        if let Some(found) = Self::present() {
            return Ok(found);
        }
        apt::ensure(LLVM_PACKAGES, "building the driver")?;
        match Self::present() {
            Some(found) => Ok(found),
            None => bail!("LLVM 19 is installed but lld-link, clang-cl, llvm-lib or llvm-dlltool is not in /usr/lib/llvm-19/bin"),
        }
    }

    fn present() -> Option<Self> {
        let debian = [19, 20, 21, 22, 18, 17].iter().map(|version| PathBuf::from(format!("/usr/lib/llvm-{version}/bin")));
        let path = env::var_os("PATH").unwrap_or_default();
        debian.chain(env::split_paths(&path)).filter_map(Self::at).find(Self::is_complete)
    }

    /// The installation whose programs are in this folder.
    fn at(bin: PathBuf) -> Option<Self> {
        let libclang = env::var_os("LIBCLANG_PATH").map(PathBuf::from);
        let libclang = libclang.filter(|_| !bin.starts_with("/usr/lib")).or_else(|| Some(bin.parent()?.join("lib")))?;
        Some(Self { bin, libclang })
    }

    fn is_complete(&self) -> bool {
        let tools = ["lld-link", "clang-cl", "llvm-lib", "llvm-dlltool"];
        tools.iter().all(|tool| self.tool(tool).exists()) && has_libclang(&self.libclang)
    }

    /// The path of one program.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The folder of libclang, for bindgen.
    pub fn libclang(&self) -> &Path {
        &self.libclang
    }
}

fn has_libclang(folder: &Path) -> bool {
    folder.read_dir().is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libclang.so")))
    })
}

impl Rust {
    /// A Rust for the target: rustup's if it has it or can get it, otherwise Debian's with its sources.
    pub fn find() -> Result<Self> {
        if target_is_installed() {
            return Ok(Self::Installed);
        }
        if let Some(found) = Self::debian() {
            return Ok(found);
        }
        if rustup_adds_target() {
            return Ok(Self::Installed);
        }
        apt::ensure(RUST_PACKAGES, "compiling Rust for Windows (or: rustup target add x86_64-pc-windows-msvc)")?;
        match Self::debian() {
            Some(found) => Ok(found),
            None => bail!("rust-web-src is installed but the sources of Rust's library are not under its rustc's sysroot"),
        }
    }

    /// A compiler with the sources of its library, for targets that rustup has none of: Debian's.
    pub fn from_source(purpose: &str) -> Result<PathBuf> {
        apt::ensure(RUST_PACKAGES, purpose)?;
        match Self::debian() {
            Some(Self::FromSource { rustc }) => Ok(rustc),
            _ => bail!("rust-web-src is installed but the sources of Rust's library are not under its rustc's sysroot"),
        }
    }

    fn debian() -> Option<Self> {
        let rustc = PathBuf::from("/usr/bin/rustc");
        let sources = sysroot(&rustc)?.join("lib/rustlib/src/rust/library/core/Cargo.toml");
        (apt::installed(RUST_PACKAGES) && sources.exists()).then_some(Self::FromSource { rustc })
    }
}

/// Whether the toolchain that runs this program can compile for the target.
fn target_is_installed() -> bool {
    let rustc = env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    sysroot(&rustc).is_some_and(|root| root.join("lib/rustlib").join(TARGET).join("lib").exists())
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let printed = output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(printed.trim()))
}

fn rustup_adds_target() -> bool {
    let mut rustup = Command::new("timeout");
    rustup.args(["120", "rustup", "target", "add", TARGET]);
    output(&mut rustup).is_ok() && target_is_installed()
}
