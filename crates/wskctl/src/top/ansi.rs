//! A frame as lines of text with colours.

use std::fmt::Write;

use anstyle::Style;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Color;

/// The lines of a frame, without blanks at their ends.
pub(super) fn lines(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    (area.top()..area.bottom()).map(|row| line(buffer, row)).collect()
}

fn line(buffer: &Buffer, row: u16) -> String {
    let area = buffer.area;
    let cells: Vec<_> = (area.left()..area.right()).map(|column| &buffer[(column, row)]).collect();
    let used = cells.iter().rposition(|cell| cell.symbol() != " ").map_or(0, |last| last + 1);
    let mut text = String::new();
    for run in cells[..used].chunk_by(|one, next| one.style() == next.style()) {
        let symbols: String = run.iter().map(|cell| cell.symbol()).collect();
        let style = style(run[0]);
        let _ = write!(text, "{style}{symbols}{style:#}");
    }
    text
}

/// The terminal's own colours are those that are not said.
fn style(cell: &Cell) -> Style {
    let own = |color: &Color| *color != Color::Reset;
    let style = cell.style();
    Style::from(ratatui::style::Style {
        fg: style.fg.filter(own),
        bg: style.bg.filter(own),
        underline_color: style.underline_color.filter(own),
        ..style
    })
}
