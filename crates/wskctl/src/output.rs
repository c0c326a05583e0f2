//! What commands print: lines and tables for people, JSON for machines. Colours are taken out again by the stream where there
//! is no terminal, or `NO_COLOR` or `--color never` says so.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::builder::Styles;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use jiff::tz::TimeZone;
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
pub(crate) struct Output {
    json: bool,
    /// How wide a table may be, where that is limited.
    width: Option<u16>,
    /// Whether JSON is for eyes.
    indented: bool,
    /// Whose clock times are told by, for people.
    zone: TimeZone,
    to: RefCell<Box<dyn Write>>,
}

impl Output {
    /// For people, or for machines, on standard output.
    pub(crate) fn new(json: bool) -> Self {
        let to = RefCell::new(Box::new(anstream::stdout()) as Box<dyn Write>);
        let (width, indented) = (terminal_width(), std::io::stdout().is_terminal());
        Self { json, width, indented, zone: TimeZone::system(), to }
    }

    /// The same, elsewhere.
    #[cfg(test)]
    pub(crate) fn to(to: impl Write + 'static, json: bool, width: Option<u16>) -> Self {
        Self { json, width, indented: false, zone: TimeZone::UTC, to: RefCell::new(Box::new(to)) }
    }

    /// Whether machines read it.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whose clock times are told by, for people.
    pub(crate) const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Prints one value as JSON: indented for a terminal, on one line elsewhere.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if self.indented { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(&text.map_err(|error| Failure::Output(error.into()))?)
    }

    /// Prints one value as JSON on one line, of which there are more to come.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(&serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))?)
    }

    /// Prints a line.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        let mut out = self.to.borrow_mut();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Prints a table; each line ends with its last word. Where the terminal is too narrow, the columns that may go are left
    /// out, one after the other; words are never broken.
    pub(crate) fn table(&self, mut table: Table, may_go: &[usize]) -> Result<(), Failure> {
        table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
        let mut text = table.to_string();
        for column in may_go {
            if self.width.is_none_or(|width| widest(&text) <= width.into()) {
                break;
            }
            if let Some(column) = table.column_mut(*column) {
                column.set_constraint(ColumnConstraint::Hidden);
            }
            text = table.to_string();
        }
        text.lines().try_for_each(|line| self.line(line.trim_end()))
    }
}

/// A table without lines.
pub(crate) fn new_table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !headings.is_empty() {
        table.set_header(headings.iter().map(|heading| styled(HEADING, heading)));
    }
    table
}

/// The length of the longest line, as it is seen.
fn widest(text: &str) -> usize {
    let seen = anstream::adapter::strip_str(text).to_string();
    seen.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or(0)
}

/// Puts these columns of a table, counted from 0, to the right: they are figures.
pub(crate) fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Text in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The terminal's, if standard output is one.
fn terminal_width() -> Option<u16> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(terminal_size::Width(width), _)| width)
}
