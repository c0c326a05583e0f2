//! What commands end with that cannot be done: exit status, what is wrong, what to do about it.

use control_abi::resolve::Outcome;

use super::fake::Fake;
use super::{example, outcome};
use crate::failure::{Exit, Failure};
use crate::ntstatus::NtStatus;

fn failure(fake: &Fake, line: &str) -> Failure {
    let (text, result) = outcome(fake, line, None);
    let failure = result.expect_err(line);
    assert_eq!(text, "", "wskctl {line} prints something, and fails");
    failure
}

fn told(fake: &Fake, line: &str) -> (Exit, String) {
    let failure = failure(fake, line);
    (failure.exit(), failure.to_string())
}

#[test]
fn nonsense_on_the_command_line() {
    let fake = example::driver();
    let lines = [
        "nonsense",
        "status extra",
        "services set",
        "services set a\\b --kind echo",
        "services set new --kind echo --max-connections 0",
        "services set new --kind echo --max-bytes 1KiB",
        "services set new --kind echo --buffer-size 2GiB",
        "services set new --kind echo --idle-timeout 25h",
        "services set new --kind echo --idle-timeout -1s",
        "services set new --kind echo --target 127.0.0.1:80",
        "services set new --kind forward",
        "services set new --kind forward --target localhost",
        "services set new --kind forward --target localhost:0",
        "services set new --kind forward --target 1.2.3:80",
        "services set new --kind forward --target [::1]:80 --protocol udp",
        "services set new --kind echo --address 1.2.3",
        "services set new --kind echo --address ::1,::1",
        "services set new --kind echo --address ::1,::2,::3,::4,::5,::6,::7,::8,::9",
        "services set new",
        "services stop echo --grace 11m",
        "services stop echo --grace -1s",
        "sockets --kind pipe",
        "metrics --json",
        "events --since yesterday",
        "events --since -10m",
        "events -n -1",
        "resolve",
        "resolve a/ä",
        "resolve localhost --timeout 11s",
        "resolve localhost --timeout 0s",
        "resolve localhost -4 -6",
        "completions cmd.exe",
    ];
    for line in lines {
        assert_eq!(failure(&fake, line).exit(), Exit::Usage, "wskctl {line}");
    }
    let changed = fake.with(|says| says.services.len() != 4);
    assert!(!changed, "nonsense has changed the services");
}

#[test]
fn things_that_are_not_there() {
    let fake = example::driver();
    for line in ["services start nix", "services stop nix", "services save nix", "services remove nix", "sockets --service nix"] {
        assert_eq!(told(&fake, line), (Exit::NoSuchThing, "there is no service nix".to_owned()));
    }
    let hint = failure(&fake, "services start nix").hint().expect("what there is");
    assert_eq!(hint, "there are echo, web, chargen, sink; `wskctl services set` makes another");
}

#[test]
fn services_that_cannot_be() {
    let fake = example::driver();
    let (exit, text) = told(&fake, "services set echo --kind echo --new");
    assert_eq!((exit, text.as_str()), (Exit::Refused, "there is a service echo already"));
}

#[test]
fn names_that_are_not_found() {
    let fake = example::driver();
    for (outcome, status, exit, expected) in [
        (Outcome::NotFound, 0, Exit::NoSuchThing, "there is no host x.example"),
        (Outcome::TimedOut, 0, Exit::Refused, "nobody has answered in time what the addresses of x.example are"),
        (Outcome::Failed, 0xc000_009a_u32, Exit::Refused, "resolving failed: out of memory (STATUS_INSUFFICIENT_RESOURCES)"),
        (Outcome::Detached, 0, Exit::Refused, "resolving failed: the driver is not attached to WSK (STATUS_DEVICE_NOT_READY)"),
    ] {
        fake.change(|says| {
            let resolved = says.resolved.as_mut().expect("an answer");
            (resolved.outcome, resolved.status) = (outcome.to_wire(), status as i32);
        });
        assert_eq!(told(&fake, "resolve x.example"), (exit, expected.to_owned()));
    }
}

#[test]
fn no_driver_no_rights() {
    let fake = example::driver();
    let lines = ["status", "sockets", "services", "events", "activate", "deactivate", "resolve x", "services start echo"];
    for (why, exit) in [
        ((|| Failure::NotInstalled) as fn() -> Failure, Exit::NoDriver),
        (|| Failure::NotRunning(None), Exit::NoDriver),
        (|| Failure::NoBench, Exit::NoDriver),
        (|| Failure::NotLoaded, Exit::NoDriver),
        (|| Failure::NoRights, Exit::NoRights),
    ] {
        fake.change(|says| says.shut = Some(why));
        for line in lines {
            let failure = failure(&fake, line);
            assert_eq!(failure.exit(), exit, "wskctl {line}");
            assert!(failure.hint().is_some(), "{failure}: what to do?");
        }
    }
}

#[test]
fn drivers_of_other_versions() {
    let fake = example::driver();
    for (version, advice) in [(3, "the driver is newer"), (1, "the driver is older")] {
        fake.change(|says| {
            says.refuses = Some(NtStatus::REVISION_MISMATCH);
            says.version.version = version;
        });
        let failure = failure(&fake, "sockets");
        assert_eq!(failure.exit(), Exit::OtherVersion);
        assert_eq!(
            failure.to_string(),
            format!("the driver talks version {version} of the control protocol, this program version 2")
        );
        assert!(failure.hint().is_some_and(|hint| hint.starts_with(advice)), "{failure}");
    }
}

#[test]
fn an_answer_of_another_version_is_not_believed() {
    let fake = example::driver();
    fake.change(|says| says.state.version = 1);
    assert_eq!(failure(&fake, "status").exit(), Exit::OtherVersion);
}

#[test]
fn what_the_driver_refuses_is_told_in_words() {
    let fake = example::driver();
    fake.change(|says| says.refuses = Some(NtStatus::NOT_SUPPORTED));
    let expected = "listing sockets failed: the driver cannot do that (STATUS_NOT_SUPPORTED)";
    assert_eq!(told(&fake, "sockets"), (Exit::Refused, expected.to_owned()));
    fake.change(|says| says.refuses = Some(NtStatus(0xc123_4567)));
    assert_eq!(told(&fake, "activate"), (Exit::Refused, "activating failed: status 0xc1234567".to_owned()));
}
