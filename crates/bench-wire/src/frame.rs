//! What goes over the socket: a [`Question`] and its [`Reply`], in turn. Both begin with a header of fixed size, in the byte
//! order of the machine, for both ends are on it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most bytes that a question or a reply may carry.
pub const LIMIT: usize = 16 << 20;

const OPEN: u32 = 1;
const CONTROL: u32 = 2;

/// What a tool asks the bench for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Open the device of this name; the first question of a connection, and asked only once.
    Open(String),
    /// A device control request.
    Control {
        /// Its code.
        code: u32,
        /// What goes in.
        input: Vec<u8>,
        /// How many bytes there is room for in what comes out.
        room: usize,
    },
}

/// What the bench answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The NTSTATUS.
    pub status: u32,
    /// What the request was completed with: where a buffer was too small, the size that it takes.
    pub information: u64,
    /// What came out; nothing where `status` is a failure.
    pub output: Vec<u8>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct QuestionHeader {
    kind: u32,
    code: u32,
    room: u32,
    length: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ReplyHeader {
    status: u32,
    length: u32,
    information: u64,
}

impl Question {
    /// Writes it.
    ///
    /// # Errors
    /// Those of the stream; `InvalidInput` if it is longer than [`LIMIT`].
    pub fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let (kind, code, room, bytes) = match self {
            Self::Open(name) => (OPEN, 0, 0, name.as_bytes()),
            Self::Control { code, input, room } => (CONTROL, *code, (*room).min(LIMIT) as u32, input.as_slice()),
        };
        send(stream, &QuestionHeader { kind, code, room, length: length(bytes)? }, bytes)
    }

    /// Reads the next one, or nothing where the other end has hung up.
    ///
    /// # Errors
    /// Those of the stream; `InvalidData` if this is no question.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(header) = receive_header::<QuestionHeader>(stream)? else { return Ok(None) };
        let input = receive_bytes(stream, header.length)?;
        match header.kind {
            OPEN => String::from_utf8(input).map(|name| Some(Self::Open(name))).map_err(|_| strange("a name that is no text")),
            CONTROL if header.room as usize <= LIMIT => {
                Ok(Some(Self::Control { code: header.code, input, room: header.room as usize }))
            }
            _ => Err(strange("a question of another kind")),
        }
    }
}

impl Reply {
    /// Writes it.
    ///
    /// # Errors
    /// Those of the stream; `InvalidInput` if it is longer than [`LIMIT`].
    pub fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let Self { status, information, output } = self;
        send(stream, &ReplyHeader { status: *status, length: length(output)?, information: *information }, output)
    }

    /// Reads the answer to the question that was written.
    ///
    /// # Errors
    /// Those of the stream, `UnexpectedEof` if the bench has ended; `InvalidData` if this is no reply.
    pub fn read(stream: &mut impl Read) -> io::Result<Self> {
        let header = receive_header::<ReplyHeader>(stream)?.ok_or(ErrorKind::UnexpectedEof)?;
        let output = receive_bytes(stream, header.length)?;
        Ok(Self { status: header.status, information: header.information, output })
    }
}

/// A tool's end of a connection.
#[derive(Debug)]
pub struct Client(UnixStream);

impl Client {
    /// Connects to the bench whose socket this is.
    ///
    /// # Errors
    /// Those of `connect`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(Self)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Those of [`Question::write`] and [`Reply::read`].
    pub fn ask(&mut self, question: &Question) -> io::Result<Reply> {
        question.write(&mut self.0)?;
        Reply::read(&mut self.0)
    }
}

/// How long a bench may take to close a handle.
const CLOSING: Duration = Duration::from_secs(10);

impl Drop for Client {
    /// Hangs up, and waits until the bench has closed the handle: as CloseHandle does.
    fn drop(&mut self) {
        let hung_up = self.0.shutdown(Shutdown::Write).and_then(|()| self.0.set_read_timeout(Some(CLOSING)));
        let _ = hung_up.and_then(|()| self.0.read(&mut [0]));
    }
}

/// Header and bytes in one write, as far as the stream takes them.
fn send(stream: &mut impl Write, header: &(impl IntoBytes + Immutable), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(&[header.as_bytes(), bytes].concat())?;
    stream.flush()
}

fn receive_header<T: FromBytes + IntoBytes>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut header = T::new_zeroed();
    let (mut read, bytes) = (0, header.as_mut_bytes());
    while read < bytes.len() {
        match stream.read(&mut bytes[read..]) {
            Ok(0) if read == 0 => return Ok(None),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(header))
}

fn receive_bytes(stream: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    if length as usize > LIMIT {
        return Err(strange("more bytes than there may be"));
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LIMIT);
    length.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "more bytes than there may be"))
}

fn strange(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(question: &Question) -> io::Result<Option<Question>> {
        let mut bytes = Vec::new();
        question.write(&mut bytes)?;
        Question::read(&mut bytes.as_slice())
    }

    #[test]
    fn what_is_written_is_read() {
        let open = Question::Open(r"\\.\WskClient".to_owned());
        let control = Question::Control { code: 0x0012_6000, input: vec![1, 2, 3], room: 4096 };
        for question in [open, control] {
            assert_eq!(through(&question).expect("read"), Some(question));
        }
        let (reply, mut bytes) = (Reply { status: 0xc000_0023, information: 48, output: vec![9; 5] }, Vec::new());
        reply.write(&mut bytes).expect("written");
        assert_eq!(Reply::read(&mut bytes.as_slice()).expect("read"), reply);
    }

    #[test]
    fn the_end_is_told_from_a_part() {
        assert_eq!(Question::read(&mut [].as_slice()).expect("the end"), None);
        let mut bytes = Vec::new();
        Question::Open("x".to_owned()).write(&mut bytes).expect("written");
        for part in 1..bytes.len() {
            let error = Question::read(&mut &bytes[..part]).expect_err("a part of a question");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{part} bytes");
        }
    }

    #[test]
    fn nonsense_is_refused_before_it_is_believed() {
        let header = |kind, room, length| QuestionHeader { kind, code: 0, room, length };
        for wrong in [header(3, 0, 0), header(CONTROL, u32::MAX, 0), header(CONTROL, 0, u32::MAX)] {
            let error = Question::read(&mut wrong.as_bytes()).expect_err("nonsense");
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        let not_text = [header(OPEN, 0, 2).as_bytes(), &[0xff, 0xfe]].concat();
        assert_eq!(Question::read(&mut not_text.as_slice()).expect_err("no text").kind(), ErrorKind::InvalidData);
    }
}
