//! Text for NT and back: UTF-16 with a counted length, each way without a panic and without an allocation that cannot fail.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::fmt;
use core::ptr::null_mut;

use allocator_api2::vec::Vec;
use wdk_sys::UNICODE_STRING;

use crate::sync::{OutOfMemory, Pool, tag, try_push};

type TextPool = Pool<{ tag(b"WskW") }>;

/// A UNICODE_STRING with its memory, to be read or to be filled.
///
/// # Invariants
/// `string` describes the memory of `units`, which does not move and is not shrunk.
pub(crate) struct Wide {
    string: UNICODE_STRING,
    units: Vec<u16, TextPool>,
}

// SAFETY: the string points to memory that the same value owns.
unsafe impl Send for Wide {}

/// Why a text cannot be given to NT.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WideError {
    OutOfMemory,
    /// Longer than it may be, or with a NUL inside.
    Unfit,
}

impl From<OutOfMemory> for WideError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl Wide {
    /// A text of at most `most` units. A NUL, which is not counted, follows it.
    pub(crate) fn new(text: &str, most: u16) -> Result<Self, WideError> {
        let length = text.encode_utf16().count();
        if length > most.into() || text.contains('\0') {
            return Err(WideError::Unfit);
        }
        let mut units = Vec::new_in(TextPool::default());
        units.try_reserve_exact(length + 1).map_err(OutOfMemory::from)?;
        for unit in text.encode_utf16().chain([0]) {
            try_push(&mut units, unit)?;
        }
        Ok(Self::over(units, length))
    }

    /// Room for a text of `most` units with its NUL.
    pub(crate) fn room(most: u16) -> Result<Self, OutOfMemory> {
        let mut units = Vec::new_in(TextPool::default());
        units.try_reserve_exact(usize::from(most) + 1)?;
        for _ in 0..=most {
            try_push(&mut units, 0)?;
        }
        Ok(Self::over(units, 0))
    }

    /// A text of `length` units, at most as many as there are.
    fn over(mut units: Vec<u16, TextPool>, length: usize) -> Self {
        let bytes = |units: usize| u16::try_from(units.saturating_mul(size_of::<u16>())).unwrap_or(!1);
        // INVARIANT: as long as the vector is not changed, its memory stays.
        let string = UNICODE_STRING { Length: bytes(length), MaximumLength: bytes(units.len()), Buffer: units.as_mut_ptr() };
        Self { string, units }
    }

    /// What was filled in, in UTF-8.
    pub(crate) fn text(&self) -> Result<Text, OutOfMemory> {
        let filled = usize::from(self.string.Length) / size_of::<u16>();
        Text::new(self.units.iter().copied().take(filled).take_while(|unit| *unit != 0))
    }
}

/// The string inside of what may be none, for a function that takes null then.
///
/// # Safety
/// `place` is valid.
pub(crate) unsafe fn string_of(place: *mut Option<Wide>) -> *mut UNICODE_STRING {
    // SAFETY: as the caller promises; the reference ends with this function, and the place stays.
    unsafe { &mut *place }.as_mut().map_or(null_mut(), |wide| &raw mut wide.string)
}

/// A text in nonpaged memory.
pub struct Text(Vec<u8, TextPool>);

impl Text {
    /// From UTF-16; what is none becomes U+FFFD.
    pub(crate) fn new(units: impl Iterator<Item = u16>) -> Result<Self, OutOfMemory> {
        let mut bytes = Vec::new_in(TextPool::default());
        for unit in char::decode_utf16(units) {
            let mut room = [0; 4];
            for byte in unit.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut room).bytes() {
                try_push(&mut bytes, byte)?;
            }
        }
        Ok(Self(bytes))
    }

    /// The text.
    ///
    /// # IRQL
    /// Any.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl core::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}
