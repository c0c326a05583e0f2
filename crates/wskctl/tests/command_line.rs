//! The tool without a driver: help, completions, and what it ends with.
#![cfg(unix)]

#[path = "support/stage.rs"]
#[allow(dead_code)] // without a driver there is no stage
mod stage;

use stage::{refused, text, tool};

const COMMANDS: [&str; 11] =
    ["status", "sockets", "services", "activate", "deactivate", "resolve", "events", "metrics", "top", "completions", "help"];

#[test]
fn the_help_names_every_command_and_exit_status() {
    let output = tool(&["--help"]).output().expect("the tool runs");
    let help = text(&output.stdout);
    for command in COMMANDS {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in the help: {help}");
    }
    assert!(help.contains("Exit status:") && help.lines().all(|line| line.chars().count() <= 100), "{help}");
    for command in COMMANDS.iter().filter(|command| **command != "help") {
        let output = tool(&[command, "--help"]).output().expect("the tool runs");
        assert!(output.status.success() && text(&output.stdout).contains("Usage: wskctl"), "wskctl {command} --help");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = tool(&["completions", shell]).output().expect("the tool runs");
        let script = text(&output.stdout);
        assert!(output.status.success() && COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
    }
}

#[test]
fn without_a_bench_it_says_how_to_start_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = |arguments: &[&str]| {
        let mut tool = tool(arguments);
        tool.env("XDG_RUNTIME_DIR", folder.path()).env("TMPDIR", folder.path());
        refused(&tool.output().expect("the tool runs"))
    };
    let expected = "error: no bench is running\n  hint: start one in another terminal, with `cargo xtask run`; or name its socket with --socket\n";
    for arguments in [&["status"][..], &["sockets", "--json"], &["top"], &["events", "--follow"], &["services", "start", "x"]] {
        assert_eq!(nowhere(arguments), (Some(3), expected.to_owned()), "wskctl {arguments:?}");
    }
    let (exit, error) = nowhere(&["status", "--socket", "/dev/null"]);
    assert_eq!(exit, Some(3), "{error}");
    assert!(error.starts_with("error: no bench listens at /dev/null: "), "{error}");
}

#[test]
fn nonsense_is_refused_with_a_hint() {
    for arguments in [&["stauts"][..], &["status", "--jsn"], &[], &["services", "set", "a", "--kind", "ecko"]] {
        let output = tool(arguments).output().expect("the tool runs");
        assert_eq!(output.status.code(), Some(2), "wskctl {arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "wskctl {arguments:?}");
    }
    let output = tool(&["stauts"]).output().expect("the tool runs");
    assert!(text(&output.stderr).contains("'status'"), "{}", text(&output.stderr));
}
