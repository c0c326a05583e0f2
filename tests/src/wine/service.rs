//! A driver as a service of the prefix: what `sc` does with it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::log::Line;
use super::prefix::{PATIENCE, Prefix};
use super::program::Ended;

/// A service, by its name.
#[derive(Clone, Copy)]
pub struct Service<'a> {
    prefix: &'a Prefix,
    name: &'a str,
}

/// What `sc query` says that it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// 1.
    Stopped,
    /// 2.
    StartPending,
    /// 3.
    StopPending,
    /// 4.
    Running,
}

impl<'a> Service<'a> {
    /// The service of this name; whether it is there is another question.
    pub fn new(prefix: &'a Prefix, name: &'a str) -> Self {
        Self { prefix, name }
    }

    /// The key with its settings.
    pub fn key(&self) -> String {
        format!(r"HKLM\System\CurrentControlSet\Services\{}", self.name)
    }

    /// `sc create`, for a driver that is started on demand.
    pub fn create(&self, image: &str) -> Result<()> {
        self.sc("create", &["type=", "kernel", "start=", "demand", "binPath=", image])?.succeeded("sc create").map(drop)
    }

    /// `sc start`; how long the service manager took to answer.
    pub fn start(&self) -> Result<Duration> {
        self.ask("start", "StartServiceW", State::Running)
    }

    /// `sc stop`; how long the service manager took to answer.
    pub fn stop(&self) -> Result<Duration> {
        self.ask("stop", "ControlService", State::Stopped)
    }

    /// What `sc query` says.
    pub fn state(&self) -> Result<State> {
        State::of(&self.sc("query", &[])?.succeeded("sc query")?)
    }

    /// Whether there is such a service.
    pub fn exists(&self) -> Result<bool> {
        Ok(self.sc("query", &[])?.status.success())
    }

    /// `sc delete`, with all that is under its key.
    pub fn delete(&self) -> Result<()> {
        self.sc("delete", &[])?.succeeded("sc delete")?;
        self.prefix.reg_delete(&self.key())
    }

    /// Has `sc` ask the service manager for something, after which the service has to be in this state. What the program itself
    /// takes to start does not count: on a busy machine that is seconds.
    fn ask(&self, verb: &str, function: &str, then: State) -> Result<Duration> {
        let ended = self.prefix.run_traced("sc", &[verb, self.name], "service", PATIENCE);
        let ended = ended.with_context(|| format!("the service is {}", self.describe()))?;
        if !ended.status.success() {
            let state = self.describe();
            return ended
                .succeeded(&format!("sc {verb}"))
                .map(|ended| ended.took)
                .with_context(|| format!("the service is {state}"));
        }
        let state = State::of(&ended)?;
        ensure!(state == then, "sc {verb} says that all went well, and that the service is {state:?}");
        answered(&ended.errors, function)
            .with_context(|| format!("Wine has not told when {function} was called:\n{}", ended.errors))
    }

    fn describe(&self) -> String {
        self.state().map_or_else(|error| format!("in no known state: {error:#}"), |state| format!("{state:?}"))
    }

    fn sc(&self, verb: &str, rest: &[&str]) -> Result<Ended> {
        self.prefix.run("sc", &[&[verb, self.name], rest].concat(), PATIENCE)
    }
}

/// How long a call took: in what Wine traces, from its line to the next one of the same thread, which has only this to do.
fn answered(traced: &str, function: &str) -> Option<Duration> {
    let mut lines = traced.lines().filter_map(Line::parse);
    let call = format!("trace:service:{function} ");
    let asked = lines.find(|line| line.text.starts_with(&call))?;
    let next = lines.find(|line| line.text.starts_with("trace:service:"))?;
    Some(next.at.saturating_sub(asked.at))
}

impl State {
    /// What `sc` has printed, whatever it did.
    fn of(ended: &Ended) -> Result<Self> {
        Self::parse(&ended.output).with_context(|| format!("sc tells no state:\n{}", ended.output))
    }

    /// Reads the line `STATE : 4 RUNNING`.
    fn parse(output: &str) -> Option<Self> {
        let line = output.lines().find(|line| line.trim_start().starts_with("STATE"))?;
        match line.split_once(':')?.1.split_whitespace().next()? {
            "1" => Some(Self::Stopped),
            "2" => Some(Self::StartPending),
            "3" => Some(Self::StopPending),
            "4" => Some(Self::Running),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_read_from_what_sc_prints() {
        let printed = "SERVICE_NAME: triv\n        TYPE               : 1  \n        STATE              : 4  RUNNING\n";
        assert_eq!(State::parse(printed), Some(State::Running));
        assert_eq!(State::parse("SERVICE_NAME: triv\n"), None);
    }

    #[test]
    fn the_time_of_a_call_is_that_until_the_next_one() {
        let traced = "7.600:0124:trace:service:OpenServiceW 00 L\"x\" 0x20\n7.618:0124:trace:service:ControlService 00 1 00\n\
                      7.700:0128:err:rpc:other\n8.647:0124:trace:service:OpenServiceW 00 L\"x\" 0x4\n";
        assert_eq!(answered(traced, "ControlService"), Some(Duration::from_millis(1029)));
        assert_eq!(answered(traced, "StartServiceW"), None);
    }
}
