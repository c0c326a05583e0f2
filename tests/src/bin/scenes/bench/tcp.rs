//! TCP echo: throughput, round trip and CPU time, against tokio.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::figures::{Figure, Limit, median};
use super::load::{self, Load, Shape, Work};
use super::server::{Server, Service};
use super::{Measurement, ROUNDS, WARM_UP, announce};

/// The limits.
const LEAST: Limit = Limit::AtLeast(0.6);
const WELL: Limit = Limit::AtLeast(0.8);
const ROUND_TRIP: Limit = Limit::AtMost(2.0);

/// What is echoed: connections, message size, messages under way per connection.
const SHAPES: [(Shape, Limit); 6] = [
    (Shape { connections: 1, message: 64 << 10, depth: 4 }, LEAST),
    (Shape { connections: 64, message: 64 << 10, depth: 1 }, WELL),
    (Shape { connections: 1000, message: 64 << 10, depth: 1 }, LEAST),
    (Shape { connections: 1, message: 64, depth: 16 }, LEAST),
    (Shape { connections: 64, message: 64, depth: 1 }, LEAST),
    (Shape { connections: 1000, message: 64, depth: 1 }, WELL),
];

/// The two loads whose cost is told in CPU time.
pub(super) const TYPICAL: [Shape; 2] = [SHAPES[1].0, SHAPES[4].0];

/// The two servers.
struct Servers {
    driver: Server,
    tokio: Server,
    addresses: Addresses,
}

/// Where they listen.
#[derive(Clone, Copy)]
struct Addresses {
    driver: SocketAddr,
    tokio: SocketAddr,
}

impl Measurement {
    fn servers(&self) -> Result<Servers> {
        let (mut driver, mut tokio) = (self.driver()?, Server::tokio()?);
        let addresses = Addresses { driver: driver.start(&Service::Echo)?, tokio: tokio.start(&Service::Echo)? };
        Ok(Servers { driver, tokio, addresses })
    }

    pub(super) fn tcp_throughput(&mut self) -> Result<()> {
        let servers = self.servers()?;
        SHAPES.iter().try_for_each(|(shape, limit)| self.throughput(servers.addresses, *shape, *limit))
    }

    pub(super) fn tcp_round_trip(&mut self) -> Result<()> {
        let servers = self.servers()?;
        self.round_trip(servers.addresses)
    }

    pub(super) fn tcp_cpu(&mut self) -> Result<()> {
        let mut servers = self.servers()?;
        TYPICAL.iter().try_for_each(|shape| self.cpu(&mut servers, *shape))
    }

    /// Messages per second, medians of rounds in which the servers take turns.
    fn throughput(&mut self, addresses: Addresses, shape: Shape, limit: Limit) -> Result<()> {
        let name = format!("echo of {shape}");
        announce(&name);
        let mut loads = [Load::connect(addresses.driver, shape)?, Load::connect(addresses.tokio, shape)?];
        let [driver, tokio] = self.rates(&mut loads)?;
        self.figures.push(Figure::ratio(name, driver, tokio, |rate| shape.rate(rate), limit));
        Ok(())
    }

    /// The median time from a message's sending to its return, in rounds in which the servers take turns.
    fn round_trip(&mut self, addresses: Addresses) -> Result<()> {
        let name = "round trip of 64 B, 1 connection";
        announce(name);
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (address, times) in [addresses.driver, addresses.tokio].into_iter().zip(&mut times) {
                load::round_trip(address, WARM_UP)?;
                times.push(load::round_trip(address, self.time)?.as_secs_f64() * 1e6);
            }
        }
        let [driver, tokio] = times.map(median);
        let show = |time: f64| format!("{time:.1} us");
        self.figures.push(Figure::ratio(name, driver, tokio, show, ROUND_TRIP));
        Ok(())
    }

    /// CPU time of the two processes per message.
    fn cpu(&mut self, servers: &mut Servers, shape: Shape) -> Result<()> {
        announce(&format!("CPU time per {shape}"));
        let driver = servers.driver.cpu_per_message(servers.addresses.driver, shape, self.time)?;
        let tokio = servers.tokio.cpu_per_message(servers.addresses.tokio, shape, self.time)?;
        let show = |time: f64| format!("{time:.2} us");
        self.figures.push(Figure::ratio(format!("CPU time per {shape}"), driver, tokio, show, Limit::None));
        Ok(())
    }
}

impl Server {
    /// CPU time of its process per message, in microseconds.
    fn cpu_per_message(&mut self, address: SocketAddr, shape: Shape, time: Duration) -> Result<f64> {
        let mut load = Load::connect(address, shape)?;
        load.run(WARM_UP)?;
        let (before, began) = (load.messages(), self.cpu()?);
        load.run(time)?;
        let used = self.cpu()? - began;
        Ok(used.as_secs_f64() * 1e6 / (load.messages() - before) as f64)
    }
}
