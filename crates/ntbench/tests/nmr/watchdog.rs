//! A broken rule often shows as a wait without end. The watchdog turns that into a failure that names the test.

use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

/// No test here takes more than a few seconds.
const LIMIT: Duration = Duration::from_secs(40);

static RUNNING: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// A test begins, on this thread.
pub fn begin() {
    static DOG: Once = Once::new();
    DOG.call_once(|| drop(thread::spawn(watch)));
    let name = thread::current().name().unwrap_or("a test").to_owned();
    *RUNNING.lock().unwrap() = Some((Instant::now(), name));
}

/// It has ended.
pub fn end() {
    *RUNNING.lock().unwrap() = None;
}

fn watch() {
    loop {
        thread::sleep(Duration::from_secs(1));
        if let Some((since, name)) = &*RUNNING.lock().unwrap()
            && since.elapsed() > LIMIT
        {
            eprintln!("\n{name} has hung");
            std::process::abort();
        }
    }
}
