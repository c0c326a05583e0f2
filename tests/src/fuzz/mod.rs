//! Requests for the control device, right ones and wrong ones, made from a seed; and what is wrong with the answers.
//!
//! A right request of some kind comes from the structures of `control-abi` (`right`); most are then damaged in one to three places
//! (`Input::damage`). What `control-abi` says of the bytes is compared with what the driver answers ([`judge`]).

mod judge;
mod right;

use std::fmt;

use control_abi::settings::Settings;
use control_abi::traffic::Wanted;
use control_abi::{Command, Refusal, Request, parse};
use fastrand::Rng;

pub use judge::judge;

/// A request as a program sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The IOCTL code.
    pub code: u32,
    /// What is sent along.
    pub bytes: Vec<u8>,
    /// The room for the answer.
    pub room: usize,
}

/// Values at which comparisons go wrong.
const EDGES: [u64; 24] = [
    0,
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    16,
    17,
    31,
    32,
    33,
    255,
    256,
    1000,
    1001,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 63,
    u64::MAX,
];

/// One in so many requests that wait for longer than a moment, and of those that end all connections, is sent.
const SELDOM: u32 = 5_000;

impl Input {
    /// The next request: never one that would reach beyond this machine's loopback, or take a port from others.
    pub fn next(rng: &mut Rng) -> Self {
        loop {
            let mut input = right::any(rng);
            for _ in 0..[0, 1, 1, 2, 3][rng.usize(..5)] {
                input.damage(rng);
            }
            if input.is_harmless(rng) {
                return input;
            }
        }
    }

    /// What `control-abi` says of it.
    pub fn parsed(&self) -> Result<Command, Refusal> {
        // As the driver gets it: the system's buffers are aligned.
        let mut words = vec![0_u64; self.bytes.len().div_ceil(8)];
        let aligned = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
        let aligned = &mut aligned[..self.bytes.len()];
        aligned.copy_from_slice(&self.bytes);
        parse(self.code, aligned, self.room)
    }

    fn damage(&mut self, rng: &mut Rng) {
        match rng.u32(..9) {
            0..=3 => self.set_edge(rng),
            4 => self.flip(rng),
            5 => self.bytes.truncate(rng.usize(..=self.bytes.len())),
            6 => self.bytes.extend((0..rng.usize(1..64)).map(|_| rng.u8(..))),
            7 => self.room = edge(rng) as usize % 0x2_0000,
            _ => self.code = another_code(self.code, rng),
        }
    }

    /// Puts a value of [`EDGES`] at a place where a field may be.
    fn set_edge(&mut self, rng: &mut Rng) {
        let width = [2, 4, 4, 8][rng.usize(..4)];
        let places = self.bytes.len() / width;
        if places == 0 {
            return;
        }
        let at = rng.usize(..places) * width;
        self.bytes[at..at + width].copy_from_slice(&edge(rng).to_le_bytes()[..width]);
    }

    fn flip(&mut self, rng: &mut Rng) {
        if !self.bytes.is_empty() {
            let at = rng.usize(..self.bytes.len());
            self.bytes[at] ^= 1 << rng.u32(..8);
        }
    }

    fn is_harmless(&self, rng: &mut Rng) -> bool {
        match self.parsed() {
            Ok(Command::Events(asked)) => asked.wait_ms < 2 || rng.u32(..SELDOM) == 0,
            Ok(Command::Deactivate | Command::Activate) => rng.u32(..SELDOM / 20) == 0,
            Ok(Command::Resolve(asked)) => {
                let here = ["localhost", "127.0.0.1", "::1"].contains(&asked.host.as_str().unwrap_or_default());
                here && rng.u32(..SELDOM / 20) == 0
            }
            Ok(Command::ServiceSet(set)) => is_for_here(&set.settings),
            Ok(Command::TrafficStart(wanted)) => is_small(&wanted) && rng.u32(..SELDOM / 20) == 0,
            _ => true,
        }
    }
}

/// Whether a service listens at the loopback alone, at ports that the system chooses.
fn is_for_here(settings: &Settings) -> bool {
    settings.everywhere == 0 && settings.port == 0 && settings.hosts().all(|host| host.is_loopback())
}

/// Whether a job stays on this machine, and is over soon.
fn is_small(wanted: &Wanted) -> bool {
    let is_short = wanted.duration.is_some_and(|duration| duration.as_millis() <= 40);
    wanted.target.ip().to_canonical().is_loopback() && is_short && wanted.connections <= 16 && wanted.message <= 4096
}

fn edge(rng: &mut Rng) -> u64 {
    let edge = EDGES[rng.usize(..EDGES.len())];
    if rng.u32(..4) == 0 { edge.wrapping_add(rng.u64(..16)) } else { edge }
}

/// The code of another request, or of none; of the buffered method, for the bench has no other.
fn another_code(code: u32, rng: &mut Rng) -> u32 {
    match rng.u32(..4) {
        0 => rng.u32(..) & !3,
        1 => code ^ 4 << rng.u32(..30),
        _ => Request::ALL[rng.usize(..Request::ALL.len())].code(),
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {:#010x}", self.code)?;
        if let Some(request) = Request::from_code(self.code) {
            write!(f, " ({request:?})")?;
        }
        write!(f, ", room for {} bytes, {} bytes:", self.room, self.bytes.len())?;
        self.bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_requests() {
        let made = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..500).map(|_| Input::next(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(made(7), made(7));
        assert_ne!(made(7), made(8));
    }

    #[test]
    fn each_request_is_made_rightly_and_wrongly() {
        let mut rng = Rng::with_seed(1);
        let mut seen: HashMap<Request, (u64, u64)> = HashMap::new();
        let mut unknown = 0;
        for _ in 0..200_000 {
            let input = Input::next(&mut rng);
            let Some(request) = Request::from_code(input.code) else {
                unknown += 1;
                continue;
            };
            let (right, wrong) = seen.entry(request).or_default();
            if input.parsed().is_ok() { *right += 1 } else { *wrong += 1 }
        }
        assert!(unknown > 100);
        for request in Request::ALL {
            let (right, wrong) = seen.get(request).copied().unwrap_or_default();
            assert!(right > 0 && wrong > 100, "{request:?}: {right} right, {wrong} wrong");
        }
    }
}
