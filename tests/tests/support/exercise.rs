//! The driver `wsk-exercise`, which runs one scenario of the library and prints how it went.
//!
//! ```ignore
//! let run = exercise("tcp_echo_once", NO_TARGET);     // loads it on a bench that records violations
//! let mut stream = peer::connect(run.at()).unwrap();   // where the scenario says that it listens
//! …
//! run.expect_ok();                                     // its verdict
//! run.unload_clean();                                  // nothing left, nothing broken
//! ```

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use ntbench::{Bench, Config, Unload, Value};
use wskclient_tests::rig::wait_for;
use wskclient_tests::{Loaded, Rig};

use super::{Story, config, image_of, load, unload_clean};

/// The name under which it is installed.
pub const SERVICE: &str = "exercise";
/// For scenarios without a peer that they connect or send to.
pub const NO_TARGET: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// A bench with the driver's file, for changes (faults, settings) before the scenario begins.
pub fn exercise_rig(config: Config) -> Rig {
    Rig::of_service(SERVICE, &image_of("wsk-exercise"), config).expect("a bench")
}

/// Runs a scenario on a bench of the usual [`config`].
#[track_caller]
pub fn exercise(scenario: &'static str, target: SocketAddr) -> Exercise {
    exercise_on(&exercise_rig(config()), scenario, target)
}

/// Runs a scenario on this bench.
#[track_caller]
pub fn exercise_on(rig: &Rig, scenario: &'static str, target: SocketAddr) -> Exercise {
    rig.set("Scenario", Value::Sz(scenario.to_owned()));
    rig.set("Target", Value::Sz(target.to_string()));
    Exercise { scenario, loaded: load(rig) }
}

/// The driver, loaded, and the scenario that it runs.
pub struct Exercise {
    pub scenario: &'static str,
    pub loaded: Loaded,
}

impl Exercise {
    /// The bench.
    pub fn bench(&self) -> &Bench {
        self.loaded.bench()
    }

    /// What the scenario has printed so far: each line without `exercise: <name>: `.
    pub fn lines(&self) -> Vec<String> {
        let lead = format!("exercise: {}: ", self.scenario);
        self.loaded.printed().iter().filter_map(|line| Some(line.strip_prefix(&lead)?.to_owned())).collect()
    }

    /// What stands after `word` in the first of its lines that begins so; waits for it.
    #[track_caller]
    pub fn said(&self, word: &str) -> String {
        let said = || self.lines().iter().find_map(|line| Some(line.strip_prefix(word)?.trim().to_owned()));
        wait_for(said).unwrap_or_else(|| self.complain(&format!("it has not said `{word}`")))
    }

    /// Where it says (by `at`) that it listens; waits for it.
    #[track_caller]
    pub fn at(&self) -> SocketAddr {
        self.said("at ").parse().expect("an address")
    }

    /// Lets the scenario go on that waits at this gate.
    #[track_caller]
    pub fn go(&self, what: &str) {
        let gate = self.said(&format!("go {what} ")).parse().expect("an address");
        drop(super::peer::connect(gate).expect("the gate"));
    }

    /// Its verdict, when it has come: `ok`, or `FAILED: <why>`.
    #[track_caller]
    pub fn verdict(&self) -> String {
        let verdict = || self.lines().into_iter().find(|line| line == "ok" || line.starts_with("FAILED"));
        wait_for(verdict).unwrap_or_else(|| self.complain("there is no verdict"))
    }

    /// Waits for the verdict, which must be good.
    #[track_caller]
    pub fn expect_ok(&self) {
        let verdict = self.verdict();
        if verdict != "ok" {
            self.complain(&verdict);
        }
    }

    /// Unloads it: nothing is left, and no rule was broken.
    #[track_caller]
    pub fn unload_clean(&self) -> Unload {
        unload_clean(&self.loaded)
    }

    /// Waits for the good verdict, and unloads.
    #[track_caller]
    pub fn expect_ok_and_unload(&self) {
        self.expect_ok();
        self.unload_clean();
    }

    #[track_caller]
    fn complain(&self, what: &str) -> ! {
        let printed = self.loaded.printed().join("\n  ");
        panic!("{}: {what}; printed:\n  {printed}\n{}\n{}", self.scenario, self.bench().verdict(), Story::of(&self.loaded))
    }
}
