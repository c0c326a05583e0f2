//! What commands print: lines and tables for people, JSON for machines. Colours are taken out again by the stream where there
//! is no terminal, or `NO_COLOR` or `--color never` says so.

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::builder::Styles;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// What is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What somebody should know.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
/// What went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The help's.
pub(crate) const STYLES: Styles = Styles::styled()
    .header(HEADING)
    .usage(HEADING)
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(FAINT)
    .error(BAD)
    .valid(GOOD)
    .invalid(WARNING);

/// Where commands print, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// For people, or for machines.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read it.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints one value as JSON: indented for a terminal, on one line elsewhere.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let pretty = std::io::stdout().is_terminal();
        let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(&text.map_err(|error| Failure::Output(error.into()))?)
    }

    /// Prints a line.
    pub(crate) fn line(self, line: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Prints a table; each line ends with its last word.
    pub(crate) fn table(self, table: &Table) -> Result<(), Failure> {
        let text = table.to_string();
        text.lines().try_for_each(|line| self.line(line.trim_end()))
    }
}

/// A table without lines, as wide as the terminal, if there is one.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !headings.is_empty() {
        table.set_header(headings.iter().map(|heading| styled(HEADING, heading)));
    }
    if let Some(width) = terminal_width() {
        table.set_width(width);
    }
    table
}

/// Text in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The terminal's, if standard output is one.
fn terminal_width() -> Option<u16> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(terminal_size::Width(width), _)| width)
}
