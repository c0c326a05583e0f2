//! Loads a driver, serves until standard input ends, unloads it, and prints the timeline and the verdict:
//! `cargo run -p ntbench --example load -- driver.sys [service] [Name=dword ...]`.

use std::path::Path;

use ntbench::{Bench, Config, OnViolation, Trace, Value};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let image = arguments.next().expect("the path of a .sys file");
    let service = arguments.next().unwrap_or_else(|| "driver".into());
    let trace = Trace { print: true, ..Trace::default() };
    let bench = Bench::new(Config { on_violation: OnViolation::Record, trace, ..Config::default() }).expect("a bench");
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
