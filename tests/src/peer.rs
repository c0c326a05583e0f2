//! The other end of the driver's connections: it sends random bytes and judges what comes back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sha2::{Digest, Sha256};

/// Bytes written or read at a time.
const CHUNK: usize = 64 << 10;
/// As many files as anything here may want.
const MOST_FILES: u64 = 1 << 16;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Random bytes, the same ones for the same seed.
struct RandomBytes {
    generator: fastrand::Rng,
    chunk: Vec<u8>,
    used: usize,
}

impl RandomBytes {
    fn new(seed: u64) -> Self {
        Self { generator: fastrand::Rng::with_seed(seed), chunk: vec![0; CHUNK], used: CHUNK }
    }

    /// The next bytes, at least one and at most `most`.
    fn next(&mut self, most: usize) -> &[u8] {
        if self.used == CHUNK {
            self.generator.fill(&mut self.chunk);
            self.used = 0;
        }
        let from = self.used;
        self.used = CHUNK.min(from + most);
        &self.chunk[from..self.used]
    }

    /// Whether these are the next bytes.
    fn are_next(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.next(bytes.len());
            let (now, rest) = bytes.split_at(expected.len());
            if now != expected {
                return false;
            }
            bytes = rest;
        }
        true
    }
}

/// Connects.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("could not connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a few bytes over the connection and reads them back.
pub fn exchange(stream: &mut TcpStream, seed: u64) -> Result<()> {
    let mut bytes = RandomBytes::new(seed);
    let sent = bytes.next(100).to_vec();
    stream.write_all(&sent)?;
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).context("no echo")?;
    ensure!(back == sent, "what came back is not what was sent");
    Ok(())
}

/// Connects, and sees bytes come back.
pub fn echo_works(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = connect(address)?;
    exchange(&mut stream, u64::from(address.port()))?;
    Ok(stream)
}

/// Opens so many connections that do nothing.
pub fn open_idle(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    (0..count).map(|_| connect(address)).collect()
}

/// Fails unless each connection has been ended by the other side, with no byte on it.
pub fn expect_ended(streams: &mut [TcpStream]) -> Result<()> {
    for stream in streams {
        match stream.read(&mut [0; 16]) {
            Ok(0) => {}
            Ok(count) => bail!("{count} bytes came over an idle connection"),
            Err(error) if is_end(&error) => {}
            Err(error) => return Err(error).context("an idle connection was not ended"),
        }
    }
    Ok(())
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted)
}

/// Pushes `bytes` random bytes over one connection, ends it, and compares the SHA-256 of what came back until the other
/// side's end. `progress` counts the bytes that are back.
pub fn push(address: SocketAddr, bytes: u64, seed: u64, progress: &AtomicU64) -> Result<()> {
    let mut reader = connect(address)?;
    let writer = reader.try_clone()?;
    let (sent, received) = std::thread::scope(|scope| {
        let sending = scope.spawn(move || send_all(writer, bytes, seed));
        let received = receive_all(&mut reader, progress);
        (sending.join().unwrap_or_else(|_| bail!("the sender panicked")), received)
    });
    let (sent, (count, received)) = (sent?, received?);
    ensure!(count == bytes, "{bytes} bytes were sent, {count} came back");
    ensure!(sent == received, "the SHA-256 of what came back is not that of what was sent");
    Ok(())
}

fn send_all(mut stream: TcpStream, bytes: u64, seed: u64) -> Result<[u8; 32]> {
    let (mut source, mut hash, mut left) = (RandomBytes::new(seed), Sha256::new(), bytes);
    while left > 0 {
        let chunk = source.next(CHUNK.min(left as usize));
        stream.write_all(chunk).context("sending")?;
        hash.update(chunk);
        left -= chunk.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(hash.finalize().into())
}

fn receive_all(stream: &mut TcpStream, progress: &AtomicU64) -> Result<(u64, [u8; 32])> {
    let (mut buffer, mut hash, mut count) = (vec![0; CHUNK], Sha256::new(), 0);
    loop {
        let length = stream.read(&mut buffer).context("receiving")?;
        if length == 0 {
            return Ok((count, hash.finalize().into()));
        }
        hash.update(&buffer[..length]);
        count += length as u64;
        progress.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Transfers that run until the other side ends them.
pub struct Transfers {
    threads: Vec<std::thread::JoinHandle<Result<u64>>>,
    started: std::sync::Arc<AtomicU64>,
}

impl Transfers {
    /// Starts so many, each over a connection of its own.
    pub fn start(address: SocketAddr, count: usize, seed: u64) -> Result<Self> {
        let started = std::sync::Arc::new(AtomicU64::new(0));
        let start = |number: u64| {
            let (stream, started) = (connect(address)?, started.clone());
            Ok(std::thread::spawn(move || transfer(stream, seed.wrapping_add(number), &started)))
        };
        let threads = (0..count as u64).map(start).collect::<Result<_>>()?;
        Ok(Self { threads, started })
    }

    /// Bytes that are back so far.
    pub fn bytes(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Waits until all have been ended; the bytes that came back. Fails if one of them was wrong.
    pub fn finish(self) -> Result<u64> {
        let ended = self.threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a transfer panicked")));
        ended.sum()
    }
}

/// Sends until it cannot any more, and checks each byte that comes back.
fn transfer(mut reader: TcpStream, seed: u64, progress: &AtomicU64) -> Result<u64> {
    let mut writer = reader.try_clone()?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut source = RandomBytes::new(seed);
            while !ended.load(Ordering::Relaxed) {
                if writer.write_all(source.next(CHUNK)).is_err() {
                    return;
                }
            }
        });
        let outcome = check_until_end(&mut reader, seed, progress);
        ended.store(true, Ordering::Relaxed);
        let _ = reader.shutdown(Shutdown::Both);
        outcome
    })
}

fn check_until_end(reader: &mut TcpStream, seed: u64, progress: &AtomicU64) -> Result<u64> {
    let (mut expected, mut buffer, mut count) = (RandomBytes::new(seed), vec![0; CHUNK], 0);
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => return Ok(count),
            Err(error) if is_end(&error) => return Ok(count),
            Err(error) => return Err(error).context("a transfer was not ended"),
            Ok(length) => length,
        };
        ensure!(expected.are_next(&buffer[..length]), "a byte after the first {count} is not what was sent");
        count += length as u64;
        progress.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Makes sure that this process may open `wanted` files, and more if the system allows.
pub fn allow_files(wanted: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(MOST_FILES).min(MOST_FILES);
    if most < wanted {
        bail!("this process may open {most} files, but {wanted} are needed: raise the limit (ulimit -Hn)");
    }
    if current.is_some_and(|now| now < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).context("could not raise the limit of files")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_are_recognized_however_they_are_cut() {
        let mut source = RandomBytes::new(7);
        let bytes: Vec<u8> = (0..5).flat_map(|_| source.next(50_000).to_vec()).collect();
        let mut same = RandomBytes::new(7);
        assert!(bytes.chunks(777).all(|chunk| same.are_next(chunk)));
    }

    #[test]
    fn a_wrong_byte_is_noticed() {
        let mut bytes = RandomBytes::new(7).next(1000).to_vec();
        bytes[999] ^= 1;
        assert!(!RandomBytes::new(7).are_next(&bytes));
    }
}
