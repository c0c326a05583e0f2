//! [`Bench`]: the machine that drivers are loaded on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nt_abi::NtStatus;
use serde::Serialize;

use crate::etw::{self, Session};
use crate::ex::pool::{self, PoolStats};
use crate::fault::{self, When};
use crate::io::file::{self, Handle};
use crate::io::{device, irp};
use crate::ke::irql::{self, CompletionIrql};
use crate::ke::{processor, time};
use crate::registry::{self, Value};
use crate::trace::{self, Trace};
use crate::verifier::{self, OnViolation, Verdict, Verifier};
use crate::{Driver, LoadError, bugcheck, image, mm, ps, rng, watch, wsk};

/// What a bench is like.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything random begins.
    pub seed: u64,
    /// How many processors drivers see.
    pub processors: u32,
    /// What a broken rule does.
    pub on_violation: OnViolation,
    /// Which of the costlier checks are made.
    pub verifier: Verifier,
    /// How the Network Module Registrar behaves.
    pub nmr: nmr::Config,
    /// At which IRQL completions and events reach the driver.
    pub completion_irql: CompletionIrql,
    /// What is traced.
    pub trace: Trace,
    /// What a session of Event Tracing for Windows takes from the beginning; none: there is no session, as on most machines.
    pub etw: Option<Session>,
    /// Calls that fail, by the function's name.
    pub fail: Vec<(&'static str, When)>,
    /// Whether the WSK provider is there from the beginning.
    pub provider: bool,
    /// The driver's own bug checks, for the message with which a run ends.
    pub bug_checks: Vec<bugcheck::Named>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            seed: 1,
            processors: std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 64) as u32),
            on_violation: OnViolation::default(),
            verifier: Verifier::default(),
            nmr: nmr::Config::default(),
            completion_irql: CompletionIrql::default(),
            trace: Trace::default(),
            etw: None,
            fail: Vec::new(),
            provider: true,
            bug_checks: Vec::new(),
        }
    }
}

/// Why there is no bench.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This process has had one: the kernel's functions are global.
    #[error("this process has a bench already; run the other one in a process of its own")]
    Second,
    /// The WSK provider could not be started.
    #[error("the WSK provider could not be started: {0}")]
    Provider(#[from] std::io::Error),
    /// The WSK provider could not register.
    #[error("the WSK provider could not register: {0}")]
    Arrive(NtStatus),
}

/// Sums over everything.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Pool memory.
    pub pool: PoolStats,
    /// Live IRPs.
    pub irps: u64,
    /// IRPs ever allocated.
    pub irps_total: u64,
    /// Live MDLs.
    pub mdls: u64,
    /// System threads that run.
    pub threads: usize,
    /// DPCs run so far.
    pub dpcs: u64,
    /// Time since the bench began, in milliseconds.
    pub time_ms: f64,
}

/// The machine that drivers are loaded on; one per process.
pub struct Bench {
    provider: wsk::Provider,
}

static EXISTS: AtomicBool = AtomicBool::new(false);

impl Bench {
    /// Starts the machine.
    ///
    /// # Errors
    /// This process has had one; what the host refused.
    pub fn new(config: Config) -> Result<Bench, Error> {
        if EXISTS.swap(true, Ordering::AcqRel) {
            return Err(Error::Second);
        }
        time::since_start();
        rng::seed(config.seed);
        verifier::configure(config.on_violation, config.verifier);
        trace::configure(config.trace);
        etw::set_session(config.etw);
        processor::configure(config.processors);
        irql::configure(config.completion_irql);
        config.fail.iter().for_each(|(name, when)| fault::arm(name, *when));
        bugcheck::configure(&config.bug_checks);
        image::trap::install();
        watch::install(config.nmr);
        let settings = wsk::Settings { seed: config.seed, reactors: processor::count() };
        let provider = wsk::Provider::new(settings)?;
        if config.provider {
            let status = provider.arrive();
            if status.is_failure() {
                return Err(Error::Arrive(status));
            }
        }
        Ok(Bench { provider })
    }

    /// Sets a value in a service's `Parameters` key.
    pub fn set_parameter(&self, service: &str, name: &str, value: Value) {
        registry::set_parameter(service, "", name, Some(value));
    }

    /// Takes a value out of a service's `Parameters` key.
    pub fn clear_parameter(&self, service: &str, name: &str) {
        registry::set_parameter(service, "", name, None);
    }

    /// Sets a value of the key `below` a service's `Parameters`, such as `Services\\echo`; keys on the way are made.
    pub fn set_parameter_below(&self, service: &str, below: &str, name: &str, value: Value) {
        registry::set_parameter(service, below, name, Some(value));
    }

    /// Makes a key `below` a service's `Parameters`.
    pub fn create_parameters_key(&self, service: &str, below: &str) {
        registry::create_below_parameters(service, below);
    }

    /// Takes a key `below` a service's `Parameters` away, with all that is below it.
    pub fn remove_parameters_key(&self, service: &str, below: &str) {
        registry::remove_below_parameters(service, below);
    }

    /// The WSK provider.
    pub fn provider(&self) -> &wsk::Provider {
        &self.provider
    }

    /// Loads the driver in the file `image` as `service`, and calls its entry point.
    ///
    /// # Errors
    /// It is no image that can be loaded, or its entry point has failed; see [`LoadError`].
    pub fn load(&self, service: &str, image: &Path) -> Result<Driver, LoadError> {
        Driver::load(service, image)
    }

    /// Opens a device as an administrator's program would: `\\.\Name`.
    ///
    /// # Errors
    /// There is none of that name; what the driver answered.
    pub fn open(&self, path: &str) -> Result<Handle, NtStatus> {
        file::open(path)
    }

    /// The symbolic links that exist.
    pub fn links(&self) -> Vec<String> {
        device::links()
    }

    /// Tells drivers that the system shuts down.
    pub fn shutdown(&self) {
        file::shutdown();
    }

    /// What has happened so far.
    pub fn trace(&self) -> Vec<trace::Event> {
        trace::events()
    }

    /// Has `f` called for each event from now on, on the thread that it happens on.
    pub fn subscribe(&self, f: impl Fn(&trace::Event) + Send + Sync + 'static) {
        trace::subscribe(f);
    }

    /// Begins, changes or ends the session of Event Tracing for Windows. Providers hear of it on this thread.
    pub fn trace_events(&self, session: Option<Session>) {
        etw::set_session(session);
    }

    /// Events of Event Tracing for Windows that providers wrote though no session took them.
    pub fn unwanted_events(&self) -> u64 {
        etw::unwanted()
    }

    /// Whether a number is an address of a driver's image or of live pool memory: what must never leave the kernel.
    pub fn is_kernel_address(&self, number: usize) -> bool {
        image::index_of(number).is_some() || pool::owns(number)
    }

    /// Makes calls of a function fail from now on.
    pub fn fail(&self, name: &'static str, when: When) {
        fault::arm(name, when);
    }

    /// Counts calls of functions that can be made to fail, without making any fail.
    pub fn count_calls(&self) {
        fault::count();
    }

    /// Calls per function since counting or failing began, and how many of them failed.
    pub fn calls(&self) -> Vec<(&'static str, u64, u64)> {
        fault::counts()
    }

    /// Ends all faults and counts.
    pub fn no_faults(&self) {
        fault::disarm();
    }

    /// Sums over everything.
    pub fn stats(&self) -> Stats {
        let (irps, irps_total) = irp::counts();
        Stats {
            pool: pool::stats(),
            irps,
            irps_total,
            mdls: mm::count(),
            threads: ps::count(),
            dpcs: processor::runs(),
            time_ms: time::since_start().as_secs_f64() * 1e3,
        }
    }

    /// What the verifier has to say so far. Leaks are found when a driver is unloaded.
    pub fn verdict(&self) -> Verdict {
        let tags = pool::stats().tags.into_iter().map(|(tag, stats)| (tag, stats.total_blocks)).collect();
        Verdict { violations: verifier::recorded(), tags }
    }

    /// Time since the bench began.
    pub fn time(&self) -> Duration {
        time::since_start()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.provider.shut_down();
    }
}
