//! Lines for Wine's debug channel, by the function that the driver's own lines go through, so that their order is kept.

#![allow(unsafe_code)] // Calls DbgPrint.

use core::fmt::{self, Write};

use crate::wine::DbgPrint;

/// The longest line, with its end.
const ROOM: usize = 240;

/// A line while it is written. What exceeds it is cut off.
struct Line {
    text: [u8; ROOM],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte for the line's end, one for the zero.
        let room = ROOM - 2 - self.length;
        let taken = text.len().min(room);
        self.text[self.length..self.length + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        Ok(())
    }
}

/// Prints a line with the prefix `wdfldr: `.
///
/// # IRQL
/// Any
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let mut line = Line { text: [0; ROOM], length: 0 };
    let _ = line.write_fmt(format_args!("wdfldr: {text}"));
    line.text[line.length] = b'\n';
    // SAFETY: both are zero-terminated, and the format takes one string.
    unsafe { DbgPrint(c"%s".as_ptr().cast(), line.text.as_ptr()) };
}

/// Prints a line: `say!("UnloadBegin {service}")`.
macro_rules! say {
    ($($text:tt)*) => { $crate::print::line(format_args!($($text)*)) };
}
pub(crate) use say;
