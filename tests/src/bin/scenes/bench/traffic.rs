//! The driver as client: its traffic against that of a client written with tokio, both to one echo server written with tokio.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::figures::{Figure, Limit, median};
use super::load::Shape;
use super::server::{Server, Service};
use super::{Measurement, ROUNDS, SETTLE, announce};

const RATE: Limit = Limit::AtLeast(0.8);
const SLOWEST: Limit = Limit::AtMost(1.5);

/// What the clients do: each connection has one message under way.
const SHAPES: [Shape; 3] = [
    Shape { connections: 1, message: 64, depth: 1 },
    Shape { connections: 64, message: 64, depth: 1 },
    Shape { connections: 64, message: 16 << 10, depth: 1 },
];

/// What a client is asked to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Wanted {
    pub target: SocketAddr,
    pub connections: usize,
    /// Bytes of a message.
    pub message: usize,
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Messages per second that came back.
    pub rate: f64,
    /// Of 100 messages 99 were back within this time.
    pub p99: Duration,
}

/// A client's name in figures.
struct Named<'a>(&'a str, Shape);

impl fmt::Display for Named<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {}", self.0, self.1)
    }
}

impl Measurement {
    pub(super) fn traffic(&mut self) -> Result<()> {
        let (mut echo, mut driver, mut tokio) = (Server::tokio()?, self.driver()?, Server::tokio()?);
        let target = echo.start(&Service::Echo)?;
        // It serves nobody here, and is loaded with that.
        driver.start(&Service::Echo)?;
        SHAPES.iter().try_for_each(|shape| self.traffic_of(target, *shape, [&mut driver, &mut tokio]))
    }

    /// Medians of rounds in which the clients take turns.
    fn traffic_of(&mut self, target: SocketAddr, shape: Shape, clients: [&mut Server; 2]) -> Result<()> {
        announce(&Named("traffic", shape).to_string());
        let (mut rates, mut slowest) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for round in 0..ROUNDS {
            for turn in 0..2 {
                // Each is once before and once after the other.
                let turn = (round + turn) % 2;
                let wanted = |time| Wanted { target, connections: shape.connections, message: shape.message, time };
                clients[turn].traffic(wanted(SETTLE))?;
                let told = clients[turn].traffic(wanted(self.time))?;
                rates[turn].push(told.rate);
                slowest[turn].push(told.p99.as_secs_f64() * 1e6);
            }
        }
        let ([rate, other], [p99, other_p99]) = (rates.map(median), slowest.map(median));
        self.figures.push(Figure::ratio(Named("traffic", shape).to_string(), rate, other, |rate| shape.rate(rate), RATE));
        let show = |time: f64| format!("{time:.0} us");
        self.figures.push(Figure::ratio(Named("p99 of traffic", shape).to_string(), p99, other_p99, show, SLOWEST));
        Ok(())
    }
}
