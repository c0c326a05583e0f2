//! Serves until Ctrl-C, then unloads the driver and tells how it went.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ntbench::trace::{self, Event, Kind};
use ntbench::verifier::VIOLATION_EXIT;
use ntbench::{Config, OnViolation, Value, Verdict, wsk::Stats};
use wskclient_tests::rig::Listening;
use wskclient_tests::{Loaded, Rig, peer, timeline};

use crate::Image;
use crate::wish::ServiceWish;

/// How often the figures are looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// How often they are printed at most where they cannot be overwritten.
const LINE_PERIOD: Duration = Duration::from_secs(2);
/// STATUS_ADDRESS_ALREADY_EXISTS, as the driver prints it.
const ADDRESS_TAKEN: &str = "0xc000020a";
/// The exit status of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    image: Image,
    /// The port to echo at; 0 lets the system choose
    #[arg(long)]
    port: Option<u16>,
    /// The address to echo at: one or several, separated by commas, or * for all (default: 127.0.0.1 and ::1)
    #[arg(long)]
    address: Option<String>,
    /// Another service beside echo, at the same addresses: its name, what it does, over what, its port, and where a forwarder
    /// connects to
    #[arg(long = "service", value_name = ServiceWish::FORM, value_parser = ServiceWish::parse)]
    services: Vec<ServiceWish>,
    /// Where everything random begins
    #[arg(long)]
    seed: Option<u64>,
    /// Write what happened to this file, in the trace-event format that Perfetto opens
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Print each step of the lifecycle as it comes
    #[arg(long)]
    events: bool,
}

/// What the main thread is told.
enum Message {
    Line(String),
    Stop,
}

/// Serves until Ctrl-C; success means that the verifier's verdict is clean.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let trace_file = arguments.trace.as_deref().map(create).transpose()?;
    peer::allow_files(4096)?;
    let rig = Rig::new(&arguments.image.path, config(arguments))?;
    set_services(&rig, arguments);
    let (sender, messages) = channel();
    let told = sender.clone();
    stop_at_signals(sender.clone())?;
    if !arguments.events {
        rig.bench().subscribe(move |event| tell(event, &sender));
    }
    let driver = rig.load()?;
    let tools = rig.serve_tools()?;
    let _ = told.send(Message::Line(format!("`wskctl` (`cargo xtask ctl`) sees and steers it, at {}", tools.path().display())));
    serve(&driver, &messages, arguments.events);
    // No handle is open any more when the unload begins (L38).
    drop(tools);
    let verdict = end(&driver)?;
    if let Some((path, file)) = trace_file {
        trace::write_chrome(&rig.bench().trace(), file).with_context(|| format!("could not write {}", path.display()))?;
        say(&format!("trace: {} (open it at https://ui.perfetto.dev)", path.display()));
    }
    Ok(if verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(VIOLATION_EXIT as u8) })
}

/// Echo alone is served without a key `Services`; with more services it needs one of its own.
fn set_services(rig: &Rig, arguments: &Arguments) {
    if let Some(port) = arguments.port {
        rig.set_port(port);
    }
    if let Some(address) = &arguments.address {
        rig.set_address(address);
    }
    if arguments.services.is_empty() {
        return;
    }
    let port = arguments.port.map(|port| ("Port", Value::Dword(port.into())));
    let address = arguments.address.as_ref().map(|address| ("Address", Value::Sz(address.clone())));
    let echo: Vec<_> = [Some(("Kind", Value::Sz("echo".to_owned()))), port, address.clone()].into_iter().flatten().collect();
    rig.add_service("echo", &echo);
    for wish in &arguments.services {
        rig.add_service(&wish.name, &wish.values());
        rig.add_service(&wish.name, address.as_slice());
    }
}

fn config(arguments: &Arguments) -> Config {
    let default = Config::default();
    Config {
        seed: arguments.seed.unwrap_or(default.seed),
        on_violation: OnViolation::Record,
        trace: ntbench::Trace { print: arguments.events, ..default.trace },
        ..default
    }
}

fn create(path: &Path) -> Result<(&Path, BufWriter<File>)> {
    let file = File::create(path).with_context(|| format!("could not create {}", path.display()))?;
    Ok((path, BufWriter::new(file)))
}

/// The first Ctrl-C ends the serving, the second one everything.
fn stop_at_signals(sender: Sender<Message>) -> Result<()> {
    let stopping = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if stopping.swap(true, Ordering::Relaxed) {
            eprintln!("\nended by force: the driver was not unloaded");
            std::process::exit(INTERRUPTED);
        }
        let _ = sender.send(Message::Stop);
    })
    .context("could not take care of Ctrl-C")
}

/// Puts what a person should see of an event into words.
fn tell(event: &Event, sender: &Sender<Message>) {
    let line = match &event.kind {
        Kind::DbgPrint { text, .. } => match Listening::of(event) {
            Some(Listening { service, at, datagrams }) => {
                format!("serving {service} at {at} over {}", if datagrams { "udp" } else { "tcp" })
            }
            None => explain(text.trim_end()),
        },
        Kind::Violation { rule, text } => format!("VIOLATION of {rule}: {text}"),
        _ => return,
    };
    let _ = sender.send(Message::Line(line));
}

/// What the driver printed, with a hint where one helps.
pub fn explain(text: &str) -> String {
    if text.contains("cannot listen at") && text.contains(ADDRESS_TAKEN) {
        return format!(
            "{text}\n  Another program has this port; the driver tries again until it is free. (--port takes another one.)"
        );
    }
    text.to_owned()
}

/// Shows what goes on until it is told to stop.
fn serve(driver: &Loaded, messages: &Receiver<Message>, events: bool) {
    let mut display = Display::new(!events && stdout().is_terminal());
    display.line("wskclient.sys is loaded; Ctrl-C unloads it");
    loop {
        match messages.recv_timeout(PERIOD) {
            Ok(Message::Line(line)) => display.line(&line),
            Err(RecvTimeoutError::Timeout) => display.figures(driver.bench().provider().stats()),
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    display.end(driver.bench().provider().stats());
}

/// Unloads, and prints the timeline and the verdict.
fn end(driver: &Loaded) -> Result<Verdict> {
    let first = driver.now();
    let unload = driver.unload().context("the driver cannot be unloaded")?;
    let events = driver.bench().trace().split_off(first);
    say(&timeline::of_unload(&unload, &events).to_string());
    let verdict = driver.bench().verdict();
    say(&format!("verdict: {verdict}"));
    Ok(verdict)
}

/// Lines, and below them the figures of the moment: on a terminal in place, elsewhere as lines when they change.
struct Display {
    bar: Option<ProgressBar>,
    shown: String,
    at: Instant,
    bytes: u64,
}

impl Display {
    fn new(terminal: bool) -> Self {
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            bar.with_style(ProgressStyle::with_template("{wide_msg}").unwrap_or(ProgressStyle::default_spinner()))
        });
        Self { bar, shown: describe(&Stats::default()), at: Instant::now(), bytes: 0 }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn figures(&mut self, stats: Stats) {
        let text = describe(&stats);
        match &self.bar {
            Some(bar) => {
                let rate = (stats.bytes_out - self.bytes) as f64 / self.at.elapsed().as_secs_f64();
                bar.set_message(format!("{text}, {}/s", HumanBytes(rate as u64)));
                (self.at, self.bytes) = (Instant::now(), stats.bytes_out);
            }
            None if text != self.shown && self.at.elapsed() >= LINE_PERIOD => {
                say(&text);
                (self.at, self.shown) = (Instant::now(), text);
            }
            None => {}
        }
    }

    fn end(self, stats: Stats) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        say(&format!("\nunloading with {}", describe(&stats)));
    }
}

fn describe(stats: &Stats) -> String {
    let Stats { connections, connections_total, bytes_in, bytes_out, .. } = stats;
    let plural = if *connections == 1 { "" } else { "s" };
    let (received, sent) = (HumanBytes(*bytes_in), HumanBytes(*bytes_out));
    format!("{connections} connection{plural} ({connections_total} so far), {received} received, {sent} sent")
}

/// Prints a line; that nobody reads it is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(stdout().lock(), "{text}");
}
