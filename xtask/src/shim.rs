//! A compiler wrapper that lets the genuine wdk-build run on a host that is not Windows.
//!
//! Cargo calls it for every compilation of a driver build (`RUSTC_WRAPPER`). Three crates are treated specially:
//!
//! - `wdk_build` refuses a host that is not Windows. What is compiled is a copy of its source in which a symbolic link
//!   to a file is made in Unix's way, and which is told that it runs on Windows.
//! - `windows`, of which wdk-build uses three registry functions and which does not compile here: a stand-in whose
//!   registry is empty, so that wdk-build relies on its environment variables.
//! - the crates under `windows`: nothing.
//!
//! The registry's copies are not touched. When a new release looks different, the wrapper stops with its version.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};

/// Set by the build for the processes that are to act as the wrapper; its value is a folder for sources.
pub const VARIABLE: &str = "WSKCLIENT_RUSTC_SHIM";

const EMPTY_CRATES: &[&str] = &[
    "windows_collections",
    "windows_core",
    "windows_future",
    "windows_numerics",
    "windows_result",
    "windows_strings",
    "windows_threading",
];

/// The releases that the wrapper is known to be right for.
const WDK_BUILD: &str = "0.6.";
const WINDOWS: &str = "0.62.";

const SYMLINK: &str = "std::os::windows::fs::symlink_file";
const SYMLINK_HERE: &str = "std::os::unix::fs::symlink";
const SYMLINK_USES: usize = 2;

/// Whether this process was started as the wrapper.
pub fn is_requested() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Compiles what cargo asks for, in another way if need be.
pub fn run() -> Result<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let compiler = arguments.next().context("the compiler wrapper was called without a compiler")?;
    let mut arguments: Vec<OsString> = arguments.collect();
    let folder = PathBuf::from(env::var_os(VARIABLE).unwrap_or_default());
    adapt(&mut arguments, &folder)?;
    let status = Command::new(&compiler)
        .args(&arguments)
        .env_remove(VARIABLE)
        .status()
        .with_context(|| format!("could not start {}", compiler.display()))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(101)))
}

/// Changes the command line if it compiles one of the special crates.
fn adapt(arguments: &mut Vec<OsString>, folder: &Path) -> Result<()> {
    let Some(name) = crate_name(arguments) else { return Ok(()) };
    match name.as_str() {
        "wdk_build" => {
            expect_version("wdk-build", WDK_BUILD)?;
            replace_source(arguments, |source| Ok(copy_of_wdk_build(source, folder)?.join("lib.rs")))?;
            arguments.extend(["-A", "explicit_builtin_cfgs_in_flags", "--cfg", r#"target_os="windows""#].map(OsString::from));
        }
        "windows" => {
            expect_version("windows", WINDOWS)?;
            replace_source(arguments, |_| stand_in(folder, "windows", include_str!("shim/windows.rs")))?;
        }
        name if EMPTY_CRATES.contains(&name) => replace_source(arguments, |_| stand_in(folder, name, ""))?,
        _ => {}
    }
    Ok(())
}

fn crate_name(arguments: &[OsString]) -> Option<String> {
    let flag = arguments.iter().position(|argument| argument == "--crate-name")?;
    Some(arguments.get(flag + 1)?.to_string_lossy().into_owned())
}

fn expect_version(package: &str, prefix: &str) -> Result<()> {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    if !version.starts_with(prefix) {
        bail!(
            "{package} {version} is new to the compiler wrapper (xtask/src/shim.rs knows {prefix}x): see whether it still fits"
        );
    }
    Ok(())
}

/// Puts another source in the place of the crate's root.
fn replace_source(arguments: &mut [OsString], source: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
    let position = arguments.iter().position(|argument| is_crate_root(argument));
    let position = position.context("the compiler wrapper found no source file on the command line")?;
    arguments[position] = source(Path::new(&arguments[position]))?.into_os_string();
    Ok(())
}

fn is_crate_root(argument: &OsStr) -> bool {
    let path = Path::new(argument);
    path.extension().is_some_and(|extension| extension == "rs") && !argument.to_string_lossy().starts_with('-')
}

/// Copies wdk-build's source, with the symbolic link made in Unix's way; gives the copy's folder.
fn copy_of_wdk_build(crate_root: &Path, folder: &Path) -> Result<PathBuf> {
    let from = crate_root.parent().context("wdk-build's root has no folder")?;
    let to = folder.join("wdk_build");
    let replaced = copy_folder(from, &to)?;
    if replaced != SYMLINK_USES {
        bail!("wdk-build uses {SYMLINK} {replaced} times; the compiler wrapper expects {SYMLINK_USES}: see xtask/src/shim.rs");
    }
    Ok(to)
}

fn copy_folder(from: &Path, to: &Path) -> Result<usize> {
    fs::create_dir_all(to).with_context(|| format!("could not create {}", to.display()))?;
    let mut replaced = 0;
    for entry in fs::read_dir(from).with_context(|| format!("could not read {}", from.display()))? {
        let path = entry?.path();
        let copy = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            replaced += copy_folder(&path, &copy)?;
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        replaced += text.matches(SYMLINK).count();
        write(&copy, &text.replace(SYMLINK, SYMLINK_HERE))?;
    }
    Ok(replaced)
}

fn stand_in(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let path = folder.join(format!("{name}.rs"));
    write(&path, text)?;
    Ok(path)
}

/// Writes a source that looks old: cargo would take one that is younger than its own start for changed since.
fn write(path: &Path, text: &str) -> Result<()> {
    let old = || {
        let mut file = fs::File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
    };
    old().with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &str) -> Vec<OsString> {
        words.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn other_crates_pass_through() {
        let before = arguments("--crate-name serde --edition=2021 serde/src/lib.rs --crate-type lib");
        let mut after = before.clone();
        adapt(&mut after, Path::new("/nowhere")).unwrap();
        assert_eq!(after, before);
    }

    #[test]
    fn the_crate_root_is_told_from_flags() {
        assert!(is_crate_root(OsStr::new("src/lib.rs")));
        assert!(!is_crate_root(OsStr::new("--remap-path-prefix=/x=y.rs")));
        assert!(!is_crate_root(OsStr::new("dep-info,link")));
    }

    #[test]
    fn crates_under_windows_become_empty() {
        let folder = env::temp_dir().join(format!("wskclient-shim-{}", std::process::id()));
        let mut line = arguments("--crate-name windows_core x/src/lib.rs");
        adapt(&mut line, &folder).unwrap();
        assert_eq!(fs::read_to_string(&line[2]).unwrap(), "");
        fs::remove_dir_all(folder).unwrap();
    }
}
