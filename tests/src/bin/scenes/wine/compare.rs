//! The same scenario in the bench and in Wine: start, serve, lose the provider, get it back, serve, stop.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ntbench::trace::{Event, Kind, Side};
use ntbench::{Config, NtStatus, OnViolation};
use wskclient_tests::wine::differences::{self, Lane, List};
use wskclient_tests::wine::{Line, Source, Step, Story, story};
use wskclient_tests::{Rig, peer};

use super::session::{PATIENCE, Session, free_port};
use super::stop::stop;

/// What is known to be different, with the reasons.
const KNOWN: &str = include_str!("../../../../wine-differences.json");
/// Both have it, so that whether this machine has IPv6 makes no difference.
const ADDRESS: &str = "127.0.0.1";

/// What a kernel has told.
struct Told {
    story: Story,
    /// Its steps and the driver's lines, as they are compared.
    all: Vec<(Lane, String)>,
}

/// Runs the scenario in both and compares what they tell.
pub fn compare(session: &Session, driver: &Path) -> Result<((), String)> {
    let known = List::parse(KNOWN)?;
    let port = free_port()?;
    let bench = in_bench(driver, port).context("in the bench")?;
    let wine = in_wine(session, port).context("in Wine")?;
    for (name, told) in [("the bench", &bench), ("Wine", &wine)] {
        told.expect_order().with_context(|| format!("in what {name} tells"))?;
    }
    let count = known.judge(&bench.all, &wine.all)?;
    Ok(((), format!("{} steps and lines in Wine, {count} known differences", wine.all.len())))
}

/// The steps that both go through. `provider` has the provider go or come back; `address` tells where the driver listens after
/// it has started, or after the provider has come back.
fn scenario(
    address: impl Fn(usize) -> Result<SocketAddr>,
    mut provider: impl FnMut(bool) -> Result<()>,
) -> Result<Vec<std::net::TcpStream>> {
    let mut stream = peer::echo_works(address(0)?)?;
    provider(false)?;
    peer::expect_ended(std::slice::from_mut(&mut stream))?;
    provider(true)?;
    Ok(vec![peer::echo_works(address(1)?)?])
}

fn in_bench(driver: &Path, port: u16) -> Result<Told> {
    let rig = Rig::new(driver, Config { on_violation: OnViolation::Record, ..Config::default() })?;
    rig.set_port(port);
    rig.set_address(ADDRESS);
    let loaded = rig.load()?;
    let returned = std::cell::Cell::new(0);
    let listening = |time| loaded.address_since(if time == 0 { 0 } else { returned.get() });
    let open = scenario(listening, |here| {
        returned.set(loaded.now());
        let bench = loaded.bench().provider();
        let status = if here { bench.arrive() } else { bench.depart().wait().0 };
        ensure!(status == NtStatus::SUCCESS, "the provider's status is {status}");
        Ok(())
    })?;
    loaded.unload()?;
    drop(open);
    ensure!(loaded.bench().verdict().is_clean(), "{}", loaded.bench().verdict());
    let events = loaded.events();
    let one = |event: &Event| match &event.kind {
        Kind::DbgPrint { text, .. } => Some(line(text.trim_end().strip_prefix("wskclient: ")?, port)),
        _ => differences::step(&step(event)?),
    };
    Ok(Told { story: Story(events.iter().filter_map(step).collect()), all: events.iter().filter_map(one).collect() })
}

fn in_wine(session: &Session, port: u16) -> Result<Told> {
    session.create(port)?;
    session.prefix().reg_add(&session.parameters(), "EchoAddress", "REG_SZ", ADDRESS)?;
    let begin = session.mark();
    session.start_service(begin)?;
    let returned = std::cell::Cell::new(begin);
    let open = scenario(
        |_| session.listening(returned.get()),
        |here| {
            returned.set(session.log().now());
            session.set_provider(here)?;
            let done = if here { "ProviderRegister" } else { "WaitReturn provider" };
            session.log().wait_for(returned.get(), PATIENCE, done, |line| line.shim_says(done).then_some(()))
        },
    )?;
    stop(session)?;
    drop(open);
    session.service().delete()?;
    let told = session.log().since(begin);
    let one = |line: &Line| match line.source {
        Source::Driver => Some(self::line(&line.text, port)),
        Source::Shim => differences::step(&Step(line.text.clone())),
        Source::Wine => None,
    };
    Ok(Told { story: Story::of(&told), all: told.iter().filter_map(one).collect() })
}

impl Told {
    /// The order that holds across the lanes, in each of the three parts of the scenario.
    fn expect_order(&self) -> Result<()> {
        let (gone, unload) = ("DeregisterCall provider", "UnloadBegin");
        self.story.between("LoadBegin", gone).expect(story::STARTED)?;
        self.story.between(gone, unload).expect(story::PROVIDER_RETURNED)?;
        let end = self.story.between(unload, "nothing");
        end.expect(story::STOPPED)?;
        end.expect(story::DETACHED)?;
        end.expect(story::WAITED)
    }
}

/// A line of the driver's as it is compared, whatever port this is about.
fn line(text: &str, port: u16) -> (Lane, String) {
    differences::line(&text.replace(&format!(":{port}"), ":PORT"))
}

/// What the shim prints for such an event.
fn step(event: &Event) -> Option<Step> {
    let side = |side: &Side| if *side == Side::Client { "client" } else { "provider" };
    let answer = |status: &NtStatus| format!("{:08x}", status.0);
    Some(Step(match &event.kind {
        Kind::LoadBegin { service } => format!("LoadBegin {service}"),
        Kind::LoadReturn { service, status } => format!("LoadReturn {service} {}", answer(status)),
        Kind::UnloadBegin { service } => format!("UnloadBegin {service}"),
        Kind::UnloadReturn { service } => format!("UnloadReturn {service}"),
        Kind::NmrRegister { side: of, status, .. } => format!("NmrRegister {} {}", side(of), answer(status)),
        Kind::ProviderRegister { status, .. } => format!("ProviderRegister {}", answer(status)),
        Kind::AttachCall { side: of, .. } => format!("AttachCall {}", side(of)),
        Kind::AttachReturn { side: of, status, .. } => format!("AttachReturn {} {}", side(of), answer(status)),
        Kind::DeregisterCall { side: of, .. } => format!("DeregisterCall {}", side(of)),
        Kind::Deregister { side: of, status, .. } => format!("Deregister {} {}", side(of), answer(status)),
        Kind::DetachCall { side: of, .. } => format!("DetachCall {}", side(of)),
        Kind::DetachReturn { side: of, status, .. } => format!("DetachReturn {} {}", side(of), answer(status)),
        Kind::DetachComplete { side: of, .. } => format!("DetachComplete {}", side(of)),
        Kind::Cleanup { side: of, .. } => format!("Cleanup {}", side(of)),
        Kind::WaitBegin { side: of, .. } => format!("WaitBegin {}", side(of)),
        Kind::WaitReturn { side: of, status, .. } => format!("WaitReturn {} {}", side(of), answer(status)),
        Kind::SocketCreated { detail, .. } => format!("SocketCreated 0 {}", kind_of_socket(detail)),
        Kind::SocketClosed { .. } => "SocketClosed 0".to_owned(),
        _ => return None,
    }))
}

/// The kind at the beginning of the bench's words, as the shim calls it.
fn kind_of_socket(detail: &str) -> String {
    match detail.split(' ').next().unwrap_or_default() {
        "Listen" => "listening".to_owned(),
        kind => kind.to_lowercase(),
    }
}
