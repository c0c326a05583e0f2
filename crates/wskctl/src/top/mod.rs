//! `wskctl top`: the driver at a glance, again and again.
//!
//! [`sample`] asks the driver, [`app`] is what keys and samples change, [`view`] draws it. Between two samples no handle is open.

mod ansi;
mod app;
mod sample;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::SignedDuration;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, Terminal};

use crate::failure::Failure;
use crate::tool::Tool;
use app::{App, Next};

/// The shortest period.
const LEAST_PERIOD: Duration = Duration::from_millis(50);
/// The longest.
const MOST_PERIOD: Duration = Duration::from_secs(60);
/// The size of a frame that no terminal gives a size to.
const SIZE: (u16, u16) = (100, 32);

/// How often, or just once.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How often to ask the driver: 50ms to 60s
    #[arg(short, long, value_name = "SPAN", default_value = "1s")]
    interval: SignedDuration,
    /// Print what it shows after two samples, and end
    #[arg(long)]
    once: bool,
    /// With --once: print it as a picture, in SVG
    #[arg(long, requires = "once")]
    svg: bool,
    /// With --once: how many columns and lines
    #[arg(long, value_name = "WIDTHxHEIGHT", requires = "once", value_parser = size)]
    size: Option<(u16, u16)>,
}

/// Shows it until it is told to end.
pub(crate) fn run(tool: &Tool, arguments: &Arguments) -> Result<(), Failure> {
    if tool.output().is_json() {
        return Err(Failure::usage("top is for eyes; `wskctl status --json` and `wskctl sockets --json` are not".to_owned()));
    }
    let period = Duration::try_from(arguments.interval).ok().filter(|period| (LEAST_PERIOD..=MOST_PERIOD).contains(period));
    let period = period.ok_or_else(|| Failure::usage("--interval takes 50ms to 60s".to_owned()))?;
    // What is wrong from the beginning is told as by any command.
    let mut app = App::new(period, tool.output().zone().clone());
    app.took(sample::take(tool, app.seen_events())?);
    if arguments.once {
        return once(tool, &mut app, arguments);
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal; `wskctl top --once` prints what it shows".to_owned()));
    }
    full_screen(tool, &mut app)
}

fn once(tool: &Tool, app: &mut App, arguments: &Arguments) -> Result<(), Failure> {
    let (width, height) = arguments.size.unwrap_or(SIZE);
    std::thread::sleep(app.period());
    app.took(sample::take(tool, app.seen_events())?);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, app));
    let lines = ansi::lines(terminal.backend().buffer());
    if arguments.svg {
        return tool.output().line(&anstyle_svg::Term::new().render_svg(&lines.join("\n")));
    }
    lines.iter().try_for_each(|line| tool.output().line(line))
}

/// A terminal in full-screen mode. It is put back when this is dropped, and before a panic is told.
struct FullScreen(DefaultTerminal);

impl Drop for FullScreen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn full_screen(tool: &Tool, app: &mut App) -> Result<(), Failure> {
    if anstream::ColorChoice::global() == anstream::ColorChoice::Never {
        ratatui::crossterm::style::force_color_output(false);
    }
    let mut screen = FullScreen(ratatui::try_init().map_err(Failure::Output)?);
    let mut due = Instant::now() + app.period();
    loop {
        screen.0.draw(|frame| view::draw(frame, app)).map_err(Failure::Output)?;
        if event::poll(due.saturating_duration_since(Instant::now())).map_err(Failure::Output)?
            && let Event::Key(key) = event::read().map_err(Failure::Output)?
        {
            match app.key(key) {
                Next::End => return Ok(()),
                Next::Sample => due = Instant::now(),
                Next::Draw => {}
            }
        }
        if Instant::now() >= due {
            if !app.is_paused() {
                match sample::take(tool, app.seen_events()) {
                    Ok(sample) => app.took(sample),
                    Err(failure) => app.failed(&failure),
                }
            }
            due = Instant::now() + app.period();
        }
    }
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let parts = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    parts
        .filter(|(width, height)| (1..=1000).contains(width) && (1..=1000).contains(height))
        .ok_or_else(|| "as 100x32".to_owned())
}
