//! The layout: walking over control messages, and appending them.

/// Bytes of a CMSGHDR.
pub const HEADER: usize = 16;

/// What headers and data begin at a multiple of.
const ALIGNMENT: usize = 8;

/// One control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The protocol that it is about (`cmsg_level`).
    pub level: i32,
    /// What it says (`cmsg_type`).
    pub kind: i32,
    /// Its data.
    pub data: &'a [u8],
}

impl Message<'_> {
    /// Its data as an INT or DWORD, if there is as much.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        array(self.data, 0).map(u32::from_ne_bytes)
    }
}

/// Walks over the control messages in some bytes. It ends at the first header that is not whole, or whose length does not fit.
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Those in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        // Emptied first: what does not hold together ends the walk.
        let bytes = core::mem::take(&mut self.0);
        let length = usize::try_from(u64::from_ne_bytes(array(bytes, 0)?)).ok()?;
        let (level, kind) = (i32::from_ne_bytes(array(bytes, 8)?), i32::from_ne_bytes(array(bytes, 12)?));
        let data = bytes.get(HEADER..length)?;
        self.0 = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(Message { level, kind, data })
    }
}

/// Appends control messages to some bytes.
#[derive(Debug)]
pub struct Writer<'a> {
    room: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    /// One that begins at the first byte of `room`, which should begin at a multiple of 8.
    pub const fn new(room: &'a mut [u8]) -> Self {
        Self { room, length: 0 }
    }

    /// Appends a message, with its padding. `None` if it does not fit; then nothing is appended.
    #[must_use]
    pub fn push(&mut self, level: i32, kind: i32, data: &[u8]) -> Option<()> {
        let length = HEADER.checked_add(data.len())?;
        let end = self.length.checked_add(length.checked_next_multiple_of(ALIGNMENT)?)?;
        let place = self.room.get_mut(self.length..end)?;
        place.fill(0);
        put(place, 0, &(length as u64).to_ne_bytes());
        put(place, 8, &level.to_ne_bytes());
        put(place, 12, &kind.to_ne_bytes());
        put(place, HEADER, data);
        self.length = end;
        Some(())
    }

    /// Appends a message that is an INT or DWORD.
    #[must_use]
    pub fn push_number(&mut self, level: i32, kind: i32, number: u32) -> Option<()> {
        self.push(level, kind, &number.to_ne_bytes())
    }

    /// How many bytes have been written.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }
}

pub(crate) fn put(place: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in place.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

/// The `N` bytes that begin at `at`.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
