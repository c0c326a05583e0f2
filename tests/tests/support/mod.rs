//! What the tests of the lifecycle rules share: the built driver on a bench that records what it does wrong.
//!
//! [`isolated!`] gives each test a process of its own, with a time limit; [`rig`] is a bench with the driver's file,
//! [`loaded`] the driver on it; [`story`] reads the trace, [`steps`] what the
//! provider was asked; [`peers`] are the other ends of its connections; [`provider`] finds
//! the provider's own end; [`udp`] peers for datagrams; [`traffic`] jobs of traffic and their hosts; [`exercise`] is the driver that runs scenarios of
//! the library.
#![allow(dead_code, unused_imports, unused_macros)] // each test program uses a part of it

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control_abi::{RequestHeader, State};
use ntbench::trace::Kind;
use ntbench::{Bench, Config, Driver, LoadError, NtStatus, OnViolation, Unload, Value};
use zerocopy::IntoBytes;

pub mod exercise;
pub mod hosts;
pub mod peers;
pub mod provider;
pub mod serving;
pub mod steps;
pub mod story;
pub mod traffic;
pub mod udp;

pub use steps::Steps;
pub use story::Story;
pub use wskclient_tests::rig::wait_for;
pub use wskclient_tests::{Loaded, Rig, SERVICE, peer};

/// Tests, each in a process of its own, for a bench is one per process. A test that takes longer than two minutes is ended.
macro_rules! isolated {
    ($($tests:tt)*) => {
        ntbench::rusty_fork::rusty_fork_test! {
            #![rusty_fork(timeout_ms = 120_000)]
            $($tests)*
        }
    };
}
pub(crate) use isolated;

/// The variable that names another driver than the one that `cargo xtask build` makes.
const IMAGE: &str = "WSKCLIENT_SYS";

/// The driver's file.
pub fn image() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/wskclient/release/wskclient.sys");
    let image = std::env::var_os(IMAGE).map_or(built, PathBuf::from);
    assert!(image.is_file(), "there is no {}: build it with `cargo xtask build`, or name another with {IMAGE}", image.display());
    image
}

/// The file of another driver of the workspace, by its package: as old as the tests' own driver, and of the same profile.
pub fn image_of(package: &str) -> PathBuf {
    let profile = if image().to_string_lossy().contains("/debug/") { "debug" } else { "release" };
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/{package}/{profile}/{package}.sys"));
    assert!(built.is_file(), "there is no {}: build it with `cargo xtask build --package {package}`", built.display());
    built
}

/// A bench that records violations, on two processors.
pub fn config() -> Config {
    Config { on_violation: OnViolation::Record, processors: 2, ..Config::default() }
}

/// [`config`] with this registrar.
pub fn config_nmr(change: impl FnOnce(&mut ntbench::nmr::Config)) -> Config {
    let mut config = config();
    change(&mut config.nmr);
    config
}

/// A bench with the driver's file; it will listen at a free port of 127.0.0.1.
pub fn rig_with(config: Config) -> Rig {
    let rig = Rig::new(&image(), config).expect("a bench");
    rig.set_port(0);
    rig.set_address("127.0.0.1");
    rig
}

/// [`rig_with`] the usual [`config`].
pub fn rig() -> Rig {
    rig_with(config())
}

/// A rig for as long as the process lives: what is told of events and steps may use it.
pub fn rig_for_ever(config: Config) -> &'static Rig {
    Box::leak(Box::new(rig_with(config)))
}

/// Does something that is over soon. If it is not, the test ends here, with what it was, the verdict and the trace.
pub fn bounded<T>(bench: &Bench, what: &str, body: impl FnOnce() -> T) -> T {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if wait.recv_timeout(BOUND) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what} has not come to an end within {BOUND:?}\n{}\n{}", bench.verdict(), Story::since(bench, 0));
                std::process::exit(101);
            }
        });
        let result = body();
        drop(done);
        result
    })
}

/// How long [`bounded`] is patient.
const BOUND: Duration = Duration::from_secs(30);
/// How soon something has to be over that takes milliseconds, on a machine that has other things to do. What it is told from
/// takes longer, or for ever.
pub const SOON: Duration = Duration::from_secs(5);

/// Loads the driver, or says what the verifier has found.
pub fn load(rig: &Rig) -> Loaded {
    let loaded = bounded(rig.bench(), "the load", || rig.load());
    loaded.unwrap_or_else(|error| panic!("{error:#}\n{}", rig.bench().verdict()))
}

/// The driver on a bench of the usual [`config`], and where it listens.
pub fn listening() -> (Loaded, SocketAddr) {
    let loaded = load(&rig());
    let address = address(&loaded);
    (loaded, address)
}

/// Where it listens; it may take its time to do so.
pub fn address(loaded: &Loaded) -> SocketAddr {
    loaded.address().unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", loaded.bench().verdict(), Story::of(loaded)))
}

/// Where it listens, as it says after the position `first` of the trace.
pub fn address_since(loaded: &Loaded, first: usize) -> SocketAddr {
    loaded.address_since(first).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", loaded.bench().verdict(), Story::of(loaded)))
}

/// Unloads the driver: nothing is left, and no rule was broken since the bench began.
pub fn unload_clean(loaded: &Loaded) -> Unload {
    let unload =
        bounded(loaded.bench(), "the unload", || loaded.unload()).unwrap_or_else(|refused| panic!("not unloaded: {refused}"));
    assert_clean(loaded.bench());
    unload
}

/// Fails, with the verdict and the trace, unless no rule was broken, and nothing was left by a driver that has gone. No
/// allocation has the tag of the `alloc` crate's allocator.
#[track_caller]
pub fn assert_clean(bench: &Bench) {
    let verdict = bench.verdict();
    assert!(verdict.is_clean(), "{verdict}\n{}", Story::since(bench, 0));
    assert!(!verdict.used_tag("rust"), "something was allocated with the tag `rust`: {:?}", verdict.tags);
}

/// Fails, with what there is, unless the driver's end has left nothing on the bench, whether it ended by an unload or by a
/// load that failed.
#[track_caller]
pub fn assert_nothing_left(bench: &Bench) {
    assert_clean(bench);
    let stats = bench.stats();
    assert_eq!((stats.irps, stats.mdls, stats.threads), (0, 0, 0), "IRPs, MDLs, threads are left: {stats:?}");
    assert_eq!(bench.links(), Vec::<String>::new(), "symbolic links are left");
}

/// A departure of the provider that is begun from inside something, and waited for outside.
pub struct Departing(Mutex<Option<ntbench::wsk::Departure>>);

/// Has the provider depart when `moment` first comes, on the thread and at the place where it comes.
pub fn depart_once(rig: &'static Rig, moment: impl Fn(&Kind) -> bool + Send + Sync + 'static) -> &'static Departing {
    let departing: &'static Departing = Box::leak(Box::new(Departing(Mutex::new(None))));
    let begun = AtomicBool::new(false);
    rig.bench().subscribe(move |event| {
        if moment(&event.kind) && !begun.swap(true, Ordering::AcqRel) {
            let departure = rig.bench().provider().depart();
            *departing.0.lock().unwrap() = Some(departure);
        }
    });
    departing
}

/// Waits for the departure, which must have begun.
#[track_caller]
pub fn expect_departed(rig: &Rig, departing: &Departing) {
    let departure = departing.0.lock().unwrap().take().expect("a departure has begun");
    let (status, _) = bounded(rig.bench(), "the departure", || departure.wait());
    assert_eq!(status, NtStatus::SUCCESS, "{}", Story::since(rig.bench(), 0));
}

/// Has the provider depart, and waits until it is gone.
#[track_caller]
pub fn depart(bench: &Bench) {
    let (status, _) = bounded(bench, "the departure", || bench.provider().depart().wait());
    assert_eq!(status, NtStatus::SUCCESS, "{}", Story::since(bench, 0));
}

/// Has the provider come (back).
#[track_caller]
pub fn arrive(bench: &Bench) {
    assert_eq!(bounded(bench, "the arrival", || bench.provider().arrive()), NtStatus::SUCCESS);
}

/// Sends a request to the control device; its status if it fails.
pub fn control(bench: &Bench, request: control_abi::Request, answer: usize) -> Result<Vec<u8>, NtStatus> {
    let device = bench.open(r"\\.\WskClient")?;
    device.ioctl(request as u32, RequestHeader::CURRENT.as_bytes(), answer).map_err(|error| error.status)
}

/// The driver's state, when it is as `wanted`.
#[track_caller]
pub fn state_when(loaded: &Loaded, wanted: impl Fn(&State) -> bool) -> State {
    loaded.wait_for_state(wanted).unwrap_or_else(|error| panic!("{error:#}\n{}", Story::of(loaded)))
}

/// Waits until `done` says so, or fails after a while with `what` was waited for and the trace.
#[track_caller]
pub fn until(loaded: &Loaded, what: &str, mut done: impl FnMut() -> bool) {
    if wait_for(|| done().then_some(())).is_none() {
        panic!("waited in vain: {what}\n{}\n{}", loaded.bench().verdict(), Story::of(loaded));
    }
}
