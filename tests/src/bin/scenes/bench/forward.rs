//! The forwarder in front of an echo, against tokio's copying in both directions in front of the same echo.

use anyhow::Result;

use super::figures::{Figure, Limit};
use super::load::{Load, Shape};
use super::server::{Server, Service};
use super::{Measurement, announce};

const LIMIT: Limit = Limit::AtLeast(0.8);
const SHAPES: [Shape; 2] =
    [Shape { connections: 64, message: 64 << 10, depth: 1 }, Shape { connections: 64, message: 64, depth: 1 }];

impl Measurement {
    pub(super) fn forwarding(&mut self) -> Result<()> {
        let (mut target, mut driver, mut tokio) = (Server::tokio()?, self.driver()?, Server::tokio()?);
        let service = Service::Forward(target.start(&Service::Echo)?);
        let addresses = [driver.start(&service)?, tokio.start(&service)?];
        for shape in SHAPES {
            let name = format!("forwarder, {shape}");
            announce(&name);
            let mut loads = [Load::connect(addresses[0], shape)?, Load::connect(addresses[1], shape)?];
            let [rate, other] = self.rates(&mut loads)?;
            self.figures.push(Figure::ratio(name, rate, other, |rate| shape.rate(rate), LIMIT));
        }
        Ok(())
    }
}
