//! Builds drivers: `<package>.sys` with its `.pdb` and `.map`, under `target/<package>/<profile>`.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, Package, Target};

use crate::{
    apt,
    kit::{self, Kit},
    outside, shim,
    toolchain::{Rust, TARGET, Toolchain},
    workspace::{copy_if_changed, root, run, target},
};

/// How the driver is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Debug,
    Release,
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Debug => "debug",
            Self::Release => "release",
        })
    }
}

/// What debug information calls the root of the repository.
pub const SOURCES: &str = "/wskclient";

/// The package of the driver that this repository is about.
pub const DRIVER: &str = "wskclient";

/// What a build gives.
pub struct Artifacts {
    pub sys: PathBuf,
    pub pdb: PathBuf,
    pub map: PathBuf,
}

/// Builds drivers of the workspace, all by one call of cargo: what they share is compiled once, and the rest side by side.
pub fn drivers(names: &[String], profile: Profile) -> Result<Vec<Artifacts>> {
    let known = packages()?;
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        bail!("{unknown} is not a driver of this workspace; those are {}", known.join(", "));
    }
    let mut cargo = if cfg!(windows) { in_workspace("build") } else { Builder::prepare()?.cargo("build") };
    cargo.arg("--lib").args(names.iter().flat_map(|name| ["--package", name]));
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    run(&mut cargo)?;
    let profile = profile.to_string();
    let from = target("driver").join(TARGET).join(&profile);
    names.iter().map(|name| collect(name, &from, &target(name).join(&profile))).collect()
}

/// Builds the driver of a package that is no member of the workspace, in a target folder of its own.
pub fn elsewhere(name: &str, folder: &Path) -> Result<Artifacts> {
    let into = folder.join("target");
    let mut cargo = cargo("build", folder, &into);
    if cfg!(not(windows)) {
        Builder::prepare()?.set(&mut cargo);
    }
    run(cargo.arg("--release"))?;
    collect(name, &into.join(TARGET).join("release"), &folder.join("release"))
}

/// The package of Wine's `wdfldr.sys`.
const WINE_SHIM: &str = "wine-shim";

/// Builds `wdfldr.sys` for Wine, with its `.pdb` and `.map` beside it. It is an image like a driver's, with an entry point of its
/// own and without the framework's stub.
pub fn wine_shim() -> Result<PathBuf> {
    let builder = Builder::prepare()?;
    let library = |name| format!("-Clink-arg={}", builder.kit.library(name).display());
    let mut cargo = builder.cargo("rustc");
    cargo.args(["--package", WINE_SHIM, "--lib", "--release", "--crate-type", "cdylib", "--"]);
    cargo.args(WINE_SHIM_LINK_ARGS.iter().map(|argument| format!("-Clink-arg={argument}")));
    run(cargo.args(["ntoskrnl", "hal"].map(library)))?;
    let (from, to) = (target("driver").join(TARGET).join("release"), target(WINE_SHIM).join("release"));
    let take = |made: &str, kind: &str| copy_if_changed(&from.join(made), to.join(format!("wdfldr.{kind}")));
    take("wine_shim.pdb", "pdb")?;
    take("deps/wine_shim.map", "map")?;
    take("wine_shim.dll", "sys")
}

/// How `wdfldr.sys` is linked.
const WINE_SHIM_LINK_ARGS: &[&str] = &[
    "/NODEFAULTLIB",
    "/SUBSYSTEM:NATIVE",
    "/ENTRY:ShimEntry",
    "/RELEASE",
    "/Brepro",
    "/MAP",
    "/PDBALTPATH:%_PDB%",
    "/OPT:REF,ICF",
];

/// The packages of the workspace that are drivers: those that say which model of driver they are.
pub fn packages() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    let is_driver = |package: &Package| {
        package.metadata.pointer("/wdk/driver-model").is_some() && package.targets.iter().any(Target::is_cdylib)
    };
    Ok(metadata.packages.into_iter().filter(is_driver).map(|package| package.name.to_string()).collect())
}

/// Checks the crates that only a driver build compiles, with clippy where the toolchain has it.
pub fn check() -> Result<()> {
    let builder = Builder::prepare()?;
    if matches!(builder.toolchain.rust, Rust::FromSource { .. })
        && let Err(error) = apt::ensure(&["rust-web-clippy"], "linting the driver")
    {
        eprintln!("checking without clippy: {error:#}");
    }
    let drivers = packages()?;
    let checked = ["wsk-sys", "wsk", WINE_SHIM].into_iter().chain(drivers.iter().map(String::as_str));
    run(builder.lint().arg("--lib").args(checked.flat_map(|name| ["--package", name])))
}

/// The command that compiles what must not compile, with the mistakes (`wrong`) or without them; errors come as JSON.
pub fn compile_fail(wrong: bool) -> Result<Command> {
    let mut cargo = Builder::prepare()?.cargo("rustc");
    cargo.args(["--quiet", "--package", "wsk", "--example", "compile_fail", "--profile", "check"]);
    if wrong {
        cargo.args(["--message-format", "json", "--", "--cfg", "wrong"]);
    }
    Ok(cargo)
}

/// Documents every crate and takes warnings for errors; drivers, which nobody links to, with what is private in them. What
/// needs a kit lands in the drivers' target folder.
pub fn document() -> Result<()> {
    let builder = Builder::prepare()?;
    let (libraries, drivers) = (["wsk-sys", "wsk"].map(str::to_owned), packages()?);
    let mut host = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    host.current_dir(root()).args(["doc", "--workspace"]);
    host.args(libraries.iter().chain(&drivers).flat_map(|name| ["--exclude", name]));
    let mut of_libraries = builder.documenting(&libraries);
    let mut of_drivers = builder.documenting(&drivers);
    for cargo in [&mut host, &mut of_libraries, of_drivers.arg("--document-private-items")] {
        run(cargo.arg("--no-deps").arg("--keep-going").env("RUSTDOCFLAGS", "-Dwarnings"))?;
    }
    let (host, kernel) = (target("doc/ntbench"), target("driver").join(TARGET).join("doc/wsk"));
    println!("documentation: {}, {}", kernel.join("index.html").display(), host.join("index.html").display());
    Ok(())
}

/// What cargo leaves in its folders becomes a driver's usual set of files, called after the package.
fn collect(name: &str, from: &Path, to: &Path) -> Result<Artifacts> {
    let library = name.replace('-', "_");
    let take = |made: String, kind: &str| copy_if_changed(&from.join(made), to.join(format!("{name}.{kind}")));
    Ok(Artifacts {
        sys: take(format!("{library}.dll"), "sys")?,
        pdb: take(format!("{library}.pdb"), "pdb")?,
        map: take(format!("deps/{library}.map"), "map")?,
    })
}

/// A command of cargo for the drivers of the workspace: on Windows with a WDK there is nothing to add.
fn in_workspace(command: &str) -> Command {
    cargo(command, root(), &target("driver"))
}

/// A command of cargo for the drivers' target.
fn cargo(command: &str, folder: &Path, into: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder).arg(command).args(["--target", TARGET, "--target-dir"]).arg(into);
    cargo
}

/// Has cargo build anew what is made of the headers: it does not know that it is. The macros of wdk-sys keep what they
/// have read of the bindings in the folder of the crate `scratch`.
fn forget_bindings() -> Result<()> {
    for profile in [&[][..], &["--release"]] {
        let mut cargo = in_workspace("clean");
        cargo.arg("--quiet").args(profile);
        cargo.args(["wdk-sys", "wsk-sys", "wdk-macros", "scratch"].iter().flat_map(|name| ["--package", name]));
        run(&mut cargo)?;
    }
    outside::forget()
}

/// A toolchain, a kit, and the environment that makes cargo build drivers with them.
struct Builder {
    toolchain: Toolchain,
    kit: Kit,
    wrapper: PathBuf,
}

impl Builder {
    fn prepare() -> Result<Self> {
        let toolchain = Toolchain::find()?;
        let kit = Kit::prepare(&toolchain.llvm)?;
        let this = env::current_exe().context("could not find this program's own file")?;
        // A copy, so that a build is not disturbed when xtask itself is rebuilt meanwhile.
        let wrapper = copy_if_changed(&this, kit.root().join("rustc-shim"))?;
        make_executable(&wrapper)?;
        let builder = Self { toolchain, kit, wrapper };
        builder.kit.renew_for_headers(forget_bindings)?;
        Ok(builder)
    }

    /// The command of cargo that checks most: clippy, if it is of the compiler that builds the driver.
    fn lint(&self) -> Command {
        match &self.toolchain.rust {
            Rust::Installed => self.cargo("clippy"),
            Rust::FromSource { rustc } => {
                let mut cargo = self.cargo("check");
                let clippy = rustc.with_file_name("clippy-driver");
                if clippy.exists() {
                    // What `cargo clippy` does, which would take the clippy of another toolchain.
                    cargo.env("RUSTC_WORKSPACE_WRAPPER", clippy).env("CLIPPY_ARGS", "");
                }
                cargo
            }
        }
    }

    /// The command of cargo that documents these packages.
    fn documenting(&self, packages: &[String]) -> Command {
        let mut cargo = self.cargo("doc");
        cargo.args(packages.iter().flat_map(|name| ["--package", name]));
        if let Rust::FromSource { rustc } = &self.toolchain.rust {
            cargo.env("RUSTDOC", rustc.with_file_name("rustdoc"));
        }
        cargo
    }

    fn cargo(&self, command: &str) -> Command {
        let mut cargo = in_workspace(command);
        self.set(&mut cargo);
        cargo
    }

    /// Has a command of cargo build drivers.
    fn set(&self, cargo: &mut Command) {
        self.set_rust(cargo);
        self.set_tools(cargo);
    }

    fn set_rust(&self, cargo: &mut Command) {
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
            cargo.env_remove(name);
        }
        if let Rust::FromSource { rustc } = &self.toolchain.rust {
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            cargo.args(["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"]);
            // Unoptimized, it refers to floating-point functions that no kernel has, and that nothing calls.
            cargo.args(["--config", "profile.dev.package.compiler_builtins.opt-level=3"]);
        }
        cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_MSVC_RUSTFLAGS", self.rustflags());
        cargo.env("RUSTC_WRAPPER", &self.wrapper).env(shim::VARIABLE, self.kit.root().join("shim"));
    }

    /// A static C runtime, which wdk-build insists on, and no path of this machine in the driver.
    fn rustflags(&self) -> String {
        let mut flags = format!("-Ctarget-feature=+crt-static --remap-path-prefix={}={SOURCES}", root().display());
        for (from, to) in self.foreign_sources() {
            flags += &format!(" --remap-path-prefix={}={to}", from.display());
        }
        flags
    }

    /// Where sources come from that are not ours, and what panic messages and debug information call these folders.
    fn foreign_sources(&self) -> Vec<(PathBuf, &'static str)> {
        let mut folders = Vec::new();
        if let Rust::FromSource { rustc } = &self.toolchain.rust {
            let library = rustc.parent().and_then(Path::parent).map(|root| root.join("lib/rustlib/src/rust/library"));
            folders.extend(library.map(|library| (library, "/rust/library")));
        }
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let registries = home.and_then(|home| home.join("registry/src").read_dir().ok());
        folders.extend(registries.into_iter().flatten().flatten().map(|entry| (entry.path(), "/registry")));
        folders
    }

    fn set_tools(&self, cargo: &mut Command) {
        let llvm = &self.toolchain.llvm;
        cargo
            .env("WDKContentRoot", self.kit.root())
            .env("Version_Number", kit::VERSION)
            .env("LIBCLANG_PATH", llvm.libclang())
            .env("CC_x86_64_pc_windows_msvc", llvm.tool("clang-cl"))
            .env("AR_x86_64_pc_windows_msvc", llvm.tool("llvm-lib"))
            .env("CFLAGS_x86_64_pc_windows_msvc", format!("/clang:-ffile-prefix-map={}={SOURCES}", root().display()))
            .env("CARGO_TARGET_X86_64_PC_WINDOWS_MSVC_LINKER", llvm.tool("lld-link"));
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, permissions).with_context(|| format!("could not make {} executable", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}
