//! What the bench and Wine report for the same scenario, compared: step by step, apart from a list of known differences.
//!
//! Steps of different threads have no order among each other, so each step belongs to a [`Lane`], within which there is one.
//! Across the lanes, [`story`](super::story) has the orders that must hold; both sides are held to them.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::story::Step;

/// Who does a step, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// The driver's start and end, and its calls of the registrar.
    Driver,
    /// What the registrar calls of the driver's: it attaches and detaches.
    Client,
    /// The end of a detaching, which may overtake the return of the call that began it.
    Detached,
    /// The provider's calls, and what is called of it.
    Provider,
    /// The end of the provider's detaching.
    ProviderDetached,
    /// What the driver's services print.
    Services,
    /// The provider's sockets.
    Sockets,
}

/// Which of the two reports something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// The bench.
    Bench,
    /// Wine, with the shim.
    Wine,
}

/// A step that one of the two reports and the other does not, at that place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Difference {
    /// Who reports it.
    pub only: Kernel,
    /// In which lane.
    pub lane: Lane,
    /// What; in the list, with a `*` at the end, whatever begins so.
    pub step: String,
}

/// A difference that is known, and why there is one.
#[derive(Clone, Debug, Deserialize)]
pub struct Known {
    #[serde(flatten)]
    difference: Difference,
    reason: String,
    /// It depends on which thread is faster.
    #[serde(default)]
    sometimes: bool,
}

/// All that are known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct List(Vec<Known>);

impl Lane {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Driver, Self::Client, Self::Detached, Self::Provider, Self::ProviderDetached, Self::Services, Self::Sockets];

    /// The lane of a step of the registrar's or of a socket; `None` for what has no counterpart.
    pub fn of(step: &Step) -> Option<Self> {
        let mut words = step.0.split(' ');
        let (name, side) = (words.next()?, words.next());
        match (name, side) {
            ("LoadBegin" | "LoadReturn" | "UnloadBegin" | "UnloadReturn", _) => Some(Self::Driver),
            ("NmrRegister" | "DeregisterCall" | "Deregister" | "WaitBegin" | "WaitReturn", Some("client")) => Some(Self::Driver),
            ("AttachCall" | "AttachReturn" | "DetachCall" | "DetachReturn", Some("client")) => Some(Self::Client),
            ("DetachComplete" | "Cleanup", Some("client")) => Some(Self::Detached),
            ("DetachComplete" | "Cleanup", Some("provider")) => Some(Self::ProviderDetached),
            ("SocketCreated" | "SocketClosed", _) => Some(Self::Sockets),
            ("ProviderRegister", _) | (_, Some("provider")) => Some(Self::Provider),
            _ => None,
        }
    }

    /// The lane of a line that the driver prints.
    pub fn of_line(line: &str) -> Self {
        let ends = |parts: &[&str]| parts.iter().any(|part| line.contains(part));
        if ends(&["detach completed", "cleaned up"]) {
            Self::Detached
        } else if ends(&["WSK offers", "attached, binding", "detach pending"]) {
            Self::Client
        } else if ends(&["loaded", " bytes received, ", " connections, "]) {
            Self::Driver
        } else {
            Self::Services
        }
    }
}

impl List {
    /// Reads the list, which is JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let list: Self = serde_json::from_str(text).context("the list of known differences cannot be read")?;
        if let Some(known) = list.0.iter().find(|known| known.reason.trim().is_empty()) {
            bail!("the known difference {} has no reason", known.difference);
        }
        Ok(list)
    }

    /// Compares the two, lane by lane. How many differences there were, all of them known.
    ///
    /// # Errors
    /// There is a difference that is not in the list, or one in the list that is not there any more.
    pub fn judge(&self, bench: &[(Lane, String)], wine: &[(Lane, String)]) -> Result<usize> {
        let found: Vec<_> = Lane::ALL.into_iter().flat_map(|lane| differences(lane, bench, wine)).collect();
        let is_known = |difference: &Difference| self.0.iter().any(|known| known.difference.takes(difference));
        let mut wrong: Vec<_> = found.iter().filter(|one| !is_known(one)).map(|one| format!("not in the list: {one}")).collect();
        let gone = self.0.iter().filter(|known| !known.sometimes && !found.iter().any(|one| known.difference.takes(one)));
        wrong.extend(gone.map(|known| format!("in the list, but no more: {} ({})", known.difference, known.reason)));
        if wrong.is_empty() {
            return Ok(found.len());
        }
        bail!("the bench and Wine do not report the same:\n  {}", wrong.join("\n  "))
    }
}

/// A step with its lane, as both kernels tell it: its name, the side or the kind of socket, the status; without the numbers that
/// each kernel gives its objects.
pub fn step(step: &Step) -> Option<(Lane, String)> {
    let is_number = |word: &&str| word.starts_with('#') || (word.len() < 8 && word.bytes().all(|byte| byte.is_ascii_digit()));
    let plain = step.0.split(' ').filter(|word| !is_number(word)).collect::<Vec<_>>().join(" ");
    Some((Lane::of(step)?, plain))
}

/// A line of the driver's with its lane, without how much was under way at the moment.
pub fn line(text: &str) -> (Lane, String) {
    let plain =
        text.split_once("detach pending, ").map_or_else(|| text.to_owned(), |(before, _)| format!("{before}detach pending"));
    (Lane::of_line(text), format!("\"{plain}\""))
}

fn differences(lane: Lane, bench: &[(Lane, String)], wine: &[(Lane, String)]) -> Vec<Difference> {
    let of = |steps: &[(Lane, String)]| -> Vec<String> {
        steps.iter().filter(|(of, _)| *of == lane).map(|(_, step)| step.clone()).collect()
    };
    let (bench, wine) = (of(bench), of(wine));
    let only = |only: Kernel, steps: &[String]| -> Vec<Difference> {
        steps.iter().map(|step| Difference { only, lane, step: step.clone() }).collect()
    };
    let each = |operation: &DiffOp| match operation {
        DiffOp::Equal { .. } => Vec::new(),
        _ => [only(Kernel::Bench, &bench[operation.old_range()]), only(Kernel::Wine, &wine[operation.new_range()])].concat(),
    };
    capture_diff_slices(Algorithm::Myers, &bench, &wine).iter().flat_map(each).collect()
}

impl Difference {
    /// Whether this entry of the list is about that difference.
    fn takes(&self, found: &Self) -> bool {
        let step = match self.step.strip_suffix('*') {
            Some(start) => found.step.starts_with(start),
            None => found.step == self.step,
        };
        step && (self.only, self.lane) == (found.only, found.lane)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only {:?} has `{}` (lane {:?})", self.only, self.step, self.lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(texts: &[&str]) -> Vec<(Lane, String)> {
        texts.iter().filter_map(|text| step(&Step((*text).to_owned()))).collect()
    }

    fn list(entries: &str) -> List {
        List::parse(entries).unwrap()
    }

    const BENCH: &[&str] = &["NmrRegister client 00000000", "AttachCall client #1", "AttachReturn client 00000000 #1"];

    #[test]
    fn what_is_the_same_but_for_numbers_and_other_threads_is_the_same() {
        let wine = ["AttachCall client #77", "NmrRegister client 00000000", "AttachReturn client 00000000 #77"];
        assert_eq!(list("[]").judge(&steps(BENCH), &steps(&wine)).unwrap(), 0);
    }

    #[test]
    fn a_line_is_the_same_however_much_was_under_way() {
        let [one, other] = [1, 2].map(|calls| line(&format!("binding 1: detach pending, {calls} calls in flight, 2 sockets")));
        assert_eq!(one, other);
        assert_ne!(one, line("binding 2: detach pending, 1 calls in flight, 2 sockets"));
        assert_eq!(line("unloaded").0, Lane::Driver);
    }

    #[test]
    fn another_status_or_order_is_a_difference() {
        let status = ["NmrRegister client 00000000", "AttachCall client", "AttachReturn client c0000001"];
        let error = list("[]").judge(&steps(BENCH), &steps(&status)).unwrap_err().to_string();
        assert!(error.contains("not in the list: only Wine has `AttachReturn client c0000001`"), "{error}");
        let order = ["NmrRegister client 00000000", "AttachReturn client 00000000", "AttachCall client"];
        assert!(list("[]").judge(&steps(BENCH), &steps(&order)).is_err());
    }

    #[test]
    fn a_known_difference_is_taken_and_missed_when_it_is_gone() {
        let known = list(r#"[{"only": "wine", "lane": "detached", "step": "Cleanup client", "reason": "for the test"}]"#);
        let wine = [BENCH, &["Cleanup client"]].concat();
        assert_eq!(known.judge(&steps(BENCH), &steps(&wine)).unwrap(), 1);
        let error = known.judge(&steps(BENCH), &steps(BENCH)).unwrap_err().to_string();
        assert!(error.contains("in the list, but no more"), "{error}");
        let known = r#"[{"only": "wine", "lane": "detached", "step": "Cleanup client", "reason": "a test", "sometimes": true}]"#;
        assert_eq!(list(known).judge(&steps(BENCH), &steps(BENCH)).unwrap(), 0);
    }

    #[test]
    fn a_known_difference_may_end_as_it_likes() {
        let known = list(r#"[{"only": "wine", "lane": "services", "step": "\"WSK lacks *", "reason": "a test"}]"#);
        assert_eq!(known.judge(&[], &[line("WSK lacks much"), line("WSK lacks more")]).unwrap(), 2);
        assert!(known.judge(&[], &[line("WSK lacks much"), line("WSK has more")]).is_err());
    }

    #[test]
    fn a_difference_needs_a_reason() {
        assert!(List::parse(r#"[{"only": "bench", "lane": "services", "step": "x", "reason": " "}]"#).is_err());
    }
}
