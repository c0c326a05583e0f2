//! What a message costs inside the driver: CPU time against a driver in C that copies and counts nothing, and allocations.

use std::time::Duration;

use anyhow::{Result, bail};

use super::figures::{FEWEST_SAMPLES, Figure, Limit};
use super::load::{Load, Shape, Work};
use super::server::{Server, Service};
use super::tcp::TYPICAL;
use super::{Measurement, ROUNDS, WARM_UP, announce};

const TO_C: Limit = Limit::AtMost(1.1);
/// Per [`ECHOES`].
const ALLOCATIONS: Limit = Limit::AtMost(10.0);
const ECHOES: f64 = 10_000.0;
/// Samples that are wished for: what they tell is then right to one or two in a hundred.
const WISHED_SAMPLES: u64 = 10 * FEWEST_SAMPLES;
/// Rounds until there are as many, at most.
const MOST_ROUNDS: usize = 4 * ROUNDS;

/// CPU time of a driver's process, over all rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    samples: u64,
    in_image: Duration,
    process: Duration,
    messages: u64,
}

impl Cost {
    /// Microseconds per message.
    fn per_message(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.messages as f64
    }

    /// The time inside the image, and another's.
    pub fn beside(&self, whose: &str, other: &Self, name: &str, limit: Limit) -> Figure {
        let [time, of_other] = [self, other].map(|cost| cost.per_message(cost.in_image));
        let figure = Figure::ratio_to(whose, name, time, of_other, |time| format!("{time:.3} us"), limit);
        figure.from_samples(self.samples, other.samples)
    }

    /// The time of the whole process, and another's.
    pub fn process_beside(&self, whose: &str, other: &Self, name: &str, limit: Limit) -> Figure {
        let [time, of_other] = [self, other].map(|cost| cost.per_message(cost.process));
        Figure::ratio_to(whose, name, time, of_other, |time| format!("{time:.2} us"), limit)
    }

    /// What this server spends while that work is done for a time.
    fn add(&mut self, server: &mut Server, work: &mut impl Work, time: Duration) -> Result<()> {
        work.run(WARM_UP)?;
        let before = work.messages();
        let (spent, _) = server.profile(|| work.run(time))?;
        self.samples += spent.samples;
        self.in_image += spent.in_image;
        self.process += spent.process;
        self.messages += work.messages() - before;
        Ok(())
    }
}

impl Measurement {
    pub(super) fn image(&mut self) -> Result<()> {
        let Some(c) = self.images.c.clone() else { bail!("--c-driver is needed for CPU time inside the driver") };
        let mut servers = [self.driver()?, Server::driver(&c)?];
        let addresses = [servers[0].start(&Service::Echo)?, servers[1].start(&Service::Echo)?];
        for shape in TYPICAL {
            let name = format!("CPU time inside the image per {shape}");
            announce(&name);
            let mut loads = [Load::connect(addresses[0], shape)?, Load::connect(addresses[1], shape)?];
            let [driver, c] = self.costs(&mut servers, &mut loads)?;
            self.figures.push(driver.beside("C", &c, &name, TO_C));
            let [mut load, _] = loads;
            self.allocations(&mut servers[0], &mut load, shape)?;
        }
        Ok(())
    }

    /// What each of these servers spends inside its image, in rounds in which they take turns, until there are samples enough.
    pub(super) fn costs<const N: usize>(&self, servers: &mut [Server; N], works: &mut [impl Work; N]) -> Result<[Cost; N]> {
        let mut costs = [Cost::default(); N];
        for round in 0..MOST_ROUNDS {
            if round >= ROUNDS && costs.iter().all(|cost| cost.samples >= WISHED_SAMPLES) {
                break;
            }
            for ((server, work), cost) in servers.iter_mut().zip(&mut *works).zip(&mut costs) {
                cost.add(server, work, self.time)?;
            }
        }
        Ok(costs)
    }

    /// Allocations of pool per 10,000 messages, in the steady state.
    fn allocations(&mut self, driver: &mut Server, load: &mut Load, shape: Shape) -> Result<()> {
        load.run(2 * WARM_UP)?;
        let (messages, before) = (load.messages(), driver.memory()?.allocated);
        load.run(self.time)?;
        let (messages, allocated) = (load.messages() - messages, driver.memory()?.allocated - before);
        let name = format!("allocations per 10,000 of {shape}");
        self.figures.push(Figure::alone(name, allocated as f64 * ECHOES / messages as f64, "", ALLOCATIONS));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_per_message_and_with_its_samples() {
        let cost = |samples, micros, messages| {
            let in_image = Duration::from_micros(micros);
            Cost { samples, in_image, process: 10 * in_image, messages }
        };
        let (one, other) = (cost(500, 3000, 1000), cost(800, 4000, 2000));
        assert_eq!(one.process_beside("C", &other, "", Limit::None).driver, "30.00 us");
        let figure = one.beside("C", &other, "", TO_C);
        assert_eq!((figure.value, figure.driver.as_str()), (1.5, "3.000 us (500 samples)"));
        assert_eq!(figure.other, "C: 2.000 us (800 samples)");
    }
}
