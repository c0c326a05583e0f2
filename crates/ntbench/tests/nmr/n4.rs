//! N4: deregistering either side calls detach on both sides, once each, per binding, without the registrar's lock held;
//! after both have finished, cleanup on both sides, again without the lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use nmr::{Choice, Config, Kind, Level, Side};
use nt_abi::{DISPATCH_LEVEL, NtStatus};

use crate::support::*;

fn pending() -> Behaviour {
    Behaviour { on_detach: Box::new(|_| NtStatus::PENDING), ..Behaviour::default() }
}

fn irql() -> u8 {
    // SAFETY: no precondition.
    unsafe { nt_abi::kernel::KeGetCurrentIrql() }
}

#[test]
fn n4_deregistering_either_side_detaches_and_cleans_up_both_once() {
    let _running = start();
    for client_first in [true, false] {
        let (client, provider) = (client(Behaviour::default()), provider(Behaviour::default()));
        client.register();
        provider.register();
        let (first, second) = if client_first { (&client, &provider) } else { (&provider, &client) };
        first.leave();
        assert_eq!(first.counts(), [1; 4]);
        assert_eq!(second.counts(), [1; 4]);
        second.leave();
        assert_eq!(first.counts(), [1; 4]);
        assert_eq!(second.counts(), [1; 4]);
    }
    assert!(violations().is_empty());
}

#[test]
fn n4_cleanup_comes_after_both_sides_have_finished_in_either_order() {
    let _running = start();
    for client_first in [true, false] {
        let (client, provider) = (client(pending()), provider(pending()));
        client.register();
        provider.register();
        assert_eq!(client.deregister(), NtStatus::PENDING);
        let (first, second) = if client_first { (&client, &provider) } else { (&provider, &client) };
        assert_eq!(first.counts(), [1, 1, 1, 0]);
        first.only().complete();
        assert_eq!([first.counts()[3], second.counts()[3]], [0, 0], "cleaned up after one side");
        second.only().complete();
        assert_eq!([first.counts()[3], second.counts()[3]], [1, 1]);
        assert_eq!(client.wait(), NtStatus::SUCCESS);
        provider.leave();
    }
    assert!(violations().is_empty());
}

#[test]
fn n4_the_wait_returns_after_the_last_cleanup() {
    let _running = start();
    let (client, provider) = (client(pending()), provider(Behaviour::default()));
    client.register();
    provider.register();
    assert_eq!(client.deregister(), NtStatus::PENDING);
    let waiter = thread::spawn({
        let client = client.clone();
        move || {
            let status = client.wait();
            (status, client.counts()[3])
        }
    });
    until("the wait to begin", || events().iter().any(|event| event.kind == Kind::WaitBegin));
    thread::sleep(std::time::Duration::from_millis(20));
    assert!(!waiter.is_finished(), "the wait returned before the detach was complete");
    client.only().complete();
    assert_eq!(waiter.join().unwrap(), (NtStatus::SUCCESS, 1));
    provider.leave();
}

#[test]
fn n4_callbacks_may_call_the_registrar() {
    let _running = start();
    let extra = provider(Behaviour::default());
    let in_cleanup = client(Behaviour::default());
    let on_detach = {
        let extra = extra.clone();
        Box::new(move |_: &Bound| {
            extra.register();
            NtStatus::SUCCESS
        })
    };
    let on_cleanup = {
        let in_cleanup = in_cleanup.clone();
        Box::new(move |_: &Bound| in_cleanup.register())
    };
    let one = provider(Behaviour { on_detach, on_cleanup, ..Behaviour::default() });
    let client = client(Behaviour::default());
    client.register();
    one.register();
    one.leave();
    assert_eq!(client.counts(), [2, 2, 1, 1], "the provider that came in the detach callback is attached too");
    assert_eq!(in_cleanup.counts(), [1, 1, 0, 0]);
    client.leave();
    in_cleanup.leave();
    extra.leave();
    assert!(violations().is_empty());
}

#[test]
fn n4_both_sides_deregistering_at_once_detach_once() {
    let _running = start_with(Config { provider_first: Choice::Random, seed: 4, ..Config::default() });
    for _ in 0..300 {
        let (client, provider) = (client(Behaviour::default()), provider(Behaviour::default()));
        client.register();
        provider.register();
        let leaving = [client.clone(), provider.clone()].map(|module| thread::spawn(move || module.leave()));
        leaving.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(client.counts(), [1; 4]);
        assert_eq!(provider.counts(), [1; 4]);
    }
    assert!(violations().is_empty());
}

#[test]
fn n4_a_new_provider_is_attached_while_the_old_binding_drains() {
    let _running = start();
    let client = client(pending());
    let (old, new) = (provider(Behaviour::default()), provider(Behaviour::default()));
    client.register();
    old.register();
    assert_eq!(old.deregister(), NtStatus::PENDING);
    new.register();
    assert_eq!(client.counts(), [2, 2, 1, 0], "both bindings live side by side");
    let draining = client.bound.lock().unwrap()[0].clone();
    draining.complete();
    assert_eq!(old.wait(), NtStatus::SUCCESS);
    assert_eq!(client.counts(), [2, 2, 1, 1]);
    assert_eq!(client.deregister(), NtStatus::PENDING);
    client.only().complete();
    assert_eq!(client.wait(), NtStatus::SUCCESS);
    new.leave();
    assert!(violations().is_empty());
}

#[test]
fn n4_a_provider_that_comes_back_is_a_new_binding() {
    let _running = start();
    let client = client(Behaviour::default());
    client.register();
    let mut last = 0;
    for round in 1..5 {
        let provider = provider(Behaviour::default());
        provider.register();
        let binding = client.only().binding;
        assert_ne!(binding, last);
        last = binding;
        provider.leave();
        assert_eq!(client.counts(), [round; 4]);
    }
    client.leave();
}

#[test]
fn n4_detach_and_cleanup_run_at_dispatch_level_in_that_mode() {
    let _running = start_with(Config { level: Level::Dispatch, ..Config::default() });
    let behaviour = || Behaviour {
        on_detach: Box::new(|_| {
            check(irql() == DISPATCH_LEVEL, "detached below DISPATCH_LEVEL");
            NtStatus::SUCCESS
        }),
        on_cleanup: Box::new(|_| check(irql() == DISPATCH_LEVEL, "cleaned up below DISPATCH_LEVEL")),
        on_attach: Box::new(|_| {
            check(irql() == 0, "attached above PASSIVE_LEVEL");
            NtStatus::SUCCESS
        }),
        ..Behaviour::default()
    };
    let (client, provider) = (client(behaviour()), provider(behaviour()));
    client.register();
    provider.register();
    client.leave();
    provider.leave();
    assert_eq!(client.counts(), [1; 4]);
    assert_eq!(irql(), 0);
    assert!(violations().is_empty());
}

#[test]
fn n4_the_cleanup_callback_may_be_left_out() {
    let _running = start();
    let mut client = client(Behaviour::default());
    Module::spoil_client(&mut client, |c| c.ClientCleanupBindingContext = None);
    let provider = provider(Behaviour::default());
    client.register();
    provider.register();
    client.leave();
    provider.leave();
    assert_eq!(client.counts(), [1, 1, 1, 0]);
    assert_eq!(provider.counts(), [1; 4]);
}

#[test]
fn n4_events_tell_the_story_in_order() {
    let _running = start();
    let (client, provider) = (client(Behaviour::default()), provider(Behaviour::default()));
    client.register();
    provider.register();
    client.leave();
    provider.leave();
    let story: Vec<(Side, Kind)> = events().iter().map(|event| (event.side, event.kind)).collect();
    let (c, p, good) = (Side::Client, Side::Provider, NtStatus::SUCCESS);
    let attached = [
        (c, Kind::Register { status: good }),
        (p, Kind::Register { status: good }),
        (c, Kind::AttachCall),
        (p, Kind::AttachCall),
        (p, Kind::AttachReturn { status: good }),
        (c, Kind::AttachReturn { status: good }),
    ];
    let detached = [
        (c, Kind::DeregisterCall),
        (c, Kind::DetachCall),
        (c, Kind::DetachReturn { status: good }),
        (p, Kind::DetachCall),
        (p, Kind::DetachReturn { status: good }),
        (c, Kind::Cleanup),
        (p, Kind::Cleanup),
        (c, Kind::Deregister { status: NtStatus::PENDING }),
        (c, Kind::WaitBegin),
        (c, Kind::WaitReturn { status: good }),
    ];
    assert_eq!(story[..16], [&attached[..], &detached[..]].concat());
    let binding = events()[2].binding;
    let context = Arc::as_ptr(&client) as usize;
    assert_ne!(binding, 0);
    assert_eq!(events()[0].context, context);
    assert!(events()[6..13].iter().all(|event| event.binding == binding || event.binding == 0));
    assert_eq!(events()[0].registration, client.handle.load(Ordering::SeqCst));
}
