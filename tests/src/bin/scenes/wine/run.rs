//! `wine run`: the driver under Wine until Ctrl-C.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use wskclient_tests::timeline;
use wskclient_tests::wine::{Line, Mark, Source, State};

use super::Parts;
use super::session::Session;
use super::stop::stop;
use crate::run::explain;

/// How often what was printed is looked at, and how often the service is.
const PERIOD: Duration = Duration::from_millis(100);
const LOOKS: u32 = 20;
/// The exit status of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    parts: Parts,
    /// The port to echo at
    #[arg(long, default_value_t = 40007)]
    port: u16,
}

/// Serves until Ctrl-C; success means that the driver stopped in time and left nothing.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (sender, stopping) = channel();
    stop_at_signals(sender)?;
    say("opening a prefix; the first time that takes half a minute");
    let session = Session::open(&arguments.parts)?;
    let outcome = serve(&session, arguments.port, &stopping);
    if outcome.is_err() {
        eprintln!("{}", session.relevant());
    }
    outcome?;
    session.close()?;
    say("Wine has ended; nothing of it runs any more");
    Ok(ExitCode::SUCCESS)
}

fn serve(session: &Session, port: u16, stopping: &Receiver<()>) -> Result<()> {
    session.create(port)?;
    let begin = session.mark();
    let took = session.start_service(begin)?;
    say(&format!("wskclient.sys runs in Wine (started in {}); Ctrl-C stops it", timeline::milliseconds(took)));
    follow(session, begin, stopping)?;
    say("\nstopping");
    let stopped = stop(session)?;
    let (took, unload) = (timeline::milliseconds(stopped.took), timeline::milliseconds(stopped.unload));
    say(&format!("stopped in {took}, of which the unload took {unload}"));
    say("verdict: clean, nothing left");
    session.service().delete()
}

/// Shows what the driver prints until it is told to stop. Fails if the driver is not there any more.
fn follow(session: &Session, begin: Mark, stopping: &Receiver<()>) -> Result<()> {
    let mut shown = 0;
    loop {
        for _ in 0..LOOKS {
            let lines = session.log().since(begin);
            lines.iter().skip(shown).filter_map(shown_as).for_each(|line| say(&line));
            shown = lines.len();
            match stopping.recv_timeout(PERIOD) {
                Ok(()) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("Ctrl-C is not listened to any more"),
            }
        }
        let state = session.service().state().context("Wine does not answer")?;
        if state != State::Running {
            bail!("the driver does not run any more: sc query says {state:?}");
        }
    }
}

/// How a line of the log is shown, if it is.
fn shown_as(line: &Line) -> Option<String> {
    match line.source {
        Source::Driver => Some(explain(&line.text)),
        Source::Shim if line.text.starts_with("violation") => Some(line.text.clone()),
        _ => None,
    }
}

/// The first Ctrl-C ends the serving, the second one everything.
fn stop_at_signals(sender: Sender<()>) -> Result<()> {
    let stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if stopping.swap(true, Ordering::Relaxed) {
            eprintln!("\nended by force: the driver was not stopped; Wine ends with this program");
            std::process::exit(INTERRUPTED);
        }
        let _ = sender.send(());
    })
    .context("could not take care of Ctrl-C")
}

/// Prints a line; that nobody reads it is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(stdout().lock(), "{text}");
}
