//! How `top` looks.

use control_abi::services::Service;
use control_abi::{Gate, Registration, State};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, BorderType, Paragraph, Row as TableRow, Sparkline, SparklineBar, Table};

use super::app::{App, Rate, Row};
use super::sample::Sample;
use crate::events;
use crate::services::{kind as kind_of, listens_at, state as state_of};
use crate::sockets::{kind, protocol, state};
use crate::status::{attachment, driver_version, held, said};
use crate::text::{address, bytes, count, counted, duration, micros};
use crate::tool::name_of;

/// Below this height there are no events, and below half of it no figures.
const TALL: u16 = 24;
/// From this width on there is room for both addresses of a socket.
const BOTH_ADDRESSES: u16 = 112;
const FRAME: Style = Style::new().fg(Color::DarkGray);
const RECEIVED: Style = Style::new().fg(Color::Cyan);
const SENT: Style = Style::new().fg(Color::Magenta);
const HEADING: Style = Style::new().fg(Color::Reset).bold();
const IDLE: Style = Style::new().fg(Color::Gray);

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let Some(sample) = app.sample() else { return };
    let height = frame.area().height;
    let services = if height > TALL / 2 && !sample.services.is_empty() { sample.services.len().min(8) as u16 + 3 } else { 0 };
    let events = if height >= TALL { 7 } else { 0 };
    let figures = if height > TALL / 2 { 5 } else { 0 };
    let [title, curves, of_services, of_sockets, of_events, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(figures),
        Constraint::Length(services),
        Constraint::Min(0),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(title_line(sample), title);
    draw_figures(frame, curves, app, sample);
    draw_services(frame, of_services, app, sample);
    draw_sockets(frame, of_sockets, app);
    draw_events(frame, of_events, app);
    frame.render_widget(last_line(app), keys);
}

fn title_line(sample: &Sample) -> Line<'static> {
    let (style, word) = standing(&sample.state);
    let mut spans = vec![
        Span::from(format!(" wskclient {} ", driver_version(&sample.version))).bold(),
        Span::styled(format!(" {word} "), style),
    ];
    spans.extend(attachment(&sample.state).map(|attachment| Span::from(format!(" {attachment}"))));
    let loaded = said(sample.state.loaded_us).map(|age| format!("  loaded {} ago", micros(age)));
    spans.extend(loaded.map(|loaded| Span::styled(loaded, FRAME)));
    Line::from(spans)
}

fn standing(state: &State) -> (Style, &'static str) {
    let good = Style::new().fg(Color::Black).bg(Color::Green);
    let warning = Style::new().fg(Color::Black).bg(Color::Yellow);
    match Registration::from_wire(state.registration) {
        Some(Registration::In) if state.gate == Gate::Open.to_wire() => (good, "active"),
        Some(Registration::In) if state.gate == Gate::Shut.to_wire() => (warning, "being detached"),
        Some(Registration::In) => (warning, "no provider"),
        Some(Registration::Out) => (warning, "inactive"),
        Some(Registration::Registering) => (warning, "registering"),
        Some(Registration::Leaving) => (warning, "leaving"),
        None => (warning, "unknown"),
    }
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, app: &App, sample: &Sample) {
    let [received, sent, figures] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1), Constraint::Max(36)]).areas(area);
    let Rate { received: rate_in, sent: rate_out } = app.rate();
    draw_curve(frame, received, RECEIVED, format!(" received {} ", speed(rate_in)), app.received_curve().iter());
    draw_curve(frame, sent, SENT, format!(" sent {} ", speed(rate_out)), app.sent_curve().iter());
    let (state, totals) = (&sample.state, &sample.state.totals);
    let pool = said(held(state)).map(|held| format!(", pool {}", bytes(held))).unwrap_or_default();
    let lines = vec![
        Line::from(format!("{}, {:.0}/s new", counted(totals.connections, "connection"), app.accepted())),
        Line::from(format!("{} refused, {} failed", count(totals.refused), count(totals.failed))),
        Line::from(format!("{}{pool}", counted(state.in_flight.into(), "call"))),
    ];
    frame.render_widget(Paragraph::new(lines).block(block(" now ".to_owned())), figures);
}

fn draw_curve<'a>(
    frame: &mut Frame<'_>,
    area: Rect,
    style: Style,
    title: String,
    rates: impl DoubleEndedIterator<Item = &'a u64>,
) {
    let block = block(title);
    let inside = block.inner(area);
    // The newest is at the right.
    let mut bars: Vec<_> = rates.rev().take(inside.width.into()).map(|rate| SparklineBar::from(*rate)).collect();
    bars.resize(inside.width.into(), SparklineBar::from(0));
    bars.reverse();
    frame.render_widget(Sparkline::default().data(bars).style(style).block(block), area);
}

/// A column: its heading, its width, from which width of the terminal on it is there, and what is in it.
struct Column<'a, T> {
    heading: &'static str,
    width: Constraint,
    from: u16,
    is_figure: bool,
    text: Box<dyn Fn(&T) -> String + 'a>,
}

fn words<'a, T>(heading: &'static str, width: Constraint, from: u16, text: impl Fn(&T) -> String + 'a) -> Column<'a, T> {
    Column { heading, width, from, is_figure: false, text: Box::new(text) }
}

fn figures<'a, T>(heading: &'static str, width: u16, from: u16, text: impl Fn(&T) -> String + 'a) -> Column<'a, T> {
    Column { heading, width: Constraint::Length(width), from, is_figure: true, text: Box::new(text) }
}

/// Draws a table with the columns for which there is room.
fn draw_table<T>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: String,
    columns: &[Column<'_, T>],
    rows: &[T],
    style: impl Fn(&T) -> Style,
) {
    let columns: Vec<_> = columns.iter().filter(|column| area.width >= column.from).collect();
    let cell = |column: &Column<'_, T>, text: String| {
        Text::from(text).alignment(if column.is_figure { Alignment::Right } else { Alignment::Left })
    };
    let row = |row: &T| {
        TableRow::new(columns.iter().map(|column| cell(column, (column.text)(row))).collect::<Vec<_>>()).style(style(row))
    };
    let heading = columns.iter().map(|column| cell(column, column.heading.to_owned())).collect::<Vec<_>>();
    let table = Table::new(rows.iter().take(area.height.into()).map(row), columns.iter().map(|column| column.width));
    frame.render_widget(table.header(TableRow::new(heading).style(HEADING)).block(block(title)), area);
}

fn draw_services(frame: &mut Frame<'_>, area: Rect, app: &App, sample: &Sample) {
    let columns: [Column<'_, Service>; 7] = [
        words("service", Constraint::Max(14), 0, |service: &Service| name_of(service).to_owned()),
        words("kind", Constraint::Length(7), 96, |service: &Service| kind_of(&service.settings).into()),
        words("state", Constraint::Length(8), 0, |service: &Service| state_of(service).into()),
        words("listens at", Constraint::Fill(1), 0, listens_at),
        figures("conns", 7, 96, |service: &Service| count(service.totals.connections)),
        figures("received", 12, 0, |service: &Service| speed(app.service_rate(service.id).received)),
        figures("sent", 12, 0, |service: &Service| speed(app.service_rate(service.id).sent)),
    ];
    let title = format!(" services {} ", sample.services.len());
    let style = |service: &Service| if service.status != 0 { Style::new().red() } else { Style::new() };
    draw_table(frame, area, title, &columns, &sample.services, style);
}

fn draw_sockets(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let columns: [Column<'_, Row>; 9] = [
        words("id", Constraint::Length(6), 0, |row: &Row| row.socket.id.to_string()),
        words("kind", Constraint::Length(14), 0, |row: &Row| format!("{} {}", protocol(&row.socket), kind(&row.socket))),
        words("state", Constraint::Length(10), 76, |row: &Row| state(&row.socket).into()),
        words("local", Constraint::Fill(1), BOTH_ADDRESSES, |row: &Row| address(&row.socket.local)),
        words("remote", Constraint::Fill(1), 0, move |row: &Row| match row.socket.remote.family {
            0 if area.width < BOTH_ADDRESSES => format!("at {}", address(&row.socket.local)),
            _ => address(&row.socket.remote),
        }),
        words("owner", Constraint::Length(10), 92, |row: &Row| app.owners().text(row.socket.owner)),
        figures("age", 9, 102, |row: &Row| micros(row.socket.age_us)),
        figures("received", 12, 0, |row: &Row| speed(row.rate.received)),
        figures("sent", 12, 0, |row: &Row| speed(row.rate.sent)),
    ];
    let all = app.sample().map_or(0, |sample| sample.sockets.len());
    let from = if app.first_row() > 0 { format!(", from the {}.", app.first_row() + 1) } else { String::new() };
    let title = format!(" sockets {}, by {}{from} ", count(all as u64), app.order().name());
    let style = |row: &Row| if row.rate.total() > 0.0 { Style::new().bold() } else { IDLE };
    draw_table(frame, area, title, &columns, app.rows(), style);
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let room = usize::from(area.height.saturating_sub(2));
    let newest = app.events().iter().rev().take(room).rev();
    let lines: Vec<_> = newest
        .map(|event| {
            let line = events::line(event, app.zone());
            Line::from(anstream::adapter::strip_str(&line).to_string())
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block(" events ".to_owned())), area);
}

fn last_line(app: &App) -> Line<'static> {
    if let Some(failure) = app.failure() {
        return Line::styled(format!(" {failure}"), Style::new().white().on_red());
    }
    let paused = if app.is_paused() { Span::styled(" paused ", Style::new().black().on_yellow()) } else { Span::default() };
    let keys = format!(" q ends  s sorts  \u{2191}\u{2193} scroll  space pauses  +/- every {}", duration(app.period()));
    Line::from(vec![paused, Span::styled(keys, FRAME)])
}

fn block(title: String) -> Block<'static> {
    Block::bordered().border_type(BorderType::Rounded).border_style(FRAME).title(Span::styled(title, HEADING))
}

fn speed(rate: f64) -> String {
    if rate < 0.5 { "-".to_owned() } else { format!("{}/s", bytes(rate as u64)) }
}
