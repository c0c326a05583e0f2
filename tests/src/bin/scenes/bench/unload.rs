//! Unloading with idle connections, and what memory these cost.

use std::time::Duration;

use anyhow::Result;
use indicatif::HumanCount;
use wskclient_tests::peer;

use super::figures::{Figure, Limit, least, median};
use super::server::{Memory, Server, Service};
use super::{Measurement, announce};

/// How long connections do nothing until they are idle in the driver's eyes.
const UNTIL_IDLE: Duration = Duration::from_millis(2500);
/// How often the driver is unloaded with idle connections, and with how many.
const UNLOADS: usize = 7;
const FEW: usize = 100;
const MANY: usize = 1000;

/// The limits.
const UNLOAD_MS: Limit = Limit::AtMost(100.0);
const UNLOAD_GROWTH: Limit = Limit::AtMost(12.0);
const POOL: Limit = Limit::AtMost(2048.0);

/// Sizes on Windows x64: an IRP with one stack location, an MDL of one page, the header of a pool block.
const IRP: u64 = 208 + 72;
const MDL: u64 = 48 + 8;
const POOL_HEADER: u64 = 16;

impl Measurement {
    /// Unloads with few and with many idle connections, in turns; on the way, what an idle connection costs. How it grows is told
    /// by the fastest ones: what else the machine does makes only single ones slow, and the longer ones rather.
    pub(super) fn unloading(&mut self) -> Result<()> {
        announce("unload with idle connections");
        let mut driver = self.driver()?;
        let (mut few, mut many, mut pool) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..UNLOADS {
            few.push(unload_idle(&mut driver, FEW)?.0);
            let (time, bytes) = unload_idle(&mut driver, MANY)?;
            many.push(time);
            pool.push(bytes);
        }
        let (least_few, least_many) = (least(&few), least(&many));
        let name = format!("  the same, to that with {FEW} (fastest: {least_many:.2} ms, {least_few:.2} ms)");
        let growth = Figure::alone(name, least_many / least_few, "times", UNLOAD_GROWTH);
        self.figures.push(Figure::alone(
            format!("unload with {} idle connections", HumanCount(MANY as u64)),
            median(many),
            "ms",
            UNLOAD_MS,
        ));
        self.figures.push(growth);
        self.figures.push(Figure::alone("nonpaged memory per idle connection", median(pool), "B", POOL));
        Ok(())
    }
}

/// Unloads with so many idle connections: milliseconds, and bytes that each connection cost.
fn unload_idle(driver: &mut Server, count: usize) -> Result<(f64, f64)> {
    let address = driver.start(&Service::Echo)?;
    let before = driver.memory()?;
    let mut streams = peer::open_idle(address, count)?;
    streams.iter_mut().try_for_each(|stream| peer::exchange(stream, 1))?;
    std::thread::sleep(UNTIL_IDLE);
    let cost = bytes(&driver.memory()?) as f64 - bytes(&before) as f64;
    let time = driver.unload()?;
    peer::expect_ended(&mut streams)?;
    Ok((time.as_secs_f64() * 1e3, cost / count as f64))
}

/// What this would be on Windows.
fn bytes(memory: &Memory) -> u64 {
    memory.bytes + memory.blocks * POOL_HEADER + memory.irps * (IRP + POOL_HEADER) + memory.mdls * (MDL + POOL_HEADER)
}
