//! Loads a driver, serves until standard input ends, unloads it, and prints the timeline and the verdict:
//! `cargo run -p ntbench --example load -- driver.sys [service] [Name=dword ...] [--special-pool] [--seed=n]`.

use std::path::Path;

use ntbench::{Bench, Config, OnViolation, Trace, Value, Verifier};

fn main() {
    let (options, arguments): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let seed = options.iter().find_map(|option| option.strip_prefix("--seed=")?.parse().ok()).unwrap_or(1);
    let verifier = Verifier { special_pool: options.iter().any(|option| option == "--special-pool"), ..Verifier::default() };
    let mut arguments = arguments.into_iter();
    let image = arguments.next().expect("the path of a .sys file");
    let service = arguments.next().unwrap_or_else(|| "driver".into());
    let trace = Trace { print: true, ..Trace::default() };
    let bench =
        Bench::new(Config { on_violation: OnViolation::Record, trace, seed, verifier, ..Config::default() }).expect("a bench");
    for setting in arguments {
        let (name, value) = setting.split_once('=').expect("Name=number");
        bench.set_parameter(&service, name, Value::Dword(value.parse().expect("a number")));
    }
    let driver = bench.load(&service, Path::new(&image)).unwrap_or_else(|error| panic!("{error}"));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("standard input");
    println!("{}", serde_json::to_string(&bench.stats()).expect("JSON"));
    match driver.unload() {
        Ok(unload) => println!("{unload}"),
        Err(refused) => println!("not unloaded: {refused}"),
    }
    println!("{}", bench.verdict());
}
