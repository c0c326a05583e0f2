//! N7: a completion that arrives before the detach callback has returned STATUS_PENDING is accepted. One after
//! STATUS_SUCCESS, a second one, or one with a wrong handle is a violation, and changes nothing.

use std::sync::Arc;

use nmr::Side;
use nt_abi::NtStatus;

use crate::support::*;

fn detaching(side: Side, on_detach: impl Fn(&Bound) -> NtStatus + Send + Sync + 'static) -> (Arc<Module>, Arc<Module>) {
    let special = Behaviour { on_detach: Box::new(on_detach), ..Behaviour::default() };
    let (client, provider) = match side {
        Side::Client => (client(special), provider(Behaviour::default())),
        Side::Provider => (client(Behaviour::default()), provider(special)),
    };
    client.register();
    provider.register();
    (client, provider)
}

const SIDES: [Side; 2] = [Side::Client, Side::Provider];

#[test]
fn n7_a_completion_before_the_callback_has_returned_pending_is_accepted() {
    let _running = start();
    for side in SIDES {
        let (client, provider) = detaching(side, |bound| {
            bound.complete();
            NtStatus::PENDING
        });
        client.leave();
        provider.leave();
        assert_eq!(client.counts(), [1; 4]);
        assert_eq!(provider.counts(), [1; 4]);
    }
    assert!(violations().is_empty());
}

#[test]
fn n7_a_completion_races_with_the_return_of_the_callback() {
    let _running = start();
    for round in 0..300 {
        let side = SIDES[round % 2];
        let (send, receive) = std::sync::mpsc::channel();
        let completer = std::thread::spawn(move || {
            let (side, binding): (Side, usize) = receive.recv().unwrap();
            complete(side, binding);
        });
        let (client, provider) = detaching(side, move |bound| {
            send.send((bound.side, bound.binding)).unwrap();
            NtStatus::PENDING
        });
        client.leave();
        provider.leave();
        completer.join().unwrap();
        assert_eq!(client.counts(), [1; 4]);
        assert_eq!(provider.counts(), [1; 4]);
    }
    assert!(violations().is_empty());
}

#[test]
fn n7_a_completion_and_then_success_is_a_violation() {
    let _running = start();
    for side in SIDES {
        let (client, provider) = detaching(side, |bound| {
            bound.complete();
            NtStatus::SUCCESS
        });
        client.leave();
        provider.leave();
        assert_eq!(client.counts(), [1; 4]);
    }
    assert_eq!(violations(), ["N7"; 2]);
}

#[test]
fn n7_a_completion_after_success_is_a_violation() {
    let _running = start();
    for side in SIDES {
        let (client, provider) = detaching(side, |_| NtStatus::SUCCESS);
        // The other side keeps the binding there, so that the registrar can tell.
        let other = if side == Side::Client { &provider } else { &client };
        let _ = other;
        let binding = client.only().binding;
        client.leave();
        complete(side, binding);
        provider.leave();
        assert_eq!(client.counts(), [1; 4]);
        assert_eq!(provider.counts(), [1; 4]);
    }
    assert_eq!(violations(), ["N7"; 2]);
}

#[test]
fn n7_while_the_other_side_is_out_each_misuse_is_named() {
    let _running = start();
    let pending = || Behaviour { on_detach: Box::new(|_| NtStatus::PENDING), ..Behaviour::default() };
    let (client, provider) = (client(Behaviour::default()), provider(pending()));
    client.register();
    provider.register();
    let binding = client.only().binding;
    complete(Side::Client, binding);
    complete(Side::Provider, binding);
    assert_eq!(violation_texts(), ["detach reported complete before the detach callback was called"; 2]);
    assert_eq!(client.deregister(), NtStatus::PENDING);
    complete(Side::Client, binding);
    assert_eq!(violation_texts()[2], "detach reported complete after the detach callback had returned STATUS_SUCCESS");
    assert_eq!(client.counts(), [1, 1, 1, 0], "a wrong completion ended the binding");
    complete(Side::Provider, binding);
    assert_eq!(client.wait(), NtStatus::SUCCESS);
    assert_eq!(violations().len(), 3);
    provider.leave();
}

#[test]
fn n7_a_second_completion_is_a_violation() {
    let _running = start();
    for side in SIDES {
        let pending = || Behaviour { on_detach: Box::new(|_| NtStatus::PENDING), ..Behaviour::default() };
        let (client, provider) = (client(pending()), provider(pending()));
        client.register();
        provider.register();
        let binding = client.only().binding;
        assert_eq!(provider.deregister(), NtStatus::PENDING);
        complete(side, binding);
        complete(side, binding);
        assert_eq!([client.counts()[3], provider.counts()[3]], [0, 0], "one side's two completions ended the binding");
        complete(side.other(), binding);
        assert_eq!([client.counts()[3], provider.counts()[3]], [1, 1]);
        complete(side, binding);
        assert_eq!(provider.wait(), NtStatus::SUCCESS);
        client.leave();
    }
    assert_eq!(violations(), ["N7"; 4]);
}

#[test]
fn n7_a_wrong_handle_is_a_violation() {
    let _running = start();
    let (client, provider) = detaching(Side::Client, |_| NtStatus::PENDING);
    assert_eq!(client.deregister(), NtStatus::PENDING);
    let handle = client.handle.load(std::sync::atomic::Ordering::SeqCst);
    for wrong in [0, 8, usize::MAX, handle, Arc::as_ptr(&client.only()) as usize] {
        complete(Side::Client, wrong);
    }
    assert_eq!(violations(), ["N7"; 5]);
    assert_eq!(client.counts(), [1, 1, 1, 0]);
    client.only().complete();
    assert_eq!(client.wait(), NtStatus::SUCCESS);
    provider.leave();
}

#[test]
fn n4_a_detach_callback_that_returns_an_error_is_a_violation() {
    let _running = start();
    let (client, provider) = detaching(Side::Provider, |_| NtStatus::UNSUCCESSFUL);
    client.leave();
    provider.leave();
    assert_eq!(violations(), ["N4"]);
    assert_eq!(provider.counts(), [1; 4]);
}
