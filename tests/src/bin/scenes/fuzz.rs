//! Requests that nobody would send, to the control device of the built driver: many, from a seed.
//!
//! The driver serves meanwhile, with a connection open. A crash or a violation ends the process where it happens; the seed was
//! printed before, and the request is printed with it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use control_abi::Request;
use indicatif::{HumanCount, HumanDuration};
use ntbench::trace::{Event, Kind};
use ntbench::{Config, NtStatus};
use wskclient_tests::fuzz::{Input, judge};
use wskclient_tests::{Loaded, Rig, peer};

use crate::Image;

/// How often it says how far it is.
const TELL: Duration = Duration::from_secs(10);
/// How often the clock is looked at, in requests.
const LOOK: u64 = 64;
/// The control device, as programs open it.
const DEVICE: &str = r"\\.\WskClient";

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    image: Image,
    /// How many requests (default: as many as there is time for)
    #[arg(long)]
    inputs: Option<u64>,
    /// For how many seconds at most
    #[arg(long)]
    seconds: Option<u64>,
    /// Where the requests begin (default: another one each time); the same seed makes the same requests
    #[arg(long)]
    seed: Option<u64>,
}

/// How the requests were answered: by what was asked for and by the status.
type Answers = BTreeMap<(String, String), u64>;

/// What is being sent, for the report.
type Current = Arc<Mutex<(u64, Option<Input>)>>;

/// Sends requests until there were enough; success means that nothing was wrong with any answer, and that the driver unloads clean.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("seed {seed}");
    let rig = Rig::new(&arguments.image.path, Config { seed, ..Config::default() })?;
    rig.set_port(0);
    rig.set_address("127.0.0.1");
    let current = Current::default();
    tell_of_violations(&rig, &current, seed);
    let loaded = rig.load()?;
    let idle = peer::echo_works(loaded.address()?)?;
    let (count, answers) = send_all(&loaded, arguments, seed, &current)?;
    drop(idle);
    recover(&loaded)?;
    loaded.unload()?;
    let verdict = loaded.bench().verdict();
    ensure!(verdict.is_clean(), "seed {seed}: {verdict}");
    show(&answers);
    ensure!(answers.values().sum::<u64>() == count, "not every request was counted");
    println!("{} requests, seed {seed}: nothing wrong", HumanCount(count));
    Ok(ExitCode::SUCCESS)
}

/// The first violation ends the process; before that the request is told.
fn tell_of_violations(rig: &Rig, current: &Current, seed: u64) {
    let current = Arc::clone(current);
    rig.bench().subscribe(move |event: &Event| {
        if let Kind::Violation { rule, text } = &event.kind {
            let current = current.lock().unwrap_or_else(PoisonError::into_inner);
            let (number, input) = &*current;
            let input = input.as_ref().map(ToString::to_string).unwrap_or_default();
            eprintln!("seed {seed}, request {number}: {input}\nviolation of {rule}: {text}");
        }
    });
}

fn send_all(loaded: &Loaded, arguments: &Arguments, seed: u64, current: &Current) -> Result<(u64, Answers)> {
    let device = loaded.bench().open(DEVICE).ok().context("the device cannot be opened")?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut count, mut answers, begun) = (0, Answers::new(), Instant::now());
    let (most, time) = (arguments.inputs.unwrap_or(u64::MAX), arguments.seconds.map_or(Duration::MAX, Duration::from_secs));
    let mut told = begun;
    while count < most && (count % LOOK != 0 || begun.elapsed() < time) {
        let input = Input::next(&mut rng);
        *current.lock().unwrap_or_else(PoisonError::into_inner) = (count, Some(input.clone()));
        match judge(loaded.bench(), &device, &input) {
            Ok(error) => *answers.entry(kind(&input, error.map(|error| error.status))).or_default() += 1,
            Err(wrong) => bail!("seed {seed}, request {count}: {input}\n{wrong}"),
        }
        count += 1;
        if told.elapsed() >= TELL {
            told = Instant::now();
            println!("{} requests in {}", HumanCount(count), HumanDuration(begun.elapsed()));
        }
    }
    Ok((count, answers))
}

fn kind(input: &Input, failed: Option<NtStatus>) -> (String, String) {
    let asked = Request::from_code(input.code).map_or_else(|| "no request".to_owned(), |request| format!("{request:?}"));
    (asked, failed.unwrap_or(NtStatus::SUCCESS).to_string())
}

/// After all that the driver is as able as ever: it comes back to WSK, and its state can be asked for.
fn recover(loaded: &Loaded) -> Result<()> {
    loaded.set_active(true).or_else(|_| loaded.state().map(drop))?;
    loaded.wait_for_state(|state| state.registration == control_abi::Registration::In as u32)?;
    Ok(())
}

fn show(answers: &Answers) {
    let mut table = wskclient_tests::timeline::table(&["request", "status", "times"], 2);
    for ((asked, status), times) in answers {
        table.add_row([asked.clone(), status.clone(), HumanCount(*times).to_string()]);
    }
    println!("{table}");
}
