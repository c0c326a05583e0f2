//! The tool and the driver, as `cargo xtask run` brings them together. What changes from run to run (numbers, ages, ports, bytes)
//! is blotted out of the snapshots.
#![cfg(unix)]

#[path = "support/stage.rs"]
mod stage;

use std::io::Read;
use std::process::Stdio;

use stage::{Stage, text};
use wskclient_tests::peer;

/// Figures, with their units, and the blanks before them, which depend on their length.
fn blotted(text: &str) -> Vec<String> {
    let blot = |word: &str| if word.contains(|letter: char| letter.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() };
    let unit = |word: &&str| !matches!(*word, "B" | "KiB" | "MiB" | "us" | "ms" | "s" | "min" | "h");
    text.lines().map(|line| line.split_whitespace().filter(unit).map(blot).collect::<Vec<_>>().join(" ")).collect()
}

ntbench::rusty_fork::rusty_fork_test! {
    #![rusty_fork(timeout_ms = 120_000)]

    #[test]
    fn what_the_driver_answers_is_shown() {
        let stage = Stage::new();
        let address = stage.driver.address().expect("it listens");
        let _stream = peer::echo_works(address).expect("it echoes");

        let status = stage.printed(&["status"]);
        assert!(status.contains("active: attachment 1"), "{status}");
        let lines = blotted(&status);
        for line in ["driver wskclient # protocol # loaded # ago", "connections now #", "accepted # #", "received # #"] {
            assert!(lines.iter().any(|seen| seen == line), "{line}: {lines:?}");
        }
        let status = stage.json(&["status"]);
        assert_eq!(status["registration"], "in");
        assert_eq!(status["since_load"]["connections"], 1);
        assert!(status["since_load"]["received_bytes"].as_u64() > Some(0), "{status}");
        let metrics = stage.printed(&["metrics"]);
        assert!(metrics.contains("\nwskclient_connections 1\n") | metrics.contains("\nwskclient_connections 1.0\n"), "{metrics}");
        openmetrics_parser::openmetrics::parse_openmetrics(&metrics).expect("OpenMetrics");
        let top = stage.printed(&["top", "--once", "--interval", "50ms", "--size", "120x30"]);
        assert!(top.starts_with(" wskclient 0.1.0  active ") && top.lines().count() == 30, "{top}");
        stage.end();
    }

    #[test]
    fn deactivated_and_activated() {
        let stage = Stage::new();
        let address = stage.driver.address().expect("it listens");
        let stream = peer::echo_works(address).expect("it echoes");
        let said = stage.printed(&["deactivate"]);
        assert!(said.starts_with("inactive: left WSK in ") && said.ends_with(", with 1 connection to end\n"), "{said}");
        peer::expect_ended(&mut [stream]).expect("it was ended");
        assert_eq!(stage.json(&["status"])["registration"], "out");
        assert!(stage.printed(&["status"]).contains("inactive (`wskctl activate` registers it)"));
        let now = stage.driver.now();
        assert!(stage.printed(&["activate"]).starts_with("active: registered with WSK in "));
        let address = stage.driver.address_since(now).expect("it listens again");
        drop(peer::echo_works(address).expect("it echoes again"));
        assert_eq!(stage.json(&["status"])["attachment"]["number"], 2);
        stage.end();
    }

    #[test]
    fn a_reader_that_goes_early_is_no_error() {
        let stage = Stage::new();
        for arguments in [&["status"][..], &["status", "--json"], &["metrics"], &["completions", "bash"], &["--help"]] {
            let mut tool = stage.tool(arguments);
            let mut child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool runs");
            drop(child.stdout.take());
            let mut error = String::new();
            child.stderr.take().expect("it is there").read_to_string(&mut error).expect("text");
            let status = child.wait().expect("it ends");
            assert_eq!((status.code(), error.as_str()), (Some(0), ""), "wskctl {arguments:?}");
        }
        stage.end();
    }

    #[test]
    fn colours_are_for_terminals() {
        let stage = Stage::new();
        let bytes = |arguments: &[&str]| stage.tool(arguments).output().expect("the tool runs").stdout;
        assert!(text(&bytes(&["status", "--color", "always"])).contains("\u{1b}["));
        for arguments in [&["status"][..], &["status", "--color", "never"], &["top", "--once", "--interval", "50ms"]] {
            assert!(!text(&bytes(arguments)).contains('\u{1b}'), "wskctl {arguments:?}");
        }
        stage.end();
    }

    #[test]
    fn a_tool_that_is_killed_leaves_no_handle() {
        let stage = Stage::new();
        for _ in 0..5 {
            let mut child = stage.tool(&["top", "--once", "--interval", "60s"]).stdout(Stdio::null()).spawn().expect("the tool runs");
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
        // The next handle may be opened only after that of the one that was killed is closed.
        let unloaded = wskclient_tests::rig::wait_for(|| stage.driver.unload().ok());
        assert!(unloaded.is_some(), "a handle is open still");
        let verdict = stage.rig.bench().verdict();
        assert!(verdict.is_clean(), "{verdict}");
    }
}
