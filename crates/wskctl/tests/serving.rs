//! The tool and what the driver serves: every socket is seen, services are made, used and ended, names are resolved.
#![cfg(unix)]

#[path = "support/stage.rs"]
#[allow(dead_code)] // others use the rest
mod stage;

use std::net::SocketAddr;

use stage::Stage;
use wskclient_tests::peer;
use wskclient_tests::rig::wait_for;

/// The address of 127.0.0.1 at which a service listens.
fn address_of(stage: &Stage, name: &str) -> Option<SocketAddr> {
    let services = stage.json(&["services"]);
    let service = services.as_array()?.iter().find(|service| service["name"] == name)?.clone();
    (service["state"] == "running").then_some(())?;
    Some(SocketAddr::from(([127, 0, 0, 1], u16::try_from(service["port"].as_u64()?).ok()?)))
}

ntbench::rusty_fork::rusty_fork_test! {
    #![rusty_fork(timeout_ms = 120_000)]

    #[test]
    fn every_socket_is_seen() {
        let stage = Stage::new();
        let address = stage.driver.address().expect("it listens").to_string();
        let stream = peer::echo_works(stage.driver.address().expect("it listens")).expect("it echoes");
        let peer = stream.local_addr().expect("its address").to_string();

        let all = stage.json(&["sockets"]);
        let all = all.as_array().expect("a list");
        let listener = all.iter().find(|socket| socket["kind"] == "listener").expect("the listener");
        assert_eq!((listener["local"].as_str(), listener["service"].as_str()), (Some(&*address), Some("echo")), "{listener}");
        let connection = all.iter().find(|socket| socket["remote"] == *peer).expect("the connection");
        assert_eq!((connection["kind"].as_str(), connection["protocol"].as_str()), (Some("connection"), Some("tcp")), "{connection}");
        assert!(connection["received_bytes"].as_u64() > Some(0) && connection["sent_bytes"].as_u64() > Some(0), "{connection}");
        assert_eq!(all.len(), 2, "{all:?}");
        let table = stage.printed(&["sockets", "--service", "echo", "--kind", "connection"]);
        assert!(table.starts_with("id") && table.contains(&peer) && table.lines().count() == 2, "{table}");

        drop(stream);
        let gone = wait_for(|| (stage.json(&["sockets"]).as_array()?.len() == 1).then_some(()));
        assert!(gone.is_some(), "{}", stage.printed(&["sockets"]));
        stage.end();
    }

    #[test]
    fn a_forwarder_is_made_used_changed_and_ended() {
        let stage = Stage::new();
        let echo = stage.driver.address().expect("it listens").to_string();
        let made = ["services", "set", "web", "--kind", "forward", "--target", &echo, "--port", "0", "--address", "127.0.0.1"];
        assert_eq!(stage.printed(&made), "web: made; start it: wskctl services start web\n");
        assert!(stage.printed(&["services", "start", "web"]).starts_with("web: running, tcp 127.0.0.1 port "));
        let address = address_of(&stage, "web").expect("it runs");
        let stream = peer::echo_works(address).expect("it forwards");
        let list = stage.printed(&["services"]);
        assert!(list.contains("by hand") && list.contains(&echo), "{list}");

        let (exit, error) = stage.refused(&["services", "set", "web", "--kind", "echo", "--new"]);
        assert_eq!((exit, error.lines().next()), (Some(1), Some("error: there is a service web already")));
        let stopped = stage.printed(&["services", "stop", "web", "--grace", "0s"]);
        assert!(stopped.starts_with("web: stopped in ") && stopped.ends_with(", with 1 connection to end\n"), "{stopped}");
        peer::expect_ended(&mut [stream]).expect("it was ended");
        assert_eq!(stage.printed(&["services", "remove", "web"]), "web: removed\n");
        let (exit, error) = stage.refused(&["services", "start", "web"]);
        assert_eq!((exit, error.as_str()), (Some(6), "error: there is no service web\n  hint: there are echo; `wskctl services set` makes another\n"));
        stage.end();
    }

    #[test]
    fn names_are_resolved_in_the_kernel() {
        let stage = Stage::new();
        let addresses = stage.printed(&["resolve", "localhost", "-4"]);
        assert_eq!(addresses, "127.0.0.1\n");
        assert_eq!(stage.printed(&["resolve", "127.0.0.1", "80"]), "127.0.0.1:80\n");
        stage.printed(&["deactivate"]);
        let (exit, error) = stage.refused(&["resolve", "localhost"]);
        assert_eq!(exit, Some(1), "{error}");
        assert!(error.contains("`wskctl activate`"), "{error}");
        stage.end();
    }
}
