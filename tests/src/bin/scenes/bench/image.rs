//! What a message costs inside the driver: CPU time against a driver in C that copies and counts nothing, and allocations.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use super::figures::{Figure, Limit, median};
use super::load::{Load, Shape};
use super::server::Server;
use super::tcp::TYPICAL;
use super::{Measurement, ROUNDS, WARM_UP, announce};

const TO_C: Limit = Limit::AtMost(1.1);
/// Per [`ECHOES`].
const ALLOCATIONS: Limit = Limit::AtMost(10.0);
const ECHOES: f64 = 10_000.0;

impl Measurement {
    pub(super) fn image(&mut self) -> Result<()> {
        let Some(c) = self.images.c.clone() else { bail!("--c-driver is needed for CPU time inside the driver") };
        let (mut driver, mut c) = (self.driver()?, Server::driver(&c)?);
        let addresses = [driver.start()?, c.start()?];
        for shape in TYPICAL {
            self.image_time([&mut driver, &mut c], addresses, shape)?;
        }
        for shape in TYPICAL {
            self.allocations(&mut driver, addresses[0], shape)?;
        }
        Ok(())
    }

    /// CPU time inside the image per message, medians of rounds in which the drivers take turns.
    fn image_time(&mut self, mut drivers: [&mut Server; 2], addresses: [SocketAddr; 2], shape: Shape) -> Result<()> {
        let name = format!("CPU time inside the image per {shape}");
        announce(&name);
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((driver, address), times) in drivers.iter_mut().zip(addresses).zip(&mut times) {
                times.push(driver.cpu_in_image(address, shape, self.time)?);
            }
        }
        let [driver, c] = times.map(median);
        let show = |time: f64| format!("{time:.3} us");
        self.figures.push(Figure::ratio_to("C", name, driver, c, show, TO_C));
        Ok(())
    }

    /// Allocations of pool per 10,000 messages, in the steady state.
    fn allocations(&mut self, driver: &mut Server, address: SocketAddr, shape: Shape) -> Result<()> {
        let mut load = Load::connect(address, shape)?;
        load.run(2 * WARM_UP)?;
        let (messages, before) = (load.messages(), driver.memory()?.allocated);
        load.run(self.time)?;
        let (messages, allocated) = (load.messages() - messages, driver.memory()?.allocated - before);
        let name = format!("allocations per 10,000 of {shape}");
        self.figures.push(Figure::alone(name, allocated as f64 * ECHOES / messages as f64, "", ALLOCATIONS));
        Ok(())
    }
}

impl Server {
    /// CPU time inside the driver's image per message, in microseconds.
    fn cpu_in_image(&mut self, address: SocketAddr, shape: Shape, time: Duration) -> Result<f64> {
        let mut load = Load::connect(address, shape)?;
        load.run(WARM_UP)?;
        let before = load.messages();
        let (inside, _) = self.profile(|| load.run(2 * time))?;
        Ok(inside.as_secs_f64() * 1e6 / (load.messages() - before) as f64)
    }
}
