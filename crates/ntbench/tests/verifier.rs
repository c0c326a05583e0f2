//! What the verifier finds: a driver in C breaks each rule, and the report names it and the place.

mod support;

use ntbench::etw::Session;
use ntbench::{Bench, Config, LoadError, OnViolation, Verifier};

fn config(special_pool: bool, on_violation: OnViolation) -> Config {
    let verifier = Verifier { special_pool, ..Verifier::default() };
    Config { on_violation, verifier, processors: 2, provider: false, etw: Some(Session::ALL), ..Config::default() }
}

/// Loads and unloads the driver that breaks the rule of `case`; the violations are recorded.
fn recorded(case: u32) {
    let bench = Bench::new(config(false, OnViolation::Record)).expect("a bench");
    let image = support::build("faults", "faults", &[&format!("CASE={case}")]);
    let driver = bench.load("faults", &image).expect("it loads");
    driver.unload().expect("it unloads");
    for violation in bench.verdict().violations {
        println!("{violation}");
    }
}

/// As [`recorded`], where the first violation ends the process.
fn fatal(case: u32, special_pool: bool) {
    let bench = Bench::new(config(special_pool, OnViolation::Abort)).expect("a bench");
    let image = support::build("faults", "faults", &[&format!("CASE={case}")]);
    let driver = bench.load("faults", &image).expect("it loads");
    driver.unload().expect("it unloads");
    // It ends before.
    std::thread::sleep(std::time::Duration::from_secs(20));
}

fn expect(output: std::process::Output, status: i32, wanted: &[&str]) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{text}");
    for part in wanted {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

macro_rules! recorded {
    ($($name:ident: $case:literal => [$($wanted:literal),*];)*) => {
        $(
            #[test]
            fn $name() {
                if let Some(output) = support::isolated(stringify!($name), || recorded($case)) {
                    expect(output, 0, &[$($wanted),*]);
                }
            }
        )*
    };
}

macro_rules! fatal {
    ($($name:ident: $case:literal, special pool $special:literal => [$($wanted:literal),*];)*) => {
        $(
            #[test]
            fn $name() {
                if let Some(output) = support::isolated(stringify!($name), || fatal($case, $special)) {
                    expect(output, 3, &[$($wanted),*]);
                }
            }
        )*
    };
}

recorded! {
    a_pool_leak_is_found: 1 => ["violation of L32", "123 bytes tagged 'TesT'", "allocated in faults.sys!misbehave(", "faults.c:"];
    a_double_free_is_found: 2 => ["violation of pool-double-free", "misbehave"];
    an_overrun_is_found: 3 => ["violation of pool-overrun", "64 bytes"];
    a_late_write_is_found: 4 => ["violation of pool-use-after-free", "offset 8"];
    a_wrong_tag_is_found: 5 => ["violation of pool-tag", "'!!!!'"];
    a_wait_at_dispatch_level_is_found: 6 => ["violation of irql", "KeWaitForSingleObject was called at IRQL 2", "waits"];
    a_held_lock_at_return_is_found: 7 => ["violation of irql-returned", "returned at IRQL 2 with 1"];
    a_release_by_another_is_found: 8 => ["violation of spinlock-owner", "nobody holds it"];
    an_irp_leak_is_found: 10 => ["violation of L32", "IRP 0x", "before: allocated"];
    an_irp_freed_twice_is_found: 11 => ["violation of irp-double-free", "before: allocated, freed"];
    an_irp_completed_unsent_is_found: 12 => ["violation of irp-double-completion"];
    an_mdl_leak_and_its_freed_buffer_are_found: 13 => ["violation of mdl-buffer", "not given back: MDL"];
    a_device_and_work_item_left_are_found: 14 => ["device without a name was not deleted", "not given back: allocated in"];
    paged_pool_at_dispatch_level_is_found: 15 => ["violation of irql", "ExAllocatePool2 was called at IRQL 2"];
    two_locks_in_both_orders_are_found: 16 => ["violation of lock-order", "is held while", "taken in faults.sys!both("];
    a_breakpoint_is_found: 17 => ["violation of breakpoint", "1 times"];
    a_timer_left_is_found: 21 => ["violation of L31", "on_dpc", "waits for a timer"];
    an_event_without_registration_is_found: 22 => ["violation of etw", "0x1234, that EtwRegister never gave"];
    an_event_after_the_registration_is_found: 23 => ["violation of etw: EtwWriteTransfer", "whose registration is over"];
    a_tracing_registration_left_is_found: 24 => ["violation of L32", "ETW registration of", "{04030201-", "faults.c:"];
    a_registration_ended_twice_is_found: 25 => ["violation of etw: EtwUnregister", "whose registration is over"];
    a_registration_at_dispatch_level_is_found: 26 => ["violation of irql", "EtwRegister was called at IRQL 2"];
    a_provider_registered_twice_is_found: 27 => ["violation of etw", "registered twice"];
    an_event_that_lies_about_itself_is_found: 28 => ["violation of etw", "Told: ", "too early"];
}

fatal! {
    recursion_on_a_spin_lock_ends_the_run: 9, special pool false => ["violation of spinlock-recursion", "misbehave"];
    a_thread_left_ends_the_run: 20, special pool false => ["violation of L31", "its system thread", "sleeper"];
    a_null_pointer_ends_the_run: 30, special pool false => ["violation of null", "memory at 0x8", "misbehave", "faults.c:"];
    cr8_ends_the_run: 31, special pool false => ["violation of instruction", "CR8"];
    gs_ends_the_run: 32, special pool false => ["violation of instruction", "relative to GS"];
    a_bug_check_ends_the_run: 33, special pool false => ["violation of bugcheck", "'WskU' (0x1, 0x2, 0x3, 0x4)"];
    a_bad_pointer_ends_the_run: 34, special pool false => ["the bench, called by the driver", "misbehave"];
    an_overrun_of_special_pool_ends_the_run: 35, special pool true => ["violation of pool", "offset 64 of a live block"];
    a_late_write_to_special_pool_ends_the_run: 36, special pool true => ["violation of pool", "offset 0 of a freed block"];
    a_write_to_code_ends_the_run: 37, special pool false => ["violation of access", "misbehave"];
}

#[test]
fn code_that_runs_after_unload_is_caught() {
    let late = || {
        let bench = Bench::new(config(false, OnViolation::Record)).expect("a bench");
        let image = support::build("faults", "faults", &["CASE=20"]);
        let driver = bench.load("faults", &image).expect("it loads");
        driver.unload().expect("it unloads");
        // It ends before.
        std::thread::sleep(std::time::Duration::from_secs(20));
    };
    if let Some(output) = support::isolated("code_that_runs_after_unload_is_caught", late) {
        expect(output, 3, &["violation of L31", "runs after its unload has returned: faults.sys!sleeper("]);
    }
}

#[test]
fn a_failed_load_is_checked_for_leaks() {
    let load = || {
        let bench = Bench::new(config(false, OnViolation::Record)).expect("a bench");
        let image = support::build("faults", "faults", &["CASE=40"]);
        let Err(LoadError::DriverEntry(status)) = bench.load("faults", &image) else { panic!("it loads") };
        println!("{status}\n{}", bench.verdict());
    };
    if let Some(output) = support::isolated("a_failed_load_is_checked_for_leaks", load) {
        expect(output, 0, &["STATUS_INSUFFICIENT_RESOURCES", "77 bytes tagged 'TesT'"]);
    }
}

#[test]
fn l31_a_work_item_keeps_the_image_until_it_has_returned() {
    let slow = || {
        let bench = Bench::new(config(false, OnViolation::Abort)).expect("a bench");
        let image = support::build("faults", "faults", &["CASE=19"]);
        let unload = bench.load("faults", &image).expect("it loads").unload().expect("it unloads");
        assert!(unload.lingered.as_millis() > 100, "{unload:?}");
        println!("{}", bench.verdict());
    };
    if let Some(output) = support::isolated("l31_a_work_item_keeps_the_image_until_it_has_returned", slow) {
        expect(output, 0, &["clean"]);
    }
}

#[test]
fn an_event_that_describes_itself_is_in_the_trace() {
    let told = || {
        let bench = Bench::new(config(false, OnViolation::Abort)).expect("a bench");
        let image = support::build("faults", "faults", &["CASE=29"]);
        bench.load("faults", &image).expect("it loads").unload().expect("it unloads");
        bench.trace().iter().for_each(|event| println!("{}", event.kind));
    };
    if let Some(output) = support::isolated("an_event_that_describes_itself_is_in_the_trace", told) {
        expect(output, 0, &["etw    Tes/Told Now=4711"]);
    }
}

#[test]
fn a_driver_that_breaks_nothing_is_clean() {
    let clean = || {
        let bench = Bench::new(config(false, OnViolation::Abort)).expect("a bench");
        let image = support::build("faults", "faults", &["CASE=0"]);
        let driver = bench.load("faults", &image).expect("it loads");
        driver.unload().expect("it unloads");
        assert!(bench.verdict().is_clean());
        let printed = bench.trace().into_iter().map(|event| event.kind.to_string());
        println!("{}", printed.collect::<Vec<_>>().join("\n"));
    };
    if let Some(output) = support::isolated("a_driver_that_breaks_nothing_is_clean", clean) {
        expect(output, 0, &[r"hello \Registry\Machine\System\CurrentControlSet\Services\faults 7"]);
    }
}
