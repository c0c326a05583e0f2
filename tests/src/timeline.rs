//! The end of a driver, step by step, as a table.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use ntbench::Unload;
use ntbench::trace::{Event, Kind};

/// Milliseconds as people read them.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// An empty table with these columns, the first `numbers` of which are numbers.
pub fn table(columns: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(columns);
    for column in table.column_iter_mut().take(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The steps of an unload with their times; `events` are those of the time in which it happened.
pub fn of_unload(unload: &Unload, events: &[Event]) -> Table {
    let mut table = table(&["at", "took", "step", ""], 2);
    let work = work_at_detach(events);
    for phase in &unload.phases {
        let detail = match &work {
            Some(work) if phase.name == "detach callback" => format!("{}, {work}", phase.detail),
            _ => phase.detail.clone(),
        };
        table.add_row([milliseconds(phase.at), milliseconds(phase.took), phase.name.to_owned(), detail]);
    }
    let total = milliseconds(unload.total);
    table.add_row([total.clone(), total, "unload".to_owned(), "has returned".to_owned()]);
    if unload.lingered > Duration::from_micros(100) {
        let lingered = milliseconds(unload.lingered);
        table.add_row(["".to_owned(), lingered, "image".to_owned(), "kept by references to the device".to_owned()]);
    }
    table
}

/// What the driver last said of the work that it had when the detach began: `3 calls in flight, 2 sockets`.
fn work_at_detach(events: &[Event]) -> Option<String> {
    events.iter().rev().find_map(|event| {
        let Kind::DbgPrint { text, .. } = &event.kind else { return None };
        let (_, work) = text.split_once("detach pending, ")?;
        Some(work.trim().split(", ").map(singular).collect::<Vec<_>>().join(", "))
    })
}

/// `1 calls in flight` as people say it.
fn singular(text: &str) -> String {
    match text {
        "1 calls in flight" => "1 call in flight".to_owned(),
        "1 sockets" => "1 socket".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(singular("1 calls in flight"), "1 call in flight");
        assert_eq!(singular("11 calls in flight"), "11 calls in flight");
        assert_eq!(singular("2 sockets"), "2 sockets");
    }
}
