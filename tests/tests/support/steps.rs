//! [`Steps`]: which of the provider's functions were entered, by whom, in which order.

use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use ntbench::Bench;
use ntbench::wsk::{Function, Moment, Step};

/// What has happened in the provider since the record began.
#[derive(Clone, Default)]
pub struct Steps(Arc<Mutex<Vec<(Step, ThreadId)>>>);

impl Steps {
    /// Begins a record. A bench has one at a time.
    pub fn record(bench: &Bench) -> Self {
        Self::record_and(bench, |_| {})
    }

    /// The same; each step, once recorded, is also told to `act`.
    pub fn record_and(bench: &Bench, act: impl Fn(Step) + Send + Sync + 'static) -> Self {
        let steps = Self::default();
        let record = steps.clone();
        bench.provider().on_step(move |step| {
            record.0.lock().unwrap().push((step, std::thread::current().id()));
            act(step);
        });
        steps
    }

    /// The length of the record: a position in it.
    pub fn now(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The record from a position on.
    pub fn since(&self, first: usize) -> Vec<(Step, ThreadId)> {
        self.0.lock().unwrap()[first..].to_vec()
    }

    /// The steps of one thread.
    pub fn by_thread(&self, thread: ThreadId) -> Vec<Step> {
        self.since(0).into_iter().filter(|(_, who)| *who == thread).map(|(step, _)| step).collect()
    }

    /// How often a step was made.
    pub fn count(&self, function: Function, moment: Moment) -> usize {
        let step = Step { function, moment };
        self.0.lock().unwrap().iter().filter(|(other, _)| *other == step).count()
    }
}
