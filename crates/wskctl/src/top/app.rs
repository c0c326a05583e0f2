//! [`App`]: what is shown, which samples and keys change.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use control_abi::events::Event;
use control_abi::sockets::Socket;
use jiff::tz::TimeZone;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::sample::Sample;
use super::{LEAST_PERIOD, MOST_PERIOD};
use crate::failure::Failure;
use crate::sockets::Owners;

/// How many events are kept.
const EVENTS: usize = 64;
/// How many rates are kept for the curves.
pub(super) const CURVE: usize = 240;
/// How many sockets a page key goes on by.
const PAGE: usize = 10;

/// The order of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Rate,
    Bytes,
    Age,
    Number,
}

/// What to do after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    End,
    Draw,
    Sample,
}

/// A rate each way, in bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) received: f64,
    pub(super) sent: f64,
}

/// A socket, and how fast it is.
pub(super) struct Row {
    pub(super) socket: Socket,
    pub(super) rate: Rate,
}

/// What is shown.
pub(crate) struct App {
    period: Duration,
    zone: TimeZone,
    sample: Option<Sample>,
    owners: Owners,
    rows: Vec<Row>,
    services: HashMap<u64, Rate>,
    rate: Rate,
    accepted: f64,
    received: VecDeque<u64>,
    sent: VecDeque<u64>,
    events: VecDeque<Event>,
    order: Order,
    first_row: usize,
    paused: bool,
    failure: Option<String>,
}

impl App {
    /// Nothing yet.
    pub(crate) fn new(period: Duration, zone: TimeZone) -> Self {
        Self {
            period,
            zone,
            sample: None,
            owners: Owners::default(),
            rows: Vec::new(),
            services: HashMap::new(),
            rate: Rate::default(),
            accepted: 0.0,
            received: VecDeque::new(),
            sent: VecDeque::new(),
            events: VecDeque::new(),
            order: Order::Rate,
            first_row: 0,
            paused: false,
            failure: None,
        }
    }

    /// A new sample: rates are those since the one before, of the same load of the driver.
    pub(crate) fn took(&mut self, sample: Sample) {
        let before = self.sample.take().filter(|before| before.state.loaded_us <= sample.state.loaded_us);
        let span = before.as_ref().map_or(0.0, |before| seconds_between(before.at, sample.at));
        let rates = Rates { before: before.as_ref(), span };
        self.rows = rates.of_sockets(&sample);
        self.services = rates.of_services(&sample);
        self.rate = rates.of_all(&sample);
        self.accepted =
            before.as_ref().map_or(0.0, |before| per_second(before.state.totals.accepted, sample.state.totals.accepted, span));
        push(&mut self.received, self.rate.received as u64, CURVE);
        push(&mut self.sent, self.rate.sent as u64, CURVE);
        sample.events.iter().for_each(|event| push(&mut self.events, *event, EVENTS));
        self.owners = Owners::of(&sample.services);
        self.sample = Some(sample);
        self.failure = None;
        self.sort();
    }

    /// The driver did not answer: what was shown stays, with what is wrong.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let hint = failure.hint().map(|hint| format!(" ({})", hint.lines().next().unwrap_or_default())).unwrap_or_default();
        self.failure = Some(format!("{failure}{hint}"));
    }

    fn sort(&mut self) {
        let total = |row: &Row| row.socket.received.saturating_add(row.socket.sent);
        match self.order {
            Order::Rate => self
                .rows
                .sort_by(|one, other| other.rate.total().total_cmp(&one.rate.total()).then(one.socket.id.cmp(&other.socket.id))),
            Order::Bytes => self.rows.sort_by_key(|row| (std::cmp::Reverse(total(row)), row.socket.id)),
            Order::Age => self.rows.sort_by_key(|row| (std::cmp::Reverse(row.socket.age_us), row.socket.id)),
            Order::Number => self.rows.sort_by_key(|row| row.socket.id),
        }
        self.first_row = self.first_row.min(self.rows.len().saturating_sub(1));
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Draw;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Next::End,
            KeyCode::Char('c' | 'd') if control => return Next::End,
            KeyCode::Char(' ' | 'p') => return self.pause(),
            KeyCode::Char('s') => self.sort_otherwise(),
            KeyCode::Char('+' | '=') => self.period = (self.period / 2).max(LEAST_PERIOD),
            KeyCode::Char('-') => self.period = (self.period * 2).min(MOST_PERIOD),
            KeyCode::Down | KeyCode::Char('j') => self.scroll_to(self.first_row + 1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll_to(self.first_row.saturating_sub(1)),
            KeyCode::PageDown => self.scroll_to(self.first_row + PAGE),
            KeyCode::PageUp => self.scroll_to(self.first_row.saturating_sub(PAGE)),
            KeyCode::Home | KeyCode::Char('g') => self.scroll_to(0),
            KeyCode::End | KeyCode::Char('G') => self.scroll_to(usize::MAX),
            _ => {}
        }
        Next::Draw
    }

    fn pause(&mut self) -> Next {
        self.paused = !self.paused;
        if self.paused { Next::Draw } else { Next::Sample }
    }

    fn sort_otherwise(&mut self) {
        self.order = self.order.next();
        self.sort();
    }

    fn scroll_to(&mut self, row: usize) {
        self.first_row = row.min(self.rows.len().saturating_sub(1));
    }

    pub(super) const fn period(&self) -> Duration {
        self.period
    }

    pub(super) const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// The number of the last event that was seen.
    pub(super) fn seen_events(&self) -> u64 {
        self.sample.as_ref().map_or(0, |sample| sample.next_event)
    }

    pub(super) const fn sample(&self) -> Option<&Sample> {
        self.sample.as_ref()
    }

    pub(super) const fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Sockets in their order, from the first that is shown.
    pub(super) fn rows(&self) -> &[Row] {
        self.rows.get(self.first_row..).unwrap_or_default()
    }

    pub(super) const fn first_row(&self) -> usize {
        self.first_row
    }

    pub(super) const fn order(&self) -> Order {
        self.order
    }

    pub(super) fn service_rate(&self, id: u64) -> Rate {
        self.services.get(&id).copied().unwrap_or_default()
    }

    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Connections a second.
    pub(super) const fn accepted(&self) -> f64 {
        self.accepted
    }

    pub(super) const fn received_curve(&self) -> &VecDeque<u64> {
        &self.received
    }

    pub(super) const fn sent_curve(&self) -> &VecDeque<u64> {
        &self.sent
    }

    /// The newest last.
    pub(super) const fn events(&self) -> &VecDeque<Event> {
        &self.events
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// What is to be compared with the sample before, if there is one.
struct Rates<'a> {
    before: Option<&'a Sample>,
    span: f64,
}

impl Rates<'_> {
    fn of_sockets(&self, sample: &Sample) -> Vec<Row> {
        let before = self.before.map(|before| &before.sockets[..]).unwrap_or_default();
        let before: HashMap<_, _> = before.iter().map(|socket| (socket.id, (socket.received, socket.sent))).collect();
        let row = |socket: &Socket| {
            // What is new was made since the sample before, and had nothing then.
            let then = before.get(&socket.id).copied().unwrap_or_default();
            let rate = if self.before.is_some() { self.rate(then, (socket.received, socket.sent)) } else { Rate::default() };
            Row { socket: *socket, rate }
        };
        sample.sockets.iter().map(row).collect()
    }

    fn of_services(&self, sample: &Sample) -> HashMap<u64, Rate> {
        let before = self.before.map(|before| &before.services[..]).unwrap_or_default();
        let rate = |service: &control_abi::services::Service| {
            let then = before.iter().find(|then| then.id == service.id).map_or(service.totals, |then| then.totals);
            (service.id, self.rate((then.received, then.sent), (service.totals.received, service.totals.sent)))
        };
        sample.services.iter().map(rate).collect()
    }

    fn of_all(&self, sample: &Sample) -> Rate {
        let (now, then) = (sample.state.totals, self.before.map_or(sample.state.totals, |before| before.state.totals));
        self.rate((then.received, then.sent), (now.received, now.sent))
    }

    fn rate(&self, then: (u64, u64), now: (u64, u64)) -> Rate {
        Rate { received: per_second(then.0, now.0, self.span), sent: per_second(then.1, now.1, self.span) }
    }
}

impl Rate {
    pub(super) const fn total(self) -> f64 {
        self.received + self.sent
    }
}

impl Order {
    const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Bytes,
            Self::Bytes => Self::Age,
            Self::Age => Self::Number,
            Self::Number => Self::Rate,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::Number => "number",
        }
    }
}

fn seconds_between(before: Instant, after: Instant) -> f64 {
    after.saturating_duration_since(before).as_secs_f64()
}

fn per_second(then: u64, now: u64, span: f64) -> f64 {
    if span > 0.0 { now.saturating_sub(then) as f64 / span } else { 0.0 }
}

fn push<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}
