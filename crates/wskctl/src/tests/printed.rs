//! What commands print, as snapshots. `INSTA_UPDATE=always cargo test -p wskctl` writes them anew.

use insta::assert_snapshot;

use super::{example, outcome, printed};

#[test]
fn tables_for_people() {
    let fake = example::driver();
    for line in ["status", "sockets", "sockets --sort bytes", "sockets --kind listener", "sockets --service ECHO", "services"] {
        assert_snapshot!(file(line), printed(&fake, line));
    }
}

#[test]
fn json_for_machines() {
    let fake = example::driver();
    for line in ["status --json", "sockets --json", "services list --json", "events --json", "resolve localhost --json"] {
        assert_snapshot!(file(line), indented(&printed(&fake, line)));
    }
}

/// The name of a snapshot's file.
fn file(line: &str) -> String {
    line.replace("--", "").replace(' ', "_")
}

/// JSON as it can be read and compared; several values are on a line each.
fn indented(json: &str) -> String {
    let values = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON on each line"));
    values.map(|value| serde_json::to_string_pretty(&value).expect("it was JSON")).collect::<Vec<_>>().join("\n")
}

#[test]
fn narrow_terminals_have_fewer_columns_and_whole_words() {
    let fake = example::driver();
    for line in ["sockets", "services"] {
        let at = |width| outcome(&fake, line, Some(width)).0;
        assert_eq!(at(200), printed(&fake, line));
        assert_snapshot!(format!("{line}_at_80"), at(80));
        assert_eq!(at(1).lines().count(), at(80).lines().count(), "lines are not wrapped");
    }
}

#[test]
fn names_as_the_provider_answers() {
    let fake = example::driver();
    assert_eq!(printed(&fake, "resolve localhost"), "::1\n127.0.0.1\nfe80::1%7\n");
    let with_port = printed(&fake, "resolve localhost http --canonical -6 --timeout 10s");
    assert_eq!(with_port, "[::1]:80\n127.0.0.1:80\n[fe80::1%7]:80\ncanonical name: localhost.example\n");
}

#[test]
fn events_in_words() {
    let fake = example::driver();
    assert_snapshot!(printed(&fake, "events"));
    assert_eq!(printed(&fake, "events --since 16").lines().count(), 1);
    assert_eq!(printed(&fake, "events --since 3 --count 2").lines().count(), 2);
    assert_eq!(printed(&fake, "events --since 10m"), "");
    assert_eq!(printed(&fake, "events --follow --count 17").lines().count(), 17);
}

#[test]
fn events_that_were_forgotten_are_counted() {
    let fake = example::driver();
    fake.change(|says| {
        says.events.drain(..10);
        says.oldest = 11;
    });
    assert_eq!(printed(&fake, "events").lines().count(), 7, "who asks for all has lost none");
    assert!(printed(&fake, "events --since 4").starts_with("(6 events not seen: too many at once)\n"));
    assert!(printed(&fake, "events --since 4 --json").starts_with("{\"lost\":6}\n"));
    assert!(!printed(&fake, "events --since 10").contains("not seen"));
}

#[test]
fn a_driver_that_was_loaded_anew_tells_its_events_from_the_first() {
    assert_eq!(printed(&example::driver(), "events --since 5000").lines().count(), 17);
}

#[test]
fn services_are_changed() {
    let fake = example::driver();
    assert_eq!(printed(&fake, "services start chargen"), "chargen: running, tcp 127.0.0.1, ::1 port 40019\n");
    let stopped = printed(&fake, "services stop echo --grace 1s");
    assert!(stopped.starts_with("echo: stopped in ") && stopped.ends_with(", with 2 connections to end\n"), "{stopped}");
    assert_eq!(
        printed(&fake, "services set proxy --kind forward --target [::1]:80 --address 127.0.0.1 --port 81 --start"),
        "proxy: running, tcp 127.0.0.1 port 81\n"
    );
    assert_eq!(
        printed(&fake, "services set new --kind discard --protocol tcp,udp --address *,::1"),
        "new: made; start it: wskctl services start new\n"
    );
    assert_eq!(printed(&fake, "services set new --idle-timeout 30s --max-bytes 1MiB --buffer-size 8KiB"), "new: changed\n");
    let settings = fake.with(|says| says.services.last().expect("it is there").settings);
    assert_eq!((settings.idle_timeout_ms, settings.max_bytes, settings.buffer_size), (30_000, 1 << 20, 8 << 10));
    assert_eq!((settings.protocols, settings.everywhere, settings.address_count), (3, 1, 1));
    assert_eq!(printed(&fake, "services save new"), "new: saved: it is there at the next load, too\n");
    assert_eq!(printed(&fake, "services remove new --saved"), "new: removed\n");
    assert!(!printed(&fake, "services").contains("new"));
}

#[test]
fn other_settings_are_kept_where_one_is_changed() {
    let fake = example::driver();
    let before = fake.with(|says| says.services[1].settings);
    printed(&fake, "services set web --port 81");
    let after = fake.with(|says| says.services[1].settings);
    assert_eq!(after, control_abi::settings::Settings { port: 81, ..before });
}

#[test]
fn activation_says_what_it_did() {
    let fake = example::driver();
    assert!(printed(&fake, "activate").starts_with("active: registered with WSK in "));
    let text = printed(&fake, "deactivate");
    assert!(text.starts_with("inactive: left WSK in ") && text.ends_with(", with 2 connections to end\n"), "{text}");
}

#[test]
fn lists_of_several_pages_are_whole() {
    let fake = example::driver();
    let ids = serde_json::from_str::<Vec<serde_json::Value>>(&printed(&fake, "sockets --json")).expect("a list");
    let ids: Vec<_> = ids.iter().map(|socket| socket["id"].as_u64()).collect();
    assert_eq!(ids, [1, 2, 3, 5, 6, 7].map(Some));
    assert_eq!(fake.asked(), 2 + 2, "two pages of sockets, two of services");
}
