//! The state of the driver, in figures.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use control_abi::state::Peaks;
use control_abi::{Gate, PoolUse, Registration, State};
use wsk::Client;
use wsk::sync::pool_use;

use crate::driver::Driver;

/// The state.
pub(super) fn of(driver: &Driver) -> State {
    let totals = driver.services.totals();
    let mut state = State {
        version: control_abi::VERSION,
        loaded_us: driver.loaded.elapsed().as_micros() as u64,
        totals,
        since_attach: totals.since(&driver.at_attach.with(|before| *before)),
        ..State::default()
    };
    add_pool(&mut state);
    if let Some(client) = driver.client() {
        add_client(&mut state, client);
    }
    state
}

fn add_client(state: &mut State, client: &Client) {
    state.registration = match client.state() {
        wsk::State::Out => Registration::Out,
        wsk::State::Registering => Registration::Registering,
        wsk::State::In => Registration::In,
        wsk::State::Leaving => Registration::Leaving,
    } as u32;
    state.provider_versions = client.offered_versions().map_or(0, |(lowest, highest)| u32::from(highest) << 16 | u32::from(lowest));
    state.peaks.sockets = client.most_sockets().into();
    let Some(binding) = client.binding().or_else(|| client.leaving()) else { return };
    let work = binding.work();
    state.gate = if binding.is_open() { Gate::Open } else { Gate::Shut } as u32;
    (state.in_flight, state.inside, state.sockets) = (work.in_flight, work.inside, work.sockets);
    state.generation = binding.generation();
    state.wsk_version = binding.version().into();
    state.attached_us = binding.age().as_micros() as u64;
}

fn add_pool(state: &mut State) {
    let mut most = 0;
    for (place, under) in state.pool.iter_mut().zip(pool_use()) {
        *place = PoolUse { tag: under.tag, reserved: 0, bytes: under.bytes, allocations: under.allocations, peak: under.peak };
        most += under.peak;
        state.tags += 1;
    }
    state.peaks = Peaks { pool: most, ..state.peaks };
}
