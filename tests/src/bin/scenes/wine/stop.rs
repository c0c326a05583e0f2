//! The end of the driver under Wine: how long it took, and that it left nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wskclient_tests::wine::{Line, Mark, story};

use super::session::{PATIENCE, Session};

/// A stop is over in this time, whatever goes on.
pub const LIMIT: Duration = Duration::from_secs(2);

/// How a stop went.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// From the request of `sc stop` to the service manager's answer.
    pub took: Duration,
    /// The driver's unload routine alone, on Wine's clock.
    pub unload: Duration,
}

/// Stops the driver, and fails unless that was in time, the driver was unloaded, in the right order, and left nothing.
pub fn stop(session: &Session) -> Result<Stopped> {
    let mark = session.mark();
    let took = session.service().stop()?;
    let unload = judge(session, mark)?;
    ensure!(took <= LIMIT, "sc stop took {took:?}; the limit is {LIMIT:?}");
    Ok(Stopped { took, unload })
}

/// Looks at what was printed of the stop; how long the unload took.
fn judge(session: &Session, mark: Mark) -> Result<Duration> {
    let verdict = |line: &Line| line.shim_says("verdict: ").then_some(());
    let what = "sc stop has returned, but the shim has given no verdict: DriverUnload has not run to its end";
    session.log().wait_for(mark, PATIENCE, what, verdict)?;
    let lines = session.log().since(mark);
    let told = session.story(mark);
    let left: Vec<_> = lines.iter().filter(|line| line.shim_says("left: ") || line.shim_says("verdict: LEFT")).collect();
    if !left.is_empty() {
        let left: Vec<_> = left.iter().map(|line| line.text.as_str()).collect();
        bail!("the driver has left something behind:\n  {}", left.join("\n  "));
    }
    ensure!(told.count("violation") == 0, "rules were broken:\n{told}");
    told.expect(story::STOPPED)?;
    told.expect(story::DETACHED)?;
    told.expect(story::WAITED)?;
    told.expect(story::JUDGED)?;
    let at = |start: &str| lines.iter().find(|line| line.shim_says(start)).map(|line| line.at);
    let (begin, end) = (at("UnloadBegin"), at("UnloadReturn"));
    let took = begin.zip(end).map(|(begin, end)| end.saturating_sub(begin));
    took.context("the trace does not say when the unload began and returned")
}
