//! The driver on a bench of this process, and the tool beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ntbench::{Config, OnViolation};
use tempfile::TempDir;
use wskclient_tests::{ControlSocket, Loaded, Rig};

/// The driver, loaded, with a socket for tools.
pub struct Stage {
    pub rig: Rig,
    pub driver: Loaded,
    socket: Option<ControlSocket>,
    folder: TempDir,
}

impl Stage {
    /// A driver that echoes at a port that the system chooses.
    pub fn new() -> Self {
        let rig = Rig::new(&image(), Config { on_violation: OnViolation::Record, processors: 2, ..Config::default() })
            .expect("a bench");
        rig.set_port(0);
        rig.set_address("127.0.0.1");
        let driver = rig.load().expect("the driver loads");
        let folder = tempfile::tempdir().expect("a folder");
        let socket = rig.serve_tools_in(&folder.path().join("tools"), "bench").expect("a socket");
        Self { rig, driver, socket: Some(socket), folder }
    }

    /// The tool with these arguments, without colours of its own accord.
    pub fn tool(&self, arguments: &[&str]) -> Command {
        let mut tool = tool(arguments);
        tool.arg("--socket").arg(self.folder.path().join("tools/bench.sock"));
        tool
    }

    /// What it prints, where it succeeds.
    pub fn printed(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments).output().expect("the tool runs");
        assert!(output.status.success(), "wskctl {arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "wskctl {arguments:?}");
        text(&output.stdout)
    }

    /// The same, as JSON.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let all: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.printed(&all)).expect("JSON")
    }

    /// What it prints as JSON, value by value, each on a line of its own.
    pub fn json_lines(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let all: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        self.printed(&all).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Its exit status and what it says is wrong.
    pub fn refused(&self, arguments: &[&str]) -> (Option<i32>, String) {
        refused(&self.tool(arguments).output().expect("the tool runs"))
    }

    /// Takes no more tools; those that ask get their answers still.
    pub fn hang_up(&mut self) {
        drop(self.socket.take());
    }

    /// Unloads the driver, of which nothing may be left; no tool holds a handle (L38). Tools find no driver then.
    pub fn end(mut self) {
        // A tool that was killed may have had a request pending, for a second at most.
        wskclient_tests::rig::wait_for(|| self.driver.unload().ok()).expect("no handle is open");
        let (exit, error) = self.refused(&["status"]);
        assert_eq!((exit, error.lines().next()), (Some(3), Some("error: the bench has no driver loaded")));
        self.hang_up();
        let (exit, error) = self.refused(&["status"]);
        assert_eq!(exit, Some(3), "{error}");
        assert!(error.starts_with("error: no bench listens at "), "{error}");
        let verdict = self.rig.bench().verdict();
        assert!(verdict.is_clean(), "{verdict}");
    }
}

/// The tool with these arguments.
pub fn tool(arguments: &[&str]) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_wskctl"));
    tool.args(arguments).env_remove("WSKCTL_SOCKET").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("TZ", "UTC");
    tool.stdin(Stdio::null());
    tool
}

/// The exit status and the message of a tool that printed nothing.
pub fn refused(output: &Output) -> (Option<i32>, String) {
    assert_eq!(text(&output.stdout), "");
    (output.status.code(), text(&output.stderr))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The driver's file: that which `cargo xtask build` makes, or another that the variable names.
fn image() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/wskclient/release/wskclient.sys");
    let image = std::env::var_os("WSKCLIENT_SYS").map_or(built, PathBuf::from);
    assert!(image.is_file(), "there is no {}: build it with `cargo xtask build`", image.display());
    image
}
