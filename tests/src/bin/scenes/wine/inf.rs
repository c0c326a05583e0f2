//! The driver's INF, installed by Wine's setupapi, and the service that comes of it.
//!
//! Two things of Windows Wine has not, and they are tested around here. DIRID 13, the driver store, is unknown to its setupapi,
//! which puts the file into `system32\unknown` and has the service start it from there. And pnputil, which installs primitive
//! drivers on Windows, does not do that in Wine: the section `DefaultInstall.NTamd64` is installed by the function of setupapi
//! that the context menu of an INF calls. No catalogue is looked at.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use wskclient_tests::peer;
use wskclient_tests::wine::prefix::Value;
use wskclient_tests::wine::{Prefix, State};

use super::session::{PATIENCE, Session, free_port};
use super::stop::stop;

/// Where DIRID 13 is for Wine.
const DRIVER_STORE: &str = r"C:\windows\system32\unknown\wskclient.sys";
/// What the service has to be, by the key below its own. README.md has the meaning of the parameters.
const EXPECTED: &[(&str, &str, &str, &str)] = &[
    ("", "Type", "REG_DWORD", "0x1"),
    ("", "Start", "REG_DWORD", "0x3"),
    ("", "ErrorControl", "REG_DWORD", "0x1"),
    ("", "DisplayName", "REG_SZ", "wskclient"),
    ("", "ImagePath", "REG_SZ", DRIVER_STORE),
    (r"\Parameters", "StopGraceMs", "REG_DWORD", "0x0"),
    (ECHO, "Kind", "REG_SZ", "echo"),
    (ECHO, "Protocol", "REG_SZ", "tcp"),
    (ECHO, "Address", "REG_MULTI_SZ", r"127.0.0.1\0::1"),
    (ECHO, "Port", "REG_DWORD", "0x9c47"),
    (ECHO, "MaxConnections", "REG_DWORD", "0x4000"),
    (ECHO, "MaxBytes", "REG_DWORD", "0x10000000"),
    (ECHO, "BufferSize", "REG_DWORD", "0x10000"),
    (ECHO, "IdleTimeoutMs", "REG_DWORD", "0x0"),
    (ECHO, "RatePerSource", "REG_DWORD", "0x64"),
];
const ECHO: &str = r"\Parameters\Services\echo";

/// Installs the INF: the driver's file is there, unchanged, and the service is as the INF says.
pub fn install(session: &Session, inf: &Path) -> Result<((), String)> {
    let file = session.drive().join("windows/system32/unknown/wskclient.sys");
    let _ = std::fs::remove_file(&file);
    run_section(session, inf)?;
    let (wanted, there) = (std::fs::read(inf.with_extension("sys"))?, std::fs::read(&file));
    let there = there.with_context(|| format!("setupapi has not put the driver at {DRIVER_STORE}"))?;
    ensure!(wanted == there, "the driver at {DRIVER_STORE} is not the one of the package");
    expect(&session.prefix().reg_query(&session.service().key())?, &session.service().key())?;
    ensure!(session.service().state()? == State::Stopped, "the service runs already, which it should on demand only");
    Ok(((), format!("start type 3, error control 1, {} values as they should be", EXPECTED.len())))
}

/// A value that was changed stays so when the INF is installed once more (FLG_ADDREG_NOCLOBBER); with it the driver starts.
pub fn use_it(session: &Session, inf: &Path) -> Result<((), String)> {
    let (key, port) = (format!("{}{ECHO}", session.service().key()), free_port()?);
    session.prefix().reg_add(&key, "Port", "REG_DWORD", &port.to_string())?;
    run_section(session, inf)?;
    let (address, _) = session.start()?;
    ensure!(address.port() == port, "echo is at {address}, but its Port was set to {port} before the INF was installed again");
    let stream = peer::echo_works(address)?;
    stop(session)?;
    peer::expect_ended(&mut [stream])?;
    session.service().delete()?;
    Ok(((), format!("echo at {address}, started from {DRIVER_STORE}, stopped; nothing left")))
}

fn run_section(session: &Session, inf: &Path) -> Result<()> {
    let path = Prefix::windows_path(&inf.canonicalize()?);
    let arguments = ["setupapi,InstallHinfSection", "DefaultInstall.NTamd64", "128", &path];
    let ended = session.prefix().run_strictly("rundll32", &arguments, "setupapi", PATIENCE)?;
    ensure!(!ended.errors.contains("err:setupapi"), "Wine's setupapi complains:\n{}", ended.errors);
    ended.succeeded("rundll32 setupapi,InstallHinfSection").map(drop)
}

/// Fails with all values that are not as they should be.
fn expect(values: &[Value], service: &str) -> Result<()> {
    let service = service.replace("HKLM", "HKEY_LOCAL_MACHINE");
    let wrong: Vec<_> = EXPECTED
        .iter()
        .filter_map(|(key, name, kind, data)| {
            let key = format!("{service}{key}");
            let found = values.iter().find(|value| value.key.eq_ignore_ascii_case(&key) && value.name.eq_ignore_ascii_case(name));
            match found {
                Some(value) if (value.kind.as_str(), value.data.as_str()) == (*kind, *data) => None,
                Some(value) => Some(format!(r"{key}\{name} is {} {}, not {kind} {data}", value.kind, value.data)),
                None => Some(format!(r"{key}\{name} is not there")),
            }
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("the service is not as the INF should make it:\n  {}", wrong.join("\n  "))
}
