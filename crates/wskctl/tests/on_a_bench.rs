//! The tool and the driver, as `cargo xtask run` brings them together. What changes from run to run (numbers, ages, ports, bytes)
//! is blotted out of the snapshots.
#![cfg(unix)]

#[path = "support/stage.rs"]
mod stage;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use stage::{Stage, text};
use wskclient_tests::peer;
use wskclient_tests::rig::wait_for;

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
        for line in ["driver wskclient # protocol #", "connections now #", "accepted #", "received #"] {
            assert!(lines.iter().any(|seen| seen.starts_with(line)), "{line}: {lines:?}");
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
    fn events_are_told_as_they_come() {
        let stage = Stage::new();
        let listens = |event: &serde_json::Value| event["event"] == "service-listening";
        let events = wait_for(|| Some(stage.json_lines(&["events"])).filter(|events| events.iter().any(listens))).expect("it listens");
        let lines = blotted(&stage.printed(&["events"]));
        assert!(lines.iter().any(|line| line.ends_with("attached attachment #")), "{lines:?}");
        let numbers: Vec<_> = events.iter().map(|event| event["number"].as_u64()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).map(Some).collect::<Vec<_>>(), "each once, in order");
        let listening = events.iter().find(|event| listens(event)).expect("it was there");
        let address = stage.driver.address().expect("it says so").to_string();
        assert_eq!((listening["service"].as_str(), listening["address"].as_str()), (Some("echo"), Some(&*address)));

        // Who follows from the last one on sees the deactivation, and nothing before.
        let last = numbers.len().to_string();
        let mut following = stage.tool(&["events", "--follow", "--since", &last, "--json"]);
        let mut child = following.stdout(Stdio::piped()).spawn().expect("the tool runs");
        stage.printed(&["deactivate"]);
        let lines = BufReader::new(child.stdout.take().expect("it is there")).lines();
        let mut seen = Vec::<serde_json::Value>::new();
        for line in lines {
            seen.push(serde_json::from_str(&line.expect("text")).expect("JSON"));
            if seen.iter().any(|event| event["event"] == "deactivated") {
                break;
            }
        }
        assert!(seen.last().is_some_and(|event| event["event"] == "deactivated"), "{seen:?}");
        assert!(seen.iter().all(|event| event["number"].as_u64() > Some(numbers.len() as u64)), "{seen:?}");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        stage.end();
    }

    #[test]
    fn who_follows_is_told_when_the_driver_goes() {
        let mut stage = Stage::new();
        let mut child = stage.tool(&["events", "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool runs");
        // Something was told, so it waits for more, again and again.
        let mut told = [0];
        child.stdout.as_mut().expect("it is there").read_exact(&mut told).expect("an event");
        stage.hang_up();
        stage.driver.unload().expect("no handle is open");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("hint: "), "{}", text(&output.stderr));
        let verdict = stage.rig.bench().verdict();
        assert!(verdict.is_clean(), "{verdict}");
    }

    #[test]
    fn a_tool_that_is_killed_leaves_no_handle() {
        let stage = Stage::new();
        let mut child = stage.tool(&["events", "--follow"]).stdout(Stdio::piped()).spawn().expect("the tool runs");
        let mut told = [0];
        child.stdout.as_mut().expect("it is there").read_exact(&mut told).expect("an event");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        // Its request may pend for a second still.
        let unloaded = wait_for(|| stage.driver.unload().ok());
        assert!(unloaded.is_some(), "a handle is open for ever");
        let verdict = stage.rig.bench().verdict();
        assert!(verdict.is_clean(), "{verdict}");
    }
}
