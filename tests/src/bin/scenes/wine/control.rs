//! `wskctl.exe` in the prefix: a program of Windows that asks the driver through Wine's I/O manager.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wskclient_tests::peer;
use wskclient_tests::rig::expect_refused;

use super::session::{PATIENCE, Session};
use super::stop::stop;

/// The exit status of wskctl where there is no driver to talk to.
const NO_DRIVER: i32 = 3;

/// Asks the driver how it is, has it leave WSK and come back, and stops it. Without the driver the tool says so.
pub fn steer(session: &Session, tool: &Path) -> Result<((), String)> {
    let tool = Tool { session, name: tool.to_str().context("the tool's path is no text")? };
    tool.expect_no_driver()?;
    let (address, _) = session.start()?;
    let mut streams = [peer::echo_works(address)?];
    let status = tool.tell("status")?;
    expect(&status, "/registration", "in")?;
    expect(&status, "/since_load/connections", 1)?;
    ensure!(tool.ask(&["sockets", "--json"])?.contains("echo"), "wskctl lists no socket of the service");
    ensure!(tool.ask(&["services", "list", "--json"])?.contains("echo"), "wskctl does not list the service");
    ensure!(tool.ask(&["events", "--json"])?.contains("service-listening"), "wskctl does not tell the event");
    expect(&tool.tell("deactivate")?, "/connections_ended", 1)?;
    peer::expect_ended(&mut streams)?;
    expect_refused(address)?;
    expect(&tool.tell("status")?, "/registration", "out")?;
    let mark = session.log().now();
    tool.tell("activate")?;
    let again = session.listening(mark)?;
    ensure!(again == address, "echo came back at {again}, not at {address}");
    let stream = peer::echo_works(again)?;
    expect(&tool.tell("status")?, "/attachment/number", 2)?;
    stop(session)?;
    drop(stream);
    tool.expect_no_driver()?;
    Ok((
        (),
        "status, sockets, services, events, deactivate, activate; and that there is no driver, where there is none".to_owned(),
    ))
}

struct Tool<'a> {
    session: &'a Session,
    name: &'a str,
}

impl Tool<'_> {
    /// What it answers, as JSON.
    fn tell(&self, command: &str) -> Result<Value> {
        let output = self.ask(&[command, "--json"])?;
        serde_json::from_str(&output).with_context(|| format!("wskctl {command} says what is no JSON:\n{output}"))
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let ended = self.session.prefix().run(self.name, arguments, PATIENCE)?;
        Ok(ended.succeeded(&format!("wskctl {}", arguments.join(" ")))?.output)
    }

    fn expect_no_driver(&self) -> Result<()> {
        let ended = self.session.prefix().run(self.name, &["status"], PATIENCE)?;
        let status = ended.status.code();
        ensure!(status == Some(NO_DRIVER), "without the driver, wskctl ended with {status:?} and said: {}", ended.errors);
        Ok(())
    }
}

fn expect(answer: &Value, place: &str, wanted: impl Into<Value>) -> Result<()> {
    let (found, wanted) = (answer.pointer(place), wanted.into());
    ensure!(found == Some(&wanted), "wskctl says that {place} is {found:?}, not {wanted}, in {answer}");
    Ok(())
}
