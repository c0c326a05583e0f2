//! The control device: what asking costs, and what it costs those who are served meanwhile.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use control_abi::page::{END, room};
use control_abi::sockets::{Socket, SocketsRequest};
use control_abi::{Ask, Page, Request, RequestHeader, State};
use ntbench::{Bench, Handle};
use wskclient_tests::{Rig, peer};
use zerocopy::IntoBytes;

use super::figures::{Figure, Limit, median};
use super::load::{Load, Shape, Work};
use super::server::{Server, Service};
use super::{Measurement, announce};

/// A status request beside one that does nothing.
const CHEAP: Limit = Limit::AtMost(3.0);
/// Echo while somebody watches, beside echo that nobody watches.
const UNDISTURBED: Limit = Limit::AtLeast(0.9);
/// How often somebody who watches looks.
const PERIOD: Duration = Duration::from_millis(100);
/// Sockets that there are to be seen.
const SOCKETS: usize = 1000;
/// Those of them that are busy.
const SHAPE: Shape = Shape { connections: 64, message: 64 << 10, depth: 1 };
/// Requests of a kind in a piece, and pieces.
const REQUESTS: u32 = 500;
const PIECES: usize = 101;

impl Measurement {
    pub(super) fn control(&mut self) -> Result<()> {
        announce("requests of the control device");
        let mut server = self.driver()?;
        let address = server.start(&Service::Echo)?;
        let idle = peer::open_idle(address, SOCKETS - SHAPE.connections - 1)?;
        let [nothing, status] = server.requests()?;
        let show = |seconds: f64| format!("{:.2} µs", seconds * 1e6);
        let (nothing, status) = (nothing.as_secs_f64(), status.as_secs_f64());
        self.figures.push(Figure::ratio_to("no-op", "status request, median", status, nothing, show, CHEAP));
        let name = format!("echo of {SHAPE}, watched every 100 ms with {SOCKETS} sockets");
        announce(&name);
        let both = RefCell::new((server, Load::connect(address, SHAPE)?));
        let [alone, watched] =
            self.rates(&mut [Watched { both: &both, watched: false }, Watched { both: &both, watched: true }])?;
        drop(idle);
        self.figures.push(Figure::ratio_to("unwatched", name, watched, alone, |rate| SHAPE.rate(rate), UNDISTURBED));
        Ok(())
    }
}

/// One load, with somebody who watches or without.
struct Watched<'a> {
    both: &'a RefCell<(Server, Load)>,
    watched: bool,
}

impl Work for Watched<'_> {
    fn run(&mut self, time: Duration) -> Result<f64> {
        let (server, load) = &mut *self.both.borrow_mut();
        server.watch(self.watched)?;
        let rate = load.run(time)?;
        // What went wrong with watching is told here.
        server.watch(false)?;
        Ok(rate)
    }

    fn messages(&self) -> u64 {
        self.both.borrow().1.messages()
    }
}

/// Somebody who looks at the driver as `wskctl top` does.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Watcher {
    /// Begins to look.
    pub fn start(rig: Arc<Rig>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let began = Instant::now();
                look(rig.bench())?;
                std::thread::park_timeout(PERIOD.saturating_sub(began.elapsed()));
            }
            Ok(())
        });
        Self { stop, thread }
    }

    /// Looks no longer.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().map_err(|_| anyhow!("the watcher panicked"))?
    }
}

/// The state and the list of sockets, by requests with a handle each.
fn look(bench: &Bench) -> Result<()> {
    status(&open(bench)?)?;
    let (mut cursor, mut seen) = (END, 0);
    loop {
        let asked = SocketsRequest::at(cursor);
        let answer = open(bench)?.ioctl(SocketsRequest::REQUEST.code(), asked.as_bytes(), room::<Socket>(256))?;
        let page = Page::<Socket>::read(&answer)?;
        seen += page.entries().len();
        cursor = page.header.next;
        if cursor == END {
            break;
        }
    }
    ensure!(seen >= SOCKETS, "there are {seen} sockets to be seen");
    Ok(())
}

fn open(bench: &Bench) -> Result<Handle> {
    bench.open(r"\\.\WskClient").map_err(|status| anyhow!("the device cannot be opened: {status}"))
}

fn status(device: &Handle) -> Result<()> {
    let answer = device.ioctl(Request::State.code(), RequestHeader::CURRENT.as_bytes(), size_of::<State>())?;
    State::read(&answer).map(drop).context("the state")
}

fn nothing(device: &Handle) -> Result<()> {
    device.ioctl(Request::NoOp.code(), RequestHeader::CURRENT.as_bytes(), 0)?;
    Ok(())
}

/// How long a request that does nothing takes, and one for the state: medians of pieces that take turns.
pub fn times_of_requests(bench: &Bench) -> Result<[Duration; 2]> {
    let device = open(bench)?;
    let mut pieces = [Vec::with_capacity(PIECES), Vec::with_capacity(PIECES)];
    let kinds: [fn(&Handle) -> Result<()>; 2] = [nothing, status];
    for _ in 0..PIECES {
        for (kind, times) in kinds.iter().zip(&mut pieces) {
            let began = Instant::now();
            (0..REQUESTS).try_for_each(|_| kind(&device))?;
            times.push(began.elapsed().as_secs_f64() / f64::from(REQUESTS));
        }
    }
    Ok(pieces.map(|times| Duration::from_secs_f64(median(times))))
}
