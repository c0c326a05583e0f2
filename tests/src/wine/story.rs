//! The steps of a lifecycle as the shim prints them, under the names that they have in the bench's trace, and the order
//! that they must have.

use std::fmt;

use anyhow::{Result, bail, ensure};

use super::log::{Line, Source};

/// One step: `AttachReturn client 00000000 #1` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step(pub String);

/// Steps in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story(pub Vec<Step>);

/// The start of a driver with WSK there: the order of its steps. (L01, L06)
pub const STARTED: &[&str] = &["LoadBegin", "AttachCall client", "AttachReturn client 00000000"];
/// The end of a driver that has work: the order of its steps. (L16, L18, L27, L29)
pub const STOPPED: &[&str] = &[
    "UnloadBegin",
    "DeregisterCall client",
    "DetachCall client",
    "DetachComplete client",
    "Cleanup client",
    "WaitReturn client 00000000",
    "UnloadReturn",
];
/// A detaching that is pending: its end may overtake the return of the call, but not the cleaning up.
pub const DETACHED: &[&str] = &["DetachCall client", "DetachReturn client 00000103", "Cleanup client"];
/// What the shim has found, after all of it.
pub const JUDGED: &[&str] = &["UnloadReturn", "verdict: clean"];
/// The same, seen from the one who waits.
pub const WAITED: &[&str] =
    &["DeregisterCall client", "Deregister client 00000103", "WaitBegin client", "WaitReturn client 00000000"];
/// The provider takes its leave while the driver has work, and comes back. (L10)
pub const PROVIDER_RETURNED: &[&str] = &[
    "DeregisterCall provider",
    "DetachCall client",
    "DetachComplete client",
    "Cleanup client",
    "ProviderRegister 00000000",
    "AttachCall client",
    "AttachReturn client 00000000",
];

impl Story {
    /// What the shim tells in these lines.
    pub fn of(lines: &[Line]) -> Self {
        Self(lines.iter().filter(|line| line.source == Source::Shim).map(|line| Step(line.text.clone())).collect())
    }

    /// The steps from the first one that is this one, to before the first one of the other after it.
    pub fn between(&self, from: &str, to: &str) -> Self {
        let steps = self.0.iter().skip_while(|step| !step.is(from)).take_while(|step| !step.is(to));
        Self(steps.cloned().collect())
    }

    /// How often such a step came.
    pub fn count(&self, start: &str) -> usize {
        self.0.iter().filter(|step| step.is(start)).count()
    }

    /// Fails unless each of these steps came, exactly once, and after the one before it.
    pub fn expect(&self, steps: &[&str]) -> Result<()> {
        let mut last: Option<(usize, &str)> = None;
        for wanted in steps {
            let count = self.count(wanted);
            ensure!(count == 1, "the step `{wanted}` came {count} times, not once, in\n{self}");
            let place = self.0.iter().position(|step| step.is(wanted)).unwrap_or_default();
            if let Some((before, name)) = last.filter(|(before, _)| *before > place) {
                bail!("the step `{wanted}` (number {place}) came before `{name}` (number {before}) in\n{self}");
            }
            last = Some((place, wanted));
        }
        Ok(())
    }

    /// Fails unless each socket that was made was closed, once, before the client's detaching was complete.
    pub fn expect_sockets_closed(&self) -> Result<()> {
        let created = self.numbers("SocketCreated");
        let mut closed = self.numbers("SocketClosed");
        let complete = self.0.iter().rposition(|step| step.is("DetachComplete client"));
        let late = self.0.iter().skip(complete.map_or(self.0.len(), |place| place + 1)).find(|step| step.is("SocketClosed"));
        if let Some(Step(late)) = late {
            bail!("`{late}` came after the detaching was complete, in\n{self}");
        }
        for socket in created {
            let place = closed.iter().position(|one| *one == socket);
            let Some(place) = place else { bail!("the socket {socket} was made and not closed, in\n{self}") };
            closed.swap_remove(place);
        }
        Ok(())
    }

    /// The first words after the names of such steps.
    fn numbers(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|step| step.is(name)).filter_map(|step| step.0.split(' ').nth(1)).collect()
    }
}

impl Step {
    /// Whether it begins with these words.
    pub fn is(&self, start: &str) -> bool {
        self.0.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ':']))
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 80;
        let skipped = self.0.len().saturating_sub(MOST);
        if skipped > 0 {
            writeln!(f, "  ... {skipped} earlier steps")?;
        }
        self.0.iter().enumerate().skip(skipped).try_for_each(|(place, step)| writeln!(f, "  {place:4} {}", step.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(steps: &[&str]) -> Story {
        Story(steps.iter().map(|step| Step((*step).to_owned())).collect())
    }

    const GOOD: &[&str] = &[
        "SocketCreated 1 listening",
        "UnloadBegin wskclient",
        "DeregisterCall client #1",
        "DetachCall client #1",
        "DetachReturn client 00000103 #1",
        "Deregister client 00000103",
        "WaitBegin client",
        "SocketClosed 1",
        "DetachComplete client #1",
        "Cleanup client #1",
        "WaitReturn client 00000000",
        "UnloadReturn wskclient",
        "verdict: clean (pool 0)",
    ];

    #[test]
    fn a_good_end_is_taken() {
        let story = story(GOOD);
        story.expect(STOPPED).unwrap();
        story.expect(WAITED).unwrap();
        story.expect(JUDGED).unwrap();
        assert_eq!(story.between("WaitBegin", "Cleanup").0.len(), 3);
        story.expect_sockets_closed().unwrap();
    }

    #[test]
    fn steps_out_of_order_missing_or_twice_are_told() {
        let mut swapped = GOOD.to_vec();
        swapped.swap(8, 9);
        let error = story(&swapped).expect(STOPPED).unwrap_err().to_string();
        assert!(error.contains("`Cleanup client` (number 8) came before `DetachComplete client`"), "{error}");
        let without = [&GOOD[..8], &GOOD[9..]].concat();
        assert!(story(&without).expect(STOPPED).unwrap_err().to_string().contains("came 0 times"));
        let twice = [GOOD, &["Cleanup client #1"]].concat();
        assert!(story(&twice).expect(STOPPED).unwrap_err().to_string().contains("came 2 times"));
        let left = [&GOOD[..12], &["verdict: LEFT pool 3"]].concat();
        assert!(story(&left).expect(JUDGED).unwrap_err().to_string().contains("verdict: clean"));
    }

    #[test]
    fn a_socket_that_stays_open_or_is_closed_late_is_told() {
        let open = [&["SocketCreated 2 connection"], GOOD].concat();
        assert!(story(&open).expect_sockets_closed().unwrap_err().to_string().contains("the socket 2"));
        let mut late = GOOD.to_vec();
        late.swap(7, 8);
        assert!(story(&late).expect_sockets_closed().unwrap_err().to_string().contains("after the detaching was complete"));
    }
}
