//! N2: NmrClientAttachProvider calls the provider's attach; on success each side has the other's context and dispatch. It
//! may be called again in the same callback after a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nt_abi::NtStatus;

use crate::support::*;

#[test]
fn n2_each_side_has_the_others_context_dispatch_and_instance() {
    let _running = start();
    let (client, provider) = (client(Behaviour::default()), provider(Behaviour::default()));
    client.register();
    provider.register();
    let (at_client, at_provider) = (client.only(), provider.only());
    let address = |bound: &Arc<Bound>| Arc::as_ptr(bound) as usize;
    assert_eq!(at_client.other_context.load(Ordering::SeqCst), address(&at_provider));
    assert_eq!(at_provider.other_context.load(Ordering::SeqCst), address(&at_client));
    assert_eq!(at_client.other_dispatch.load(Ordering::SeqCst), &raw const provider.dispatch as usize);
    assert_eq!(at_provider.other_dispatch.load(Ordering::SeqCst), &raw const client.dispatch as usize);
    assert_eq!(at_client.other_instance, provider.instance());
    assert_eq!(at_provider.other_instance, client.instance());
    assert_eq!(at_client.binding, at_provider.binding);
    client.leave();
    provider.leave();
    assert!(violations().is_empty());
}

#[test]
fn n2_may_be_called_again_in_the_same_callback_after_a_failure() {
    let _running = start();
    let calls = AtomicUsize::new(0);
    let on_attach = Box::new(move |_: &Bound| match calls.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => NtStatus::NOINTERFACE,
        _ => NtStatus::SUCCESS,
    });
    let provider = provider(Behaviour { on_attach, ..Behaviour::default() });
    let client = client(Behaviour { tries: 3, ..Behaviour::default() });
    provider.register();
    client.register();
    assert_eq!(client.counts(), [1, 1, 0, 0]);
    assert_eq!(provider.counts(), [3, 1, 0, 0]);
    provider.leave();
    client.leave();
    assert!(violations().is_empty());
}

#[test]
fn n2_the_providers_status_is_the_answer() {
    let _running = start();
    let provider = provider(Behaviour { on_attach: Box::new(|_| NtStatus::ACCESS_DENIED), ..Behaviour::default() });
    let answer = Arc::new(AtomicUsize::new(0));
    let kept = answer.clone();
    let on_offer = Box::new(move |binding| {
        let status = attach_provider(binding);
        kept.store(status.0 as u32 as usize, Ordering::SeqCst);
        Some(status)
    });
    let client = client(Behaviour { on_offer, ..Behaviour::default() });
    provider.register();
    client.register();
    assert_eq!(answer.load(Ordering::SeqCst), NtStatus::ACCESS_DENIED.0 as u32 as usize);
    client.leave();
    provider.leave();
    assert!(violations().is_empty());
}

#[test]
fn n2_outside_the_attach_callback_is_a_violation() {
    let _running = start();
    let (client, provider) = (client(Behaviour::default()), provider(Behaviour::default()));
    client.register();
    provider.register();
    let binding = client.only().binding;
    assert_eq!(attach_provider(binding), NtStatus::INVALID_PARAMETER);
    assert_eq!(violation_texts(), ["NmrClientAttachProvider called outside ClientAttachProvider"]);
    client.leave();
    provider.leave();
    for stale in [binding, 0, usize::MAX, client.handle.load(Ordering::SeqCst)] {
        assert_eq!(attach_provider(stale), NtStatus::INVALID_PARAMETER);
    }
    assert_eq!(violations(), ["N2"; 5]);
    assert_eq!(provider.counts(), [1; 4]);
}

#[test]
fn n2_again_after_success_is_a_violation() {
    let _running = start();
    let on_attach = Box::new(|bound: &Bound| {
        check(attach_provider(bound.binding) == NtStatus::INVALID_PARAMETER, "attached twice");
        NtStatus::SUCCESS
    });
    let client = client(Behaviour { on_attach, ..Behaviour::default() });
    let provider = provider(Behaviour::default());
    provider.register();
    client.register();
    assert_eq!(violations(), ["N2"]);
    client.leave();
    provider.leave();
    assert_eq!(provider.counts(), [1; 4]);
}

#[test]
fn n2_success_without_having_attached_is_a_violation() {
    let _running = start();
    let on_offer = Box::new(|_| Some(NtStatus::SUCCESS));
    let (client, provider) = (client(Behaviour { on_offer, ..Behaviour::default() }), provider(Behaviour::default()));
    client.register();
    provider.register();
    assert_eq!(violations(), ["N2"]);
    client.leave();
    provider.leave();
    assert_eq!(client.counts(), [1, 0, 0, 0]);
    assert_eq!(provider.counts(), [0; 4]);
}

#[test]
fn l08_a_failure_after_the_attach_succeeded_is_a_violation() {
    let _running = start();
    let on_attach = Box::new(|_: &Bound| NtStatus::INSUFFICIENT_RESOURCES);
    let client = client(Behaviour { on_attach, ..Behaviour::default() });
    let provider = provider(Behaviour::default());
    provider.register();
    client.register();
    assert_eq!(violations(), ["L08"]);
    assert_eq!(client.counts(), [1, 1, 0, 0], "a client that failed is called no more");
    assert_eq!(provider.counts(), [1; 4], "the provider is detached and cleaned up");
    client.leave();
    provider.leave();
}
