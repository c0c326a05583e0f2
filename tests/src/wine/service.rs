//! A driver as a service of the prefix: what `sc` does with it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

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

    /// `sc start`; how long it took.
    pub fn start(&self) -> Result<Duration> {
        let ended = self.sc("start", &[])?;
        if !ended.status.success() {
            bail!("sc start failed ({}), the service is {}", ended.status, self.describe());
        }
        let state = self.state()?;
        ensure!(state == State::Running, "sc start says that all went well, but sc query says {state:?}");
        Ok(ended.took)
    }

    /// `sc stop`; how long it took.
    pub fn stop(&self) -> Result<Duration> {
        let ended = self.sc("stop", &[]).with_context(|| format!("the service is {}", self.describe()))?;
        if !ended.status.success() {
            bail!("sc stop failed ({}), the service is {}", ended.status, self.describe());
        }
        let state = self.state()?;
        ensure!(state == State::Stopped, "sc stop says that all went well, but sc query says {state:?}");
        Ok(ended.took)
    }

    /// `sc query`; how long it took.
    pub fn query(&self) -> Result<(State, Duration)> {
        let ended = self.sc("query", &[])?.succeeded("sc query")?;
        let state = State::parse(&ended.output).with_context(|| format!("sc query says no state:\n{}", ended.output))?;
        Ok((state, ended.took))
    }

    /// The state alone.
    pub fn state(&self) -> Result<State> {
        Ok(self.query()?.0)
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

    fn describe(&self) -> String {
        self.state().map_or_else(|error| format!("in no known state: {error:#}"), |state| format!("{state:?}"))
    }

    fn sc(&self, verb: &str, rest: &[&str]) -> Result<Ended> {
        self.prefix.run("sc", &[&[verb, self.name], rest].concat(), PATIENCE)
    }
}

impl State {
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
}
