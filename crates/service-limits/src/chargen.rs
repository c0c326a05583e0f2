//! The pattern of RFC 864: lines of 72 printable characters, each beginning one character later.
//!
//! # IRQL
//! Any.

/// Characters of a line, without its end.
pub const LINE: usize = 72;
/// Bytes of a line with carriage return and line feed.
pub const LINE_WITH_END: usize = LINE + 2;
/// The printable characters of ASCII, from the space on: after so many lines the pattern begins anew.
pub const LINES: usize = 95;
/// Bytes of the whole pattern.
pub const PATTERN: usize = LINES * LINE_WITH_END;
/// The longest datagram.
pub const MOST_IN_DATAGRAM: usize = 512;

/// The byte at a position of the pattern, which has no end.
pub const fn byte(position: usize) -> u8 {
    let (line, column) = (position / LINE_WITH_END % LINES, position % LINE_WITH_END);
    match column {
        LINE => b'\r',
        column if column > LINE => b'\n',
        column => b' ' + ((line + column) % LINES) as u8,
    }
}

/// Fills `bytes` with the pattern from `position` on.
pub fn fill(bytes: &mut [u8], position: usize) {
    for (offset, place) in bytes.iter_mut().enumerate() {
        *place = byte(position.wrapping_add(offset) % PATTERN);
    }
}

/// How long an answer is: from 0 to [`MOST_IN_DATAGRAM`], as `random` has it.
pub const fn datagram_length(random: u64) -> usize {
    (random % (MOST_IN_DATAGRAM as u64 + 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn lines_rotate_through_the_printable_characters() {
        let mut all = vec![0; 2 * PATTERN];
        fill(&mut all, 0);
        for (number, line) in all.chunks(LINE_WITH_END).enumerate() {
            assert_eq!(&line[LINE..], b"\r\n");
            assert_eq!(line[0], b' ' + (number % 95) as u8, "line {number}");
            for pair in line[..LINE].windows(2) {
                assert_eq!(pair[1], if pair[0] == b'~' { b' ' } else { pair[0] + 1 });
            }
        }
        assert_eq!(all[..PATTERN], all[PATTERN..]);
    }

    #[test]
    fn a_part_is_the_pattern_from_there_on() {
        let (mut all, mut part) = (vec![0; PATTERN], vec![0; 500]);
        fill(&mut all, 0);
        fill(&mut part, 1000 + 3 * PATTERN);
        assert_eq!(all[1000..1500], part[..]);
    }

    #[test]
    fn a_datagram_is_never_longer_than_stated() {
        let lengths = (0..2000).map(datagram_length);
        assert_eq!(lengths.clone().max(), Some(512));
        assert_eq!(lengths.min(), Some(0));
        assert!(datagram_length(u64::MAX) <= 512);
    }
}
