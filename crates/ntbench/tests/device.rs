//! Devices as programs use them, rule L38, faults at each step of a load, the profiler, and the trace's formats.

mod support;

use ntbench::{Bench, Config, Driver, Level, LoadError, NtStatus, OnViolation, Trace, UnloadRefused, When};

const DOUBLE: u32 = 0x22_2000;
const LATER: u32 = 0x22_2004;
const SPIN: u32 = 0x22_2008;

fn bench() -> Bench {
    let trace = Trace { level: Level::Io, print: false };
    Bench::new(Config { on_violation: OnViolation::Abort, provider: false, trace, ..Config::default() }).expect("a bench")
}

fn load(bench: &Bench) -> Driver {
    bench.load("tried", &support::build("device", "device", &[])).expect("it loads")
}

fn passes(test: &str, body: impl FnOnce()) {
    if let Some(output) = support::isolated(test, body) {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_device_is_opened_controlled_and_closed() {
    passes("a_device_is_opened_controlled_and_closed", || {
        let bench = bench();
        let driver = load(&bench);
        assert_eq!(bench.open(r"\\.\Nothing").err(), Some(NtStatus::OBJECT_NAME_NOT_FOUND));
        assert_eq!(bench.links(), [r"\??\tried"]);
        let handle = bench.open(r"\\.\Tried").expect("it opens");
        assert_eq!(handle.ioctl(DOUBLE, &[1, 2, 3], 8), Ok(vec![2, 4, 6]));
        assert_eq!(handle.ioctl(DOUBLE, &[1, 2, 3], 2), Ok(vec![2, 4]));
        assert_eq!(handle.ioctl(LATER, &[], 0), Ok(vec![]));
        assert_eq!(handle.ioctl(0x22_2100, &[], 0).map_err(|error| error.status), Err(NtStatus::INVALID_DEVICE_REQUEST));
        drop(handle);
        bench.shutdown();
        driver.unload().expect("it unloads");
        let printed: Vec<_> =
            bench.trace().iter().map(|event| event.kind.to_string()).filter(|text| text.starts_with("print")).collect();
        assert_eq!(printed, ["print  major 0", "print  major 18", "print  major 2", "print  major 16"]);
        assert_eq!(bench.open(r"\\.\Tried").err(), Some(NtStatus::OBJECT_NAME_NOT_FOUND));
        assert!(bench.verdict().is_clean());
    });
}

#[test]
fn l38_a_driver_is_not_unloaded_while_a_handle_is_open() {
    passes("l38_a_driver_is_not_unloaded_while_a_handle_is_open", || {
        let bench = bench();
        let driver = load(&bench);
        let handles = [bench.open(r"\\.\Tried").expect("it opens"), bench.open(r"\??\Tried").expect("it opens")];
        assert_eq!(driver.unload().err(), Some(UnloadRefused::Handles(2)));
        assert_eq!(handles[0].ioctl(DOUBLE, &[4], 1), Ok(vec![8]));
        drop(handles);
        driver.unload().expect("it unloads");
        assert_eq!(driver.unload().err(), Some(UnloadRefused::Gone));
        assert!(driver.image().is_gone());
    });
}

#[test]
fn a_load_that_fails_at_each_of_its_steps_leaves_nothing() {
    passes("a_load_that_fails_at_each_of_its_steps_leaves_nothing", || {
        let bench = bench();
        bench.count_calls();
        load(&bench).unload().expect("it unloads");
        let calls = bench.calls();
        let names: Vec<_> = calls.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["IoAllocateWorkItem", "IoCreateDevice", "IoCreateSymbolicLink", "IoRegisterShutdownNotification"]);
        let image = support::build("device", "again", &[]);
        for name in names {
            bench.no_faults();
            bench.fail(name, When::Nth(1));
            let Err(LoadError::DriverEntry(status)) = bench.load("tried", &image) else { panic!("{name} did not fail") };
            assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES, "{name}");
        }
        bench.no_faults();
        bench.load("tried", &image).expect("it loads").unload().expect("it unloads");
        assert!(bench.verdict().is_clean());
    });
}

#[test]
fn the_profiler_tells_the_driver_from_the_rest() {
    passes("the_profiler_tells_the_driver_from_the_rest", || {
        let bench = bench();
        let driver = load(&bench);
        let handle = bench.open(r"\\.\Tried").expect("it opens");
        let profiler = ntbench::profile::Profiler::start();
        handle.ioctl(SPIN, &[], 0).expect("it spins");
        let busy = profiler.stop();
        assert!(busy.samples > 10 && busy.share() > 0.8, "{busy:?}");
        let profiler = ntbench::profile::Profiler::start();
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 300 {
            std::hint::black_box(began);
        }
        let idle = profiler.stop();
        assert!(idle.samples > 10 && idle.share() < 0.1, "{idle:?}");
        drop(handle);
        driver.unload().expect("it unloads");
    });
}

#[test]
fn the_trace_is_written_as_json_and_for_perfetto() {
    passes("the_trace_is_written_as_json_and_for_perfetto", || {
        let bench = bench();
        let told = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&told);
        bench.subscribe(move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        let driver = load(&bench);
        bench.open(r"\\.\Tried").expect("it opens").ioctl(LATER, &[], 0).expect("it answers");
        driver.unload().expect("it unloads");
        let events = bench.trace();
        assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), events.len());
        let mut lines = Vec::new();
        ntbench::trace::write_json(&events, &mut lines).expect("JSON");
        let lines = String::from_utf8(lines).expect("text");
        assert_eq!(lines.lines().count(), events.len());
        assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        assert!(lines.contains(r#""event":"LoadReturn","service":"tried","status":"STATUS_SUCCESS""#), "{lines}");
        assert!(lines.contains(r#""what":"WorkItem""#), "{lines}");
        let mut chrome = Vec::new();
        ntbench::trace::write_chrome(&events, &mut chrome).expect("JSON");
        let chrome: serde_json::Value = serde_json::from_slice(&chrome).expect("JSON");
        let entries = chrome["traceEvents"].as_array().expect("events");
        let phases = |name: &str| entries.iter().filter(|e| e["name"] == name).map(|e| e["ph"].to_string()).collect::<String>();
        assert_eq!(phases("Unload"), r#""B""E""#);
        assert!(entries.iter().all(|entry| entry["ts"].is_f64() && entry["pid"] == 1));
    });
}

#[test]
fn a_second_bench_is_an_error() {
    passes("a_second_bench_is_an_error", || {
        let _first = bench();
        assert!(matches!(Bench::new(Config::default()), Err(ntbench::Error::Second)));
    });
}
