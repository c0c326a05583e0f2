//! How figures are written for people.

use std::borrow::Cow;
use std::time::Duration;

use control_abi::WireAddress;
use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;

/// 1970 in the count of FILETIME, which begins with 1601.
const UNIX_EPOCH: i128 = 116_444_736_000_000_000;

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

/// A time in microseconds.
pub(crate) fn micros(time: u64) -> String {
    duration(Duration::from_micros(time))
}

/// A time in microseconds, in seconds.
pub(crate) fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

/// When something happened, given as FILETIME.
pub(crate) fn timestamp(filetime: u64) -> Timestamp {
    Timestamp::from_nanosecond((i128::from(filetime) - UNIX_EPOCH) * 100).unwrap_or_default()
}

/// The name of what a number stands for, or the number, from a driver that knows more.
pub(crate) fn name(known: Option<&'static str>, number: u32) -> Cow<'static, str> {
    known.map_or_else(|| Cow::Owned(number.to_string()), Cow::Borrowed)
}

/// An address, or `-`.
pub(crate) fn address(address: &WireAddress) -> String {
    address.address().map_or_else(|| "-".to_owned(), |address| address.to_string())
}

/// `1 connection`, `2 connections`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let told = [417e-6, 4.12e-3, 0.412, 4.123, 61.0, 3_700.0, 100_000.0].map(|time| duration(Duration::from_secs_f64(time)));
        assert_eq!(told, ["417 us", "4.1 ms", "412 ms", "4.1 s", "1 min 1 s", "1 h 1 min", "1 d 3 h"]);
    }

    #[test]
    fn file_times_are_utc() {
        assert_eq!(timestamp(116_444_736_000_000_000).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(133_800_000_001_230_000).to_string(), "2024-12-30T02:40:00.123Z");
    }
}
