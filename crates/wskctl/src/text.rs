//! How figures are written for people.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

/// A number of bytes.
pub(crate) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// A number of things.
pub(crate) fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

/// A time, with three digits or so.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match time.as_nanos() {
        0..1_000_000 => format!("{} us", time.as_micros()),
        1_000_000..10_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        10_000_000..1_000_000_000 => format!("{} ms", time.as_millis()),
        1_000_000_000..60_000_000_000 => format!("{:.1} s", time.as_secs_f64()),
        60_000_000_000..3_600_000_000_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600_000_000_000..86_400_000_000_000 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let told = [417e-6, 4.12e-3, 0.412, 4.123, 61.0, 3_700.0, 100_000.0].map(|time| duration(Duration::from_secs_f64(time)));
        assert_eq!(told, ["417 us", "4.1 ms", "412 ms", "4.1 s", "1 min 1 s", "1 h 1 min", "1 d 3 h"]);
    }
}
