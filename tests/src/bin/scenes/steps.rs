//! [`Steps`]: what a scene without hands does, one after the other, each told as it comes and all of them at the end.

use std::time::Instant;

use anyhow::{Context, Result};
use comfy_table::Table;
use wskclient_tests::timeline;

/// The steps so far, each with what came of it and how long it took.
pub struct Steps {
    table: Table,
}

impl Steps {
    /// None yet.
    pub fn new() -> Self {
        Self { table: timeline::table(&["time", "step", "result"], 1) }
    }

    /// Takes one step, which answers with what came of it.
    pub fn take<T>(&mut self, name: &str, step: impl FnOnce() -> Result<(T, String)>) -> Result<T> {
        println!("{name} ...");
        let began = Instant::now();
        let outcome = step().with_context(|| name.to_owned());
        let result = outcome.as_ref().map_or_else(|error| format!("FAILED: {error:#}"), |(_, result)| result.clone());
        println!("    {result}");
        let short = result.lines().next().unwrap_or_default().to_owned();
        self.table.add_row([timeline::milliseconds(began.elapsed()), name.to_owned(), short]);
        outcome.map(|(value, _)| value)
    }

    /// All of them.
    pub fn table(&self) -> &Table {
        &self.table
    }
}
