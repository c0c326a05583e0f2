//! One thread that waits for the host's sockets (epoll, edge-triggered) and for the clock.
//!
//! # Invariants
//! - A key in epoll is a place in `sources` with the generation it had; a stale one finds nothing.
//! - No lock is held while a sink or a job runs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::{Job, Readiness, Ready};

const WAKE: u64 = u64::MAX;

/// A place in the table of sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(u64);

struct Place {
    generation: u32,
    sink: Option<Arc<dyn Ready>>,
}

#[derive(Default)]
struct Sources {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Sources {
    fn insert(&mut self, sink: Arc<dyn Ready>) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, sink: None });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.sink = Some(sink);
        Key(u64::from(place.generation) << 32 | u64::from(index))
    }

    fn at(&mut self, key: Key) -> Option<&mut Place> {
        let place = self.places.get_mut(key.0 as u32 as usize)?;
        (place.generation == (key.0 >> 32) as u32).then_some(place)
    }

    fn remove(&mut self, key: Key) -> Option<Arc<dyn Ready>> {
        let place = self.at(key)?;
        let sink = place.sink.take();
        place.generation = (place.generation + 1) & 0x7fff_ffff;
        self.free.push(key.0 as u32);
        sink
    }
}

struct Timed {
    due: Instant,
    order: u64,
    job: Job,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

#[derive(Default)]
struct Agenda {
    jobs: BinaryHeap<Reverse<Timed>>,
    next: u64,
}

/// See the module.
pub struct Reactor {
    epoll: OwnedFd,
    bell: OwnedFd,
    sources: Mutex<Sources>,
    agenda: Mutex<Agenda>,
    stopping: AtomicBool,
}

impl Reactor {
    /// Makes one; [`Reactor::run`] is its thread.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, EventData::new_u64(WAKE), EventFlags::IN)?;
        let (sources, agenda) = Default::default();
        Ok(Self { epoll, bell, sources, agenda, stopping: AtomicBool::new(false) })
    }

    /// Begins to tell `sink` what happens to `fd`.
    pub fn add(&self, fd: BorrowedFd<'_>, sink: Arc<dyn Ready>) -> io::Result<Key> {
        let key = self.sources.lock().unwrap().insert(sink);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let added = epoll::add(&self.epoll, fd, EventData::new_u64(key.0), flags);
        if let Err(error) = added {
            self.sources.lock().unwrap().remove(key);
            return Err(error.into());
        }
        Ok(key)
    }

    /// Ends that. A call of the sink may still be in progress.
    pub fn remove(&self, fd: BorrowedFd<'_>, key: Key) {
        let _ = epoll::delete(&self.epoll, fd);
        let sink = self.sources.lock().unwrap().remove(key);
        drop(sink);
    }

    /// Runs a job on this thread after a time.
    pub fn later(&self, delay: Duration, job: Job) {
        let mut agenda = self.agenda.lock().unwrap();
        let order = agenda.next;
        agenda.next += 1;
        agenda.jobs.push(Reverse(Timed { due: Instant::now() + delay, order, job }));
        drop(agenda);
        self.ring();
    }

    /// Asks the thread to end, after the jobs that wait.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.ring();
    }

    /// The thread.
    pub fn run(&self) {
        let mut events: Vec<Event> = Vec::with_capacity(256);
        loop {
            let pause = self.pause();
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), pause.as_ref());
            for event in events.drain(..) {
                self.tell(event);
            }
            if self.run_due() && self.stopping.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn tell(&self, event: Event) {
        let key = event.data.u64();
        if key == WAKE {
            let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
            return;
        }
        let sink = self.sources.lock().unwrap().at(Key(key)).and_then(|place| place.sink.clone());
        if let Some(sink) = sink {
            sink.ready(readiness(event.flags));
        }
    }

    /// How long to wait; None is for ever.
    fn pause(&self) -> Option<Timespec> {
        let agenda = self.agenda.lock().unwrap();
        let Reverse(first) = agenda.jobs.peek()?;
        let left = first.due.saturating_duration_since(Instant::now());
        Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos() as _ })
    }

    /// Runs the jobs that are due; true if none is left.
    fn run_due(&self) -> bool {
        loop {
            let mut agenda = self.agenda.lock().unwrap();
            match agenda.jobs.peek() {
                None => return true,
                Some(Reverse(first)) if first.due > Instant::now() => return false,
                Some(_) => {}
            }
            let job = agenda.jobs.pop().map(|Reverse(timed)| timed.job);
            drop(agenda);
            if let Some(job) = job {
                job();
            }
        }
    }

    fn ring(&self) {
        let _ = rustix::io::write(self.bell.as_fd(), &1u64.to_ne_bytes());
    }
}

fn readiness(flags: EventFlags) -> Readiness {
    let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
    Readiness {
        readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP) || failed,
        writable: flags.contains(EventFlags::OUT) || failed,
        read_closed: flags.contains(EventFlags::RDHUP) || failed,
        failed: flags.contains(EventFlags::ERR),
    }
}
