//! Events for Event Tracing for Windows, as a session gets them from the shipped driver.

mod support;

use control_abi::events::EventKind;
use ntbench::etw::{Fields, Session};
use ntbench::fault::When;
use ntbench::trace::Kind;
use ntbench::{Bench, Config};
use support::peers::echoed;
use support::{Loaded, address, assert_clean, config, isolated, load, rig_with, unload_clean, wait_for};

/// The provider's name, from which its GUID comes.
const PROVIDER: &str = "WskClient";

fn traced() -> Config {
    Config { etw: Some(Session::ALL), ..config() }
}

/// The number of the event of that name.
fn number(name: &str) -> Option<u32> {
    EventKind::ALL.iter().find(|kind| kind.name().replace('-', "") == name.to_lowercase()).map(|kind| kind.to_wire())
}

/// What the session got: name, level, fields.
fn written(bench: &Bench) -> Vec<(String, u8, Fields)> {
    let events = bench.trace().into_iter();
    let written = events.filter_map(|event| match event.kind {
        Kind::Etw { provider, name, level, fields, id, .. } => {
            assert_eq!((provider.as_str(), number(&name)), (PROVIDER, Some(id.into())), "{name}");
            Some((name, level, fields))
        }
        _ => None,
    });
    written.collect()
}

fn names(bench: &Bench) -> Vec<String> {
    written(bench).into_iter().map(|(name, ..)| name).collect()
}

/// Events of the lifecycle with their fields, as the trace shows them.
fn lifecycle(bench: &Bench) -> Vec<String> {
    let ours = ["Attach", "Detach", "Cleaned", "Deactivated", "Activated"];
    let events = written(bench).into_iter().filter(|(name, ..)| ours.iter().any(|start| name.starts_with(start)));
    events.map(|(name, _, fields)| format!("{name}{fields}")).collect()
}

fn printed(loaded: &Loaded, part: &str) -> usize {
    let is_it = |kind: &Kind| matches!(kind, Kind::DbgPrint { text, .. } if text.contains(part));
    loaded.events().iter().filter(|event| is_it(&event.kind)).count()
}

#[test]
fn etw_the_documentation_names_the_provider_and_all_events() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tracing.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let guid = tracelogging::Guid::from_name(PROVIDER);
    let guid = String::from_utf8_lossy(&guid.to_utf8_bytes()).into_owned();
    assert!(page.contains(&format!("`{PROVIDER}`, `{{{guid}}}`")), "{guid}");
    let mut rows = page.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.parse::<u32>().ok()?, cells.next()?))
    });
    for kind in EventKind::ALL {
        let (row, name) = rows.next().unwrap_or_else(|| panic!("no row for {kind}"));
        assert_eq!((row, number(name)), (kind.to_wire(), Some(kind.to_wire())), "{name}");
    }
}

isolated! {
    #[test]
    fn etw_the_lifecycle_is_told_in_order_with_its_fields() {
        let loaded = load(&rig_with(traced()));
        let stream = echoed(address(&loaded));
        loaded.set_active(false).expect("deactivated");
        drop(stream);
        loaded.set_active(true).expect("activated");
        unload_clean(&loaded);
        let mut told = lifecycle(loaded.bench());
        // Whoever completes a detach tells it, perhaps before the callback has told that it has begun.
        for at in 1..told.len() {
            if told[at - 1].starts_with("DetachCompleted") && told[at].starts_with("DetachBegun") {
                told.swap(at - 1, at);
            }
        }
        let wanted = [
            "Attaching Lowest=0x100 Highest=0x100",
            "Attached Binding=1",
            "Deactivated",
            "DetachBegun Binding=1 Pending=true CallsInFlight=",
            "DetachCompleted Binding=1",
            "CleanedUp Binding=1",
            "Activated",
            "Attaching Lowest=0x100 Highest=0x100",
            "Attached Binding=2",
            "DetachBegun Binding=2 Pending=",
        ];
        let same = told.len() > wanted.len() && told.iter().zip(wanted).all(|(told, wanted)| told.starts_with(wanted));
        // Whether the last detach found work depends on when the peer's end was seen.
        assert!(same && told.last().is_some_and(|last| last == "CleanedUp Binding=2"), "{told:#?}");
        assert_eq!(loaded.bench().unwanted_events(), 0);
    }

    #[test]
    fn etw_services_tell_where_they_listen() {
        let loaded = load(&rig_with(traced()));
        let address = address(&loaded);
        let all = written(loaded.bench());
        let listening = all.iter().find(|(name, ..)| name == "ServiceListening").map(|(_, level, fields)| (*level, fields));
        let (level, fields) = listening.unwrap_or_else(|| panic!("{all:?}"));
        let wanted = [("Name", "echo".into()), ("Address", address.to_string()), ("Protocol", "tcp".into())];
        for (name, value) in wanted {
            assert_eq!(fields.field(name).and_then(|field| field.as_str()), Some(value.as_str()), "{fields}");
        }
        assert!(fields.field("Service").and_then(|field| field.as_u64()).is_some_and(|id| id > 0), "{fields}");
        assert_eq!(level, 4);
        unload_clean(&loaded);
    }

    #[test]
    fn etw_a_service_that_cannot_listen_says_where_and_why() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = taken.local_addr().map(|address| (taken, address)).expect("its address");
        let rig = rig_with(traced());
        rig.set_port(taken.1.port());
        let loaded = load(&rig);
        let failed = || written(loaded.bench()).into_iter().find(|(name, ..)| name == "ServiceFailed");
        let (_, level, fields) = wait_for(failed).expect("it fails");
        assert_eq!(level, 3, "a warning");
        assert_eq!(fields.field("Address").and_then(|field| field.as_str()), Some(taken.1.to_string().as_str()));
        assert_eq!(fields.field("Status").and_then(|field| field.as_str()), Some("STATUS_ADDRESS_ALREADY_EXISTS"));
        unload_clean(&loaded);
    }

    #[test]
    fn etw_a_load_that_fails_says_why_and_leaves_no_registration() {
        let no_client = ("NmrRegisterClient", When::Nth(1));
        let rig = rig_with(Config { fail: vec![no_client], ..traced() });
        assert!(rig.load().is_err(), "it loads");
        let all = written(rig.bench());
        let [(name, level, fields)] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((name.as_str(), *level), ("Fault", 2));
        assert_eq!(fields.to_string(), " What=not loaded Status=STATUS_INSUFFICIENT_RESOURCES");
        assert_clean(rig.bench());
        // The next load registers anew.
        let loaded = load(&rig);
        unload_clean(&loaded);
        assert!(names(rig.bench()).contains(&"Attached".into()));
    }

    #[test]
    fn etw_a_machine_without_it_is_told_once_and_missed_nowhere() {
        let none = ("EtwRegister", When::From(1));
        let loaded = load(&rig_with(Config { fail: vec![none], ..traced() }));
        echoed(address(&loaded));
        loaded.set_active(false).expect("deactivated");
        loaded.set_active(true).expect("activated");
        unload_clean(&loaded);
        assert_eq!(names(loaded.bench()), Vec::<String>::new());
        assert_eq!(printed(&loaded, "ETW"), 1);
    }

    #[test]
    fn etw_events_begin_and_end_with_a_session_and_are_made_for_nobody_else() {
        let loaded = load(&rig_with(config()));
        let bench = loaded.bench();
        let cycle = || {
            loaded.set_active(false).expect("deactivated");
            loaded.set_active(true).expect("activated");
        };
        cycle();
        assert_eq!(names(bench), Vec::<String>::new());
        bench.trace_events(Some(Session::ALL));
        cycle();
        let got = names(bench);
        assert!(got.contains(&"Attached".into()), "{got:?}");
        // Errors alone, and then nothing.
        for session in [Some(Session { level: 2, ..Session::ALL }), None] {
            bench.trace_events(session);
            let before = names(bench);
            cycle();
            assert_eq!(names(bench), before);
        }
        assert_eq!(bench.unwanted_events(), 0);
        unload_clean(&loaded);
    }

    #[test]
    fn etw_categories_are_told_apart() {
        const SERVICES: u64 = 0x4;
        let services = Session { any: SERVICES, ..Session::ALL };
        let loaded = load(&rig_with(Config { etw: Some(services), ..config() }));
        address(&loaded);
        unload_clean(&loaded);
        let got = names(loaded.bench());
        assert!(got.iter().all(|name| name.starts_with("Service")) && !got.is_empty(), "{got:?}");
    }
}
