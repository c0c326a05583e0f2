//! Commands and what they print, before a driver whose answers are known.

pub(crate) mod example;
pub(crate) mod fake;
mod metrics;
mod printed;
mod refused;
mod traffic;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::cli::tests::run_with;
use crate::failure::Failure;
use crate::output::Output;
use fake::Fake;

/// What a command prints with a driver, and what it ends with.
pub(crate) fn outcome(fake: &Fake, line: &str, width: Option<u16>) -> (String, Result<(), Failure>) {
    let arguments: Vec<_> = line.split_whitespace().collect();
    let sink = Sink::default();
    let result = run_with(fake.clone(), &arguments, |json| Output::to(sink.clone(), json, width));
    let bytes = sink.0.borrow().clone();
    let text = String::from_utf8(bytes).expect("it prints UTF-8");
    (anstream::adapter::strip_str(&text).to_string(), result)
}

/// The same, of one that succeeds.
fn printed(fake: &Fake, line: &str) -> String {
    let (text, result) = outcome(fake, line, None);
    result.unwrap_or_else(|failure| panic!("wskctl {line}: {failure}"));
    text
}

#[derive(Clone, Default)]
struct Sink(Rc<RefCell<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
