//! Programs that are run to their end, which has to come in time.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wait_timeout::ChildExt;

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub output: String,
    /// What it, or Wine for it, printed on standard error.
    pub errors: String,
    /// From its start to its end.
    pub took: Duration,
}

/// Runs a program to its end.
///
/// # Errors
/// It could not be started, or was not over within `limit`; it is ended then.
pub fn run(command: &mut Command, limit: Duration) -> Result<Ended> {
    let name = describe(command);
    // Files, for a pipe would be held open by whatever the program leaves running.
    let (mut output, mut errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(errors.try_clone()?);
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("could not start `{name}`"))?;
    let status = within(&mut child, limit)?;
    let (took, output, errors) = (began.elapsed(), contents(&mut output)?, contents(&mut errors)?);
    match status {
        Some(status) => Ok(Ended { status, output, errors, took }),
        None => bail!("`{name}` was not over within {limit:?}{}{}", said(&output), said(&errors)),
    }
}

/// Waits for a program; if it is not over within `limit`, it is ended, and there is no status.
pub fn within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let status = child.wait_timeout(limit)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(status)
}

impl Ended {
    /// Fails with what it said unless its exit status is that of success.
    pub fn succeeded(self, what: &str) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{what} failed ({}){}{}", self.status, said(&self.output), said(&self.errors))
    }
}

/// A program and its arguments, as they are typed.
fn describe(command: &Command) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn said(text: &str) -> String {
    if text.trim().is_empty() { String::new() } else { format!("; it said:\n{}", text.trim_end()) }
}

fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn what_a_program_says_is_kept_and_its_failure_told_with_it() {
        let ended = run(&mut shell("echo out; echo wrong >&2; exit 3"), Duration::from_secs(60)).unwrap();
        assert_eq!((ended.output.as_str(), ended.errors.as_str()), ("out\n", "wrong\n"));
        let error = ended.succeeded("the shell").unwrap_err().to_string();
        assert!(error.contains("the shell failed") && error.contains("wrong"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let error = run(&mut shell("echo begun; exec sleep 600"), Duration::from_millis(300)).unwrap_err().to_string();
        assert!(error.contains("was not over within 300ms"), "{error}");
    }
}
