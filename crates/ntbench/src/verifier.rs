//! The verifier: what a driver did wrong, where, and what becomes of the run.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::ke::{irql, time};
use crate::{image, thread, trace};

/// The exit status of a run that a violation ended.
pub const VIOLATION_EXIT: i32 = 3;

/// What a violation does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum OnViolation {
    /// It is printed and ends the process with [`VIOLATION_EXIT`].
    #[default]
    Abort,
    /// It is recorded, and the run goes on where it can.
    Record,
}

/// Which of the costlier checks are made.
#[derive(Clone, Copy, Debug)]
pub struct Verifier {
    /// Each pool block on pages of its own, before a guard page, inaccessible once freed.
    pub special_pool: bool,
    /// Freed blocks are kept for a while, and writes to them found.
    pub quarantine: bool,
    /// Callers of pool allocations are noted; without them a block that leaks has no owner and is not reported.
    pub call_sites: bool,
    /// An allocation with the tag `rust` is a violation: it is the global allocator's of drivers on windows-drivers-rs, which
    /// stops the system when there is no memory.
    pub no_rust_tag: bool,
}

impl Default for Verifier {
    fn default() -> Verifier {
        Verifier { special_pool: false, quarantine: true, call_sites: true, no_rust_tag: false }
    }
}

/// A broken rule.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// Which rule: a name of the verifier's, or a number of `lifecycle.md`.
    pub rule: &'static str,
    /// What was done.
    pub what: String,
    /// Where in the driver: return addresses found on the stack, innermost first.
    pub place: Vec<String>,
    /// The thread's IRQL.
    pub irql: u8,
    /// The thread's number.
    pub thread: u32,
    /// Time since the bench began, in milliseconds.
    pub time_ms: f64,
    /// What happened to the object before.
    pub history: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "violation of {}: {}", self.rule, self.what)?;
        write!(f, "  at {:.3} ms, thread {}, IRQL {}", self.time_ms, self.thread, self.irql)?;
        for place in &self.place {
            write!(f, "\n  in {place}")?;
        }
        for step in &self.history {
            write!(f, "\n  before: {step}")?;
        }
        Ok(())
    }
}

static ACTION: AtomicU8 = AtomicU8::new(OnViolation::Abort as u8);
static VIOLATIONS: Mutex<Vec<Violation>> = Mutex::new(Vec::new());
static SPECIAL_POOL: AtomicBool = AtomicBool::new(false);
static QUARANTINE: AtomicBool = AtomicBool::new(true);
static CALL_SITES: AtomicBool = AtomicBool::new(true);
static NO_RUST_TAG: AtomicBool = AtomicBool::new(false);

pub(crate) fn configure(action: OnViolation, verifier: Verifier) {
    ACTION.store(action as u8, Ordering::Relaxed);
    SPECIAL_POOL.store(verifier.special_pool, Ordering::Relaxed);
    QUARANTINE.store(verifier.quarantine, Ordering::Relaxed);
    CALL_SITES.store(verifier.call_sites, Ordering::Relaxed);
    NO_RUST_TAG.store(verifier.no_rust_tag, Ordering::Relaxed);
}

pub(crate) fn special_pool() -> bool {
    SPECIAL_POOL.load(Ordering::Relaxed)
}

pub(crate) fn quarantine() -> bool {
    QUARANTINE.load(Ordering::Relaxed)
}

pub(crate) fn call_sites() -> bool {
    CALL_SITES.load(Ordering::Relaxed)
}

pub(crate) fn no_rust_tag() -> bool {
    NO_RUST_TAG.load(Ordering::Relaxed)
}

/// Reports a broken rule.
#[cold]
pub fn violation(rule: &'static str, what: impl Into<String>) {
    violation_about(rule, what, Vec::new());
}

/// Reports a broken rule about an object with a history.
#[cold]
pub fn violation_about(rule: &'static str, what: impl Into<String>, history: Vec<String>) {
    let violation = describe(rule, what.into(), history);
    trace::emit(trace::Kind::Violation { rule, text: violation.what.clone() });
    if ACTION.load(Ordering::Relaxed) == OnViolation::Abort as u8 {
        end(&violation);
    }
    VIOLATIONS.lock().push(violation);
}

/// Reports a broken rule after which the run cannot go on.
#[cold]
pub fn fatal(rule: &'static str, what: impl Into<String>) -> ! {
    let violation = describe(rule, what.into(), Vec::new());
    end(&violation)
}

fn describe(rule: &'static str, what: String, history: Vec<String>) -> Violation {
    Violation {
        rule,
        what,
        place: image::stack_places(8),
        irql: irql::current(),
        thread: thread::slot().id,
        time_ms: time::since_start().as_secs_f64() * 1e3,
        history,
    }
}

/// Prints a violation and ends the process, as it is: no destructor runs.
#[allow(unsafe_code)] // The process is ended at once.
pub(crate) fn end(violation: &Violation) -> ! {
    let mut out = std::io::stderr().lock();
    let earlier = VIOLATIONS.try_lock_for(Duration::from_millis(100)).map(|all| all.clone()).unwrap_or_default();
    for violation in earlier.iter().chain([violation]) {
        let _ = writeln!(out, "ntbench: {violation}");
    }
    let _ = out.flush();
    // SAFETY: always allowed.
    unsafe { libc::_exit(VIOLATION_EXIT) }
}

/// The violations recorded so far.
pub(crate) fn recorded() -> Vec<Violation> {
    VIOLATIONS.lock().clone()
}

/// What the verifier has to say of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Broken rules, in order.
    pub violations: Vec<Violation>,
    /// Pool tags under which anything was ever allocated by drivers, with the blocks' number.
    pub tags: Vec<(String, u64)>,
}

impl Verdict {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// The violations of `rule`.
    pub fn of(&self, rule: &str) -> Vec<&Violation> {
        self.violations.iter().filter(|v| v.rule == rule).collect()
    }

    /// Whether any block was ever allocated under `tag`.
    pub fn used_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|(used, blocks)| used == tag && *blocks > 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("clean: no rule broken, nothing leaked");
        }
        let count = self.violations.len();
        write!(f, "{count} violation{}", if count == 1 { "" } else { "s" })?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n{violation}"))
    }
}
