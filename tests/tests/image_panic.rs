//! A driver that panics: the bench ends the run and says where.

#[path = "../../crates/ntbench/tests/support/mod.rs"]
mod drivers;

use ntbench::{Bench, Config};

/// The driver in C stops as `wdk-panic` does; no panic in the driver itself can be brought about.
#[test]
fn image_a_panic_ends_the_run_with_file_and_line() {
    let panic = || {
        let image = drivers::build("panic", "panic", &[]);
        let bench = Bench::new(Config { provider: false, ..Config::default() }).expect("a bench");
        let _ = bench.load("panic", &image);
        println!("the load has returned");
    };
    let Some(output) = drivers::isolated("image_a_panic_ends_the_run_with_file_and_line", panic) else { return };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(ntbench::verifier::VIOLATION_EXIT), "{text}");
    assert!(text.contains(r"a Rust panic at src\somewhere.rs:123:45"), "{text}");
    assert!(text.contains("panic.sys!DriverEntry"), "{text}");
    assert!(!text.contains("the load has returned"), "{text}");
}
