//! What `top` shows, by samples whose moments are given.

use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Next};
use super::{ansi, sample, view};
use crate::failure::Failure;
use crate::output::Output;
use crate::tests::fake::Fake;
use crate::tests::{example, outcome};
use crate::tool::Tool;

const PERIOD: Duration = Duration::from_secs(2);

/// What was shown before and after two seconds in which some bytes went.
fn app(fake: &Fake) -> App {
    let tool = Tool::new(fake.clone(), Output::new(false));
    let mut app = App::new(PERIOD, TimeZone::UTC);
    let first = sample::take(&tool, app.seen_events()).expect("a sample");
    app.took(first.clone());
    fake.change(|says| {
        says.state.loaded_us += 2_000_000;
        says.state.totals.received += 4 << 20;
        says.state.totals.sent += 2 << 20;
        says.state.totals.accepted += 30;
        says.services[0].totals.received += 4 << 20;
        says.sockets[4].received += 1 << 20;
        says.sockets[1].sent += 2 << 10;
    });
    let second = sample::take(&tool, app.seen_events()).expect("a sample");
    app.took(sample::Sample { at: first.at + PERIOD, ..second });
    app
}

fn screen(app: &App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it cannot fail");
    terminal.draw(|frame| view::draw(frame, app)).expect("it cannot fail");
    let lines = ansi::lines(terminal.backend().buffer());
    lines.iter().map(|line| anstream::adapter::strip_str(line).to_string() + "\n").collect()
}

fn press(app: &mut App, code: KeyCode) -> Next {
    app.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn rates_are_shown_at_every_size() {
    let app = app(&example::driver());
    insta::assert_snapshot!("at_110x36", screen(&app, 110, 36));
    insta::assert_snapshot!("at_80x20", screen(&app, 80, 20));
    for (width, height) in [(1, 1), (2, 40), (40, 2), (20, 10), (300, 5), (500, 200)] {
        assert_eq!(screen(&app, width, height).lines().count(), usize::from(height), "{width}x{height}");
    }
}

#[test]
fn keys_sort_scroll_pause_and_end() {
    let mut app = app(&example::driver());
    let ids = |app: &App| app.rows().iter().map(|row| row.socket.id).collect::<Vec<_>>();
    assert_eq!(ids(&app), [6, 2, 1, 3, 5, 7], "by rate");
    for expected in [[6, 5, 7, 2, 3, 1], [1, 2, 3, 5, 7, 6], [1, 2, 3, 5, 6, 7]] {
        assert_eq!(press(&mut app, KeyCode::Char('s')), Next::Draw);
        assert_eq!(ids(&app), expected);
    }
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    assert_eq!(ids(&app), [3, 5, 6, 7]);
    press(&mut app, KeyCode::PageDown);
    assert_eq!(ids(&app), [7]);
    press(&mut app, KeyCode::Up);
    assert_eq!(ids(&app), [6, 7]);
    press(&mut app, KeyCode::Home);
    assert_eq!(ids(&app).len(), 6);
    assert_eq!((press(&mut app, KeyCode::Char(' ')), app.is_paused()), (Next::Draw, true));
    assert!(screen(&app, 80, 20).contains("paused"));
    assert_eq!((press(&mut app, KeyCode::Char(' ')), app.is_paused()), (Next::Sample, false));
    press(&mut app, KeyCode::Char('+'));
    assert_eq!(app.period(), PERIOD / 2);
    press(&mut app, KeyCode::Char('x'));
    assert_eq!(press(&mut app, KeyCode::Esc), Next::End);
    assert_eq!(press(&mut app, KeyCode::Char('q')), Next::End);
    assert_eq!(press(&mut app, KeyCode::Char('c')), Next::Draw);
    assert_eq!(app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::End);
}

#[test]
fn a_driver_that_goes_and_comes_back_is_shown() {
    let fake = example::driver();
    let mut app = app(&fake);
    app.failed(&Failure::NoBench);
    let text = screen(&app, 120, 20);
    assert!(text.contains("no bench is running (start one in another terminal") && text.contains("127.0.0.1:40007"), "{text}");
    // Loaded anew, and busy since: what came since the sample before is not known.
    fake.change(|says| {
        says.state.loaded_us = 1;
        says.state.totals.received += 1 << 30;
        says.sockets.truncate(1);
    });
    let tool = Tool::new(fake.clone(), Output::new(false));
    let before = app.sample().expect("there is one").at;
    let sample = sample::take(&tool, app.seen_events()).expect("a sample");
    app.took(sample::Sample { at: before + PERIOD, ..sample });
    let text = screen(&app, 120, 20);
    assert!(!text.contains("no bench") && text.contains("received - "), "{text}");
}

#[test]
fn without_a_terminal_it_is_printed_once_or_refused() {
    let fake = example::driver();
    let (text, result) = outcome(&fake, "top --once --interval 50ms --size 80x30", None);
    assert!(result.is_ok() && text.lines().count() == 30, "{text}");
    let (svg, result) = outcome(&fake, "top --once --svg --interval 50ms --size 80x30", None);
    assert!(result.is_ok() && svg.starts_with("<svg ") && svg.contains("127.0.0.1:51000"), "{svg}");
    for line in
        ["top --svg", "top --size 80x30", "top --json", "top --interval 1ms", "top --interval 1h", "top --once --size 0x1"]
    {
        let (_, result) = outcome(&fake, line, None);
        assert_eq!(result.expect_err(line).exit(), crate::failure::Exit::Usage, "{line}");
    }
}
