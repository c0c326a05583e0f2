//! UDP echo, against tokio.

use anyhow::{Result, ensure};
use indicatif::HumanCount;

use super::datagrams::{Datagrams, Shape};
use super::figures::{Figure, Limit};
use super::load::Work;
use super::server::{Server, Service};
use super::{Measurement, announce};

const LIMIT: Limit = Limit::AtLeast(0.8);
/// All of them fit into one socket's buffer: none need be lost.
const SHAPE: Shape = Shape { sockets: 16, datagram: 512, depth: 4 };
/// One of so many may be sent again.
const LOSS: u64 = 1000;

impl Measurement {
    pub(super) fn udp(&mut self) -> Result<()> {
        let name = format!("echo over UDP of {SHAPE}");
        announce(&name);
        let (mut driver, mut tokio) = (self.driver()?, Server::tokio()?);
        let load = |server: &mut Server| Datagrams::new(server.start(&Service::UdpEcho)?, SHAPE);
        let mut loads = [load(&mut driver)?, load(&mut tokio)?];
        let [rate, other] = self.rates(&mut loads)?;
        for load in &loads {
            let (again, messages) = (load.again(), load.messages());
            ensure!(again <= messages / LOSS, "of {messages} datagrams {again} were lost: this measures time-outs");
        }
        let show = |rate: f64| format!("{}/s", HumanCount(rate as u64));
        self.figures.push(Figure::ratio(name, rate, other, show, LIMIT));
        Ok(())
    }
}
