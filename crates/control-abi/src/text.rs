//! Text of limited length.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Refusal;

/// Up to `N` bytes of UTF-8 without control characters, and zeros behind them.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self([0; N]);

    /// This text, if it fits and has no control characters.
    pub fn new(text: &str) -> Option<Self> {
        if text.chars().any(char::is_control) {
            return None;
        }
        let mut bytes = [0; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(bytes))
    }

    /// As much of this text as fits, with `?` for control characters: for what a driver tells.
    pub fn cut(text: &str) -> Self {
        let (mut bytes, mut length) = ([0; N], 0);
        for character in text.chars().map(|character| if character.is_control() { '?' } else { character }) {
            let end = length + character.len_utf8();
            let Some(place) = bytes.get_mut(length..end) else { break };
            character.encode_utf8(place);
            length = end;
        }
        Self(bytes)
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(N);
        let (text, rest) = self.0.split_at_checked(length)?;
        let text = core::str::from_utf8(text).ok()?;
        (rest.iter().all(|byte| *byte == 0) && !text.chars().any(char::is_control)).then_some(text)
    }

    /// The text of a request's field.
    ///
    /// # Errors
    /// [`Refusal::Field`] of that name.
    pub fn checked(&self, name: &'static str) -> Result<&str, Refusal> {
        self.as_str().ok_or(Refusal::Field(name))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str().unwrap_or("?"))
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_comes_back() {
        for text in ["", "a", "echo", "12345678", "äöü"] {
            assert_eq!(Text::<8>::new(text).expect("it fits").as_str(), Some(text));
            assert_eq!(Text::<8>::cut(text).as_str(), Some(text));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_or_cut_at_a_character() {
        assert_eq!(Text::<8>::new("123456789"), None);
        assert_eq!(Text::<8>::new("a\nb"), None);
        assert_eq!(Text::<8>::cut("123456789").as_str(), Some("12345678"));
        assert_eq!(Text::<8>::cut("1234567ä").as_str(), Some("1234567"));
        assert_eq!(Text::<8>::cut("a\nb").as_str(), Some("a?b"));
    }

    #[test]
    fn what_is_no_text_is_seen() {
        for bytes in [*b"a\0b\0", [0xff, 0, 0, 0], [b'a', 0xc3, 0, 0], *b"\0\0\0a", *b"a\tb\0"] {
            assert_eq!(Text(bytes).as_str(), None, "{bytes:?}");
            assert_eq!(Text(bytes).checked("name"), Err(Refusal::Field("name")));
        }
    }
}
