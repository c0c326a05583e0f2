//! Three ways to echo, each by a driver that does nothing else: in the memory in which the network brought the bytes; by
//! copying them out of it; and by receiving into a buffer, which the provider fills.
//!
//! The first two take the same indications, and differ in the copy alone.

use anyhow::{Result, bail};

use super::figures::{Figure, Limit};
use super::load::{Load, Shape};
use super::server::{Server, Service};
use super::{Measurement, announce};

/// What is measured in place is better than what copies.
const FASTER: Limit = Limit::AtLeast(1.0);
const CHEAPER: Limit = Limit::AtMost(1.0);
const SHAPE: Shape = Shape { connections: 64, message: 64 << 10, depth: 1 };
/// The scenarios of `tests/exercise/src/perf.rs`.
const WAYS: [&str; 3] = ["perf_zero_copy", "perf_copying", "perf_buffered"];

impl Measurement {
    pub(super) fn zero_copy(&mut self) -> Result<()> {
        let Some(exercise) = self.images.exercise.clone() else { bail!("--exercise is needed to compare ways to receive") };
        let name = format!("receiving in place, echo of {SHAPE}");
        announce(&name);
        let (mut servers, mut loads) = (Vec::new(), Vec::new());
        for way in WAYS {
            let mut server = Server::driver(&exercise)?;
            loads.push(Load::connect(server.start(&Service::Scenario(way.to_owned()))?, SHAPE)?);
            servers.push(server);
        }
        let (Ok(mut servers), Ok(mut loads)) = (<[Server; 3]>::try_from(servers), <[Load; 3]>::try_from(loads)) else {
            bail!("there are three ways");
        };
        let [in_place, copying, buffered] = self.rates(&mut loads)?;
        let show = |rate| SHAPE.rate(rate);
        self.figures.push(Figure::ratio_to("copying", &name, in_place, copying, show, FASTER));
        self.figures.push(Figure::ratio_to("into a buffer", &name, in_place, buffered, show, Limit::None));
        let [in_place, copying, buffered] = self.costs(&mut servers, &mut loads)?;
        let (all, image) = ("  CPU time of the process per message", "  CPU time inside the image per message");
        self.figures.push(in_place.process_beside("copying", &copying, all, CHEAPER));
        self.figures.push(in_place.process_beside("into a buffer", &buffered, all, Limit::None));
        self.figures.push(in_place.beside("copying", &copying, image, CHEAPER));
        self.figures.push(in_place.beside("into a buffer", &buffered, image, Limit::None));
        Ok(())
    }
}
