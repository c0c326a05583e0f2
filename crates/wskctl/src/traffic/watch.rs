//! A job from its start to its end: on a terminal with a bar, and cancelled by Ctrl-C.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, Once};
use std::time::Duration;

use control_abi::traffic::{AskRequest, CancelRequest, End, Report, Wanted};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{jobs, told};
use crate::failure::{Exit, Failure};
use crate::text::{bytes, count, duration};
use crate::tool::Tool;

/// How often it is asked how it is.
const LOOK: Duration = Duration::from_millis(100);
/// Over how many looks a rate is told.
const LOOKS: usize = 10;

/// Sees a job to its end, and tells what came of it.
pub(super) fn to_the_end(tool: &Tool, id: u64, wanted: &Wanted) -> Result<(), Failure> {
    INTERRUPTS.listen();
    let mut bar = Bar::new(tool, wanted);
    let mut last = None;
    let mut is_cancelled = false;
    loop {
        let report = match jobs::report(tool, &AskRequest::renewing(id)) {
            Ok(report) => report,
            Err(failure) => return told_last(tool, bar, last, failure),
        };
        bar.show(&report);
        if report.is_over() {
            bar.gone();
            told::print(tool, &report)?;
            return conclude(&report, is_cancelled);
        }
        if INTERRUPTS.count() > 0 && !is_cancelled {
            is_cancelled = true;
            tool.order("cancelling traffic", &CancelRequest::of(id))?;
            continue;
        }
        last = Some(report);
        INTERRUPTS.wait(LOOK, is_cancelled);
    }
}

/// It cannot be asked any more: what was last seen, and why.
fn told_last(tool: &Tool, bar: Bar, last: Option<Report>, failure: Failure) -> Result<(), Failure> {
    bar.gone();
    if let Some(last) = last {
        told::print(tool, &last)?;
    }
    Err(failure)
}

fn conclude(report: &Report, is_cancelled: bool) -> Result<(), Failure> {
    match End::from_wire(report.end) {
        Some(End::Duration | End::Count) => Ok(()),
        Some(End::Cancelled) if is_cancelled => Err(Failure::Interrupted),
        Some(end) => Err(Failure::TrafficEnded(end.name())),
        None => Err(Failure::Nonsense { what: "asking for a job of traffic" }),
    }
}

/// How far it has come. Nothing where no terminal is.
struct Bar {
    bar: ProgressBar,
    wanted: Wanted,
    looks: VecDeque<(u64, u64, u64)>,
}

impl Bar {
    fn new(tool: &Tool, wanted: &Wanted) -> Self {
        let length = match (wanted.duration, wanted.count) {
            (_, Some(count)) => count,
            (Some(duration), None) => duration.as_millis() as u64,
            (None, None) => 0,
        };
        let to = if tool.output().is_json() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{bar:24.cyan} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), to).with_style(style.progress_chars("━╸─"));
        Self { bar, wanted: *wanted, looks: VecDeque::new() }
    }

    fn show(&mut self, report: &Report) {
        let done = report.received.max(if report.received == 0 { report.sent } else { 0 }) + report.lost + report.mismatched;
        let elapsed = Duration::from_nanos(report.elapsed_ns);
        self.bar.set_position(if self.wanted.count.is_some() { done } else { elapsed.as_millis() as u64 });
        self.looks.push_back((report.elapsed_ns, report.sent, report.bytes_sent));
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        self.bar.set_message(self.message(report, elapsed));
    }

    fn message(&self, report: &Report, elapsed: Duration) -> String {
        if report.elapsed_ns == 0 {
            let connections = count(report.asked.connections.into());
            return format!("connecting: {} of {connections}", count(report.connected.into()));
        }
        let (messages, size) = self.rate();
        let of = self.wanted.duration.map_or(String::new(), |duration_| format!(" of {}", duration(duration_)));
        let (p50, p99) = (Duration::from_nanos(report.latency.p50), Duration::from_nanos(report.latency.p99));
        let failed = if report.failed > 0 { format!("  {} failed", count(report.failed.into())) } else { String::new() };
        format!(
            "{}{of}  {} messages/s  {}/s  p50 {}  p99 {}{failed}",
            duration(elapsed),
            count(messages),
            bytes(size),
            duration(p50),
            duration(p99)
        )
    }

    /// Messages and bytes per second, lately.
    fn rate(&self) -> (u64, u64) {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else { return (0, 0) };
        let time = last.0.saturating_sub(first.0) as f64 / 1e9;
        let rate = |from: u64, to: u64| if time > 0.0 { (to.saturating_sub(from) as f64 / time) as u64 } else { 0 };
        (rate(first.1, last.1), rate(first.2, last.2))
    }

    fn gone(self) {
        self.bar.finish_and_clear();
    }
}

/// What Ctrl-C has done in this process.
struct Interrupts {
    once: Once,
    count: AtomicU32,
    lock: Mutex<()>,
    rung: Condvar,
}

static INTERRUPTS: Interrupts =
    Interrupts { once: Once::new(), count: AtomicU32::new(0), lock: Mutex::new(()), rung: Condvar::new() };

impl Interrupts {
    /// From now on the first Ctrl-C is counted; the second ends this program.
    fn listen(&'static self) {
        self.once.call_once(|| {
            let heard = || {
                if INTERRUPTS.count.fetch_add(1, Ordering::AcqRel) > 0 {
                    std::process::exit(Exit::Interrupted as i32);
                }
                INTERRUPTS.rung.notify_all();
            };
            // Without it, Ctrl-C ends this program at once, and the job soon after.
            let _ = ctrlc::set_handler(heard);
        });
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits for that time, or until one comes; where one has come, for that time.
    fn wait(&self, time: Duration, has_come: bool) {
        let Ok(guard) = self.lock.lock() else { return };
        // Who is told of one a moment too early sees it with the next look.
        let _ = self.rung.wait_timeout_while(guard, time, |()| has_come || self.count() == 0);
    }
}
