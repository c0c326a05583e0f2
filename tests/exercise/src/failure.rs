//! Why a scenario failed: what it was doing, and the error as text.
//!
//! # IRQL
//! Any.

use core::fmt::{self, Write};

/// What a scenario was doing when something was not as it should be, and what that was.
pub(crate) struct Failure {
    step: &'static str,
    text: [u8; 96],
    length: usize,
}

impl Failure {
    /// Makes one; what of `why` is too long is cut off.
    pub(crate) fn new(step: &'static str, why: impl fmt::Display) -> Self {
        let mut failure = Self { step, text: [0; 96], length: 0 };
        // It only fails for an argument that does.
        let _ = write!(failure, "{why}");
        failure
    }
}

impl Write for Failure {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, byte) in self.text.iter_mut().skip(self.length).zip(text.bytes()) {
            *place = byte;
            self.length += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.get(..self.length).unwrap_or_default();
        write!(f, "{}: {}", self.step, core::str::from_utf8(text).unwrap_or("?"))
    }
}

/// Turns the errors of a step into a [`Failure`].
pub(crate) trait Doing<T> {
    /// Says what was being done, if it failed.
    fn doing(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: fmt::Debug> Doing<T> for Result<T, E> {
    fn doing(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step, format_args!("{error:?}")))
    }
}

/// Fails unless something is as expected.
pub(crate) fn expect(is_so: bool, what: &'static str) -> Result<(), Failure> {
    if is_so { Ok(()) } else { Err(Failure::new("expected", what)) }
}
