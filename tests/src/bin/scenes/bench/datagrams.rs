//! The client that measures over UDP: one thread, several sockets, each with so many datagrams under way.
//!
//! What is lost is sent again after a while, so that as many stay under way; what comes back late counts once.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use super::load::Work;

/// After this long without an answer a datagram is lost.
const LOST: Duration = Duration::from_millis(200);
/// How often to look for what is lost.
const LOOK: Duration = Duration::from_millis(50);
/// At the beginning of a datagram: which of those under way, and its number.
const HEAD: usize = 12;

/// What the client does.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Sockets.
    pub sockets: usize,
    /// Bytes of a datagram.
    pub datagram: usize,
    /// Datagrams that each socket has under way.
    pub depth: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} B, {} sockets, {} under way each", self.datagram, self.sockets, self.depth)
    }
}

/// Sockets that send to one server.
pub struct Datagrams {
    poll: Poll,
    events: Events,
    sources: Vec<Source>,
    messages: u64,
    again: u64,
}

struct Source {
    socket: UdpSocket,
    under_way: Vec<UnderWay>,
    buffer: Vec<u8>,
}

/// A place for one datagram under way.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u64,
    sent: Option<Instant>,
}

impl Datagrams {
    /// Makes the sockets; nothing is sent yet.
    pub fn new(address: SocketAddr, shape: Shape) -> Result<Self> {
        let poll = Poll::new()?;
        let mut sources = Vec::with_capacity(shape.sockets);
        for number in 0..shape.sockets {
            let mut socket = UdpSocket::bind("127.0.0.1:0".parse()?)?;
            socket.connect(address)?;
            poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
            let under_way = vec![UnderWay { number: 0, sent: None }; shape.depth];
            sources.push(Source { socket, under_way, buffer: vec![0x5a; shape.datagram.max(HEAD)] });
        }
        Ok(Self { poll, events: Events::with_capacity(1024), sources, messages: 0, again: 0 })
    }

    /// How many had to be sent again.
    pub fn again(&self) -> u64 {
        self.again
    }

    /// Sends what has never been sent, or not come back in time.
    fn send_overdue(&mut self, now: Instant) -> Result<()> {
        for source in &mut self.sources {
            for place in 0..source.under_way.len() {
                let sent = source.under_way[place].sent;
                if sent.is_none_or(|sent| now.duration_since(sent) > LOST) {
                    self.again += u64::from(sent.is_some());
                    source.send(place, now)?;
                }
            }
        }
        Ok(())
    }
}

impl Work for Datagrams {
    /// Sends and receives for a time: datagrams per second that came back.
    fn run(&mut self, time: Duration) -> Result<f64> {
        let (began, before) = (Instant::now(), self.messages);
        // What came back while nobody ran is still in the sockets: it is not late.
        let under_way = self.sources.iter_mut().flat_map(|source| &mut source.under_way);
        under_way.filter_map(|one| one.sent.as_mut()).for_each(|sent| *sent = began);
        self.send_overdue(began)?;
        let mut looked = began;
        while began.elapsed() < time {
            self.poll.poll(&mut self.events, Some(LOOK)).context("waiting")?;
            let now = Instant::now();
            for event in &self.events {
                self.messages += self.sources[event.token().0].turn(now)?;
            }
            if now.duration_since(looked) > LOOK {
                looked = now;
                self.send_overdue(now)?;
            }
        }
        let messages = self.messages - before;
        ensure!(messages > 0, "no datagram came back within {time:?}");
        Ok(messages as f64 / began.elapsed().as_secs_f64())
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}

impl Source {
    /// Receives what is there, and sends as many datagrams as came back.
    fn turn(&mut self, now: Instant) -> Result<u64> {
        let mut messages = 0;
        loop {
            let length = match self.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(messages),
                Err(error) => return Err(error).context("receiving"),
            };
            ensure!(length == self.buffer.len(), "{length} bytes came back");
            if let Some(place) = self.came_back() {
                messages += 1;
                self.send(place, now)?;
            }
        }
    }

    /// The place of the datagram in the buffer, if that is under way still.
    fn came_back(&mut self) -> Option<usize> {
        let (place, number) = read_head(&self.buffer)?;
        let under_way = self.under_way.get_mut(place).filter(|one| one.number == number && one.sent.is_some())?;
        under_way.number += 1;
        Some(place)
    }

    fn send(&mut self, place: usize, now: Instant) -> Result<()> {
        let under_way = &mut self.under_way[place];
        under_way.sent = Some(now);
        write_head(&mut self.buffer, place, under_way.number);
        match self.socket.send(&self.buffer) {
            Ok(_) => Ok(()),
            // As if it were lost.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("sending"),
        }
    }
}

fn write_head(datagram: &mut [u8], place: usize, number: u64) {
    let (head, rest) = datagram.split_at_mut(4);
    head.copy_from_slice(&(place as u32).to_le_bytes());
    rest[..8].copy_from_slice(&number.to_le_bytes());
}

fn read_head(datagram: &[u8]) -> Option<(usize, u64)> {
    let (place, rest) = datagram.split_first_chunk()?;
    let number = rest.first_chunk()?;
    Some((u32::from_le_bytes(*place) as usize, u64::from_le_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { sockets: 2, datagram: 64, depth: 3 };

    /// A server that answers every datagram so many times, but leaves each `nth` out; ends when nothing comes for a while.
    fn server(times: usize, nth: usize) -> SocketAddr {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            for number in 1.. {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
                let times = if number % nth == 0 { 0 } else { times };
                (0..times).for_each(|_| drop(socket.send_to(&buffer[..length], from)));
            }
        });
        address
    }

    #[test]
    fn what_comes_back_twice_counts_once() {
        let mut load = Datagrams::new(server(2, usize::MAX), SHAPE).expect("sockets");
        load.run(Duration::from_millis(300)).expect("it runs");
        let numbers: u64 = load.sources.iter().flat_map(|source| &source.under_way).map(|one| one.number).sum();
        assert_eq!(load.messages(), numbers);
        assert_eq!(load.again(), 0);
    }

    #[test]
    fn what_is_lost_is_sent_again() {
        let mut load = Datagrams::new(server(1, 5), SHAPE).expect("sockets");
        load.run(Duration::from_millis(900)).expect("it runs");
        assert!(load.again() >= 6, "{}", load.again());
        let first = load.messages();
        load.run(Duration::from_millis(300)).expect("it runs on");
        assert!(load.messages() > first);
    }

    #[test]
    fn the_head_of_a_datagram_is_read_as_it_was_written() {
        let mut datagram = [0; HEAD];
        write_head(&mut datagram, 7, u64::MAX - 1);
        assert_eq!(read_head(&datagram), Some((7, u64::MAX - 1)));
        assert_eq!(read_head(&datagram[1..]), None);
    }
}
