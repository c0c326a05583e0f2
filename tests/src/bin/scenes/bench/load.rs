//! The client that measures: one thread, many connections, each with so many messages under way.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{HumanBytes, HumanCount};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use wskclient_tests::peer;

/// Bytes read or written at a time at most.
const CHUNK: usize = 256 << 10;

/// What a server can be given to do, for a time.
pub trait Work {
    /// Has it done for so long: messages per second that came back.
    fn run(&mut self, time: Duration) -> Result<f64>;

    /// Messages that came back so far.
    fn messages(&self) -> u64;
}

/// What the client does.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Connections.
    pub connections: usize,
    /// Bytes of a message.
    pub message: usize,
    /// Messages that each connection has under way.
    pub depth: usize,
}

impl Shape {
    /// So many messages a second, as people read it.
    pub fn rate(&self, rate: f64) -> String {
        match self.message {
            ..1024 => format!("{}/s", HumanCount(rate as u64)),
            bytes => format!("{}/s", HumanBytes((rate * bytes as f64) as u64)),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.connections == 1 { "" } else { "s" };
        match self.message {
            bytes @ ..1024 => write!(out, "{bytes} B")?,
            bytes => write!(out, "{} KiB", bytes / 1024)?,
        }
        write!(out, ", {} connection{plural}", HumanCount(self.connections as u64))?;
        if self.depth > 1 { write!(out, ", {} under way", self.depth) } else { Ok(()) }
    }
}

/// Open connections to one server.
pub struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    shape: Shape,
    buffer: Vec<u8>,
    messages: u64,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of a message that has come back in part.
    part: usize,
    /// Bytes that are to be sent.
    owed: usize,
}

impl Load {
    /// Connects; nothing is sent yet.
    pub fn connect(address: SocketAddr, shape: Shape) -> Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(shape.connections);
        for number in 0..shape.connections {
            let stream = peer::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
            connections.push(Connection { stream, part: 0, owed: shape.message * shape.depth });
        }
        Ok(Self { poll, events: Events::with_capacity(1024), connections, shape, buffer: vec![0x5a; CHUNK], messages: 0 })
    }
}

impl Work for Load {
    /// Sends and receives for a time: messages per second that came back.
    fn run(&mut self, time: Duration) -> Result<f64> {
        let (began, before) = (Instant::now(), self.messages);
        while began.elapsed() < time {
            self.poll.poll(&mut self.events, Some(Duration::from_millis(100))).context("waiting")?;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                self.messages += connection.turn(&mut self.buffer, self.shape.message)?;
            }
        }
        let messages = self.messages - before;
        ensure!(messages > 0, "no message came back within {time:?}");
        Ok(messages as f64 / began.elapsed().as_secs_f64())
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}

impl Connection {
    /// Receives what is there, and sends as many messages as came back.
    fn turn(&mut self, buffer: &mut [u8], message: usize) -> Result<u64> {
        let mut messages = 0;
        self.send(buffer)?;
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => anyhow::bail!("the server ended a connection"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(messages),
                Err(error) => return Err(error).context("receiving"),
            };
            let whole = (self.part + length) / message;
            self.part = (self.part + length) % message;
            self.owed += whole * message;
            messages += whole as u64;
            self.send(buffer)?;
            if length < buffer.len() {
                // There was no more; if more has come, there is another event.
                return Ok(messages);
            }
        }
    }

    fn send(&mut self, buffer: &[u8]) -> Result<()> {
        while self.owed > 0 {
            match self.stream.write(&buffer[..self.owed.min(buffer.len())]) {
                Ok(length) => self.owed -= length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("sending"),
            }
        }
        Ok(())
    }
}

/// Sends 64 bytes, waits until they are back, and so on for a time: the median of the times that took.
pub fn round_trip(address: SocketAddr, time: Duration) -> Result<Duration> {
    let mut stream = peer::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut buffer, mut times) = ([0x5a; 64], Vec::new());
    let began = Instant::now();
    while began.elapsed() < time {
        let sent = Instant::now();
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("no message came back")
}
