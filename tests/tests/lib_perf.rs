//! The scenarios that the figures compare: each brings every byte back, on several connections, until it is unloaded.

mod support;

use std::sync::atomic::AtomicU64;

use support::exercise::{NO_TARGET, exercise};
use support::{isolated, peer};

fn serves_until_unload(scenario: &'static str) {
    let run = exercise(scenario, NO_TARGET);
    let at = run.at();
    for seed in 0..2 {
        peer::push(at, 3_000_000, seed, &AtomicU64::new(0)).expect("every byte");
    }
    let mut open = peer::open_idle(at, 5).expect("connections");
    open.iter_mut().for_each(|stream| peer::exchange(stream, 1).expect("an echo"));
    run.unload_clean();
    peer::expect_ended(&mut open).expect("their ends");
}

isolated! {
    #[test]
    fn perf_zero_copy_serves_until_unload() {
        serves_until_unload("perf_zero_copy");
    }

    #[test]
    fn perf_copying_serves_until_unload() {
        serves_until_unload("perf_copying");
    }

    #[test]
    fn perf_buffered_serves_until_unload() {
        serves_until_unload("perf_buffered");
    }
}
