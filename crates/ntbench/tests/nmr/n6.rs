//! N6: an attach that finishes after a deregistration began is detached at once.

use std::sync::Arc;
use std::thread;

use nmr::{Attach, Choice, Config};
use nt_abi::NtStatus;

use crate::support::*;

/// A client or a provider that stays in its attach callback until it is let go.
struct Held {
    inside: Arc<Gate>,
    go: Arc<Gate>,
}

impl Held {
    fn new() -> (Held, Behaviour) {
        let (inside, go) = (Gate::new(), Gate::new());
        let on_attach = {
            let (inside, go) = (inside.clone(), go.clone());
            Box::new(move |_: &Bound| {
                inside.open();
                go.wait();
                NtStatus::SUCCESS
            })
        };
        (Held { inside, go }, Behaviour { on_attach, ..Behaviour::default() })
    }
}

fn deregister_during_attach(held_side_is_client: bool, leaver_is_client: bool, early: Choice) {
    let _running = start_with(Config { early_detach: early, ..Config::default() });
    let (held, behaviour) = Held::new();
    let (client, provider) = if held_side_is_client {
        (client(behaviour), provider(Behaviour::default()))
    } else {
        (client(Behaviour::default()), provider(behaviour))
    };
    provider.register();
    let attaching = thread::spawn({
        let client = client.clone();
        move || client.register()
    });
    held.inside.wait();
    // The client's handle is not known to it yet: the provider leaves, or a second thread that learns the handle.
    let leaver = if leaver_is_client { &client } else { &provider };
    if leaver_is_client {
        let mut handle = 0;
        nmr::census(&mut |r| {
            if r.side == nmr::Side::Client {
                handle = r.handle
            }
        });
        client.handle.store(handle, std::sync::atomic::Ordering::SeqCst);
    }
    assert_eq!(leaver.deregister(), NtStatus::PENDING);
    let expect_early = early == Choice::Always && held_side_is_client;
    assert_eq!(client.counts()[2], usize::from(expect_early), "detach during the attach callback");
    assert_eq!(client.counts()[3], 0, "cleanup during the attach callback");
    held.go.open();
    attaching.join().unwrap();
    assert_eq!(client.counts(), [1; 4], "detached at once when the attach had finished");
    assert_eq!(provider.counts(), [1; 4]);
    assert_eq!(leaver.wait(), NtStatus::SUCCESS);
    (if leaver_is_client { &provider } else { &client }).leave();
    assert!(violations().is_empty());
}

#[test]
fn n6_the_provider_leaves_while_the_client_attaches() {
    deregister_during_attach(true, false, Choice::Never);
}

#[test]
fn n6_the_client_leaves_while_it_attaches() {
    deregister_during_attach(true, true, Choice::Never);
}

#[test]
fn n6_the_provider_leaves_inside_its_own_attach() {
    deregister_during_attach(false, false, Choice::Never);
    deregister_during_attach(false, false, Choice::Always);
}

#[test]
fn n6_the_client_leaves_inside_the_providers_attach() {
    deregister_during_attach(false, true, Choice::Always);
}

#[test]
fn n6_detach_may_overtake_the_end_of_the_attach_callback_but_cleanup_does_not() {
    deregister_during_attach(true, false, Choice::Always);
    deregister_during_attach(true, true, Choice::Always);
}

#[test]
fn n6_an_offer_that_was_not_begun_is_withdrawn() {
    let _running = start_with(Config { attach: Attach::Late, ..Config::default() });
    let (held, mut behaviour) = Held::new();
    // The first of two offers is held, so that the second has not begun when its provider leaves.
    let first = std::sync::atomic::AtomicUsize::new(0);
    let (inside, go) = (held.inside.clone(), held.go.clone());
    behaviour.on_attach = Box::new(move |_| {
        if first.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            inside.open();
            go.wait();
        }
        NtStatus::SUCCESS
    });
    let client = client(behaviour);
    let providers = [provider(Behaviour::default()), provider(Behaviour::default())];
    providers.iter().for_each(|provider| provider.register());
    client.register();
    held.inside.wait();
    let idle = providers.iter().position(|provider| provider.counts()[0] == 0).expect("one was not begun");
    providers[idle].leave();
    held.go.open();
    until("the first attach", || client.counts()[1] == 1);
    client.leave();
    providers[1 - idle].leave();
    assert_eq!(client.counts(), [1; 4]);
    assert_eq!(providers[idle].counts(), [0; 4]);
    assert!(violations().is_empty());
}

#[test]
fn n6_a_deregistration_waits_for_the_attach_to_finish() {
    let _running = start();
    let (held, behaviour) = Held::new();
    let (client, provider) = (client(behaviour), provider(Behaviour::default()));
    provider.register();
    let attaching = thread::spawn({
        let client = client.clone();
        move || client.register()
    });
    held.inside.wait();
    let leaving = thread::spawn({
        let provider = provider.clone();
        move || provider.leave()
    });
    thread::sleep(std::time::Duration::from_millis(30));
    assert!(!leaving.is_finished(), "the deregistration was complete while an attach was running");
    held.go.open();
    attaching.join().unwrap();
    leaving.join().unwrap();
    client.leave();
    assert!(violations().is_empty());
}
